//! The finalized rounds that a node keeps to hand out.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use zipnet_protocol::{Digest, Epoch, FinalizedRound, ServerId};

use super::{
    command::Published,
    state::{Final, rank},
};
use crate::wire::vector_bytes;

/// A finalized round that is handed out.
#[derive(Debug, Clone)]
pub enum Kept {
    /// One that this node has finalized, or got by a snapshot.
    Own(Arc<Final>),
    /// One that it missed and fetched from others. The registry of its clients did
    /// not come along: it answers readers, and nothing is decided by it.
    Fetched(Arc<Fetched>),
}

/// A verified record of a round that this node was not there for.
#[derive(Debug)]
pub struct Fetched {
    /// As it travels.
    pub published: Published,
    /// As it was checked.
    pub checked: FinalizedRound,
}

impl Kept {
    /// As it travels.
    #[must_use]
    pub fn published(&self) -> &Published {
        match self {
            Self::Own(done) => &done.published,
            Self::Fetched(fetched) => &fetched.published,
        }
    }

    /// As it was checked.
    #[must_use]
    pub fn checked(&self) -> &FinalizedRound {
        match self {
            Self::Own(done) => &done.checked,
            Self::Fetched(fetched) => &fetched.checked,
        }
    }

    fn own(&self) -> Option<&Arc<Final>> {
        match self {
            Self::Own(done) => Some(done),
            Self::Fetched(_) => None,
        }
    }

    fn epoch(&self) -> Epoch {
        self.checked().round().header().epoch
    }

    fn number(&self) -> u64 {
        self.checked().round().header().number
    }

    fn previous(&self) -> Digest {
        self.checked().round().header().previous
    }
}

/// The record that is missing before those that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its digest.
    pub digest: Digest,
    /// The epoch.
    pub epoch: Epoch,
    /// The number of the one behind it.
    pub before: u64,
    /// Who signed the one behind it, and so held this one.
    pub holders: Vec<ServerId>,
}

/// A ring of finalized rounds, oldest first, bounded by their number and bytes.
#[derive(Debug)]
pub struct Broadcasts {
    rounds: Mutex<VecDeque<Kept>>,
    retain: usize,
    retain_bytes: usize,
}

impl Broadcasts {
    /// Keeps so many rounds, and so many bytes of vectors, but the newest round
    /// in any case.
    #[must_use]
    pub fn new(retain: usize, retain_bytes: usize) -> Self {
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
        let place = rounds
            .iter_mut()
            .rev()
            .find(|kept| rank(kept.checked()) == done.rank());
        match place {
            Some(kept) => *kept = Kept::Own(done),
            None => rounds.push_back(Kept::Own(done)),
        }
        self.arrange(&mut rounds, &epoch);
    }

    /// Adds a round that is missing ([`Broadcasts::missing`]), if there is room for
    /// it. Whether there was.
    pub fn fill(&self, fetched: Fetched) -> bool {
        let mut rounds = self.lock();
        let kept = Kept::Fetched(Arc::new(fetched));
        let (epoch, digest) = (kept.epoch(), *kept.checked().digest());
        rounds.push_back(kept);
        self.arrange(&mut rounds, &epoch);
        rounds.iter().any(|kept| *kept.checked().digest() == digest)
    }

    fn arrange(&self, rounds: &mut VecDeque<Kept>, epoch: &Epoch) {
        // A snapshot can bring a round that is older than what is kept.
        rounds.make_contiguous().sort_by_key(|kept| {
            let newest = kept.epoch() == *epoch;
            (newest, if newest { kept.number() } else { 0 })
        });
        let mut bytes = rounds
            .iter()
            .map(|kept| vector_bytes(kept.published()))
            .fold(0, usize::saturating_add);
        while rounds.len() > self.retain || (rounds.len() > 1 && bytes > self.retain_bytes) {
            if let Some(oldest) = rounds.pop_front() {
                bytes = bytes.saturating_sub(vector_bytes(oldest.published()));
            }
        }
    }

    /// The newest record that is missing in the chain of `head`, if there is room
    /// for it: as many more as are kept of other epochs, or not yet at all.
    #[must_use]
    pub fn missing(&self, head: &FinalizedRound) -> Option<Missing> {
        let rounds = self.lock();
        let epoch = head.round().header().epoch;
        let mut behind = rounds
            .iter()
            .find(|kept| kept.checked().digest() == head.digest())?;
        let (mut count, mut bytes) = (1_usize, vector_bytes(behind.published()));
        while let Some(kept) = rounds
            .iter()
            .find(|kept| *kept.checked().digest() == behind.previous())
        {
            behind = kept;
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(vector_bytes(kept.published()));
        }
        let longest = vector_bytes(behind.published());
        let room = count < self.retain && bytes.saturating_add(longest) <= self.retain_bytes;
        let digest = behind.previous();
        (room && digest != Digest::ZERO && behind.epoch() == epoch).then(|| Missing {
            digest,
            epoch,
            before: behind.number(),
            holders: {
                let roster = behind.checked().round().roster().iter();
                roster.map(|server| *server.id()).collect()
            },
        })
    }

    /// The record with a digest and those before it, newest first: at most so many,
    /// and so many bytes of vectors unless the first alone has more.
    #[must_use]
    pub fn chain(&self, digest: &Digest, most: usize, bytes: usize) -> Vec<Kept> {
        let rounds = self.lock();
        let (mut chain, mut wanted, mut left) = (Vec::new(), *digest, bytes);
        while chain.len() < most
            && let Some(kept) = rounds
                .iter()
                .find(|kept| *kept.checked().digest() == wanted)
        {
            let long = vector_bytes(kept.published());
            if long > left && !chain.is_empty() {
                break;
            }
            left = left.saturating_sub(long);
            wanted = kept.previous();
            chain.push(kept.clone());
        }
        chain
    }

    /// The highest in rank of the node's own rounds that `wanted` accepts.
    #[must_use]
    pub fn best(&self, wanted: impl Fn(&Final) -> bool) -> Option<Arc<Final>> {
        let mut rounds: Vec<_> = self.lock().iter().filter_map(Kept::own).cloned().collect();
        rounds.sort_by_key(|done| done.rank());
        rounds.into_iter().rev().find(|done| wanted(done))
    }

    /// Up to `most` of the node's own rounds of an epoch from number `from` on, oldest
    /// first.
    #[must_use]
    pub fn range(&self, epoch: &Epoch, from: u64, most: usize) -> Vec<Arc<Final>> {
        self.lock()
            .iter()
            .filter_map(Kept::own)
            .filter(|done| done.epoch() == *epoch && done.rank().0 >= from)
            .take(most)
            .cloned()
            .collect()
    }

    /// Up to `most` rounds of an epoch from number `from` on, oldest first, but no
    /// more than `bytes` of vectors unless one round alone has more; and whether
    /// there are rounds behind these.
    #[must_use]
    pub fn page(&self, epoch: &Epoch, from: u64, most: usize, bytes: usize) -> (Vec<Kept>, bool) {
        let mut page: Vec<Kept> = self
            .lock()
            .iter()
            .filter(|kept| kept.epoch() == *epoch && kept.number() >= from)
            .take(most.saturating_add(1))
            .cloned()
            .collect();
        let mut left = bytes;
        let fit = page
            .iter()
            .take(most)
            .take_while(|kept| {
                let fits = left.checked_sub(vector_bytes(kept.published()));
                left = fits.unwrap_or(0);
                fits.is_some()
            })
            .count();
        let more = page.len() > fit.max(1);
        page.truncate(fit.max(1));
        (page, more)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Kept>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
