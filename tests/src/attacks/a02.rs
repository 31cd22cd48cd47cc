//! A2: an aggregator alone finds every author.
//!
//! It adds noise that it knows to the whole aggregate: the round is finalized, everybody
//! sees garbage, and it alone reads. Authors who see that their message did not land seal
//! it again, for ever; the aggregator varies the participants, and a message appears in
//! its reading only when its author takes part. Few rounds single out each of them.
//!
//! A fast model of this logic (no cryptography, the review's thousand clients, [`model`])
//! stands beside real rounds at a small size ([`rounds`]).

mod model;
mod rounds;

pub use model::run as run_model;
pub use rounds::{run as run_real, run_decoy};

use super::stats::Guesses;
use crate::sim::rng::Rng;

/// What the attacker holds of one message: how likely each client is its author.
struct Posterior {
    log: Vec<f64>,
    /// Who took part whenever the message appeared.
    stayed: Vec<bool>,
    /// How often it did.
    appeared: usize,
    /// How many took part the first time.
    first: usize,
}

impl Posterior {
    fn new(clients: usize) -> Self {
        Self {
            log: vec![0.0; clients],
            stayed: vec![true; clients],
            appeared: 0,
            first: clients,
        }
    }

    /// A round in which `part` took part, and the message appeared or not; a message
    /// that is sent is alone in its slot with a probability.
    fn learn(&mut self, part: &[bool], appeared: bool, alone: f64) {
        for (client, log) in self.log.iter_mut().enumerate() {
            *log += match (part[client], appeared) {
                (true, true) | (false, false) => 0.0,
                (false, true) => f64::NEG_INFINITY,
                (true, false) => (1.0 - alone).ln(),
            };
        }
        if appeared {
            if self.appeared == 0 {
                self.first = part.iter().filter(|part| **part).count();
            }
            self.appeared += 1;
            for (stayed, part) in self.stayed.iter_mut().zip(part) {
                *stayed &= part;
            }
        }
    }

    /// The likeliest author, and how sure that is.
    fn best(&self, rng: &mut Rng) -> (usize, f64) {
        let most = self.log.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.log.iter().map(|log| (log - most).exp()).sum();
        let best: Vec<_> = (0..self.log.len())
            .filter(|client| self.log[*client] >= most)
            .collect();
        (rng.pick(&best).copied().unwrap_or(0), 1.0 / sum)
    }
}

/// What one attack came to.
struct Learnt {
    /// Rounds until every author was known for sure.
    rounds: Option<u32>,
    guesses: Guesses,
}
