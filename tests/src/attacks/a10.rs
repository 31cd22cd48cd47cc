//! A10: a header that one server made up silences a client for its life.
//!
//! Nobody but its opener signed a header. One of the true epoch with a number a million
//! ahead was sealed for, and the high-water mark that keeps a client from sealing twice then
//! refused every real round.

use std::{collections::BTreeMap, sync::Arc};

use zipnet_protocol::{
    Certificate, Certification, CertifiedRound, Epoch, Nonce, RosterEntry, Round, Signature,
};

use super::{
    report::{Outcome, Row},
    stage::Stage,
};
use crate::sim::{cast::Shape, rule::AtEveryRound, server::header_of};

/// Farthest that a client believed a number (`follow.rs`).
const MAX_JUMP: u64 = 1 << 20;

/// Rounds that the victim takes part in afterwards.
const ROUNDS: usize = 10;

/// The rule of 0.1.0: the header of one server is enough, and each number is sealed once,
/// ascending.
#[derive(Debug, Default)]
struct HighWater(BTreeMap<Epoch, u64>);

impl HighWater {
    fn seals(&mut self, round: &Round) -> bool {
        let (epoch, number) = round.position();
        let last = self.0.entry(epoch).or_insert(0);
        let seals = number > *last;
        *last = number.max(*last);
        seals
    }
}

/// A round that the attacker signed all alone: everything in it is true but the number.
fn made_up(stage: &mut Stage) -> Arc<Round> {
    let roster = stage.state.servers().values().map(|server| RosterEntry {
        server: *server.id(),
        bundle: *server.digest(),
    });
    let epoch = stage.state.epoch().expect("an epoch");
    let nonce = Nonce::new(*stage.rng.entropy());
    let mut header = header_of(&stage.state, epoch, roster.collect(), nonce);
    header.number += MAX_JUMP;
    let attacker = &stage.servers[1].keys;
    let signed = header.sign(attacker.id(), &attacker.signing);
    let instance = &stage.state.rules().instance;
    let servers = stage.state.servers().values().cloned();
    let round = signed.verify_with(instance, servers);
    Arc::new(round.expect("a header that one server stands for"))
}

fn stage(seed: u64) -> Stage {
    let shape = Shape {
        clients: 3,
        ..Shape::default()
    };
    Stage::new(&shape, seed, |_| Box::<AtEveryRound>::default())
}

/// How many of the rounds after it the victim takes part in.
fn control(seed: u64) -> usize {
    let mut stage = stage(seed);
    let mut victim = HighWater::default();
    stage.open();
    let made_up = made_up(&mut stage);
    victim.seals(&made_up);
    (0..ROUNDS)
        .filter(|_| {
            let round = stage.open();
            victim.seals(&round)
        })
        .count()
}

/// The attacker's word for the round, as it would stand in a certificate.
fn own_signature(stage: &Stage, made_up: &Round) -> Signature {
    let attacker = &stage.servers[1].keys;
    let word = Certification::sign(*made_up.context(), attacker.id(), &attacker.signing);
    // Context, server, signature: the last 64 bytes on the wire.
    let bytes = postcard::to_stdvec(&word).expect("a certification");
    let signature = bytes.last_chunk().expect("a signature at its end");
    Signature::from_bytes(signature)
}

/// The best that it can do for a certificate: its own signature in every place, or what
/// all signed for the round before.
fn forged(stage: &Stage, made_up: &Round, genuine: &CertifiedRound) -> [Certificate; 2] {
    let before = genuine.certificate().signatures.clone();
    let own = own_signature(stage, made_up);
    [vec![own; before.len()], before].map(|signatures| Certificate {
        header: made_up.signed().clone(),
        signatures,
    })
}

fn real(seed: u64) -> usize {
    let mut stage = stage(seed);
    let genuine = stage.open();
    let made_up = made_up(&mut stage);
    let instance = stage.state.rules().instance.clone();
    for certificate in forged(&stage, &made_up, &genuine) {
        // What a client does with it (`roles/follow.rs`).
        if let Ok(round) = certificate.verify(&instance, &made_up.bundles()) {
            stage.seal(0, &Arc::new(round));
        }
    }
    (0..ROUNDS)
        .filter(|_| {
            let round = stage.open();
            stage.seal(0, &round).is_some()
        })
        .count()
}

fn outcome(trials: u64, attack: fn(u64) -> usize) -> Outcome {
    let fewest = (0..trials).map(attack).min().unwrap_or(0);
    Outcome::done(
        fewest < ROUNDS,
        format!("the victim seals for {fewest} of the {ROUNDS} rounds after it"),
    )
}

/// Runs it.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A10",
        title: "a made-up header, 2^20 numbers ahead",
        invariant: "I13",
        before: outcome(trials, control),
        after: outcome(trials, real),
        on: "real headers",
    }
}
