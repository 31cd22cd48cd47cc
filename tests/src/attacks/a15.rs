//! A15: the last server writes what it likes into the broadcast, under valid tags.
//!
//! It waits until it has seen every other partial, which gives it the broadcast but for its
//! own; then it submits whatever makes the sum come out as it wants. The tag of a slot can be
//! computed by anybody.

use std::sync::Arc;

use zipnet_node::committee::{
    command::{Order, Published},
    state::{Applied, Refusal},
};
use zipnet_protocol::{
    BroadcastRecord, CertifiedRound, Partial, PartialError, SignedPartial, commitments_digest,
};

use super::{
    report::{Outcome, Row},
    stage::{Stage, texts},
};
use crate::sim::{
    cast::{Cast, Shape},
    client::message,
    rule::AtEveryRound,
};

const FORGED: &[u8] = b"forged";

fn stage(seed: u64) -> Stage {
    let shape = Shape {
        clients: 4,
        ..Shape::default()
    };
    Stage::new(&shape, seed, |_| Box::<AtEveryRound>::default())
}

/// A broadcast as the attacker wants it: an envelope's plaintext, which is what one
/// client's slot looks like without pads. Found by sealing once with and once without the
/// message under the same keys, in processes that the attacker throws away.
fn wanted(round: &CertifiedRound) -> Vec<u8> {
    let cast = Cast::new(&Shape::default());
    let mut with = cast.client(999, 1);
    let mut without = cast.client(999, 1);
    let (_, one) = with
        .seal(round, Some(&message(FORGED.to_vec())))
        .expect("a seal");
    let (_, other) = without.seal(round, None).expect("a seal");
    xor(&one.vector, &other.vector)
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// An honest round until its aggregate is committed.
fn until_the_aggregate(stage: &mut Stage) -> Arc<CertifiedRound> {
    stage.say(0, message(b"genuine".to_vec()));
    let round = stage.open();
    let envelopes: Vec<_> = (0..stage.clients.len())
        .filter_map(|client| stage.seal(client, &round))
        .collect();
    let aggregate = stage.fold(&round, &envelopes);
    stage.aggregate(aggregate).expect("an honest aggregate");
    round
}

/// The partial that makes the broadcast what the attacker wants.
fn chosen(stage: &Stage, round: &CertifiedRound, vectors: &[&[u8]]) -> Partial {
    let tally = stage
        .state
        .current()
        .and_then(|current| current.tally.clone());
    let tally = tally.expect("a tally");
    let mut vector = xor(&tally.aggregate().vector, &wanted(round));
    for other in vectors {
        vector = xor(&vector, other);
    }
    let last = &stage.servers.last().expect("a server").keys;
    Partial::new(
        *round.context(),
        *tally.digest(),
        last.id(),
        vector.into(),
        &last.signing,
    )
}

/// Without commitments: every other server gives its partial as soon as there is an
/// aggregate, and whoever reads the record that comes out believes it.
fn control(seed: u64) -> Learnt {
    let mut stage = stage(seed);
    let round = until_the_aggregate(&mut stage);
    let current = stage.state.current().expect("an open round").clone();
    let tally = current.tally.expect("a tally");
    let others = stage.servers.len() - 1;
    let mut partials: Vec<_> = stage.servers[..others]
        .iter_mut()
        .map(|node| node.unblind_anything(&round, &current.registry, tally.aggregate()))
        .collect();
    let vectors: Vec<&[u8]> = partials.iter().map(|one| &one.vector()[..]).collect();
    partials.push(chosen(&stage, &round, &vectors));
    let roster: Vec<_> = round.roster().iter().map(|server| *server.id()).collect();
    partials.sort_by_key(|partial| roster.iter().position(|id| id == partial.server()));
    // What all "commit" to is settled when everything has been seen.
    let all = partials.iter().map(|one| (one.server(), one.commitment()));
    let commitments = commitments_digest(round.context(), tally.digest(), all);
    let signed = |partial: &Partial| {
        let mut nodes = stage.servers.iter();
        let node = nodes.find(|node| node.keys.id() == *partial.server());
        partial.sign(commitments, &node.expect("a server").keys.signing)
    };
    let partials = partials.iter().map(signed).collect();
    let published = Published {
        record: BroadcastRecord {
            header: round.signed().clone(),
            aggregate: tally.aggregate().clone(),
            partials,
        },
        bundles: round.bundles(),
    };
    let instance = &stage.state.rules().instance;
    let done = published.record.verify(instance, &published.bundles);
    Learnt {
        forged: done.is_ok_and(|done| done.messages().any(|(_, text)| text == FORGED)),
        named: false,
    }
}

/// Through the guards and the state as they are: it commits to something, sees what the
/// others give, and submits what it would rather have committed to.
fn real(seed: u64) -> Learnt {
    let mut stage = stage(seed);
    let round = until_the_aggregate(&mut stage);
    let last = stage.servers.len() - 1;
    for server in 0..last {
        stage.commit(server).expect("an honest commitment");
    }
    // It would like to see the others' partials first; nobody shows one.
    let early = (0..last).filter_map(|server| stage.partial(server)).count();
    stage.commit(last).expect("its commitment");
    let mut partials: Vec<SignedPartial> = Vec::new();
    for server in 0..last {
        let partial = stage.partial(server).expect("all have committed");
        stage.submit(server, partial.clone());
        partials.push(partial);
    }
    let commitments = partials.first().expect("another server").commitments;
    let vectors: Vec<&[u8]> = partials.iter().map(|one| &one.vector[..]).collect();
    let partial = chosen(&stage, &round, &vectors);
    let partial = partial.sign(commitments, &stage.servers[last].keys.signing);
    let me = partial.server;
    let order = Order::SubmitPartial(partial);
    let command = stage.servers[last].keys.say(&order);
    match stage.state.apply(&command) {
        Ok(Applied::Finalized(done)) => Learnt {
            forged: texts(&done).iter().any(|text| text == FORGED),
            named: false,
        },
        Err(Refusal::Partial(PartialError::Commitment { server })) => Learnt {
            forged: early > 0,
            named: server == me,
        },
        _ => Learnt {
            forged: early > 0,
            named: false,
        },
    }
}

struct Learnt {
    forged: bool,
    /// Whether the refusal names the attacker.
    named: bool,
}

fn outcome(trials: u64, attack: fn(u64) -> Learnt) -> Outcome {
    let learnt: Vec<_> = (0..trials).map(attack).collect();
    let forged = learnt.iter().filter(|learnt| learnt.forged).count();
    let named = learnt.iter().filter(|learnt| learnt.named).count();
    Outcome {
        named: Some(named == learnt.len()),
        ..Outcome::done(
            forged > 0,
            format!(
                "a forged message under a valid tag in {forged} of {trials} rounds; its server named in {named}"
            ),
        )
    }
}

/// Runs it.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A15",
        title: "the last partial chooses the broadcast",
        invariant: "I17",
        before: outcome(trials, control),
        after: outcome(trials, real),
        on: "real rounds",
    }
}
