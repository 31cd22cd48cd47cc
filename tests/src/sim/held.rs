//! The replicated state as several servers hold it.
//!
//! `apply` is deterministic (I8, which the tests of `zipnet-node` hold it to): two
//! servers with the same past come to the same state. So what one of them has
//! computed is taken over for the others, which makes rounds three times as fast; one
//! time in 256 it is computed again all the same, and has to be the same byte for byte.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use zipnet_node::committee::{
    command::Command,
    state::{Applied, CommitteeState, Refusal},
};
use zipnet_protocol::{Digest, domain_digest};

/// Outcomes that are kept.
const KEPT: usize = 512;

/// A command with a number of its own.
#[derive(Debug, Clone)]
pub struct Numbered {
    number: u64,
    /// The command.
    pub command: Arc<Command>,
}

/// A state, and the name of its past.
#[derive(Debug, Clone)]
pub struct Held {
    /// The state.
    pub state: CommitteeState,
    past: u64,
}

#[derive(Debug)]
struct Outcome {
    held: Held,
    said: Result<Applied, Refusal>,
}

/// What commands did to states.
#[derive(Debug, Default)]
pub struct Memo {
    outcomes: HashMap<(u64, u64), Outcome>,
    order: VecDeque<(u64, u64)>,
    /// The past of a state, by its digest.
    alike: HashMap<Digest, u64>,
    pasts: u64,
    commands: u64,
    applied: u64,
}

impl Memo {
    /// A state that nothing has happened to.
    pub fn cold(&mut self, state: CommitteeState) -> Held {
        self.pasts += 1;
        Held {
            state,
            past: self.pasts,
        }
    }

    /// Gives a command its number.
    pub fn number(&mut self, command: Command) -> Numbered {
        self.commands += 1;
        Numbered {
            number: self.commands,
            command: Arc::new(command),
        }
    }

    /// Applies a command.
    ///
    /// # Errors
    /// What the state says. `Err(None)` if it said something else to somebody
    /// with the same past (I8).
    pub fn apply(
        &mut self,
        held: &mut Held,
        numbered: &Numbered,
    ) -> Result<Result<Applied, Refusal>, Unlike> {
        let key = (held.past, numbered.number);
        self.applied += 1;
        if let Some(outcome) = self.outcomes.get(&key) {
            if self.applied.is_multiple_of(256) {
                let mut again = held.state.clone();
                let said = again.apply(&numbered.command);
                if said.is_ok() != outcome.said.is_ok()
                    || bytes(&again) != bytes(&outcome.held.state)
                {
                    return Err(Unlike);
                }
            }
            *held = outcome.held.clone();
            return Ok(outcome.said.clone());
        }
        let said = held.state.apply(&numbered.command);
        // Who was refused has the past that it had.
        if let Ok(applied) = &said {
            self.pasts += 1;
            held.past = self.pasts;
            // States that had parted, and are the same again, have one past from here.
            if matches!(applied, Applied::Finalized(_)) {
                let digest = domain_digest("zipnet-tests/sim/state/v1", &bytes(&held.state));
                held.past = *self.alike.entry(digest).or_insert(held.past);
            }
        }
        let outcome = Outcome {
            held: held.clone(),
            said: said.clone(),
        };
        self.outcomes.insert(key, outcome);
        self.order.push_back(key);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.outcomes.remove(&oldest);
        }
        Ok(said)
    }
}

/// Two servers with one past came to different states.
#[derive(Debug, Clone, Copy)]
pub struct Unlike;

/// A state, byte for byte.
#[must_use]
pub fn bytes(state: &CommitteeState) -> Vec<u8> {
    postcard::to_stdvec(&state.snapshot()).unwrap_or_default()
}
