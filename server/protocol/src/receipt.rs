//! What an aggregator, or a leaf of it, answers to an envelope: its word that it is folded.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::Canonical,
    envelope::{CheckedEnvelope, SealedEnvelope},
    ids::{ClientId, Digest, PeerKey, RoundContext},
    keys::{KeyError, Signature, SigningPublic, SigningSecret},
    round::RoundHeader,
};

const RECEIPT: &str = "zipnet/envelope-receipt/v1";

/// A receipt that its client does not take for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// For something else than was handed over.
    #[error("The receipt is for another envelope than the one that was handed over")]
    Envelope,
    /// Nobody has this position.
    #[error("The receipt is for position {position} of a registry of {clients} clients")]
    Position {
        /// The position.
        position: u32,
        /// The header's number of clients.
        clients: u32,
    },
    /// Neither of the client's leaf nor of the round's aggregator.
    #[error(
        "The receipt is signed neither by its client's leaf nor by the aggregator of its round"
    )]
    Signature(#[source] KeyError),
}

/// The word of a round's aggregator, or of the client's leaf, that the envelope with this
/// root, of the client at this position of the round's registry, is in its aggregate, or
/// its part of it. One of the round that the same key signed, and that lacks the position,
/// is proof against it ([`Proof`](crate::Proof)).
///
/// The position is in it so that nobody needs the registry to see that: an
/// aggregator that writes another one than the client's has signed that, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeReceipt {
    /// The round.
    pub context: RoundContext,
    /// Whose envelope it is.
    pub client: ClientId,
    /// The client's position in the registry that the header names.
    pub position: u32,
    /// What the client signed.
    pub root: Digest,
    signature: Signature,
}

impl EnvelopeReceipt {
    /// Signs as the aggregator that has folded the envelope.
    #[must_use]
    pub fn sign(envelope: &CheckedEnvelope, aggregator: &SigningSecret) -> Self {
        let mut receipt = Self {
            context: envelope.envelope().context,
            client: envelope.envelope().client,
            position: u32::try_from(envelope.position()).unwrap_or(u32::MAX),
            root: *envelope.root(),
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

    /// Who signed it: the client's leaf in the round, or its aggregator.
    ///
    /// # Errors
    /// [`KeyError`] if neither did.
    pub fn signer(&self, header: &RoundHeader) -> Result<PeerKey, KeyError> {
        let [leaf, aggregator] = header.takers(&self.client);
        match self.verify(leaf) {
            Ok(()) => Ok(*leaf),
            Err(error) if leaf == aggregator => Err(error),
            Err(_) => self.verify(aggregator).map(|()| *aggregator),
        }
    }

    /// Checks that it is the answer to an envelope of a round, as the client
    /// does that sealed it.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn answers(
        &self,
        envelope: &SealedEnvelope,
        header: &RoundHeader,
    ) -> Result<(), ReceiptError> {
        if (self.context, self.client) != (envelope.context, envelope.client)
            || self.root != envelope.root(header.params)
        {
            return Err(ReceiptError::Envelope);
        }
        if self.position >= header.clients {
            return Err(ReceiptError::Position {
                position: self.position,
                clients: header.clients,
            });
        }
        self.signer(header)
            .map(|_| ())
            .map_err(ReceiptError::Signature)
    }

    fn body(&self) -> Canonical {
        Canonical::new()
            .fixed(self.context.as_bytes())
            .fixed(self.client.as_bytes())
            .u32(self.position)
            .fixed(self.root.as_bytes())
    }
}
