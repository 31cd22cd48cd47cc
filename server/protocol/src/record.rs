//! Broadcast records: paper algorithm 3, finalization, and the reader's side.

use serde::{Deserialize, Serialize};

use crate::{
    bundle::ServerBundle,
    fold::{Aggregate, AggregateError},
    ids::{Digest, RoundContext},
    instance::Instance,
    light,
    pad::xor,
    partial::{PartialError, SignedPartial, commitments_digest},
    participants::Participants,
    round::{HeaderError, Round, SignedHeader},
    slot::{self, SlotContent},
};

/// A record that a reader refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header.
    #[error("The record's header is refused")]
    Header(#[source] HeaderError),
    /// Read in a round that is not its own.
    #[error("The record is not of the round that it is read in")]
    Round,
    /// The aggregate.
    #[error("The record's aggregate is refused")]
    Aggregate(#[source] AggregateError),
    /// Not one partial for each server of the roster, in its order (I6).
    #[error(
        "The record has {found} partials; one of each of the {expected} servers in its roster would be right"
    )]
    Partials {
        /// Partials that came.
        found: usize,
        /// Servers in the roster.
        expected: usize,
    },
    /// One of the partials.
    #[error("A partial of the record is refused")]
    Partial(#[source] PartialError),
}

/// A finalized round, as it travels: header, aggregate and the signed partial
/// of every roster server (I6). Whoever reads it computes the broadcast from
/// these and trusts no writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastRecord {
    /// The header, signed by its opener.
    pub header: SignedHeader,
    /// The aggregate.
    pub aggregate: Aggregate,
    /// The partials, ascending by server.
    pub partials: Vec<SignedPartial>,
}

impl BroadcastRecord {
    /// Checks the whole record against the bundles of its roster.
    ///
    /// # Errors
    /// [`RecordError`], naming the first check that failed.
    pub fn verify(
        &self,
        instance: &Instance,
        bundles: &[ServerBundle],
    ) -> Result<FinalizedRound, RecordError> {
        let round = self
            .header
            .verify(instance, bundles)
            .map_err(RecordError::Header)?;
        self.verify_in(round)
    }

    /// As [`BroadcastRecord::verify`], for a round that was verified before.
    ///
    /// # Errors
    /// [`RecordError`], naming the first check that failed.
    pub fn verify_in(&self, round: Round) -> Result<FinalizedRound, RecordError> {
        if self.header != *round.signed() {
            return Err(RecordError::Round);
        }
        let aggregate = self
            .aggregate
            .check_shape(round.context(), round.header())
            .map_err(RecordError::Aggregate)?;
        let roster = round.roster();
        let in_order = self
            .partials
            .iter()
            .zip(roster)
            .all(|(partial, server)| partial.server == *server.id());
        if self.partials.len() != roster.len() || !in_order {
            return Err(RecordError::Partials {
                found: self.partials.len(),
                expected: roster.len(),
            });
        }
        let mut broadcast = self.aggregate.vector.to_vec();
        let mut vectors = Vec::with_capacity(self.partials.len());
        for partial in &self.partials {
            partial
                .verify(&round, &aggregate)
                .map_err(RecordError::Partial)?;
            xor(&mut broadcast, &partial.vector);
            vectors.push((&partial.server, partial.vector_digest()));
        }
        // I17: each was given for the commitments to all of these.
        let commitments = commitments_digest(
            round.context(),
            &aggregate,
            self.partials
                .iter()
                .map(|partial| (&partial.server, partial.commitment())),
        );
        if let Some(other) = self
            .partials
            .iter()
            .find(|partial| partial.commitments != commitments)
        {
            return Err(RecordError::Partial(PartialError::Commitments {
                server: other.server,
            }));
        }
        let vectors = light::vectors_digest(&aggregate, vectors.into_iter());
        let participants = self.aggregate.participants.clone();
        Ok(FinalizedRound::new(round, broadcast, participants, vectors))
    }
}

/// A record whose every signature and length was checked, or whose digest a round names
/// that was ([`ClaimedRound`](crate::ClaimedRound)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalizedRound {
    round: Round,
    pub(crate) broadcast: Vec<u8>,
    pub(crate) participants: Participants,
    pub(crate) vectors: Digest,
    digest: Digest,
}

impl FinalizedRound {
    pub(crate) fn new(
        round: Round,
        broadcast: Vec<u8>,
        participants: Participants,
        vectors: Digest,
    ) -> Self {
        Self {
            digest: light::record_digest(round.context(), &participants, &vectors, &broadcast),
            round,
            broadcast,
            participants,
            vectors,
        }
    }

    /// The round.
    #[must_use]
    pub const fn round(&self) -> &Round {
        &self.round
    }

    /// The round's context.
    #[must_use]
    pub const fn context(&self) -> &RoundContext {
        self.round.context()
    }

    /// The XOR of the participants' slots.
    #[must_use]
    pub fn broadcast(&self) -> &[u8] {
        &self.broadcast
    }

    /// How many clients took part.
    #[must_use]
    pub fn participants(&self) -> usize {
        self.participants.count()
    }

    /// Whether the client at a position of the round's registry took part, as
    /// its receipt promised.
    #[must_use]
    pub fn includes(&self, position: u32) -> bool {
        self.participants.contains(position as usize)
    }

    /// How many servers unblinded it: the roster.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.round.roster().len()
    }

    /// The digest that the next header names as `previous`.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What each slot holds.
    pub fn slots(&self) -> impl Iterator<Item = (u32, SlotContent)> + '_ {
        let bytes = self.round.header().params.slot_bytes();
        (0_u32..)
            .zip(self.broadcast.chunks_exact(bytes))
            .map(|(slot, content)| (slot, slot::read(self.context(), slot, content)))
    }

    /// The messages with a valid tag, by slot.
    pub fn messages(&self) -> impl Iterator<Item = (u32, Vec<u8>)> + '_ {
        self.slots().filter_map(|(slot, content)| match content {
            SlotContent::Message(message) => Some((slot, message)),
            SlotContent::Empty | SlotContent::Garbled => None,
        })
    }
}
