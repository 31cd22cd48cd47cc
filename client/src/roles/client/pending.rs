//! The messages of a client that are on their way, and what its applications
//! are told of them. Knows no socket; the time is handed in.

use std::collections::VecDeque;

use tokio::time::Instant;
use zipnet_protocol::{FinalizedRound, Message, Round, SealError};

use crate::metrics;

use super::{
    fate::{Fate, Opened, Permit, Recorded, Standing},
    publisher::{GivenUp, Outgoing, PublishError, Receipt},
};

/// The message that is being published.
#[derive(Debug)]
struct Current {
    outgoing: Outgoing,
    fate: Fate,
}

/// One message that is being published, and those behind it.
#[derive(Debug, Default)]
pub(super) struct Pending {
    current: Option<Current>,
    waiting: VecDeque<Outgoing>,
}

impl Pending {
    /// How many wait behind the one that is being published.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a message from an application.
    pub fn push(&mut self, outgoing: Outgoing) {
        self.waiting.push_back(outgoing);
    }

    /// When the next message's time is over.
    pub fn until(&self) -> Option<Instant> {
        let current = self.current.iter().map(|current| current.outgoing.until);
        let waiting = self.waiting.iter().map(|outgoing| outgoing.until);
        current.chain(waiting).min()
    }

    /// Tells those whose time is over, and forgets those who have withdrawn.
    pub fn expire(&mut self, now: Instant) {
        if let Some(current) = self.current.take_if(|current| {
            current.outgoing.done.is_withdrawn() || current.outgoing.until <= now
        }) {
            let attempts = current.fate.attempts();
            let known = match current.fate.standing() {
                Standing::Undecided => PublishError::Unknown { attempts },
                _ => PublishError::NotLanded {
                    attempts,
                    because: GivenUp::Deadline,
                },
            };
            current.outgoing.done.send(Err(known));
        }
        self.waiting
            .retain(|outgoing| !outgoing.done.is_withdrawn());
        while let Some(late) = self.waiting.iter().position(|late| late.until <= now) {
            if let Some(late) = self.waiting.remove(late) {
                late.done.send(Err(PublishError::NotLanded {
                    attempts: 0,
                    because: GivenUp::Deadline,
                }));
            }
        }
    }

    /// Takes note of a certified round.
    pub fn opened(&mut self, round: &Opened) {
        if let Some(current) = &mut self.current {
            current.fate.opened(round);
        }
        self.settle(None);
        if self.current.is_none() {
            self.current = self.waiting.pop_front().map(|outgoing| Current {
                fate: Fate::new(outgoing.options.budget()),
                outgoing,
            });
        }
    }

    /// The message to seal for a certified round that was taken note of, if
    /// there is one that may be sealed.
    pub fn sealable(&mut self, round: &Opened) -> Option<(&Message, Permit<'_>)> {
        let Current { outgoing, fate } = self.current.as_mut()?;
        let permit = fate.permit(round)?;
        Some((&outgoing.message, permit))
    }

    /// The message does not fit the round.
    pub fn unfit(&mut self, error: SealError) {
        if let Some(current) = self.current.take() {
            current.outgoing.done.send(Err(PublishError::Seal(error)));
        }
    }

    /// Takes note of a record.
    pub fn recorded(&mut self, done: &FinalizedRound) {
        if let Some(Current { outgoing, fate }) = &mut self.current {
            let slot = fate.slot(done.context());
            let bytes = outgoing.message.as_bytes();
            let holds = slot.is_some_and(|ours| {
                done.messages()
                    .any(|(slot, found)| slot == ours && found == bytes)
            });
            let header = done.round().header();
            fate.recorded(&Recorded {
                epoch: header.epoch,
                number: header.number,
                context: *done.context(),
                digest: *done.digest(),
                previous: header.previous,
                holds,
            });
        }
        self.settle(Some(done));
    }

    /// Tells the application what has become known.
    fn settle(&mut self, done: Option<&FinalizedRound>) {
        let Some(current) = self.current.take() else {
            return;
        };
        let attempts = current.fate.attempts();
        let outcome = match (current.fate.standing(), done) {
            (Standing::Landed(context), Some(done)) if context == *done.context() => {
                let header = done.round().header();
                metrics::message_landed(attempts);
                Ok(Receipt {
                    epoch: header.epoch,
                    round: header.number,
                    slot: current.fate.slot(&context).unwrap_or_default(),
                    record: *done.digest(),
                    attempts,
                    participants: done.participants(),
                    servers: done.round().roster().len(),
                })
            }
            (Standing::Spent, _) => Err(PublishError::NotLanded {
                attempts,
                because: if current.outgoing.options.at_most_once {
                    GivenUp::AtMostOnce
                } else {
                    GivenUp::Attempts
                },
            }),
            _ => {
                self.current = Some(current);
                return;
            }
        };
        current.outgoing.done.send(outcome);
    }
}

/// What the fate of messages depends on.
pub(super) fn facts(round: &Round) -> Opened {
    let header = round.header();
    Opened {
        epoch: header.epoch,
        number: header.number,
        context: *round.context(),
        previous: header.previous,
        roster: header.roster.iter().map(|entry| entry.server).collect(),
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
