//! Looking into what an aggregator did: whether its aggregate is the XOR of
//! envelopes that its participants signed, and of nothing else.
//!
//! Envelopes are ciphertext under the pads of *every* server of the roster, and the
//! aggregator, whom nobody trusts, has seen them anyway: to show them to one
//! server more costs no anonymity as long as one server is honest.

use std::sync::Arc;

use crate::{
    envelope::{FoldError, SealedEnvelope},
    fold::{Aggregate, CheckedAggregate, envelope_list},
    ids::{ClientId, Digest, RoundContext},
    pad::xor,
    receipt::EnvelopeReceipt,
    registry::ClientRegistry,
    round::RoundHeader,
};

/// The registry is not the round's, so nothing can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The registry is not the one that the audited round's header names")]
pub struct WrongRegistry;

/// What an audit found. No honest aggregator gives cause to any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// An envelope that no honest aggregator folds.
    #[error("An envelope of the aggregate is refused")]
    Envelope(#[source] FoldError),
    /// The envelope of somebody else than the next participant.
    #[error(
        "The envelope of client {client} is shown where that of another participant would be right"
    )]
    Order {
        /// Whose it is.
        client: ClientId,
    },
    /// A participant without an envelope.
    #[error("The envelope of participant {client} is not shown")]
    Missing {
        /// Who.
        client: ClientId,
    },
    /// Other envelopes than the aggregator signed for.
    #[error("The envelopes are not those whose list the aggregator signed")]
    List,
    /// The aggregate is not the XOR of its envelopes.
    #[error("Slot {slot} of the aggregate is not the XOR of its envelopes")]
    Noise {
        /// The first slot that differs.
        slot: u32,
    },
    /// A receipt for an envelope that is not in the aggregate.
    #[error("Client {client} has a receipt and is not among the participants")]
    Dropped {
        /// Who.
        client: ClientId,
    },
    /// A receipt for a position that is somebody else's.
    #[error("The receipt of client {client} is for the position of another one")]
    Misplaced {
        /// Who.
        client: ClientId,
    },
}

impl Finding {
    /// A word for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Envelope(_) => "envelope",
            Self::Order { .. } => "order",
            Self::Missing { .. } => "missing",
            Self::List => "list",
            Self::Noise { .. } => "noise",
            Self::Dropped { .. } => "dropped",
            Self::Misplaced { .. } => "misplaced",
        }
    }
}

/// An audit under way: takes the envelopes one after the other, in the order
/// of the participants, and keeps none of them.
#[derive(Debug, Clone)]
pub struct Audit {
    context: RoundContext,
    header: RoundHeader,
    registry: Arc<ClientRegistry>,
    aggregate: Aggregate,
    expected: Vec<usize>,
    sum: Vec<u8>,
    list: Vec<(ClientId, Digest)>,
}

impl Audit {
    /// Begins to look into an aggregate.
    ///
    /// # Errors
    /// [`WrongRegistry`] if `registry` is not the one that the header names.
    pub fn new(
        header: &RoundHeader,
        registry: Arc<ClientRegistry>,
        aggregate: &CheckedAggregate<'_>,
    ) -> Result<Self, WrongRegistry> {
        if registry.root() != header.registry {
            return Err(WrongRegistry);
        }
        let aggregate = aggregate.aggregate();
        Ok(Self {
            context: aggregate.context,
            sum: vec![0; header.params.broadcast_bytes()],
            header: header.clone(),
            registry,
            expected: aggregate.participants.positions().collect(),
            aggregate: aggregate.clone(),
            list: Vec::new(),
        })
    }

    /// How many envelopes are still to come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.expected.len().saturating_sub(self.list.len())
    }

    /// Takes the next envelope.
    ///
    /// # Errors
    /// [`Finding`], after which the audit is over.
    pub fn add(&mut self, envelope: &SealedEnvelope) -> Result<(), Finding> {
        let client = envelope.client;
        let checked = envelope
            .check(&self.context, &self.header, &self.registry)
            .map_err(Finding::Envelope)?;
        if self.expected.get(self.list.len()) != Some(&checked.position()) {
            return Err(Finding::Order { client });
        }
        xor(&mut self.sum, &envelope.vector);
        self.list.push((client, *checked.root()));
        Ok(())
    }

    /// Ends the audit with what has come.
    ///
    /// # Errors
    /// [`Finding`].
    pub fn finish(self) -> Result<(), Finding> {
        if let Some(position) = self.expected.get(self.list.len()) {
            let client = self.registry.at(*position);
            return Err(client.map_or(Finding::List, |client| Finding::Missing {
                client: *client.id(),
            }));
        }
        if envelope_list(self.list.iter()) != self.aggregate.envelopes {
            return Err(Finding::List);
        }
        let bytes = self.header.params.slot_bytes();
        let slots = self
            .sum
            .chunks(bytes)
            .zip(self.aggregate.vector.chunks(bytes));
        match (0_u32..)
            .zip(slots)
            .find(|(_, (ours, theirs))| ours != theirs)
        {
            Some((slot, _)) => Err(Finding::Noise { slot }),
            None => Ok(()),
        }
    }
}

/// A whole audit at once.
///
/// # Errors
/// [`Finding`].
pub fn audit<'a>(
    mut audit: Audit,
    envelopes: impl IntoIterator<Item = &'a SealedEnvelope>,
) -> Result<(), Finding> {
    for envelope in envelopes {
        audit.add(envelope)?;
    }
    audit.finish()
}

/// Whether an aggregate keeps what a receipt of its round's aggregator promises. The
/// receipt's signature and the aggregate are checked before.
///
/// # Errors
/// [`Finding::Dropped`], or [`Finding::Misplaced`] where the registry is at hand.
pub fn honours(
    aggregate: &Aggregate,
    receipt: &EnvelopeReceipt,
    registry: Option<&ClientRegistry>,
) -> Result<(), Finding> {
    let client = receipt.client;
    let position = receipt.position as usize;
    if !aggregate.participants.contains(position) {
        return Err(Finding::Dropped { client });
    }
    if registry.is_some_and(|registry| registry.position(&client) != Some(position)) {
        return Err(Finding::Misplaced { client });
    }
    Ok(())
}
