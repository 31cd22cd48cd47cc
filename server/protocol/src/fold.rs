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
    part::{CheckedPart, Part, PartError, PartSeal},
    participants::{Participants, ParticipantsError},
    registry::ClientRegistry,
    round::RoundHeader,
};

const SIGNED: &str = "zipnet/signed-aggregate/v2";

/// The running XOR of one round's envelopes, at its aggregator or at a leaf.
#[derive(Debug, Clone)]
pub struct Fold {
    context: RoundContext,
    header: RoundHeader,
    clients: usize,
    /// The XOR of what is in `own`.
    vector: Vec<u8>,
    /// What came from clients, by position.
    own: BTreeMap<usize, CheckedEnvelope>,
    /// What came from leaves, by their numbers.
    parts: BTreeMap<u8, CheckedPart>,
    /// How many clients are in: it is asked for with each envelope.
    count: usize,
    /// Whose these are.
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
            own: BTreeMap::new(),
            parts: BTreeMap::new(),
            count: 0,
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
        self.take(checked)
    }

    /// Folds in an envelope that was checked for this round before: nothing
    /// but the XOR is left to do.
    ///
    /// # Errors
    /// [`FoldError::Context`] or [`FoldError::Repeated`]; the fold is then as it was.
    pub fn take(&mut self, checked: CheckedEnvelope) -> Result<(), FoldError> {
        let envelope = checked.envelope();
        if envelope.context != self.context {
            return Err(FoldError::Context);
        }
        if self.own.contains_key(&checked.position()) {
            let client = envelope.client;
            return Err(FoldError::Repeated { client });
        }
        xor(&mut self.vector, &envelope.vector);
        if !self.is_in_part(checked.position()) {
            self.count = self.count.saturating_add(1);
        }
        self.peers.insert(*checked.peer());
        self.own.insert(checked.position(), checked);
        Ok(())
    }

    /// Takes the part of a leaf.
    ///
    /// # Errors
    /// [`PartError::Context`], or [`PartError::Overlap`] if the leaf has handed in another
    /// one before; the fold is then as it was.
    pub fn take_part(&mut self, part: CheckedPart) -> Result<(), PartError> {
        if part.part().context != self.context {
            return Err(PartError::Context);
        }
        match self.parts.get(&part.part().seal.leaf) {
            Some(before) if *before != part => Err(PartError::Overlap),
            Some(_) => Ok(()),
            None => {
                let positions = part.part().seal.participants.positions();
                let new = positions.filter(|position| !self.own.contains_key(position));
                self.count = self.count.saturating_add(new.count());
                self.peers.extend(part.peers());
                self.parts.insert(part.part().seal.leaf, part);
                Ok(())
            }
        }
    }

    /// The envelopes that came from clients, by their positions.
    #[must_use]
    pub const fn own(&self) -> &BTreeMap<usize, CheckedEnvelope> {
        &self.own
    }

    /// The parts that are in, ascending by their leaves' numbers.
    #[must_use]
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &CheckedPart> {
        self.parts.values()
    }

    /// Whether a client is in a part.
    fn is_in_part(&self, position: usize) -> bool {
        let mut parts = self.parts.values();
        parts.any(|part| part.part().seal.participants.contains(position))
    }

    /// The positions of those of whom only an envelope came.
    fn alone(&self) -> impl Iterator<Item = (usize, &CheckedEnvelope)> {
        let own = self.own.iter().map(|(at, one)| (*at, one));
        own.filter(|(at, _)| !self.is_in_part(*at))
    }

    /// How many clients are in.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// How many distinct peers' envelopes are in.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Whether every client of the registry is in.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.count() >= self.clients
    }

    /// Closes the fold and signs what came of it, as the round's aggregator: an envelope
    /// that is in a leaf's part as well is left out here. Whoever signs two different ones
    /// for a round has signed a proof against itself.
    #[must_use]
    pub fn finish(mut self, aggregator: &SigningSecret) -> Aggregate {
        let mut vector = core::mem::take(&mut self.vector);
        for (at, envelope) in &self.own {
            if self.is_in_part(*at) {
                xor(&mut vector, &envelope.envelope().vector);
            }
        }
        for part in self.parts.values() {
            xor(&mut vector, &part.part().vector);
        }
        let own: Vec<_> = self.alone().map(|(_, one)| listed(one)).collect();
        let in_parts = self.parts.values();
        let in_parts = in_parts.flat_map(|part| part.part().seal.participants.positions());
        let all = self.own.keys().copied().chain(in_parts);
        let participants = Participants::from_positions(self.clients, all);
        let seals = self.parts.values().map(|part| part.part().seal.clone());
        Aggregate::sign_with(
            self.context,
            participants,
            envelope_list(own.iter()),
            vector.into(),
            seals.collect(),
            aggregator,
        )
    }

    /// Closes the fold and signs what came of it, as a leaf of the round; `None` if `key`
    /// is not one.
    #[must_use]
    pub fn finish_part(self, key: &SigningSecret) -> Option<Part> {
        let leaf = self.header.leaves.number(&key.peer_key())?;
        let own: Vec<_> = self.own.values().map(listed).collect();
        Some(Part::sign(
            self.context,
            &self.header,
            leaf,
            Participants::from_positions(self.clients, self.own.keys().copied()),
            envelope_list(own.iter()),
            self.vector.into(),
            key,
        ))
    }
}

fn listed(envelope: &CheckedEnvelope) -> (ClientId, Digest) {
    (envelope.envelope().client, *envelope.root())
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
    /// A leaf's part.
    #[error("A part of the aggregate is not its leaf's")]
    Part(#[source] PartError),
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
    /// Digest of the list of the ids of those who are in no part, ascending, with the root
    /// that each has signed: what an audit is held against.
    pub envelopes: Digest,
    /// As long as a broadcast.
    pub vector: Bytes,
    /// What leaves said of their parts, ascending by their numbers.
    pub parts: Vec<PartSeal>,
    signature: Signature,
}

impl Aggregate {
    /// Signs as an aggregator that has no parts of leaves.
    #[must_use]
    pub fn sign(
        context: RoundContext,
        participants: Participants,
        envelopes: Digest,
        vector: Bytes,
        aggregator: &SigningSecret,
    ) -> Self {
        let none = Vec::new();
        Self::sign_with(context, participants, envelopes, vector, none, aggregator)
    }

    /// Signs as an aggregator.
    #[must_use]
    pub fn sign_with(
        context: RoundContext,
        participants: Participants,
        envelopes: Digest,
        vector: Bytes,
        parts: Vec<PartSeal>,
        aggregator: &SigningSecret,
    ) -> Self {
        let mut aggregate = Self {
            context,
            participants,
            envelopes,
            vector,
            parts,
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
        for part in &self.parts {
            let clients = part.check_clients(header, registry);
            clients.map_err(AggregateError::Part)?;
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
        self.check_parts(header).map_err(AggregateError::Part)?;
        let digest = self.digest();
        self.verify_digest(&header.aggregator, &digest)
            .map_err(AggregateError::Signature)?;
        Ok(digest)
    }

    /// Checks that the parts are of leaves of the round, and share no client.
    fn check_parts(&self, header: &RoundHeader) -> Result<(), PartError> {
        let pairs = self.parts.iter().zip(self.parts.iter().skip(1));
        let ascending = pairs.into_iter().all(|(one, next)| one.leaf < next.leaf);
        let mut left: BTreeSet<_> = self.participants.positions().collect();
        for part in &self.parts {
            part.verify(&self.context, header)?;
            let mut positions = part.participants.positions();
            if !ascending || !positions.all(|position| left.remove(&position)) {
                return Err(PartError::Overlap);
            }
        }
        Ok(())
    }

    /// The participants who are in no part: those whom the aggregator itself took.
    pub fn own(&self) -> impl Iterator<Item = usize> {
        let in_part = |at: usize| self.parts.iter().any(|part| part.participants.contains(at));
        self.participants
            .positions()
            .filter(move |at| !in_part(*at))
    }

    /// The part of a leaf, if it is in.
    #[must_use]
    pub fn part(&self, leaf: u8) -> Option<&PartSeal> {
        self.parts.iter().find(|part| part.leaf == leaf)
    }

    /// The digest that partials are signed over. It covers the list of the
    /// envelopes, so that a record says for good what its auditors were
    /// to be shown.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let start = Canonical::new()
            .fixed(self.context.as_bytes())
            .bytes(self.participants.as_bytes())
            .fixed(self.envelopes.as_bytes())
            .bytes(&self.vector)
            .count(self.parts.len());
        let parts = self.parts.iter();
        parts
            .fold(start, |to, part| {
                to.fixed(part.digest(&self.context).as_bytes())
            })
            .digest("zipnet/aggregate/v3")
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
