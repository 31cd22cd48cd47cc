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

    /// Adds a round unless it is there already.
    pub(super) fn push(&self, done: Arc<Final>) {
        let mut rounds = self.lock();
        if rounds.iter().rev().any(|kept| kept.rank() == done.rank()) {
            return;
        }
        if rounds.len() >= self.retain {
            rounds.pop_front();
        }
        rounds.push_back(done);
    }

    /// The newest round of the best history known: the highest number wins.
    #[must_use]
    pub fn best(&self) -> Option<Arc<Final>> {
        self.lock().iter().max_by_key(|done| done.rank()).cloned()
    }

    /// Up to `most` rounds of the newest epoch after a position, oldest first.
    /// A position of another epoch stands before all of them.
    #[must_use]
    pub fn after(&self, (epoch, number): (Epoch, u64), most: usize) -> Vec<Arc<Final>> {
        let rounds = self.lock();
        let Some(newest) = rounds.back().map(|last| last.epoch()) else {
            return Vec::new();
        };
        let floor = if epoch == newest { number } else { 0 };
        rounds
            .iter()
            .filter(|done| done.epoch() == newest && done.rank().0 > floor)
            .take(most)
            .cloned()
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Final>>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
