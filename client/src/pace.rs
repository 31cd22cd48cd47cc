//! How often to talk (I16): random backoff from what everybody sees. No clock,
//! no socket, no randomness of its own.
//!
//! Slots are chosen at random, so with *k* talkers on *s* slots a message is
//! alone with probability about exp(-*k*/*s*). Clients that all repeat in each
//! round never get anywhere once there are several times as many as slots (500
//! on 64: some 400 rounds). Here each talks in a round with a probability that
//! follows the public occupancy of the slots, such that about half as many talk
//! as there are slots. That carries 0.30 messages a slot and round, where the
//! most possible is 0.37, but an attempt succeeds with 0.61 rather than 0.37:
//! of 500 messages with the default budget of attempts, fewer than one in a
//! thousand is not delivered, where at the optimum of throughput one in eighty
//! is not. Every client follows the records and so has the same probability,
//! whether it has anything to say or not: a message that comes later starts
//! with it. Whoever has just joined starts with one, and falls with the rest.
//!
//! A round in which no slot holds a message and some are not empty is *noise*:
//! a jammer, or far too many talkers. Behind it everybody covers until a round
//! is not noise. A cover envelope looks like any other; that nobody talks then
//! is public and says nothing of anyone. Attempts are not spent on it, so
//! whoever makes noise to see messages again and again under varied
//! participants (A2) waits for nothing.

use zipnet_protocol::{FinalizedRound, SlotContent};

/// What is in the slots of a record: everybody's knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Slots of a round.
    pub slots: u32,
    /// Of them, all zero.
    pub empty: u32,
    /// Of them, with a valid message.
    pub messages: u32,
}

impl Occupancy {
    /// That of a record.
    #[must_use]
    pub fn of(done: &FinalizedRound) -> Self {
        let mut seen = Self {
            slots: done.round().header().params.slots(),
            empty: 0,
            messages: 0,
        };
        for (_, content) in done.slots() {
            match content {
                SlotContent::Empty => seen.empty = seen.empty.saturating_add(1),
                SlotContent::Message(_) => seen.messages = seen.messages.saturating_add(1),
                SlotContent::Garbled => {}
            }
        }
        seen
    }

    /// Slots in which something is that is no message: collisions, or a jammer.
    #[must_use]
    pub const fn garbled(&self) -> u32 {
        self.slots
            .saturating_sub(self.empty)
            .saturating_sub(self.messages)
    }

    /// Whether the round is noise as a whole.
    #[must_use]
    pub const fn is_noise(&self) -> bool {
        self.messages == 0 && self.empty < self.slots
    }

    /// How many talked, by estimate: exact if no slot is garbled; otherwise by
    /// the slots that stayed empty, or, if none did, a step up.
    fn talkers(&self) -> f64 {
        let (slots, messages) = (f64::from(self.slots), f64::from(self.messages));
        let garbled = self.garbled();
        if garbled == 0 {
            return messages;
        }
        let occupied = if self.empty == 0 {
            slots * (2.0 * slots).ln()
        } else {
            -slots * (f64::from(self.empty) / slots).ln()
        };
        occupied.max(2.0_f64.mul_add(f64::from(garbled), messages))
    }
}

/// Talkers in a round that are aimed at, for each slot.
const LOAD: f64 = 0.5;
/// How much more likely a round is than the one before, at most, unless so few
/// talk that more is safe.
const STEP: f64 = 2.0;
/// Least likely that it becomes.
const LEAST: f64 = 1.0 / 65_536.0;

/// The probability to talk in the next round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    talk: f64,
    paused: bool,
    backlog: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Pace {
    /// The pace of a committee that nobody talks in.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            talk: 1.0,
            paused: false,
            backlog: 0.0,
        }
    }

    /// Takes note of a record.
    pub fn recorded(&mut self, seen: &Occupancy) {
        // Nobody who follows the rule talked behind noise: what is in the
        // slots then says nothing of how many wait.
        let told = !core::mem::replace(&mut self.paused, seen.is_noise());
        if !told || seen.slots == 0 {
            return;
        }
        let talkers = seen.talkers();
        self.backlog = talkers / self.talk;
        let aim = (LOAD * f64::from(seen.slots)).max(1.0);
        let step = (aim / talkers.max(aim / STEP)).min(STEP);
        // No more were meant to talk, with 95 % certainty: none are seen of three
        // in one round of twenty.
        let surely = aim / (talkers + 2.0_f64.mul_add(talkers.sqrt(), 3.0));
        let factor = step.max(surely);
        self.talk = (self.talk * factor).clamp(LEAST, 1.0);
    }

    /// Whether to talk, given a random number.
    #[must_use]
    pub fn talks(&self, draw: u64) -> bool {
        !self.paused && unit(draw) < self.talk
    }

    /// How many messages wait for a slot, by estimate from the last record.
    #[must_use]
    pub const fn backlog(&self) -> f64 {
        self.backlog
    }
}

/// A number from zero to just below one.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are what a double holds exactly"
)]
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
