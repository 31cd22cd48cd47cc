//! Light records: what a reader needs who does not add the vectors up.
//!
//! A record's digest covers its broadcast, its participants and one digest of all of its
//! vectors. Whoever has these three computes the digest, and the header of a later round
//! says whether it is right: every server of its roster has signed the digest of the
//! record that it held as the newest ([`Certificate`](crate::Certificate)). So it costs
//! one broadcast to read a round, instead of one and another for each server. It rests
//! on one honest server in the later round's roster, where a full record
//! ([`BroadcastRecord`](crate::BroadcastRecord)) rests on the signatures of its own.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Canonical, domain_digest},
    certificate::CertifiedRound,
    ids::{Digest, RoundContext},
    participants::{Participants, ParticipantsError},
    record::FinalizedRound,
    round::Round,
};

/// A light record that cannot be of its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// Of the wrong length.
    #[error("The broadcast has {found} bytes; {expected} would be right")]
    Length {
        /// Bytes that came.
        found: usize,
        /// Bytes of a broadcast.
        expected: usize,
    },
    /// The bitmap.
    #[error("The participants are not a set of registered clients")]
    Participants(#[source] ParticipantsError),
    /// I2.
    #[error("The record has {found} participants; at least {needed} would be right")]
    TooFew {
        /// Participants that came.
        found: usize,
        /// The header's floor.
        needed: u32,
    },
}

/// What is under a record's digest besides its round, as it travels. Not trusted before
/// a later round names it ([`ClaimedRound`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LightRecord {
    /// Who took part.
    pub participants: Participants,
    /// The digest of the aggregate and of every partial's vector.
    pub vectors: Digest,
    /// The XOR of the participants' slots.
    pub broadcast: Bytes,
}

impl LightRecord {
    /// What a verified record says.
    #[must_use]
    pub fn of(done: &FinalizedRound) -> Self {
        Self {
            participants: done.participants.clone(),
            vectors: done.vectors,
            broadcast: Bytes::copy_from_slice(&done.broadcast),
        }
    }

    /// Takes it as the record of a round, which it may or may not be.
    ///
    /// # Errors
    /// [`LightError`] if it cannot be.
    pub fn claim(&self, round: Round) -> Result<ClaimedRound, LightError> {
        let header = round.header();
        let expected = header.params.broadcast_bytes();
        if self.broadcast.len() != expected {
            return Err(LightError::Length {
                found: self.broadcast.len(),
                expected,
            });
        }
        self.participants
            .check(header.clients as usize)
            .map_err(LightError::Participants)?;
        let found = self.participants.count();
        if found < header.floor as usize {
            return Err(LightError::TooFew {
                found,
                needed: header.floor,
            });
        }
        Ok(ClaimedRound(FinalizedRound::new(
            round,
            self.broadcast.to_vec(),
            self.participants.clone(),
            self.vectors,
        )))
    }
}

/// A light record of a round, by one server's word. What it says comes out only once its
/// digest is named by what is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRound(FinalizedRound);

impl ClaimedRound {
    /// The digest that the next header names, if this is the record.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        self.0.digest()
    }

    /// The round, which was verified.
    #[must_use]
    pub const fn round(&self) -> &Round {
        self.0.round()
    }

    /// Bytes of its broadcast.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.broadcast.len()
    }

    /// The record, if a certified round names it as the newest.
    #[must_use]
    pub fn named_by(self, later: &CertifiedRound) -> Option<FinalizedRound> {
        self.named(later.round())
    }

    /// The record, if a finalized round names it as its predecessor.
    #[must_use]
    pub fn behind(self, later: &FinalizedRound) -> Option<FinalizedRound> {
        self.named(later.round())
    }

    fn named(self, later: &Round) -> Option<FinalizedRound> {
        (later.header().previous == *self.digest()).then_some(self.0)
    }
}

/// The digest of all vectors of a record.
pub(crate) fn vectors_digest<'a>(
    aggregate: &Digest,
    partials: impl ExactSizeIterator<Item = (&'a crate::ids::ServerId, Digest)>,
) -> Digest {
    let start = Canonical::new()
        .fixed(aggregate.as_bytes())
        .count(partials.len());
    partials
        .fold(start, |to, (server, vector)| {
            to.fixed(server.as_bytes()).fixed(vector.as_bytes())
        })
        .digest("zipnet/record-vectors/v1")
}

/// The digest that the next header names as `previous`.
pub(crate) fn record_digest(
    context: &RoundContext,
    participants: &Participants,
    vectors: &Digest,
    broadcast: &[u8],
) -> Digest {
    Canonical::new()
        .fixed(context.as_bytes())
        .bytes(participants.as_bytes())
        .fixed(vectors.as_bytes())
        .fixed(domain_digest("zipnet/broadcast/v1", broadcast).as_bytes())
        .digest("zipnet/record/v2")
}
