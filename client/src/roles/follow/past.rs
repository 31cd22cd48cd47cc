//! What servers still keep of rounds that are over.
//!
//! The record of a round that was verified names the one before it, and so on. Servers
//! are asked one after the other for what leads there, page by page; one that has not all
//! of it leaves the rest to the next one. What does not fit into the chain is nothing.
//! How evidence stood then nobody here can tell: a roster whose evidence does not hold
//! now ends the way back, and what is before it is an archive's to show.
//!
//! Asking tells servers that somebody reads the past, and from where on. So a process that
//! takes part in rounds does not (see [`Reader::from`](crate::Reader::from)).

use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;
use zipnet_door::PeerId;
use zipnet_protocol::{ClaimedRound, Digest, Epoch, FinalizedRound, Instance, Round};

use super::{
    pinned,
    seen::Seen,
    tale::{Servers, Tale},
};
use crate::{
    attestation::vouch,
    ground::Ground,
    peers::Peers,
    roles::directory::Directory,
    settings::TrustSettings,
    wire::{Follow, FollowCall, FollowLightCall, MAX_RECORDS},
};

/// How long a server may take to hand on a page.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long it may take for all of them, while nothing is read.
const WHOLE: Duration = Duration::from_mins(1);
/// Most pages that are asked of one server.
const MOST_PAGES: usize = 1024;
/// Most bytes of broadcasts that are held until they are proven.
const MOST_BYTES: usize = 64 << 20;
/// How many numbers before the first one wanted are asked for as well: rounds that were
/// given up have no record, and whether that was one shows the record before it.
const SPARE: u64 = 4;

/// What servers are asked for the past.
#[derive(Debug)]
pub(crate) struct Past {
    instance: Instance,
    trust: TrustSettings,
    servers: Servers,
    /// Whether anybody in this process takes part, or has.
    takes_part: AtomicBool,
}

/// Records that lead to one that is known.
#[derive(Debug)]
pub(crate) struct Before {
    /// Oldest first.
    pub records: Vec<Arc<FinalizedRound>>,
    /// Whether none is missing from the first one wanted on.
    pub complete: bool,
}

/// A record whose place in the chain is to be shown.
enum Claim {
    /// Verified whole.
    Full(FinalizedRound),
    /// One server's word.
    Light(ClaimedRound),
}

impl Claim {
    const fn round(&self) -> &Round {
        match self {
            Self::Full(done) => done.round(),
            Self::Light(claim) => claim.round(),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Full(done) => done.broadcast().len(),
            Self::Light(claim) => claim.length(),
        }
    }

    /// The record, if a later one names it.
    fn behind(self, later: &FinalizedRound) -> Option<FinalizedRound> {
        match self {
            Self::Full(done) => (later.round().header().previous == *done.digest()).then_some(done),
            Self::Light(claim) => claim.behind(later),
        }
    }
}

impl Past {
    /// Whole records for one who `audits`, light ones for others.
    pub fn new(
        ground: &Arc<dyn Ground>,
        instance: &Instance,
        trust: &TrustSettings,
        directory: &Arc<Directory>,
        audits: bool,
    ) -> Self {
        let allowed = Some(directory.allowed());
        Self {
            instance: instance.clone(),
            trust: trust.clone(),
            servers: if audits {
                let servers = Peers::on::<FollowCall>(&**ground, instance, allowed);
                Servers::Full(Arc::new(servers))
            } else {
                let servers = Peers::on::<FollowLightCall>(&**ground, instance, allowed);
                Servers::Light(Arc::new(servers))
            },
            takes_part: AtomicBool::new(false),
        }
    }

    /// Somebody in this process takes part: nobody is asked any more.
    pub fn close(&self) {
        self.takes_part.store(true, Ordering::Relaxed);
    }

    /// Whether nobody is asked any more.
    pub fn is_closed(&self) -> bool {
        self.takes_part.load(Ordering::Relaxed)
    }

    /// The records of the same epoch, from a number on, that lead to a later one.
    pub async fn before(&self, later: &FinalizedRound, from: u64) -> Before {
        let mut chain: VecDeque<FinalizedRound> = VecDeque::new();
        let mut held = 0_usize;
        for peer in self.servers.serving() {
            if self.is_closed() {
                break;
            }
            let oldest = chain.front().unwrap_or(later);
            if reaches(oldest, from) || held > MOST_BYTES {
                break;
            }
            let until = oldest.round().position();
            let told = self.told(peer, from, until).await;
            for claim in told.into_iter().rev() {
                let next = chain.front().unwrap_or(later);
                if let Some(done) = claim.behind(next) {
                    held = held.saturating_add(done.broadcast().len());
                    chain.push_front(done);
                }
            }
        }
        let complete = reaches(chain.front().unwrap_or(later), from);
        let wanted = |done: &FinalizedRound| done.round().position().1 >= from;
        let records = chain.into_iter().filter(wanted).map(Arc::new);
        Before {
            records: records.collect(),
            complete,
        }
    }

    /// What a server has before a round, in the order of the rounds.
    async fn told(&self, peer: PeerId, from: u64, until: (Epoch, u64)) -> VecDeque<Claim> {
        let (epoch, until) = until;
        let mut seen = Seen::new(self.instance.clone());
        let mut told = VecDeque::new();
        let mut held = 0_usize;
        let mut at = from.saturating_sub(SPARE.saturating_add(1));
        let over = Instant::now() + WHOLE;
        for _ in 0..MOST_PAGES {
            if Instant::now() >= over {
                return told;
            }
            let page = self.page(peer, &mut seen, (epoch, at)).await;
            if page.is_empty() {
                return told;
            }
            for claim in page {
                let (of, number) = claim.round().position();
                if of != epoch || number <= at || number >= until {
                    return told;
                }
                at = number;
                if !self.trusts(claim.round()) {
                    // Nothing leads past it.
                    told.clear();
                    held = 0;
                    continue;
                }
                held = held.saturating_add(claim.length());
                told.push_back(claim);
                while held > MOST_BYTES {
                    let Some(oldest) = told.pop_front() else {
                        break;
                    };
                    held = held.saturating_sub(oldest.length());
                }
            }
        }
        told
    }

    /// The next records that a server has, as far as they hold.
    async fn page(&self, peer: PeerId, seen: &mut Seen, after: (Epoch, u64)) -> Vec<Claim> {
        let request = Follow {
            after: Some(after),
            seen: None,
            wait: 0,
            aggregators: None,
        };
        let claims: Result<Vec<_>, _> = match self.servers.ask(peer, &request, PATIENCE).await {
            Ok(Tale::Light(news)) => {
                let records = news.records.into_iter().take(MAX_RECORDS);
                records
                    .map(|record| seen.claim(record).map(Claim::Light))
                    .collect()
            }
            Ok(Tale::Full(news)) => {
                let records = news.records.iter().take(MAX_RECORDS);
                let verified = records.map(|record| seen.record(record));
                verified
                    .map(|done| done.map(Claim::Full).map_err(super::NewsError::Record))
                    .collect()
            }
            Err(error) => {
                tracing::debug!(because = %crate::report::chain(&error), "no past");
                return Vec::new();
            }
        };
        claims.unwrap_or_else(|error| {
            tracing::warn!(
                because = %crate::report::chain(&error),
                "refused the past of a server"
            );
            Vec::new()
        })
    }

    /// Whether its roster is believed, now.
    fn trusts(&self, round: &Round) -> bool {
        let authority = self.trust.authority.as_deref();
        pinned(&self.trust, round).is_ok()
            && vouch(&self.instance, authority, round, |server| {
                authority?.credential(server.digest())
            })
            .is_ok()
    }
}

/// Whether nothing is missing between a number and a record: it has that number or an
/// earlier one, or is the first of its epoch.
fn reaches(oldest: &FinalizedRound, from: u64) -> bool {
    let header = oldest.round().header();
    header.number <= from || header.number == 1 || header.previous == Digest::ZERO
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
