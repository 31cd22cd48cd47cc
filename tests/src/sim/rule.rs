//! When a client seals which message: the part of it that attacks are made on.

use std::collections::VecDeque;

use zipnet_node::{
    pace::{Occupancy, Pace},
    roles::client::fate::{Fate, Opened, Recorded, Standing},
};
use zipnet_protocol::{FinalizedRound, Message, Round, RoundContext};

use super::rng::Rng;

/// A client's way with its messages.
pub trait Rule: Send {
    /// Takes a message to be said once.
    fn queue(&mut self, message: Message);
    /// Messages that have not landed.
    fn pending(&self) -> usize;
    /// A record, in the order of the chain as far as the client has it.
    fn record(&mut self, done: &FinalizedRound);
    /// What to seal for a round: a message, or cover. It will be sealed.
    fn open(&mut self, round: &Round) -> Option<Message>;
    /// Where it went.
    fn sealed(&mut self, round: &Round, slot: u32);
}

/// Whether what was sealed into a slot stands in a record.
#[must_use]
pub fn landed(done: &FinalizedRound, slot: u32, message: &Message) -> bool {
    done.messages()
        .any(|(at, bytes)| at == slot && bytes == message.as_bytes())
}

/// The rule of release 0.1.0 (`roles/client/driver.rs` there): a message is sealed
/// for every round that opens until a record shows it.
#[derive(Debug, Default)]
pub struct AtEveryRound {
    queue: VecDeque<Message>,
    sealed: Option<(RoundContext, u32)>,
}

impl Rule for AtEveryRound {
    fn queue(&mut self, message: Message) {
        self.queue.push_back(message);
    }

    fn pending(&self) -> usize {
        self.queue.len()
    }

    fn record(&mut self, done: &FinalizedRound) {
        if let Some((context, slot)) = self.sealed
            && context == *done.context()
        {
            self.sealed = None;
            if let Some(message) = self.queue.front()
                && landed(done, slot, message)
            {
                self.queue.pop_front();
            }
        }
    }

    fn open(&mut self, _: &Round) -> Option<Message> {
        self.queue.front().cloned()
    }

    fn sealed(&mut self, round: &Round, slot: u32) {
        if !self.queue.is_empty() {
            self.sealed = Some((*round.context(), slot));
        }
    }
}

/// How often a client seals one message, at most (I16).
pub const BUDGET: u32 = 8;

/// The rule as it is: the real [`Fate`] of each message and the real [`Pace`], put
/// together as `roles/client/driver.rs` does.
#[derive(Debug)]
pub struct FateFirst {
    queue: VecDeque<Message>,
    fate: Option<Fate>,
    pace: Pace,
    dice: Rng,
}

impl FateFirst {
    /// A client with its own dice.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            fate: None,
            pace: Pace::new(),
            dice: Rng::new(seed),
        }
    }

    /// Forgets the message whose fate is settled.
    fn settle(&mut self) {
        let standing = self.fate.as_ref().map(Fate::standing);
        if matches!(standing, Some(Standing::Landed(_) | Standing::Spent)) {
            self.fate = None;
            self.queue.pop_front();
        }
    }
}

impl Rule for FateFirst {
    fn queue(&mut self, message: Message) {
        self.queue.push_back(message);
    }

    fn pending(&self) -> usize {
        self.queue.len()
    }

    fn record(&mut self, done: &FinalizedRound) {
        self.pace.recorded(&Occupancy::of(done));
        if let (Some(fate), Some(message)) = (&mut self.fate, self.queue.front()) {
            let header = done.round().header();
            let slot = fate.slot(done.context());
            fate.recorded(&Recorded {
                epoch: header.epoch,
                number: header.number,
                context: *done.context(),
                digest: *done.digest(),
                previous: header.previous,
                holds: slot.is_some_and(|slot| landed(done, slot, message)),
            });
        }
        self.settle();
    }

    fn open(&mut self, round: &Round) -> Option<Message> {
        let round = facts(round);
        if let Some(fate) = &mut self.fate {
            fate.opened(&round);
        }
        self.settle();
        let talks = self.pace.talks(self.dice.word());
        let message = self.queue.front()?;
        let fate = self.fate.get_or_insert_with(|| Fate::new(BUDGET));
        let permitted = talks && fate.permit(&round).is_some();
        permitted.then(|| message.clone())
    }

    fn sealed(&mut self, round: &Round, slot: u32) {
        let permit = self
            .fate
            .as_mut()
            .and_then(|fate| fate.permit(&facts(round)));
        if let Some(permit) = permit {
            permit.sealed(slot);
        }
    }
}

/// What the fate of messages depends on.
fn facts(round: &Round) -> Opened {
    let header = round.header();
    Opened {
        epoch: header.epoch,
        number: header.number,
        context: *round.context(),
        previous: header.previous,
        roster: header.roster.iter().map(|entry| entry.server).collect(),
    }
}
