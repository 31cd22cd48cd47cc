//! A9: sixteen silent peers keep a newcomer from ever meeting an honest server.
//!
//! A model of `roles/directory.rs` at 0.1.0: peers are asked in the order of their ids, eight
//! at once, and the next eight when all have answered or three seconds are over; who was
//! silent is asked again after one second. Sixteen silent peers with low ids are asked for
//! ever. Now: those who were never asked first, in random order, no waiting for the
//! slowest, and silence doubles the time until somebody is asked again.

use super::report::{Outcome, Row};
use crate::sim::rng::Rng;

const HONEST: usize = 3;
const HOUR: u64 = 3_600_000;
/// Milliseconds.
const PATIENCE: u64 = 3_000;
const RETRY: u64 = 1_000;
const RETRY_MAX: u64 = 30_000;
const ROUND_TRIP: u64 = 100;
const AT_ONCE: usize = 8;

/// In which order and how often strangers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// 0.1.0.
    Lowest,
    /// Random, fresh ones first, with exponential patience.
    Random,
}

/// When a newcomer has met all honest servers, in milliseconds.
fn attack(seed: u64, silent: usize, order: Order) -> Option<u64> {
    let mut rng = Rng::new(seed);
    let peers = silent + HONEST;
    // Ids ascend: the silent ones ground theirs to be the lowest.
    let is_honest = |peer: usize| peer >= silent;
    let mut due = vec![0; peers];
    let mut asked = vec![0_u32; peers];
    // Until when each place is taken.
    let mut places = vec![(0, usize::MAX); AT_ONCE];
    let mut met = vec![false; peers];
    let mut now = 0;
    while now < HOUR {
        for place in &mut places {
            if place.0 <= now && place.1 != usize::MAX {
                met[place.1] |= is_honest(place.1);
                place.1 = usize::MAX;
            }
        }
        if met.iter().filter(|met| **met).count() == HONEST {
            return Some(now);
        }
        let mut next: Vec<_> = (0..peers)
            .filter(|peer| !met[*peer] && due[*peer] <= now)
            .filter(|peer| places.iter().all(|(_, asked)| asked != peer))
            .collect();
        if order == Order::Random {
            rng.shuffle(&mut next);
            next.sort_by_key(|peer| asked[*peer]);
        }
        let free = places
            .iter()
            .filter(|(_, peer)| *peer == usize::MAX)
            .count();
        if order == Order::Random || free == AT_ONCE {
            let mut next = next.into_iter();
            for place in places.iter_mut().filter(|(_, peer)| *peer == usize::MAX) {
                let Some(peer) = next.next() else { break };
                let takes = if is_honest(peer) {
                    ROUND_TRIP
                } else {
                    PATIENCE
                };
                let backoff = match order {
                    Order::Lowest => RETRY,
                    Order::Random => (RETRY << asked[peer].min(8)).min(RETRY_MAX),
                };
                *place = (now + takes, peer);
                due[peer] = now + takes + backoff;
                asked[peer] += 1;
            }
        }
        now += 100;
    }
    None
}

fn outcome(trials: u64, order: Order) -> Outcome {
    let mut times: Vec<_> = (0..trials)
        .flat_map(|seed| [16, 64].map(|silent| attack(seed, silent, order)))
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
        before: outcome(trials, Order::Lowest),
        after: outcome(trials, Order::Random),
        on: "model",
    }
}
