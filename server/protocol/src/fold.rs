//! Folding: paper algorithm 2, the aggregator's side. Nothing here is secret.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    canonical::Canonical,
    envelope::{CheckedEnvelope, FoldError, SealedEnvelope},
    floor,
    ids::{ClientId, Digest, PeerKey, RoundContext},
    keys::{KeyError, Signature, SigningPublic, SigningSecret},
    pad::xor,
    participants::{Participants, ParticipantsError},
    registry::ClientRegistry,
    round::RoundHeader,
};

const SIGNED: &str = "zipnet/signed-aggregate/v1";

/// The running XOR of one round's envelopes.
#[derive(Debug, Clone)]
pub struct Fold {
    context: RoundContext,
    header: RoundHeader,
    vector: Vec<u8>,
    clients: usize,
    /// Whose envelopes are in, by position, with what each client signed.
    folded: BTreeMap<usize, (ClientId, Digest)>,
    peers: BTreeSet<PeerKey>,
}

impl Fold {
    /// An empty fold over a registry of `clients`.
    #[must_use]
    pub fn new(context: RoundContext, header: &RoundHeader, clients: usize) -> Self {
        Self {
            context,
            vector: vec![0; header.params.broadcast_bytes()],
            header: header.clone(),
            clients,
            folded: BTreeMap::new(),
            peers: BTreeSet::new(),
        }
    }

    /// Checks one envelope and folds it in. `registry` has to be the one that
    /// the header names.
    ///
    /// # Errors
    /// [`FoldError`]; the fold is then as it was.
    pub fn add(
        &mut self,
        registry: &ClientRegistry,
        envelope: &SealedEnvelope,
    ) -> Result<(), FoldError> {
        let checked = envelope.check(&self.context, &self.header, registry)?;
        self.take(&checked)
    }

    /// Folds in an envelope that was checked for this round before: nothing
    /// but the XOR is left to do.
    ///
    /// # Errors
    /// [`FoldError::Context`] or [`FoldError::Repeated`]; the fold is then as it was.
    pub fn take(&mut self, checked: &CheckedEnvelope) -> Result<(), FoldError> {
        let envelope = checked.envelope();
        if envelope.context != self.context {
            return Err(FoldError::Context);
        }
        let client = envelope.client;
        if self.folded.contains_key(&checked.position()) {
            return Err(FoldError::Repeated { client });
        }
        self.folded
            .insert(checked.position(), (client, *checked.root()));
        self.peers.insert(*checked.peer());
        xor(&mut self.vector, &envelope.vector);
        Ok(())
    }

    /// How many envelopes are in.
    #[must_use]
    pub fn count(&self) -> usize {
        self.folded.len()
    }

    /// How many distinct peers' envelopes are in.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Whether every client of the registry is in.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.count() >= self.clients
    }

    /// Closes the fold and signs what came of it, as the round's aggregator.
    /// Whoever signs two different ones for a round has signed a proof against
    /// itself.
    #[must_use]
    pub fn finish(self, aggregator: &SigningSecret) -> Aggregate {
        Aggregate::sign(
            self.context,
            Participants::from_positions(self.clients, self.folded.keys().copied()),
            envelope_list(self.folded.values()),
            self.vector.into(),
            aggregator,
        )
    }
}

/// The digest of whose envelopes are in an aggregate, ascending by client id, with
/// the root that each signed.
pub(crate) fn envelope_list<'a>(
    envelopes: impl ExactSizeIterator<Item = &'a (ClientId, Digest)>,
) -> Digest {
    let start = Canonical::new().count(envelopes.len());
    envelopes
        .fold(start, |to, (client, root)| {
            to.fixed(client.as_bytes()).fixed(root.as_bytes())
        })
        .digest("zipnet/envelope-list/v1")
}

/// An aggregate that no honest server unblinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// For another round.
    #[error("The aggregate is for another round than the open one")]
    Context,
    /// Of the wrong length.
    #[error("The aggregate has {found} bytes; {expected} would be right")]
    Length {
        /// Bytes that came.
        found: usize,
        /// Bytes of a broadcast.
        expected: usize,
    },
    /// The bitmap.
    #[error("The participants are not a set of registered clients")]
    Participants(#[source] ParticipantsError),
    /// I2, I15.
    #[error(
        "The aggregate has {found} participants that are distinct peers; at least {needed} would be right"
    )]
    TooFew {
        /// Participants that came.
        found: usize,
        /// The header's floor.
        needed: u32,
    },
    /// Somebody takes part who asked for more servers than the round has.
    #[error(
        "The aggregate is of a client, number {position} of the registry, that registered for more servers than the {found} of the round"
    )]
    Servers {
        /// The client's position in the registry.
        position: usize,
        /// Servers in the roster.
        found: usize,
    },
    /// Not of the one peer whose aggregate counts in this round.
    #[error("The aggregate is not signed by the aggregator that the round's header names")]
    Signature(#[source] KeyError),
}

/// The XOR of the participants' envelopes, as it travels to the servers,
/// signed by the aggregator. Not trusted before [`Aggregate::check`], and then
/// only as far as that goes: that it really is that XOR, an
/// [`Audit`](crate::Audit) says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The round.
    pub context: RoundContext,
    /// Whose envelopes are in it.
    pub participants: Participants,
    /// Digest of the list of their ids, ascending, with the root that each has
    /// signed: what an audit is held against.
    pub envelopes: Digest,
    /// As long as a broadcast.
    pub vector: Bytes,
    signature: Signature,
}

impl Aggregate {
    /// Signs as an aggregator.
    #[must_use]
    pub fn sign(
        context: RoundContext,
        participants: Participants,
        envelopes: Digest,
        vector: Bytes,
        aggregator: &SigningSecret,
    ) -> Self {
        let mut aggregate = Self {
            context,
            participants,
            envelopes,
            vector,
            signature: Signature::from_bytes(&[0; 64]),
        };
        let body = signed_body(&context, &aggregate.digest());
        aggregate.signature = aggregator.sign(SIGNED, &body);
        aggregate
    }

    /// Checks that a peer signed it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, aggregator: &PeerKey) -> Result<(), KeyError> {
        self.verify_digest(aggregator, &self.digest())
    }

    fn verify_digest(&self, aggregator: &PeerKey, digest: &Digest) -> Result<(), KeyError> {
        let body = signed_body(&self.context, digest);
        SigningPublic::from(*aggregator).verify(SIGNED, &body, &self.signature)
    }

    /// Checks all of I2 and I15 that concerns the aggregate: its round, its
    /// length, its participants registered and content with the roster, those of them who are distinct
    /// peers enough, and that it is of the aggregator that the header names.
    /// `registry` is the one that the header names.
    ///
    /// # Errors
    /// [`AggregateError`], naming the first check that failed.
    pub fn check(
        &self,
        context: &RoundContext,
        header: &RoundHeader,
        registry: &ClientRegistry,
    ) -> Result<CheckedAggregate<'_>, AggregateError> {
        let digest = self.check_shape(context, header)?;
        let refuses = |position: &usize| {
            let client = registry.at(*position);
            client.is_some_and(|client| !header.serves(client.least_servers()))
        };
        if let Some(position) = self.participants.positions().find(refuses) {
            return Err(AggregateError::Servers {
                position,
                found: header.roster.len(),
            });
        }
        let found = floor::distinct_peers(&self.participants, registry);
        if found < header.floor as usize {
            return Err(AggregateError::TooFew {
                found,
                needed: header.floor,
            });
        }
        Ok(CheckedAggregate {
            aggregate: self,
            digest,
        })
    }

    /// What can be checked without the registry: whoever reads a record counts
    /// participants, and leaves it to the servers that they are distinct peers.
    /// Returns the aggregate's digest.
    ///
    /// # Errors
    /// [`AggregateError`], naming the first check that failed.
    pub fn check_shape(
        &self,
        context: &RoundContext,
        header: &RoundHeader,
    ) -> Result<Digest, AggregateError> {
        if self.context != *context {
            return Err(AggregateError::Context);
        }
        let expected = header.params.broadcast_bytes();
        if self.vector.len() != expected {
            return Err(AggregateError::Length {
                found: self.vector.len(),
                expected,
            });
        }
        self.participants
            .check(header.clients as usize)
            .map_err(AggregateError::Participants)?;
        let found = self.participants.count();
        if found < header.floor as usize {
            return Err(AggregateError::TooFew {
                found,
                needed: header.floor,
            });
        }
        let digest = self.digest();
        self.verify_digest(&header.aggregator, &digest)
            .map_err(AggregateError::Signature)?;
        Ok(digest)
    }

    /// The digest that partials are signed over. It covers the list of the
    /// envelopes, so that a record says for good what its auditors were
    /// to be shown.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Canonical::new()
            .fixed(self.context.as_bytes())
            .bytes(self.participants.as_bytes())
            .fixed(self.envelopes.as_bytes())
            .bytes(&self.vector)
            .digest("zipnet/aggregate/v2")
    }
}

fn signed_body(context: &RoundContext, aggregate: &Digest) -> Canonical {
    Canonical::new()
        .fixed(context.as_bytes())
        .fixed(aggregate.as_bytes())
}

/// An aggregate that passed [`Aggregate::check`] for its round.
#[derive(Debug, Clone, Copy)]
pub struct CheckedAggregate<'a> {
    aggregate: &'a Aggregate,
    digest: Digest,
}

impl CheckedAggregate<'_> {
    /// The aggregate.
    #[must_use]
    pub const fn aggregate(&self) -> &Aggregate {
        self.aggregate
    }

    /// Its digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}
