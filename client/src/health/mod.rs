//! Whether the process is well, and why not.
//!
//! *Healthy*: its loops go on. *Ready*: it does what it is there for. Both are kept
//! here by those who know, and only read by those who ask: a stranger who asks a
//! thousand times has nothing computed. [`answer`] is what they are told.

mod answer;
mod reason;

use core::time::Duration;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

pub use answer::{Answer, Form};
pub use reason::{Code, Reason};

use crate::metrics;

/// For how long readiness that was found counts. It is looked at every second.
const STALE: Duration = Duration::from_secs(15);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A committee server.
    Server,
    /// An aggregator.
    Aggregator,
    /// An archive.
    Archive,
    /// A client, which is nothing that others rely on: it is ready when it runs.
    Client,
}

/// The health of a process. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    role: Role,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// What it does before it can tell whether it is ready.
    beginning: Reason,
    loops: BTreeMap<&'static str, Beat>,
    /// Why it is not ready, and when that was found.
    found: Option<(Vec<Reason>, Instant)>,
    leaving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    last: Instant,
    patience: Duration,
    ended: bool,
}

/// The pulse of one loop. A loop that ends without the process's leaving is ill.
#[derive(Debug)]
pub struct Pulse {
    health: Health,
    name: &'static str,
}

impl Health {
    /// That of a process that has just begun.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let inner = Inner {
            beginning: Reason::new(Code::Starting, "it joins the network"),
            loops: BTreeMap::new(),
            found: None,
            leaving: false,
        };
        Self {
            role,
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Begins to listen for a loop, which is to beat within `patience`, each time.
    #[must_use]
    pub fn pulse(&self, name: &'static str, patience: Duration) -> Pulse {
        let beat = Beat {
            last: Instant::now(),
            patience,
            ended: false,
        };
        self.lock().loops.insert(name, beat);
        Pulse {
            health: self.clone(),
            name,
        }
    }

    /// Says what it does now, before it can tell whether it is ready.
    pub fn begins(&self, with: Reason) {
        self.lock().beginning = with;
    }

    /// Says why the process is not ready; nothing if it is.
    pub fn found(&self, reasons: Vec<Reason>) {
        metrics::readiness(self.role, &reasons);
        self.lock().found = Some((reasons, Instant::now()));
    }

    /// The process is asked to end: its loops may, and it is ready for nothing more.
    pub fn leaves(&self) {
        self.lock().leaving = true;
    }

    /// Why the process is not healthy.
    #[must_use]
    pub fn illnesses(&self) -> Vec<String> {
        let inner = self.lock();
        if inner.leaving {
            return Vec::new();
        }
        let ill = inner.loops.iter().filter_map(|(name, beat)| {
            if beat.ended {
                return Some(format!("the loop `{name}` has ended"));
            }
            let silent = beat.last.elapsed();
            (silent > beat.patience).then(|| {
                format!(
                    "the loop `{name}` has not gone round for {} s, and {} s are its most",
                    silent.as_secs(),
                    beat.patience.as_secs()
                )
            })
        });
        ill.collect()
    }

    /// Why the process is not ready.
    #[must_use]
    pub fn unready(&self) -> Vec<Reason> {
        let inner = self.lock();
        if inner.leaving {
            return vec![Reason::new(Code::Leaving, "it was asked to end")];
        }
        match &inner.found {
            None if self.role == Role::Client => Vec::new(),
            None => vec![inner.beginning.clone()],
            Some((_, at)) if at.elapsed() > STALE => vec![Reason::new(
                Code::Stalled,
                format!("nobody has looked for {} s", at.elapsed().as_secs()),
            )],
            Some((reasons, _)) => reasons.clone(),
        }
    }

    /// Sets the gauges that are to be right whoever else has stopped.
    pub fn show(&self) {
        metrics::health(self.role, self.illnesses().is_empty(), &self.unready());
    }

    fn beat(&self, name: &'static str, ended: bool) {
        if let Some(beat) = self.lock().loops.get_mut(name) {
            beat.last = Instant::now();
            beat.ended = ended;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// The loop has gone round.
    pub fn beat(&self) {
        self.health.beat(self.name, false);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.health.beat(self.name, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(health: &Health, name: &'static str, seconds: u64) {
        let mut inner = health.lock();
        let beat = inner.loops.get_mut(name).unwrap();
        beat.last = beat.last.checked_sub(Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn a_loop_that_stops_or_ends_makes_ill_and_says_which() {
        let health = Health::new(Role::Server);
        let leader = health.pulse("leader", Duration::from_secs(10));
        let other = health.pulse("auditor", Duration::from_secs(10));
        assert_eq!(health.illnesses(), Vec::<String>::new());
        silent(&health, "leader", 11);
        let [ill] = health.illnesses().try_into().unwrap();
        assert!(
            ill.starts_with("the loop `leader` has not gone round for 11 s"),
            "{ill}"
        );
        leader.beat();
        assert_eq!(health.illnesses(), Vec::<String>::new());
        drop(other);
        assert_eq!(health.illnesses(), ["the loop `auditor` has ended"]);
        // One that is asked to leave may end its loops.
        health.leaves();
        assert_eq!(health.illnesses(), Vec::<String>::new());
        assert_eq!(health.unready()[0].code, Code::Leaving);
    }

    #[test]
    fn nobody_is_ready_on_the_word_of_long_ago() {
        let health = Health::new(Role::Server);
        assert_eq!(health.unready()[0].code, Code::Starting);
        health.found(Vec::new());
        assert_eq!(health.unready(), []);
        let past = Instant::now().checked_sub(STALE + Duration::from_secs(1));
        health.lock().found = Some((Vec::new(), past.unwrap()));
        assert_eq!(health.unready()[0].code, Code::Stalled);
        assert_eq!(Health::new(Role::Client).unready(), []);
    }
}
