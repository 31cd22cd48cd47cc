//! What this server has against aggregators, by what it saw itself.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};
use zipnet_protocol::PeerKey;

use crate::{committee::strikes::Strike, metrics};

/// How many audits in a row an aggregator may leave unanswered. A restart of
/// it costs one, two if it comes at a bad time.
const SILENCES: u32 = 3;
/// How long a server holds silence against an aggregator. It may have been the
/// network's; a fault that was found is held against it for ever.
const SILENCE: Duration = Duration::from_mins(10);
/// Most aggregators that something is held against.
const MAX_FAULTS: usize = 1024;

struct Held {
    strike: Strike,
    until: Option<Instant>,
}

#[derive(Default)]
struct Inner {
    held: BTreeMap<PeerKey, Held>,
    silences: BTreeMap<PeerKey, u32>,
}

/// Memory of this process; it is consulted before a partial is given, so that one
/// honest server stops an aggregator at whose fault all others look away.
#[derive(Default)]
pub(super) struct Faults {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Faults {
    /// Whether this server unblinds nothing more of an aggregator.
    pub fn is_struck(&self, aggregator: &PeerKey) -> bool {
        let now = Instant::now();
        let inner = self.lock();
        inner
            .held
            .get(aggregator)
            .is_some_and(|held| held.until.is_none_or(|until| now < until))
    }

    /// Holds a fault against an aggregator.
    pub fn found(&self, aggregator: PeerKey, strike: Strike, reason: &'static str) {
        self.hold(aggregator, strike, reason, None);
    }

    fn hold(
        &self,
        aggregator: PeerKey,
        strike: Strike,
        reason: &'static str,
        until: Option<Instant>,
    ) {
        let mut inner = self.lock();
        // What is proved, or held for ever already, is not found again.
        let known = |held: &Held| {
            let proved = matches!(held.strike, Strike::Proof(_));
            proved || (held.until.is_none() && strike == Strike::Vote)
        };
        if inner.held.get(&aggregator).is_some_and(known) {
            return;
        }
        if inner.held.len() >= MAX_FAULTS && !inner.held.contains_key(&aggregator) {
            return;
        }
        inner.held.insert(aggregator, Held { strike, until });
        drop(inner);
        metrics::strike(reason);
        tracing::error!(
            aggregator = %aggregator.short(),
            reason,
            "found an aggregator at fault; this server unblinds nothing of it any more"
        );
        self.changed.notify_one();
    }

    /// An aggregator did not answer an audit.
    pub fn silent(&self, aggregator: PeerKey) {
        let mut inner = self.lock();
        if inner.silences.len() >= MAX_FAULTS {
            inner.silences.clear();
        }
        let silences = inner.silences.entry(aggregator).or_default();
        *silences = silences.saturating_add(1);
        if *silences >= SILENCES {
            *silences = 0;
            drop(inner);
            let until = Instant::now() + SILENCE;
            self.hold(aggregator, Strike::Vote, "silent", Some(until));
        }
    }

    /// An aggregator answered one.
    pub fn answered(&self, aggregator: &PeerKey) {
        self.lock().silences.remove(aggregator);
    }

    /// What is to be brought before the committee.
    pub fn strikes(&self) -> Vec<(PeerKey, Strike)> {
        let now = Instant::now();
        let mut inner = self.lock();
        inner
            .held
            .retain(|_, held| held.until.is_none_or(|until| now < until));
        let held = inner.held.iter();
        held.map(|(peer, held)| (*peer, held.strike.clone()))
            .collect()
    }

    /// Resolves when a fault was found.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
