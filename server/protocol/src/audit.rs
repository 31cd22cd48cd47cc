//! Looking into what an aggregator and its leaves did: whether each part is the XOR of
//! envelopes that its participants signed, and the aggregate that of the parts and of
//! what it took itself, and of nothing else. Each shows its own envelopes, so that a
//! leaf's fault is the leaf's.
//!
//! Envelopes are ciphertext under the pads of *every* server of the roster, and the
//! aggregator, whom nobody trusts, has seen them anyway: to show them to one
//! server more costs no anonymity as long as one server is honest.

use std::sync::Arc;

use crate::{
    envelope::{FoldError, SealedEnvelope},
    fold::{Aggregate, CheckedAggregate, envelope_list},
    ids::{ClientId, Digest, PeerKey, RoundContext},
    pad::xor,
    params::RoundParams,
    participants::Participants,
    receipt::EnvelopeReceipt,
    registry::ClientRegistry,
    round::RoundHeader,
    slot_tree,
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
    /// Other envelopes than were signed for.
    #[error("The envelopes are not those whose list was signed")]
    List,
    /// A leaf's part is not the XOR of its envelopes. Which slot is wrong, its vector says.
    #[error("The part is not the XOR of its envelopes")]
    Part,
    /// The aggregate lacks a part for which its aggregator gave a receipt.
    #[error("The part of leaf number {leaf} has a receipt and is not in the aggregate")]
    Omitted {
        /// Which.
        leaf: u8,
    },
    /// The aggregate is not the XOR of its envelopes.
    #[error("Slot {slot} of the aggregate is not the XOR of its envelopes and parts")]
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
            Self::Part => "part",
            Self::Omitted { .. } => "omitted",
            Self::Noise { .. } => "noise",
            Self::Dropped { .. } => "dropped",
            Self::Misplaced { .. } => "misplaced",
        }
    }
}

/// An audit under way, of a leaf's part or of what an aggregator took itself: takes the
/// envelopes one after the other, in the order of the participants, and keeps none of them.
#[derive(Debug, Clone)]
pub struct Audit {
    context: RoundContext,
    header: RoundHeader,
    registry: Arc<ClientRegistry>,
    /// The digest of the list that was signed.
    signed: Digest,
    /// The root over the slots of the sum, if that was signed.
    root: Option<Digest>,
    expected: Vec<usize>,
    sum: Vec<u8>,
    list: Vec<(ClientId, Digest)>,
}

impl Audit {
    /// Begins to look into what the aggregator took itself.
    ///
    /// # Errors
    /// [`WrongRegistry`] if `registry` is not the one that the header names.
    pub fn new(
        header: &RoundHeader,
        registry: Arc<ClientRegistry>,
        aggregate: &CheckedAggregate<'_>,
    ) -> Result<Self, WrongRegistry> {
        let aggregate = aggregate.aggregate();
        let expected = aggregate.own().collect();
        Self::begin(header, registry, expected, aggregate.envelopes, None)
    }

    /// Begins to look into the part of a leaf; `None` if the aggregate has none of it.
    ///
    /// # Errors
    /// [`WrongRegistry`] if `registry` is not the one that the header names.
    pub fn of_part(
        header: &RoundHeader,
        registry: Arc<ClientRegistry>,
        aggregate: &CheckedAggregate<'_>,
        leaf: u8,
    ) -> Result<Option<Self>, WrongRegistry> {
        let Some(part) = aggregate.aggregate().part(leaf) else {
            return Ok(None);
        };
        let expected = part.participants.positions().collect();
        Self::begin(
            header,
            registry,
            expected,
            part.envelopes,
            Some(part.vector),
        )
        .map(Some)
    }

    fn begin(
        header: &RoundHeader,
        registry: Arc<ClientRegistry>,
        expected: Vec<usize>,
        signed: Digest,
        root: Option<Digest>,
    ) -> Result<Self, WrongRegistry> {
        if registry.root() != header.registry {
            return Err(WrongRegistry);
        }
        Ok(Self {
            context: header.context(),
            sum: vec![0; header.params.broadcast_bytes()],
            header: header.clone(),
            registry,
            signed,
            root,
            expected,
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

    /// The XOR of what has come.
    #[must_use]
    pub fn sum(&self) -> &[u8] {
        &self.sum
    }

    /// Ends the audit with what has come. Returns the XOR of the envelopes.
    ///
    /// # Errors
    /// [`Finding`].
    pub fn finish(self) -> Result<Vec<u8>, Finding> {
        if let Some(position) = self.expected.get(self.list.len()) {
            let client = self.registry.at(*position);
            return Err(client.map_or(Finding::List, |client| Finding::Missing {
                client: *client.id(),
            }));
        }
        if envelope_list(self.list.iter()) != self.signed {
            return Err(Finding::List);
        }
        let fits = |root: &Digest| slot_tree::root(&self.sum, self.header.params) == *root;
        if !self.root.as_ref().is_none_or(fits) {
            return Err(Finding::Part);
        }
        Ok(self.sum)
    }
}

/// Whether an aggregate is the XOR of what was found in the audits of its aggregator and
/// of its leaves.
///
/// # Errors
/// [`Finding::Noise`], with the first slot that differs.
pub fn adds_up<'a>(
    header: &RoundHeader,
    aggregate: &Aggregate,
    sums: impl IntoIterator<Item = &'a Vec<u8>>,
) -> Result<(), Finding> {
    let mut all = vec![0; header.params.broadcast_bytes()];
    for sum in sums {
        xor(&mut all, sum);
    }
    match first_difference(&all, &aggregate.vector, header.params) {
        Some(slot) => Err(Finding::Noise { slot }),
        None => Ok(()),
    }
}

/// The first slot in which two vectors of a round differ.
#[must_use]
pub fn first_difference(one: &[u8], other: &[u8], params: RoundParams) -> Option<u32> {
    let bytes = params.slot_bytes();
    let slots = one.chunks(bytes).zip(other.chunks(bytes));
    let differs = (0_u32..).zip(slots).find(|(_, (one, other))| one != other);
    differs.map(|(slot, _)| slot)
}

/// A whole audit at once, of an aggregate without parts.
///
/// # Errors
/// [`Finding`].
pub fn audit<'a>(
    mut audit: Audit,
    aggregate: &Aggregate,
    envelopes: impl IntoIterator<Item = &'a SealedEnvelope>,
) -> Result<(), Finding> {
    let header = audit.header.clone();
    for envelope in envelopes {
        audit.add(envelope)?;
    }
    adds_up(&header, aggregate, [&audit.finish()?])
}

/// Whether an aggregate keeps what a receipt of its round promises. The receipt's
/// [signer](EnvelopeReceipt::signer) and the aggregate are checked before. What a leaf has
/// promised is kept if its part is not in the aggregate: that may be the aggregator's fault.
///
/// # Errors
/// [`Finding::Dropped`], or [`Finding::Misplaced`] where the registry is at hand.
pub fn honours(
    header: &RoundHeader,
    aggregate: &Aggregate,
    receipt: &EnvelopeReceipt,
    signer: &PeerKey,
    registry: Option<&ClientRegistry>,
) -> Result<(), Finding> {
    let client = receipt.client;
    let position = receipt.position as usize;
    if registry.is_some_and(|registry| registry.position(&client) != Some(position)) {
        return Err(Finding::Misplaced { client });
    }
    if promised(header, aggregate, signer).is_some_and(|all| !all.contains(position)) {
        return Err(Finding::Dropped { client });
    }
    Ok(())
}

/// Among whom those have to be to whom a signer gave a receipt; `None` if it is not in the
/// aggregate.
pub(crate) fn promised<'a>(
    header: &RoundHeader,
    aggregate: &'a Aggregate,
    signer: &PeerKey,
) -> Option<&'a Participants> {
    if *signer == header.aggregator {
        return Some(&aggregate.participants);
    }
    let part = aggregate.part(header.leaves.number(signer)?)?;
    Some(&part.participants)
}
