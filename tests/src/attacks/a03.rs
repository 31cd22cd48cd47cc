//! A3: an outsider without any key isolates a client.
//!
//! Anybody could be an aggregator, the first aggregate won, and one participant was enough.
//! The outsider announces that it takes envelopes, gets the victim's, and is first. The
//! record names the victim as the only participant beside its message.

use super::{
    report::{Outcome, Row},
    stage::{Stage, texts},
};
use crate::sim::{cast::Shape, client::message, rule::AtEveryRound};

const SECRET: &[u8] = b"meet at noon";

/// Whether a record shows the victim's message with nobody else in it.
fn attack(seed: u64, min_participants: u32) -> bool {
    let shape = Shape {
        clients: 6,
        min_participants,
        ..Shape::default()
    };
    let mut stage = Stage::new(&shape, seed, |_| Box::<AtEveryRound>::default());
    let victim = stage.rng.below(shape.clients);
    stage.say(victim, message(SECRET.to_vec()));
    let round = stage.open();
    let Some(envelope) = stage.seal(victim, &round) else {
        return false;
    };
    let alone = stage.fold(&round, &[envelope]);
    if stage.aggregate(alone).is_err() {
        return false;
    }
    let Some(done) = stage.finalize() else {
        return false;
    };
    done.checked.participants() == 1 && texts(&done).iter().any(|text| text == SECRET)
}

fn outcome(trials: u64, min_participants: u32) -> Outcome {
    let alone = (0..trials)
        .filter(|seed| attack(*seed, min_participants))
        .count();
    Outcome::done(
        alone > 0,
        format!("the victim is alone beside its message in {alone} of {trials} rounds"),
    )
}

/// Runs it.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A3",
        title: "an outsider's aggregate of one victim comes first",
        invariant: "I15",
        before: outcome(trials, 1),
        after: outcome(trials, 2),
        on: "real rounds",
    }
}
