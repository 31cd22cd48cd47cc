//! Which aggregators the committee deals with, and whose turn it is.
//!
//! Each header names one: two aggregators of one round would share out its
//! participants, and whoever is quick would choose them. Which one follows from
//! the log alone, so that no server can choose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zipnet_protocol::{Aggregate, AggregatorBundle, Instance, Leaves, PeerKey, RoundHeader};

use super::{leaves::LeafMemory, refusal::Refusal, state::Applied};
use crate::settings::AggregatorRules;

/// Most aggregators of a committee.
pub const MAX_AGGREGATORS: usize = 16;
/// An aggregator that neither serves nor registers in this many rounds is
/// forgotten.
pub const AGGREGATOR_LEASE_ROUNDS: u64 = 64;

/// The registered aggregators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregators {
    /// Each with the number of the round when it was last heard of.
    listed: BTreeMap<PeerKey, (AggregatorBundle, u64)>,
    /// Whose aggregate came last, or whose turn it is since that one failed.
    turn: Option<PeerKey>,
    leaves: LeafMemory,
}

/// What a snapshot holds of aggregators. Not trusted before [`Aggregators::restore`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AggregatorsSnapshot {
    listed: Vec<(AggregatorBundle, u64)>,
    turn: Option<PeerKey>,
    leaves: LeafMemory,
}

impl Aggregators {
    /// What a snapshot holds of them.
    #[must_use]
    pub fn snapshot(&self) -> AggregatorsSnapshot {
        AggregatorsSnapshot {
            listed: self.listed.values().cloned().collect(),
            turn: self.turn,
            leaves: self.leaves.clone(),
        }
    }

    /// Those of a snapshot, verified again.
    ///
    /// # Errors
    /// [`Refusal`], if one is not admitted or there are too many.
    pub fn restore(
        instance: &Instance,
        rules: &AggregatorRules,
        snapshot: AggregatorsSnapshot,
    ) -> Result<Self, Refusal> {
        let AggregatorsSnapshot {
            listed,
            turn,
            leaves,
        } = snapshot;
        if listed.len() > MAX_AGGREGATORS {
            return Err(Refusal::AggregatorsFull(listed.len()));
        }
        let listed = listed
            .into_iter()
            .map(|(bundle, active)| {
                let peer = bundle.verify(instance, |peer| rules.admits(peer))?;
                Ok((peer, (bundle, active)))
            })
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map_err(Refusal::Aggregator)?;
        Ok(Self {
            listed,
            turn,
            leaves,
        })
    }

    /// The bundle of a listed one.
    #[must_use]
    pub fn bundle(&self, peer: &PeerKey) -> Option<&AggregatorBundle> {
        self.listed.get(peer).map(|(bundle, _)| bundle)
    }

    /// The listed ones, with the round when each was last heard of.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerKey, u64)> {
        self.listed
            .iter()
            .map(|(peer, (_, active))| (peer, *active))
    }

    /// Whether a peer is listed.
    #[must_use]
    pub fn contains(&self, peer: &PeerKey) -> bool {
        self.listed.contains_key(peer)
    }

    /// Those of a round's leaves who are listed.
    #[must_use]
    pub fn listed_of(&self, leaves: &Leaves) -> Leaves {
        Leaves::new(leaves.iter().filter(|leaf| self.contains(leaf)).copied())
    }

    /// Whether a peer is listed and was heard of in the later half of its lease.
    #[must_use]
    pub fn is_fresh(&self, peer: &PeerKey, opened: u64) -> bool {
        self.listed.get(peer).is_some_and(|(_, active)| {
            opened.saturating_sub(*active) <= AGGREGATOR_LEASE_ROUNDS / 2
        })
    }

    /// Lists aggregators that are admitted, or hears of them again.
    pub(super) fn register(
        &mut self,
        instance: &Instance,
        rules: &AggregatorRules,
        bundles: Vec<AggregatorBundle>,
        opened: u64,
    ) -> Result<Applied, Refusal> {
        if bundles.len() > MAX_AGGREGATORS {
            return Err(Refusal::AggregatorsFull(bundles.len()));
        }
        let mut all = self.listed.clone();
        for bundle in bundles {
            let peer = bundle
                .verify(instance, |peer| rules.admits(peer))
                .map_err(Refusal::Aggregator)?;
            all.insert(peer, (bundle, opened));
        }
        if all.len() > MAX_AGGREGATORS {
            return Err(Refusal::AggregatorsFull(all.len()));
        }
        self.listed = all;
        Ok(Applied::Registered)
    }

    /// Who aggregates the next round: whoever's turn it is, or the next one in
    /// the order of their keys if that one has left. Those against whom fewer
    /// servers vote come first: a server that has voted gives no partial, so that a
    /// round of that aggregator would not finish.
    #[must_use]
    pub fn next(&self, votes: impl Fn(&PeerKey) -> usize) -> Option<PeerKey> {
        let first = match self.turn {
            Some(turn) => self.from(&turn, true),
            None => self.listed.keys().next().copied(),
        }?;
        self.circle(first).min_by_key(|peer| votes(peer))
    }

    /// The leaves of round `number`, `wanted` of them, under the aggregator whose turn it is: it and
    /// those behind it in the order of their keys, but for whoever a server votes against.
    #[must_use]
    pub fn leaves(
        &self,
        number: u64,
        wanted: u32,
        root: &PeerKey,
        votes: impl Fn(&PeerKey) -> usize,
    ) -> Leaves {
        let can_be = self.circle(*root).filter(|peer| votes(peer) == 0);
        self.leaves.of_round(number, wanted, root, can_be)
    }

    /// The listed ones from one on, around the circle.
    fn circle(&self, first: PeerKey) -> impl Iterator<Item = PeerKey> {
        let behind = self.listed.range(first..);
        let before = self.listed.range(..first);
        behind.chain(before).map(|(peer, _)| *peer)
    }

    /// The first listed at a key (or behind it), around the circle.
    fn from(&self, key: &PeerKey, inclusive: bool) -> Option<PeerKey> {
        let behind = |peer: &&PeerKey| *peer > key || (inclusive && *peer == key);
        self.listed
            .keys()
            .find(behind)
            .or_else(|| self.listed.keys().next())
            .copied()
    }

    /// An aggregate was committed. Its aggregator and the leaves in it are there.
    pub(super) fn served(&mut self, header: &RoundHeader, aggregate: &Aggregate) {
        self.turn = Some(header.aggregator);
        let parts = aggregate.parts.iter();
        let leaves = parts.filter_map(|part| header.leaves.get(part.leaf));
        for peer in leaves.chain([&header.aggregator]) {
            if let Some((_, active)) = self.listed.get_mut(peer) {
                *active = (*active).max(header.number);
            }
        }
        self.leaves.committed(header, aggregate);
    }

    /// A round was finalized.
    pub(super) fn finalized(&mut self, header: &RoundHeader) {
        self.leaves.finalized(header);
    }

    /// A certified round was given up without an aggregate.
    pub(super) fn failed(&mut self, header: &RoundHeader) {
        self.turn = self.from(&header.aggregator, false);
        self.leaves.came_to_nothing(header);
    }

    /// Whether a committee that has opened so many rounds can remember that.
    #[must_use]
    pub fn is_bounded(&self, opened: u64) -> bool {
        self.iter().all(|(_, active)| active <= opened) && self.leaves.is_bounded(opened)
    }

    /// Forgets one that is struck.
    pub(super) fn strike(&mut self, peer: &PeerKey) {
        self.listed.remove(peer);
    }

    /// So many rounds were skipped; they are nobody's absence. Otherwise one
    /// reminder would leave the committee without an aggregator (A11).
    pub(super) fn skip(&mut self, rounds: u64) {
        for (_, active) in self.listed.values_mut() {
            *active = active.saturating_add(rounds);
        }
        self.leaves.skip(rounds);
    }

    /// Counts all leases from a round of another epoch on.
    pub(super) fn restart(&mut self, opened: u64) {
        for (_, active) in self.listed.values_mut() {
            *active = opened;
        }
        self.leaves = LeafMemory::default();
    }

    /// Forgets whoever sat out the lease.
    pub(super) fn expire(&mut self, opened: u64) {
        let oldest = opened.saturating_sub(AGGREGATOR_LEASE_ROUNDS);
        self.listed.retain(|_, (_, active)| *active >= oldest);
    }
}
