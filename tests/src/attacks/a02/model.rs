//! The model: no cryptography, and the review's thousand clients.

use super::{
    super::report::{Outcome, Row},
    Guesses, Learnt, Posterior, Rng,
};

#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Smallest part of the clients that servers unblind.
    participants: f64,
    /// How often a message is sealed.
    budget: Option<u32>,
    /// Rounds after which servers have asked for the envelopes and struck who does not
    /// have them.
    struck_after: Option<u32>,
}

/// Who wants to know.
#[derive(Debug, Clone, Copy)]
struct Size {
    clients: usize,
    talkers: usize,
    slots: usize,
}

/// The review's size.
const REVIEW: Size = Size {
    clients: 1000,
    talkers: 20,
    slots: 64,
};

/// The model: until everybody is known, or `rounds` are over.
fn model(seed: u64, size: Size, rules: Rules, rounds: u32) -> Learnt {
    let mut rng = Rng::new(seed);
    let mut order: Vec<_> = (0..size.clients).collect();
    rng.shuffle(&mut order);
    let authors: Vec<_> = order.into_iter().take(size.talkers).collect();
    let mut posteriors: Vec<_> = authors
        .iter()
        .map(|_| Posterior::new(size.clients))
        .collect();
    let mut attempts = vec![0; size.talkers];
    let mut known = None;
    for round in 1..=rounds {
        if rules.struck_after.is_some_and(|last| round > last) {
            break;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of a thousand"
        )]
        let wanted = (rules.participants * size.clients as f64).ceil() as usize;
        let mut part = vec![false; size.clients];
        let mut clients: Vec<_> = (0..size.clients).collect();
        rng.shuffle(&mut clients);
        for client in clients.into_iter().take(wanted) {
            part[client] = true;
        }
        // Who talks, into which slot. The attacker leaves a slot of its own as it is, so
        // that no round is noise as a whole.
        let mut slots = vec![Vec::new(); size.slots];
        for (message, author) in authors.iter().enumerate() {
            if rules.budget.is_none_or(|budget| attempts[message] < budget) {
                attempts[message] += 1;
                if part[*author] {
                    slots[rng.below(size.slots)].push(message);
                }
            } else {
                attempts[message] = u32::MAX;
            }
        }
        let appeared: Vec<_> = slots
            .iter()
            .filter(|slot| slot.len() == 1)
            .flatten()
            .copied()
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a thousand")]
        let alone =
            (1.0 - 1.0 / size.slots as f64).powf((size.talkers - 1) as f64 * rules.participants);
        for (message, posterior) in posteriors.iter_mut().enumerate() {
            if attempts[message] != u32::MAX {
                posterior.learn(&part, appeared.contains(&message), alone);
            }
        }
        let all = authors.iter().zip(&posteriors).all(|(author, posterior)| {
            let (best, sure) = posterior.best(&mut rng);
            best == *author && sure > 0.99
        });
        if all {
            known = Some(round);
            break;
        }
    }
    let mut guesses = Guesses::default();
    for (author, posterior) in authors.iter().zip(&posteriors) {
        let (best, _) = posterior.best(&mut rng);
        // Whoever was left out of a round did not stay.
        let stayed = posterior.stayed.iter().filter(|stayed| **stayed).count();
        guesses.guess(stayed, best == *author);
    }
    Learnt {
        rounds: known,
        guesses,
    }
}

/// Median of the rounds that the model takes to know all authors.
#[must_use]
fn rounds_to_know_all(trials: u64, participants: f64) -> Option<u32> {
    let rules = Rules {
        participants,
        budget: None,
        struck_after: None,
    };
    let mut rounds: Vec<_> = (0..trials)
        .map(|seed| model(seed, REVIEW, rules, 400).rounds)
        .collect();
    rounds.sort_by_key(|rounds| rounds.unwrap_or(u32::MAX));
    rounds.get(rounds.len() / 2).copied().flatten()
}

fn guesses(trials: u64, rules: Rules, rounds: u32) -> Guesses {
    let mut guesses = Guesses::default();
    for seed in 0..trials {
        guesses.add(model(seed, REVIEW, rules, rounds).guesses);
    }
    guesses
}

/// Runs the model at the review's size.
#[must_use]
pub fn run(trials: u64) -> Row {
    let rounds: Vec<_> = [0.5, 0.75, 0.9]
        .into_iter()
        .map(|part| {
            rounds_to_know_all(trials, part).map_or("-".to_owned(), |rounds| rounds.to_string())
        })
        .collect();
    let before = Rules {
        participants: 0.5,
        budget: None,
        struck_after: None,
    };
    let floor = Rules {
        participants: 0.9,
        budget: Some(8),
        struck_after: None,
    };
    let now = Rules {
        struck_after: Some(1),
        ..floor
    };
    let known = guesses(trials, before, 23);
    let unaudited = guesses(trials, floor, 8);
    let audited = guesses(trials, now, 8);
    Row {
        attack: "A2",
        title: "an aggregator adds noise and varies participants, 20 authors among 1000",
        invariant: "I15 I16",
        before: Outcome {
            learnt: format!(
                "every author for sure after {} rounds with 50, 75, 90 % of the clients; after 23 rounds with half of them right {:.1} % (uniform {:.1} %)",
                rounds.join(", "),
                known.rate() * 100.0,
                known.uniform() * 100.0,
            ),
            by_chance: guesses_by_size(&known),
            named: None,
        },
        after: Outcome {
            learnt: format!(
                "right {:.2} % (uniform {:.2} %) until it is struck for the first round's noise; floor and budget alone, without audits: right {:.1} %",
                audited.rate() * 100.0,
                audited.uniform() * 100.0,
                unaudited.rate() * 100.0,
            ),
            by_chance: audited.tail(),
            named: None,
        },
        on: "model",
    }
}

/// Against all clients: in the control, nobody was left out for good.
fn guesses_by_size(guesses: &Guesses) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let uniform = 1.0 / REVIEW.clients as f64;
    crate::attacks::stats::tail(&vec![uniform; guesses.chances.len()], guesses.right)
}
