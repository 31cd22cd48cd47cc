//! Which aggregators are leaves of the next round. Like whose turn it is, it follows from
//! the log alone, so that no server can choose.
//!
//! A leaf that hands on nothing costs its clients a round, or everybody, if they are many.
//! Who was at fault the log does not say if the round came to nothing, so the next rounds
//! have no leaves at all, twice as many each time: a leaf that gives receipts and hands
//! nothing on costs about one round in a thousand, at most.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zipnet_protocol::{Aggregate, Leaves, MAX_LEAVES, PeerKey, RoundHeader};

use super::aggregators::MAX_AGGREGATORS;

/// For so many rounds an aggregator is no leaf after its part was missing.
const ABSENT: u64 = 16;
/// For so many rounds there are none after a round with leaves came to nothing, at first
/// and at most.
const REST: (u64, u64) = (16, 1024);
/// After so many finalized rounds with leaves the next rest is as short as the first again.
const FORGIVEN: u64 = 1024;

/// What has become of earlier leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafMemory {
    /// Up to which round each is none.
    absent: BTreeMap<PeerKey, u64>,
    /// Up to which round there are none.
    rest: u64,
    /// How long the last rest was, in rounds.
    lasted: u64,
    /// Finalized rounds with leaves since.
    good: u64,
}

impl LeafMemory {
    /// The leaves of round `number`: its aggregator, and others who can be, in their order,
    /// up to `wanted`; none if there are no others.
    #[must_use]
    pub fn of_round(
        &self,
        number: u64,
        wanted: u32,
        root: &PeerKey,
        can_be: impl Iterator<Item = PeerKey>,
    ) -> Leaves {
        let wanted = (wanted as usize).min(MAX_LEAVES);
        if wanted < 2 || number <= self.rest {
            return Leaves::default();
        }
        let here = |peer: &PeerKey| self.absent.get(peer).is_none_or(|until| *until < number);
        let others = can_be.filter(|peer| peer != root && here(peer));
        let others: Vec<_> = others.take(wanted.saturating_sub(1)).collect();
        if others.is_empty() {
            return Leaves::default();
        }
        Leaves::new(others.into_iter().chain([*root]))
    }

    /// The aggregate of a round was committed. Whoever was to hand on a part and did not, or
    /// one of nobody, is no leaf for some rounds. That says the round's aggregator alone; all
    /// that it gains by a lie is the envelopes of that leaf's clients, which are nothing to it.
    pub fn committed(&mut self, header: &RoundHeader, aggregate: &Aggregate) {
        let until = header.number.saturating_add(ABSENT);
        self.absent.retain(|_, until| *until >= header.number);
        for (number, leaf) in (0..).zip(header.leaves.iter()) {
            let part = aggregate.part(number);
            let is_empty = part.is_none_or(|part| part.participants.count() == 0);
            if is_empty && *leaf != header.aggregator {
                self.absent.insert(*leaf, until);
            }
        }
        while self.absent.len() > MAX_AGGREGATORS {
            self.absent.pop_first();
        }
    }

    /// A round was finalized.
    pub fn finalized(&mut self, header: &RoundHeader) {
        if header.leaves.is_empty() {
            return;
        }
        self.good = self.good.saturating_add(1);
        if self.good >= FORGIVEN {
            self.lasted = 0;
        }
    }

    /// A certified round was given up without an aggregate.
    pub fn came_to_nothing(&mut self, header: &RoundHeader) {
        if header.leaves.is_empty() {
            return;
        }
        self.good = 0;
        self.lasted = self.lasted.saturating_mul(2).clamp(REST.0, REST.1);
        self.rest = header.number.saturating_add(self.lasted);
    }

    /// So many rounds were skipped; they are nobody's.
    pub fn skip(&mut self, rounds: u64) {
        self.rest = self.rest.saturating_add(rounds);
        for until in self.absent.values_mut() {
            *until = until.saturating_add(rounds);
        }
    }

    /// Whether a committee that has opened so many rounds can remember that.
    #[must_use]
    pub fn is_bounded(&self, opened: u64) -> bool {
        self.absent.len() <= MAX_AGGREGATORS
            && self.rest <= opened.saturating_add(REST.1)
            && self.lasted <= REST.1
            && self
                .absent
                .values()
                .all(|until| *until <= opened.saturating_add(ABSENT))
    }
}
