//! Records that are missing are asked of one server after the other, until one
//! has them or all were asked.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use zipnet_door::PeerId;
use zipnet_protocol::{Digest, FinalizedRound};

use super::{Event, Follower, NewsError};
use crate::wire::{MAX_RECORDS, News};

/// Most records that are fetched from one server to fill a gap.
const MAX_GAP: usize = 64;
/// How often a server is asked that does not answer. It has not said that it has
/// nothing: the network may be slow, or cut for a while.
const TRIES: u32 = 4;

/// What shows that records are missing.
pub(super) enum ToldBy {
    /// A certified round of this number, which names one.
    Round(u64),
    /// A record whose predecessor is not in hand.
    Record(Box<FinalizedRound>),
}

/// Records that are missing, and who was asked for them.
#[derive(Debug)]
pub(super) struct Gap {
    /// Digest of the newest one.
    pub wanted: Digest,
    /// Number of the certified round that names it, if one does.
    pub certified: Option<u64>,
    /// Servers that were really asked.
    pub asked: BTreeSet<PeerId>,
    /// How often which of them did not answer.
    pub failed: BTreeMap<PeerId, u32>,
    /// What the server at hand has given so far.
    pub chain: Vec<FinalizedRound>,
    /// The longest answer that leads to the newest one, from whoever.
    pub best: Vec<FinalizedRound>,
}

impl Follower {
    /// What leads to `wanted` is missing: asks others, each once.
    pub(super) fn miss(&mut self, wanted: Digest, told_by: ToldBy) -> Vec<Event> {
        let (certified, best) = match told_by {
            ToldBy::Round(number) => (Some(number), Vec::new()),
            ToldBy::Record(done) => (None, vec![*done]),
        };
        if let Some(gap) = &mut self.gap {
            // The newer one leads to the older one.
            if gap.wanted != wanted {
                gap.wanted = wanted;
                gap.certified = certified;
                gap.best = best;
            }
            return Vec::new();
        }
        self.gap = Some(Gap {
            wanted,
            certified,
            asked: BTreeSet::new(),
            failed: BTreeMap::new(),
            chain: Vec::new(),
            best,
        });
        self.ask_on()
    }

    /// A server that was asked for what is missing did not answer. It is asked again,
    /// after the others.
    pub(super) fn unanswered(&mut self, peer: PeerId) -> Vec<Event> {
        if let Some(gap) = &mut self.gap {
            let failed = gap.failed.entry(peer).or_default();
            *failed = failed.saturating_add(1);
            if *failed < TRIES {
                gap.asked.remove(&peer);
            }
        }
        self.ask_on()
    }

    /// Asks the next server for what is missing. If all were asked, goes on
    /// without it.
    pub(super) fn ask_on(&mut self) -> Vec<Event> {
        // It may have come another way.
        self.gap.take_if(|gap| self.course.knows(&gap.wanted));
        let Some(gap) = &mut self.gap else {
            return Vec::new();
        };
        gap.chain.clear();
        if let Some(after) = self.course.certain()
            && let Some(peer) = self.polls.ask_another(&gap.asked, &gap.failed, after)
        {
            gap.asked.insert(peer);
            return Vec::new();
        }
        tracing::warn!(
            asked = gap.asked.len(),
            "records are missing: no server has them any more"
        );
        let Some(gap) = self.gap.take() else {
            return Vec::new();
        };
        let events = finalized(&self.course.fill(&gap.best, &gap.wanted, true));
        if events.is_empty() {
            self.course.skip(gap.wanted);
        }
        events
    }

    /// Looks into what a server has of the missing records.
    pub(super) fn filling(&mut self, news: &News, peer: PeerId) -> Vec<Event> {
        let Some(mut gap) = self.gap.take() else {
            return Vec::new();
        };
        let full = news.records.len() >= MAX_RECORDS;
        let before = gap.chain.last().map(|done| done.round().position());
        for published in news.records.iter().take(MAX_RECORDS) {
            match self.seen.record(published) {
                Ok(done) if self.trusted_roster(done.round()).is_ok() => {
                    self.kept.push(&done, published);
                    gap.chain.push(done);
                }
                Ok(_) => {}
                Err(error) => {
                    let error = NewsError::Record(error);
                    tracing::warn!(
                        because = %crate::report::chain(&error),
                        "refused missing records of a server"
                    );
                    break;
                }
            }
        }
        let mut events = finalized(&self.course.fill(&gap.chain, &gap.wanted, false));
        if !events.is_empty() || self.course.knows(&gap.wanted) {
            if let Some(number) = gap.certified {
                self.course.confirm(&gap.wanted, number);
            }
            self.unhold(&mut events);
            return events;
        }
        let last = gap.chain.last().map(|done| done.round().position());
        let leads = gap.chain.iter().any(|done| *done.digest() == gap.wanted);
        if full
            && !leads
            && last > before
            && gap.chain.len() < MAX_GAP
            && let Some(last) = last
        {
            self.polls.ask_peer(peer, last, Duration::ZERO);
            self.gap = Some(gap);
            return events;
        }
        if leads && gap.chain.len() > gap.best.len() {
            gap.best = core::mem::take(&mut gap.chain);
        }
        self.gap = Some(gap);
        self.ask_on()
    }
}

fn finalized(news: &[&FinalizedRound]) -> Vec<Event> {
    news.iter()
        .map(|done| Event::Finalized(Arc::new((*done).clone())))
        .collect()
}
