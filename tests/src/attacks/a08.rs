//! A8: `publish` gave its author away with one message.
//!
//! The registry is public by its digest in each header. Release 0.1.0 registered, sealed,
//! and withdrew within a second after the message had landed: who left after the round of
//! a message had written it. Now it stays for 17 rounds in all, with the message in any of
//! them but the first: the same for everybody, so that neither when somebody came and left
//! nor how long he stayed says who wrote. (Geometric stays, which were tried first, hid
//! *when* and told *who*: 33.6 % right where a uniform guess has 14.8 %.)

use super::{
    report::{Outcome, Row},
    stats::{Guesses, alike},
};
use crate::sim::rng::Rng;

/// How long a client stays.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stay {
    /// Until its message has landed (0.1.0).
    Landed,
    /// For so many rounds, with the message in any of them.
    Fixed(u64),
}

/// Presence of a client: rounds of which it is in the registry, and the one of its message.
struct Visit {
    first: u64,
    last: u64,
    wrote: u64,
}

fn visit(rng: &mut Rng, stay: Stay) -> Visit {
    let first = rng.between(0, 200);
    let (before, after) = match stay {
        Stay::Landed => (1, 0),
        Stay::Fixed(rounds) => {
            let before = rng.between(0, rounds - 1);
            (before, rounds - 1 - before)
        }
    };
    Visit {
        first,
        last: first + before + after,
        wrote: first + before,
    }
}

/// The likeliest author by the law that everybody knows: with lingering, presence of *n*
/// rounds holds the message in each of them with chance 1/n; without, in the last one.
fn guess(rng: &mut Rng, visits: &[Visit], wrote: u64, stay: Stay) -> (usize, usize) {
    let present: Vec<_> = (0..visits.len())
        .filter(|at| (visits[*at].first..=visits[*at].last).contains(&wrote))
        .collect();
    let weight = |at: usize| match stay {
        Stay::Landed => f64::from(u8::from(visits[at].last == wrote)),
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        Stay::Fixed(_) => 1.0 / (visits[at].last - visits[at].first + 1) as f64,
    };
    let most = present.iter().map(|at| weight(*at)).fold(0.0, f64::max);
    let best: Vec<_> = present
        .iter()
        .copied()
        .filter(|at| weight(*at) >= most)
        .collect();
    (rng.pick(&best).copied().unwrap_or(0), present.len())
}

/// Guesses, and in which eighth of its author's presence each message stands.
fn attack(seed: u64, stay: Stay) -> (Guesses, [u32; 8]) {
    let mut rng = Rng::new(seed);
    let visits: Vec<_> = (0..100).map(|_| visit(&mut rng, stay)).collect();
    let mut guesses = Guesses::default();
    let mut eighths = [0; 8];
    for (author, visit) in visits.iter().enumerate() {
        let (guess, present) = guess(&mut rng, &visits, visit.wrote, stay);
        guesses.guess(present, guess == author);
        // A place within the round, so that places are continuous.
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let place = (visit.wrote - visit.first) as f64 + rng.unit();
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let relative = place / (visit.last - visit.first + 1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below eight"
        )]
        let eighth = (relative * 8.0) as usize;
        eighths[eighth.min(7)] += 1;
    }
    (guesses, eighths)
}

fn outcome(trials: u64, stay: Stay) -> Outcome {
    let mut guesses = Guesses::default();
    let mut eighths = [0; 8];
    for seed in 0..trials {
        let (some, counts) = attack(seed, stay);
        guesses.add(some);
        for (sum, count) in eighths.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let when = alike(&eighths);
    let by_chance = when.min(guesses.tail());
    Outcome {
        learnt: format!(
            "author right {:.1} % of {} (uniform {:.1} % of who is there); messages by the eighth of their author's stay: {eighths:?}",
            guesses.rate() * 100.0,
            guesses.chances.len(),
            guesses.uniform() * 100.0,
        ),
        by_chance,
        named: None,
    }
}

/// As `zipnet-client publish` does it: 17 rounds, with the message in any but the first.
fn now(trials: u64) -> Outcome {
    outcome(trials, Stay::Fixed(17))
}

/// Runs it.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A8",
        title: "who leaves after a message has written it",
        invariant: "-",
        before: outcome(trials, Stay::Landed),
        after: now(trials),
        on: "model",
    }
}
