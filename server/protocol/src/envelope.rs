//! Sealing: paper algorithm 1, the client's side.

use core::fmt;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::ClientBundle,
    certificate::CertifiedRound,
    ids::{ClientId, Digest, Epoch, RoundContext},
    instance::Instance,
    keys::{DhSecret, KeyError, SigningSecret},
    pad::{PadSecret, RoundPads},
    round::{MAX_ROSTER, Round},
    slot::{self, Message, SlotKey},
};

/// Most epochs that a client follows in its life.
const MAX_EPOCHS: usize = 1024;

/// A round that this client does not seal for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// I5: the round or a later one was sealed before.
    #[error("Round {number} was sealed already, or a later one; each is sealed once")]
    Sealed {
        /// The round's number.
        number: u64,
    },
    /// More epochs than a process should ever see.
    #[error("The committee started over more than 1024 times; restart the client")]
    Epochs,
    /// A server key of the roster.
    #[error("A server of the roster has an unusable key")]
    Key(#[source] KeyError),
    /// The message is too long for the round's slots.
    #[error("The message has {length} bytes; at most {limit} fit into a slot of this round")]
    Message {
        /// Bytes of the message.
        length: usize,
        /// Bytes that would fit.
        limit: usize,
    },
}

/// A client's envelope, as it travels to the aggregator: its slot of message,
/// or nothing, under the pads of all servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEnvelope {
    /// The round.
    pub context: RoundContext,
    /// Who sealed.
    pub client: ClientId,
    /// As long as a broadcast.
    pub vector: Bytes,
}

/// The secrets of one client process, and the memory that keeps it from
/// sealing twice (I5). Made of fresh entropy in every process (I1).
pub struct Sealer {
    dh: DhSecret,
    slot_key: SlotKey,
    bundle: ClientBundle,
    sealed: BTreeMap<Epoch, u64>,
    shared: BTreeMap<Digest, PadSecret>,
}

impl Sealer {
    /// A sealer with fresh secrets, registered under a transport key.
    #[must_use]
    pub fn new(
        instance: &Instance,
        dh: DhSecret,
        slot_key: SlotKey,
        transport: &SigningSecret,
    ) -> Self {
        let bundle = ClientBundle::sign(instance, &dh.public(), transport);
        Self {
            dh,
            slot_key,
            bundle,
            sealed: BTreeMap::new(),
            shared: BTreeMap::new(),
        }
    }

    /// The bundle to register.
    #[must_use]
    pub const fn bundle(&self) -> &ClientBundle {
        &self.bundle
    }

    /// The client's id.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.bundle.client_id()
    }

    /// Seals a message, or cover if there is none, for a certified round. Each
    /// round once, in ascending order within an epoch (I5). Returns the slot
    /// that the message went to; it tells nothing of cover.
    ///
    /// # Errors
    /// [`SealError`]; a round that was refused may be tried again.
    pub fn seal(
        &mut self,
        round: &CertifiedRound,
        message: Option<&Message>,
    ) -> Result<(u32, SealedEnvelope), SealError> {
        let header = round.header();
        let params = header.params;
        if let Some(message) = message
            && message.as_bytes().len() > params.message_bytes()
        {
            return Err(SealError::Message {
                length: message.as_bytes().len(),
                limit: params.message_bytes(),
            });
        }
        match self.sealed.get(&header.epoch) {
            Some(last) if header.number <= *last => {
                return Err(SealError::Sealed {
                    number: header.number,
                });
            }
            None if self.sealed.len() >= MAX_EPOCHS => return Err(SealError::Epochs),
            _ => {}
        }
        self.agree(round)?;
        self.sealed.insert(header.epoch, header.number);

        let slot = self.slot_key.slot(round.context(), &params);
        let mut vector = vec![0; params.broadcast_bytes()];
        let place = vector
            .chunks_exact_mut(params.slot_bytes())
            .nth(slot as usize);
        if let (Some(message), Some(place)) = (message, place) {
            slot::write(message, round.context(), slot, place);
        }
        let pads = RoundPads::new(round.context());
        for server in round.roster() {
            if let Some(secret) = self.shared.get(server.digest()) {
                pads.xor_into(&mut vector, secret, &self.id(), server.id());
            }
        }
        let envelope = SealedEnvelope {
            context: *round.context(),
            client: self.id(),
            vector: vector.into(),
        };
        Ok((slot, envelope))
    }

    /// Makes sure of a shared secret with every server of the roster, and
    /// forgets those of servers that are gone once there are many.
    fn agree(&mut self, round: &Round) -> Result<(), SealError> {
        if self.shared.len() > MAX_ROSTER {
            self.shared.retain(|digest, _| {
                round
                    .roster()
                    .iter()
                    .any(|server| server.digest() == digest)
            });
        }
        for server in round.roster() {
            if !self.shared.contains_key(server.digest()) {
                let secret = self.dh.agree(server.dh()).map_err(SealError::Key)?;
                self.shared.insert(*server.digest(), secret);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.id())
    }
}
