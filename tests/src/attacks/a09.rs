//! A9: sixteen silent peers keep a newcomer from ever meeting an honest server.
//!
//! The control is a model of `roles/directory.rs` at 0.1.0: peers are asked in the order of their ids, eight
//! at once, and the next eight when all have answered or three seconds are over; who was
//! silent is asked again after one second. Sixteen silent peers with low ids are asked for
//! ever. Now `roles/asking.rs` decides, which is what runs here: those who were never asked
//! first, in random order, no waiting for the slowest, and silence doubles the time until
//! somebody is asked again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mosaik::{PeerId, SecretKey};
use zipnet_node::{
    entropy::Dice,
    roles::asking::{Asking, Outcome as Answer},
};

use super::report::{Outcome, Row};
use crate::sim::rng::Rng;

const HONEST: usize = 3;
const HOUR: u64 = 3_600_000;
/// Milliseconds.
const PATIENCE: u64 = 3_000;
const RETRY: u64 = 1_000;
const ROUND_TRIP: u64 = 100;
const AT_ONCE: usize = 8;

/// A committee with silent peers in front of it: whoever ground keys has the
/// lowest ids.
struct Peers {
    all: BTreeSet<PeerId>,
    honest: BTreeSet<PeerId>,
}

impl Peers {
    fn new(rng: &mut Rng, silent: usize) -> Self {
        let all: BTreeSet<_> = (0..silent + HONEST)
            .map(|_| SecretKey::from_bytes(&rng.entropy()).public())
            .collect();
        let honest = all.iter().rev().take(HONEST).copied().collect();
        Self { all, honest }
    }

    /// When whoever is asked now gives his place back.
    fn until(&self, peer: &PeerId, now: u64) -> u64 {
        let takes = if self.honest.contains(peer) {
            ROUND_TRIP
        } else {
            PATIENCE
        };
        now + takes
    }
}

/// When a newcomer of 0.1.0 has met all honest servers, in milliseconds.
fn before(seed: u64, silent: usize) -> Option<u64> {
    let peers = Peers::new(&mut Rng::new(seed), silent);
    let mut due: BTreeMap<PeerId, u64> = peers.all.iter().map(|peer| (*peer, 0)).collect();
    let mut met = BTreeSet::new();
    let mut now = 0;
    while now < HOUR {
        let ready = due.iter().filter(|(_, due)| **due <= now);
        let asked: Vec<_> = ready.map(|(peer, _)| *peer).take(AT_ONCE).collect();
        let mut next = now + 100;
        for peer in asked {
            let until = peers.until(&peer, now);
            next = next.max(until);
            if peers.honest.contains(&peer) {
                met.insert(peer);
                due.remove(&peer);
            } else {
                due.insert(peer, until + RETRY);
            }
        }
        // The next eight when all have answered.
        now = next;
        if met.len() == HONEST {
            return Some(now);
        }
    }
    None
}

/// When one of now has, by what decides in a client whom it asks.
fn after(seed: u64, silent: usize) -> Option<u64> {
    let mut rng = Rng::new(seed);
    let peers = Peers::new(&mut rng, silent);
    let mut asking = Asking::new(Dice::seeded(&rng.entropy()));
    let mut out: Vec<(u64, PeerId)> = Vec::new();
    let mut met = BTreeSet::new();
    for now in (0..HOUR).step_by(100) {
        let time = Duration::from_millis(now);
        out.retain(|(until, peer)| {
            if *until > now {
                return true;
            }
            let honest = peers.honest.contains(peer);
            if honest {
                met.insert(*peer);
            }
            let answer = if honest {
                Answer::Server
            } else {
                Answer::Silent
            };
            asking.answered(peer, answer, time);
            false
        });
        if met.len() == HONEST {
            return Some(now);
        }
        let asked = asking.next(&peers.all, time);
        out.extend(asked.iter().map(|peer| (peers.until(peer, now), *peer)));
    }
    None
}

fn outcome(trials: u64, attack: fn(u64, usize) -> Option<u64>) -> Outcome {
    let mut times: Vec<_> = (0..trials)
        .flat_map(|seed| [16, 64].map(|silent| attack(seed, silent)))
        .collect();
    times.sort_by_key(|time| time.unwrap_or(u64::MAX));
    let never = times.iter().filter(|time| time.is_none()).count();
    let worst = times.last().copied().flatten();
    let worst = worst.map_or("never".to_owned(), |time| format!("{:.1} s", Seconds(time)));
    Outcome::done(
        never > 0,
        format!(
            "{never} of {} newcomers meet no honest server within an hour; the slowest meets all three after: {worst}",
            times.len(),
        ),
    )
}

struct Seconds(u64);

impl core::fmt::Display for Seconds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 100)
    }
}

/// Runs it.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A9",
        title: "16 and 64 silent peers with low ids",
        invariant: "I19",
        before: outcome(trials, before),
        after: outcome(trials, after),
        on: "real rule",
    }
}
