//! Sealing: paper algorithm 1, the client's side.

use core::fmt;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::{ClientBundle, LeastServers},
    canonical::Canonical,
    certificate::CertifiedRound,
    ids::{ClientId, Digest, Epoch, PeerKey, RoundContext},
    instance::Instance,
    keys::{DhSecret, KeyError, Signature, SigningPublic, SigningSecret},
    pad::{PadSecret, RoundPads},
    params::RoundParams,
    registry::ClientRegistry,
    round::{MAX_ROSTER, Round, RoundHeader},
    slot::{self, Message, SlotKey},
    slot_tree,
};

const ENVELOPE: &str = "zipnet/envelope/v1";

/// Most epochs that a client follows in its life.
const MAX_EPOCHS: usize = 1024;

/// An envelope that is not folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// For another round.
    #[error("The envelope is for another round than the open one")]
    Context,
    /// From somebody whom the header's registry does not hold.
    #[error("Client {client} is not in the registry of this round")]
    Unregistered {
        /// Who.
        client: ClientId,
    },
    /// Of the wrong length.
    #[error("The envelope has {found} bytes; {expected} would be right")]
    Length {
        /// Bytes that came.
        found: usize,
        /// Bytes of a broadcast.
        expected: usize,
    },
    /// The client's envelope is in already.
    #[error("The envelope of client {client} is folded already")]
    Repeated {
        /// Who.
        client: ClientId,
    },
    /// The client asked for more servers than the round has.
    #[error("Client {client} registered for more servers than the {found} of this round")]
    Servers {
        /// Who.
        client: ClientId,
        /// Servers in the roster.
        found: usize,
    },
    /// The client did not sign.
    #[error("The envelope is not signed by client {client}, whom it names")]
    Signature {
        /// Who.
        client: ClientId,
        /// What is wrong.
        #[source]
        source: KeyError,
    },
}

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
    /// I5: what the client registered.
    #[error("The round has {found} servers, fewer than this client registered to take part with")]
    Servers {
        /// Servers in the roster.
        found: usize,
    },
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
/// or nothing, under the pads of all servers; signed by the client's transport
/// key, so that whoever holds it can show whose it is. Not trusted before
/// [`SealedEnvelope::check`].
///
/// The signature is over context, client and the root of the vector's slots,
/// and so one slot alone can be shown in a dispute. It is over ciphertext:
/// it says that this client took part, which the aggregate says as well, and
/// nothing of what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEnvelope {
    /// The round.
    pub context: RoundContext,
    /// Who sealed.
    pub client: ClientId,
    /// As long as a broadcast.
    pub vector: Bytes,
    signature: Signature,
}

impl SealedEnvelope {
    /// Signs a vector as the envelope of a client. There is no envelope that
    /// nobody signed.
    #[must_use]
    pub fn sign(
        context: RoundContext,
        client: ClientId,
        vector: Bytes,
        params: RoundParams,
        transport: &SigningSecret,
    ) -> Self {
        let root = slot_tree::root(&vector, params);
        Self {
            signature: transport.sign(ENVELOPE, &body(&context, &client, &root)),
            context,
            client,
            vector,
        }
    }

    /// The root over the vector's slots, that the client signed.
    #[must_use]
    pub fn root(&self, params: RoundParams) -> Digest {
        slot_tree::root(&self.vector, params)
    }

    /// Checks round, length, registration, that the client takes part with such a roster,
    /// and signature. `registry` has to be
    /// the one that the header names.
    ///
    /// # Errors
    /// [`FoldError`], naming the first check that failed.
    pub fn check(
        &self,
        context: &RoundContext,
        header: &RoundHeader,
        registry: &ClientRegistry,
    ) -> Result<CheckedEnvelope, FoldError> {
        if self.context != *context {
            return Err(FoldError::Context);
        }
        let expected = header.params.broadcast_bytes();
        if self.vector.len() != expected {
            return Err(FoldError::Length {
                found: self.vector.len(),
                expected,
            });
        }
        let client = self.client;
        let unregistered = FoldError::Unregistered { client };
        let position = registry.position(&client).ok_or(unregistered)?;
        let registered = registry.at(position).ok_or(unregistered)?;
        let least = registered.least_servers();
        if !header.serves(least) {
            return Err(FoldError::Servers {
                client,
                found: header.roster.len(),
            });
        }
        let root = self.root(header.params);
        SigningPublic::from(*registered.peer())
            .verify(ENVELOPE, &body(context, &client, &root), &self.signature)
            .map_err(|source| FoldError::Signature { client, source })?;
        Ok(CheckedEnvelope {
            envelope: self.clone(),
            position,
            peer: *registered.peer(),
            root,
        })
    }
}

fn body(context: &RoundContext, client: &ClientId, root: &Digest) -> Canonical {
    Canonical::new()
        .fixed(context.as_bytes())
        .fixed(client.as_bytes())
        .fixed(root.as_bytes())
}

/// An envelope that passed [`SealedEnvelope::check`] for its round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedEnvelope {
    envelope: SealedEnvelope,
    position: usize,
    peer: PeerKey,
    root: Digest,
}

impl CheckedEnvelope {
    /// The envelope.
    #[must_use]
    pub const fn envelope(&self) -> &SealedEnvelope {
        &self.envelope
    }

    /// The client's position in the registry.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The client's transport key.
    #[must_use]
    pub const fn peer(&self) -> &PeerKey {
        &self.peer
    }

    /// What the client signed.
    #[must_use]
    pub const fn root(&self) -> &Digest {
        &self.root
    }
}

/// The secrets of one client process, and the memory that keeps it from
/// sealing twice (I5). Made of fresh entropy in every process (I1).
pub struct Sealer {
    dh: DhSecret,
    slot_key: SlotKey,
    /// Signs envelopes: the key that the bundle names, and no other.
    transport: SigningSecret,
    bundle: ClientBundle,
    sealed: BTreeMap<Epoch, u64>,
    shared: BTreeMap<Digest, PadSecret>,
}

impl Sealer {
    /// A sealer with fresh secrets, registered under a transport key, that seals for no
    /// round of fewer servers than `least_servers` says.
    #[must_use]
    pub fn new(
        instance: &Instance,
        dh: DhSecret,
        slot_key: SlotKey,
        least_servers: LeastServers,
        transport: &SigningSecret,
    ) -> Self {
        let bundle = ClientBundle::sign(instance, &dh.public(), least_servers, transport);
        Self {
            dh,
            slot_key,
            transport: transport.clone(),
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
        if !header.serves(self.bundle.least_servers()) {
            return Err(SealError::Servers {
                found: header.roster.len(),
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
        let envelope = SealedEnvelope::sign(
            *round.context(),
            self.id(),
            vector.into(),
            params,
            &self.transport,
        );
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
