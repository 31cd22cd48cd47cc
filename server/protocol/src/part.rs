//! What a leaf hands to the round's aggregator: the XOR of its clients' envelopes, and
//! its word for that.
//!
//! The seal stays in the record for good, with a digest in place of the vector, so that
//! whatever is wrong with a leaf's part is the leaf's fault and nobody else's.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    canonical::Canonical,
    ids::{Digest, PeerKey, RoundContext},
    keys::{KeyError, Signature, SigningPublic, SigningSecret},
    participants::{Participants, ParticipantsError},
    registry::ClientRegistry,
    round::RoundHeader,
    slot_tree,
};

const SIGNED: &str = "zipnet/signed-part/v1";
const RECEIPT: &str = "zipnet/part-receipt/v1";

/// A part that no honest aggregator adds to its aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// For another round.
    #[error("The part is for another round than the open one")]
    Context,
    /// Of nobody.
    #[error("The part is of leaf number {leaf} of {leaves}")]
    Leaf {
        /// The number.
        leaf: u8,
        /// Leaves in the header.
        leaves: usize,
    },
    /// The bitmap.
    #[error("The participants of the part are not a set of registered clients")]
    Participants(#[source] ParticipantsError),
    /// A client of another leaf, or one that asked for more servers.
    #[error(
        "The part has the client at position {position} of the registry, who is not one of its leaf in this round"
    )]
    Foreign {
        /// The position.
        position: usize,
    },
    /// Not of the leaf.
    #[error("The part is not signed by its leaf")]
    Signature(#[source] KeyError),
    /// Another vector than was signed for, or of another length.
    #[error("The part's vector is not the one that its leaf signed for")]
    Vector,
    /// Parts of one aggregate that share a client or are out of order.
    #[error("The parts of the aggregate are not disjoint, ascending and among its participants")]
    Overlap,
}

/// A leaf's word for its part of a round. Not trusted before [`PartSeal::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSeal {
    /// The leaf's number in the header's list.
    pub leaf: u8,
    /// Whose envelopes are in it.
    pub participants: Participants,
    /// Digest of the list of their ids, ascending, with the root that each signed.
    pub envelopes: Digest,
    /// The root over the slots of its vector, as of an envelope.
    pub vector: Digest,
    signature: Signature,
}

impl PartSeal {
    /// The digest that the leaf signs.
    #[must_use]
    pub fn digest(&self, context: &RoundContext) -> Digest {
        Canonical::new()
            .fixed(context.as_bytes())
            .u32(u32::from(self.leaf))
            .bytes(self.participants.as_bytes())
            .fixed(self.envelopes.as_bytes())
            .fixed(self.vector.as_bytes())
            .digest("zipnet/part/v1")
    }

    /// Checks what can be checked without the registry: that it is the word of the leaf
    /// that it says for this round. Returns which peer that is.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn verify(
        &self,
        context: &RoundContext,
        header: &RoundHeader,
    ) -> Result<PeerKey, PartError> {
        let leaf = *header.leaves.get(self.leaf).ok_or(PartError::Leaf {
            leaf: self.leaf,
            leaves: header.leaves.len(),
        })?;
        self.participants
            .check(header.clients as usize)
            .map_err(PartError::Participants)?;
        SigningPublic::from(leaf)
            .verify(SIGNED, &signed_body(&self.digest(context)), &self.signature)
            .map_err(PartError::Signature)?;
        Ok(leaf)
    }

    /// Checks that all participants are clients of the leaf, and content with the
    /// roster. `registry` is the one that the header names.
    ///
    /// # Errors
    /// [`PartError::Foreign`].
    pub fn check_clients(
        &self,
        header: &RoundHeader,
        registry: &ClientRegistry,
    ) -> Result<(), PartError> {
        let foreign = |position: &usize| {
            registry.at(*position).is_none_or(|client| {
                header.leaves.number_of(client.id()) != Some(self.leaf)
                    || !header.serves(client.least_servers())
            })
        };
        match self.participants.positions().find(foreign) {
            Some(position) => Err(PartError::Foreign { position }),
            None => Ok(()),
        }
    }
}

fn signed_body(part: &Digest) -> Canonical {
    Canonical::new().fixed(part.as_bytes())
}

/// A leaf's part as it travels to the aggregator. Not trusted before [`Part::check`], and
/// then as far as that goes: that it really is the XOR of its envelopes, an
/// [`Audit`](crate::Audit) says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The round.
    pub context: RoundContext,
    /// The leaf's word.
    pub seal: PartSeal,
    /// As long as a broadcast.
    pub vector: Bytes,
}

impl Part {
    /// Signs as a leaf. Whoever signs two different ones for a round has signed a proof
    /// against itself.
    #[must_use]
    pub fn sign(
        context: RoundContext,
        header: &RoundHeader,
        leaf: u8,
        participants: Participants,
        envelopes: Digest,
        vector: Bytes,
        key: &SigningSecret,
    ) -> Self {
        let mut seal = PartSeal {
            leaf,
            participants,
            envelopes,
            vector: slot_tree::root(&vector, header.params),
            signature: Signature::from_bytes(&[0; 64]),
        };
        seal.signature = key.sign(SIGNED, &signed_body(&seal.digest(&context)));
        Self {
            context,
            seal,
            vector,
        }
    }

    /// Checks all but that it is the XOR of its envelopes.
    ///
    /// # Errors
    /// [`PartError`], naming the first check that failed.
    pub fn check(
        self,
        context: &RoundContext,
        header: &RoundHeader,
        registry: &ClientRegistry,
    ) -> Result<CheckedPart, PartError> {
        if self.context != *context {
            return Err(PartError::Context);
        }
        if self.vector.len() != header.params.broadcast_bytes()
            || slot_tree::root(&self.vector, header.params) != self.seal.vector
        {
            return Err(PartError::Vector);
        }
        self.seal.verify(context, header)?;
        self.seal.check_clients(header, registry)?;
        let clients = self.seal.participants.positions();
        let clients = clients.filter_map(|position| registry.at(position));
        let peers = clients.map(|client| *client.peer()).collect();
        Ok(CheckedPart { part: self, peers })
    }
}

/// A part that passed [`Part::check`] for its round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPart {
    part: Part,
    peers: BTreeSet<PeerKey>,
}

impl CheckedPart {
    /// The part.
    #[must_use]
    pub const fn part(&self) -> &Part {
        &self.part
    }

    /// The peers of its participants.
    #[must_use]
    pub const fn peers(&self) -> &BTreeSet<PeerKey> {
        &self.peers
    }
}

/// The aggregator's word that a part of a leaf is in its aggregate: an aggregate of the
/// round that lacks the part is proof against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// The round.
    pub context: RoundContext,
    /// The leaf's number.
    pub leaf: u8,
    /// The digest of its seal.
    pub part: Digest,
    signature: Signature,
}

impl PartReceipt {
    /// Signs as the aggregator that has the part.
    #[must_use]
    pub fn sign(part: &CheckedPart, aggregator: &SigningSecret) -> Self {
        let part = part.part();
        let mut receipt = Self {
            context: part.context,
            leaf: part.seal.leaf,
            part: part.seal.digest(&part.context),
            signature: Signature::from_bytes(&[0; 64]),
        };
        receipt.signature = aggregator.sign(RECEIPT, &receipt.body());
        receipt
    }

    /// Checks that a peer signed it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, aggregator: &PeerKey) -> Result<(), KeyError> {
        SigningPublic::from(*aggregator).verify(RECEIPT, &self.body(), &self.signature)
    }

    fn body(&self) -> Canonical {
        Canonical::new()
            .fixed(self.context.as_bytes())
            .u32(u32::from(self.leaf))
            .fixed(self.part.as_bytes())
    }
}
