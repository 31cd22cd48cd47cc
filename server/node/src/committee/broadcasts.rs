//! The finalized rounds that a node keeps to hand out.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use zipnet_protocol::Epoch;

use super::state::Final;

/// A bounded ring of finalized rounds, oldest first.
#[derive(Debug)]
pub struct Broadcasts {
    rounds: Mutex<VecDeque<Arc<Final>>>,
    retain: usize,
}

impl Broadcasts {
    pub(super) fn new(retain: usize) -> Self {
        Self {
            rounds: Mutex::default(),
            retain: retain.max(1),
        }
    }

    /// Adds a round unless it is there already. Its epoch is then the newest
    /// one: a committee can come back to an epoch that it had left.
    pub(super) fn push(&self, done: Arc<Final>) {
        let mut rounds = self.lock();
        let epoch = done.epoch();
        if !rounds.iter().rev().any(|kept| kept.rank() == done.rank()) {
            rounds.push_back(done);
        }
        // A snapshot can bring a round that is older than what is kept.
        rounds.make_contiguous().sort_by_key(|kept| {
            let newest = kept.epoch() == epoch;
            (newest, if newest { kept.rank().0 } else { 0 })
        });
        if rounds.len() > self.retain {
            rounds.pop_front();
        }
    }

    /// The highest in rank of the rounds that `wanted` accepts.
    #[must_use]
    pub fn best(&self, wanted: impl Fn(&Final) -> bool) -> Option<Arc<Final>> {
        let mut rounds: Vec<_> = self.lock().iter().cloned().collect();
        rounds.sort_by_key(|done| done.rank());
        rounds.into_iter().rev().find(|done| wanted(done))
    }

    /// Up to `most` rounds of an epoch from number `from` on, oldest first.
    #[must_use]
    pub fn range(&self, epoch: &Epoch, from: u64, most: usize) -> Vec<Arc<Final>> {
        self.lock()
            .iter()
            .filter(|done| done.epoch() == *epoch && done.rank().0 >= from)
            .take(most)
            .cloned()
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Final>>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
