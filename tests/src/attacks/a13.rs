//! A13: a genuine record of an epoch that is over blinds a reader.
//!
//! A model of how `roles/follow.rs` pages at 0.1.0: a record of an epoch that this reader never
//! saw counted as news, and the present epoch as left. Honest servers, asked from a position
//! of the old epoch, answer from the oldest record that they keep; the reader takes that for
//! a record of an epoch that it has left, stops at the first of four, and never moves, until
//! the servers' ring has rolled over. Now a change of epoch counts when a second server says so
//! too, and who meets an epoch that it knows goes on where it was.

use super::report::{Outcome, Row};

/// Records that a server keeps.
const RING: u64 = 256;
/// Records in one answer.
const PAGE: u64 = 4;
/// When it happens.
const START: u64 = 1000;

const NOW: u8 = 1;
const OVER: u8 = 0;

type Position = (u8, u64);

/// What an honest server answers, while `newest` is its newest record.
fn answer(after: Position, newest: u64) -> impl Iterator<Item = Position> {
    let oldest = newest.saturating_sub(RING - 1).max(1);
    let from = if after.0 == NOW {
        (after.1 + 1).max(oldest)
    } else {
        oldest
    };
    (from..=newest.min(from + PAGE - 1)).map(|number| (NOW, number))
}

/// How a reader takes records in.
trait Reader {
    fn position(&self) -> Position;
    /// Records from one server, while a second one is at `second`.
    fn take(&mut self, records: Vec<Position>, second: Position);
}

/// Release 0.1.0.
struct AnyEpoch {
    position: Position,
    left: Vec<Position>,
}

impl Reader for AnyEpoch {
    fn position(&self) -> Position {
        self.position
    }

    fn take(&mut self, records: Vec<Position>, _: Position) {
        for (epoch, number) in records {
            if self
                .left
                .iter()
                .any(|(left, last)| *left == epoch && number <= *last)
            {
                return;
            }
            if epoch != self.position.0 {
                self.left.push(self.position);
            } else if number <= self.position.1 {
                continue;
            }
            self.position = (epoch, number);
        }
    }
}

/// Two servers have to agree that the epoch has changed.
struct Agreed {
    position: Position,
}

impl Reader for Agreed {
    fn position(&self) -> Position {
        self.position
    }

    fn take(&mut self, records: Vec<Position>, second: Position) {
        for (epoch, number) in records {
            let moves = epoch == self.position.0 || epoch == second.0;
            if moves && (epoch, number) > self.position {
                self.position = (epoch, number);
            }
        }
    }
}

/// For how many rounds the reader sees nothing after one replayed record.
fn blind(mut reader: impl Reader) -> u64 {
    let second = (NOW, START);
    reader.take(vec![(OVER, 10_000)], second);
    for round in 1..4 * RING {
        let newest = START + round;
        let second = (NOW, newest);
        reader.take(answer(reader.position(), newest).collect(), second);
        if reader.position() > (NOW, START) {
            return round - 1;
        }
    }
    4 * RING
}

fn outcome(blind: u64) -> Outcome {
    Outcome::done(
        blind > 1,
        format!("blind, and not sealing, for {blind} rounds after one record"),
    )
}

/// Runs it.
#[must_use]
pub fn run() -> Row {
    Row {
        attack: "A13",
        title: "a record of an epoch that is over",
        invariant: "I6",
        before: outcome(blind(AnyEpoch {
            position: (NOW, START),
            left: Vec::new(),
        })),
        after: outcome(blind(Agreed {
            position: (NOW, START),
        })),
        on: "model",
    }
}
