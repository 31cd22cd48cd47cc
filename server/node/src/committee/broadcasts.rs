//! The finalized rounds that a node keeps to hand out.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use zipnet_protocol::Epoch;

use super::state::Final;
use crate::wire::vector_bytes;

/// Most bytes of vectors that are kept, whatever the number of rounds: 256
/// rounds of 1 MiB and 16 servers would be 4 GiB, in guests of 1 GiB.
const RETAIN_BYTES: usize = 512 << 20;

/// A ring of finalized rounds, oldest first, bounded by their number and bytes.
#[derive(Debug)]
pub struct Broadcasts {
    rounds: Mutex<VecDeque<Arc<Final>>>,
    retain: usize,
    retain_bytes: usize,
}

impl Broadcasts {
    /// Keeps so many rounds, as far as their vectors leave room.
    #[must_use]
    pub fn new(retain: usize) -> Self {
        Self::bounded(retain, RETAIN_BYTES)
    }

    /// Keeps so many rounds, and so many bytes of vectors, but the newest round
    /// in any case.
    pub(super) fn bounded(retain: usize, retain_bytes: usize) -> Self {
        Self {
            rounds: Mutex::default(),
            retain: retain.max(1),
            retain_bytes,
        }
    }

    /// Adds a round unless it is there already. Its epoch is then the newest
    /// one: a committee can come back to an epoch that it had left.
    pub fn push(&self, done: Arc<Final>) {
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
        let mut bytes = rounds
            .iter()
            .map(|kept| vector_bytes(&kept.published))
            .fold(0, usize::saturating_add);
        while rounds.len() > self.retain || (rounds.len() > 1 && bytes > self.retain_bytes) {
            if let Some(oldest) = rounds.pop_front() {
                bytes = bytes.saturating_sub(vector_bytes(&oldest.published));
            }
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

    /// As [`Broadcasts::range`], but no more than `bytes` of vectors unless one
    /// round alone has more; and whether there are rounds behind these.
    #[must_use]
    pub fn page(
        &self,
        epoch: &Epoch,
        from: u64,
        most: usize,
        bytes: usize,
    ) -> (Vec<Arc<Final>>, bool) {
        let mut page = self.range(epoch, from, most.saturating_add(1));
        let mut left = bytes;
        let fit = page
            .iter()
            .take(most)
            .take_while(|done| {
                let fits = left.checked_sub(vector_bytes(&done.published));
                left = fits.unwrap_or(0);
                fits.is_some()
            })
            .count();
        let more = page.len() > fit.max(1);
        page.truncate(fit.max(1));
        (page, more)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Final>>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
