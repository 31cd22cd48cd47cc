//! A13: a genuine record of an epoch that is over blinds a reader.
//!
//! The control is a model of how `roles/follow.rs` took records in at 0.1.0: one of an epoch
//! that this reader never saw counted as news, and the present epoch as left. Honest servers,
//! asked from a position of the old epoch, answer from the oldest record that they keep; the
//! reader takes that for a record of an epoch that it has left, stops at the first of four,
//! and never moves, until the servers' ring has rolled over. Now `roles/follow/course.rs`
//! decides, which is what runs here, over real records: a change of epoch counts when a second
//! server speaks of it too. The attacker replays in every round what it kept: a record, and
//! the certified round that it belongs to.

use std::sync::Arc;

use mosaik::{PeerId, SecretKey};
use zipnet_node::{
    committee::{Broadcasts, state::Final},
    roles::follow::course::{Course, Step, Turn},
    wire::MAX_RECORDS,
};
use zipnet_protocol::{CertifiedRound, Epoch, FinalizedRound};

use super::{
    report::{Outcome, Row},
    stage::Stage,
};
use crate::sim::{cast::Shape, rule::FateFirst};

/// Records that a server keeps.
const RING: usize = 256;
/// Rounds of the committee's life that is over.
const OVER: usize = 8;
/// Rounds before the attack: the ring is full.
const START: usize = RING + 8;
/// Rounds under attack. More than it takes until the ring has rolled over.
const ROUNDS: usize = RING + 64;

/// A round, and its record.
#[derive(Clone)]
struct Played {
    round: Arc<CertifiedRound>,
    done: Arc<Final>,
}

/// One life of a committee.
fn life(seed: u64, rounds: usize) -> Vec<Played> {
    let shape = Shape {
        clients: 2,
        ..Shape::default()
    };
    let mut stage = Stage::new(&shape, seed, |seed| Box::new(FateFirst::new(seed)));
    (0..rounds)
        .map(|_| {
            let round = stage.open();
            let envelopes: Vec<_> = (0..shape.clients)
                .filter_map(|client| stage.seal(client, &round))
                .collect();
            let aggregate = stage.fold(&round, &envelopes);
            stage.aggregate(aggregate).expect("an honest aggregate");
            let done = stage.finalize().expect("a record");
            for client in &mut stage.clients {
                client.take(&done);
            }
            Played { round, done }
        })
        .collect()
}

/// How a reader takes news in that was verified.
trait Reader {
    /// After which record it asks.
    fn position(&self) -> Option<(Epoch, u64)>;
    /// A record. Whether those behind it are looked at.
    fn record(&mut self, done: &FinalizedRound, from: PeerId) -> bool;
    /// A certified round. Whether it can be sealed for.
    fn open(&mut self, round: &CertifiedRound, from: PeerId) -> bool;
}

/// Release 0.1.0. It had no certified rounds.
#[derive(Default)]
struct AnyEpoch {
    position: Option<(Epoch, u64)>,
    left: Vec<(Epoch, u64)>,
}

impl Reader for AnyEpoch {
    fn position(&self) -> Option<(Epoch, u64)> {
        self.position
    }

    fn record(&mut self, done: &FinalizedRound, _: PeerId) -> bool {
        let (epoch, number) = done.round().position();
        let left = |(of, last): &(Epoch, u64)| *of == epoch && number <= *last;
        if self.left.iter().any(left) {
            return false;
        }
        match self.position {
            Some(here) if here.0 != epoch => self.left.push(here),
            Some(here) if number <= here.1 => return true,
            _ => {}
        }
        self.position = Some((epoch, number));
        true
    }

    fn open(&mut self, round: &CertifiedRound, _: PeerId) -> bool {
        let (epoch, number) = round.position();
        self.position == Some((epoch, number - 1))
    }
}

/// How many servers have to speak of another epoch, as `roles/follow.rs` asks for.
const QUORUM: usize = 2;

impl Reader for Course {
    fn position(&self) -> Option<(Epoch, u64)> {
        self.position()
    }

    fn record(&mut self, done: &FinalizedRound, from: PeerId) -> bool {
        matches!(
            self.record(done, from, QUORUM),
            Step::Start | Step::New | Step::Old
        )
    }

    fn open(&mut self, round: &CertifiedRound, from: PeerId) -> bool {
        self.open(round, from, QUORUM) == Turn::Next
    }
}

/// What an honest server answers (`news` in `roles/server/desk.rs`).
fn answer(ring: &Broadcasts, epoch: &Epoch, after: Option<(Epoch, u64)>) -> Vec<Arc<Final>> {
    let from = match after {
        Some((of, number)) if of == *epoch => number + 1,
        _ => 0,
    };
    ring.range(epoch, from, MAX_RECORDS)
}

/// In how many rounds the reader sees no record, or cannot seal, while one server replays.
fn blind(mut reader: impl Reader, over: &[Played], now: &[Played]) -> usize {
    let peer = |seed: u8| SecretKey::from_bytes(&[seed; 32]).public();
    let (attacker, honest) = (peer(1), [peer(2), peer(3)]);
    let ring = Broadcasts::new(RING, usize::MAX);
    let (before, during) = now.split_at(START);
    for played in before {
        ring.push(played.done.clone());
    }
    // One that was there before, as far as two honest servers brought it.
    let newest = before.last().expect("a round");
    for from in honest {
        reader.record(&newest.done.checked, from);
    }
    let epoch = newest.done.epoch();
    let mut blind = 0;
    for (at, played) in during.iter().enumerate() {
        if let Some(replayed) = over.get(at % over.len().max(1)) {
            reader.record(&replayed.done.checked, attacker);
            reader.open(&replayed.round, attacker);
        }
        // A while later both honest servers are asked: one tells of the open round, the
        // other has the record of it.
        let sealed = reader.open(&played.round, honest[0]);
        ring.push(played.done.clone());
        let asked = reader.position();
        let mut seen = false;
        for done in answer(&ring, &epoch, asked) {
            if !reader.record(&done.checked, honest[1]) {
                break;
            }
            seen |= done.rank() == played.done.rank();
        }
        blind += usize::from(!(seen && sealed));
    }
    blind
}

fn outcome(blind: usize) -> Outcome {
    Outcome::done(
        blind > 0,
        format!("blind or not sealing in {blind} of {ROUNDS} rounds"),
    )
}

/// Runs it.
#[must_use]
pub fn run(seed: u64) -> Row {
    let over = life(2 * seed, OVER);
    let now = life(2 * seed + 1, START + ROUNDS);
    let peaceful = blind(AnyEpoch::default(), &[], &now);
    assert_eq!(peaceful, 0, "the control sees all without an attack");
    Row {
        attack: "A13",
        title: "a record of an epoch that is over",
        invariant: "I6",
        before: outcome(blind(AnyEpoch::default(), &over, &now)),
        after: outcome(blind(Course::default(), &over, &now)),
        on: "real records",
    }
}
