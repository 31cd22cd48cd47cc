//! A8: `publish` gave its author away with one message.
//!
//! The registry is public by its digest in each header. Release 0.1.0 registered, sealed,
//! and withdrew within a second after the message had landed: who left after the round of
//! a message had written it. Now it stays for 17 rounds in all, with the message in any of
//! them: the same for everybody, so that neither when somebody came and left
//! nor how long he stayed says who wrote. What a client really draws runs here
//! (`roles/client/linger.rs`); the rounds are only counted. (Geometric stays, which were tried first, hid
//! *when* and told *who*: 33.6 % right where a uniform guess has 14.8 %.)

use super::{
    report::{Outcome, Row},
    stats::{Guesses, alike},
};
use crate::sim::rng::Rng;
use zipnet_node::{entropy::Dice, roles::client::Stay};

/// How long a client stays.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Until its message has landed (0.1.0).
    Landed,
    /// As `zipnet-client publish` draws it.
    Drawn,
}

/// Presence of a client: rounds of which it is in the registry, and the one of its message.
struct Visit {
    first: u64,
    last: u64,
    wrote: u64,
}

fn visit(rng: &mut Rng, dice: &mut Dice, rule: Rule) -> Visit {
    let came = rng.between(0, 200);
    let (before, after) = match rule {
        Rule::Landed => (2, 0),
        Rule::Drawn => {
            let stay = Stay::draw(dice);
            (u64::from(stay.before()), u64::from(stay.after()))
        }
    };
    // The round in which a client comes was opened without it.
    let first = came + 1;
    let wrote = came + before;
    Visit {
        first,
        last: wrote + after,
        wrote,
    }
}

/// The likeliest author by the law that everybody knows: with lingering, presence of *n*
/// rounds holds the message in each of them with chance 1/n; without, in the last one.
fn guess(rng: &mut Rng, visits: &[Visit], wrote: u64, rule: Rule) -> (usize, usize) {
    let present: Vec<_> = (0..visits.len())
        .filter(|at| (visits[*at].first..=visits[*at].last).contains(&wrote))
        .collect();
    let weight = |at: usize| match rule {
        Rule::Landed => f64::from(u8::from(visits[at].last == wrote)),
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        Rule::Drawn => 1.0 / (visits[at].last - visits[at].first + 1) as f64,
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
fn attack(seed: u64, rule: Rule) -> (Guesses, [u32; 8]) {
    let mut rng = Rng::new(seed);
    let mut dice = Dice::seeded(&rng.entropy());
    let visits: Vec<_> = (0..100).map(|_| visit(&mut rng, &mut dice, rule)).collect();
    let mut guesses = Guesses::default();
    let mut eighths = [0; 8];
    for (author, visit) in visits.iter().enumerate() {
        let (guess, present) = guess(&mut rng, &visits, visit.wrote, rule);
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

fn outcome(trials: u64, rule: Rule) -> Outcome {
    let mut guesses = Guesses::default();
    let mut eighths = [0; 8];
    for seed in 0..trials {
        let (some, counts) = attack(seed, rule);
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

/// Runs it.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A8",
        title: "who leaves after a message has written it",
        invariant: "-",
        before: outcome(trials, Rule::Landed),
        after: outcome(trials, Rule::Drawn),
        on: "real draws",
    }
}
