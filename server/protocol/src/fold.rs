//! Folding: paper algorithm 2, the aggregator's side. Nothing here is secret.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    canonical::Canonical,
    envelope::SealedEnvelope,
    floor,
    ids::{ClientId, Digest, RoundContext},
    pad::xor,
    participants::{Participants, ParticipantsError},
    registry::ClientRegistry,
    round::RoundHeader,
};

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
}

/// The running XOR of one round's envelopes.
#[derive(Debug, Clone)]
pub struct Fold {
    context: RoundContext,
    vector: Vec<u8>,
    folded: Vec<bool>,
    count: usize,
}

impl Fold {
    /// An empty fold over a registry of `clients`.
    #[must_use]
    pub fn new(context: RoundContext, header: &RoundHeader, clients: usize) -> Self {
        Self {
            context,
            vector: vec![0; header.params.broadcast_bytes()],
            folded: vec![false; clients],
            count: 0,
        }
    }

    /// Folds one envelope in.
    ///
    /// # Errors
    /// [`FoldError`]; the fold is then as it was.
    pub fn add(
        &mut self,
        registry: &ClientRegistry,
        envelope: &SealedEnvelope,
    ) -> Result<(), FoldError> {
        if envelope.context != self.context {
            return Err(FoldError::Context);
        }
        if envelope.vector.len() != self.vector.len() {
            return Err(FoldError::Length {
                found: envelope.vector.len(),
                expected: self.vector.len(),
            });
        }
        let client = envelope.client;
        let seen = registry
            .position(&client)
            .and_then(|position| self.folded.get_mut(position))
            .ok_or(FoldError::Unregistered { client })?;
        if *seen {
            return Err(FoldError::Repeated { client });
        }
        *seen = true;
        self.count = self.count.saturating_add(1);
        xor(&mut self.vector, &envelope.vector);
        Ok(())
    }

    /// How many envelopes are in.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether every client of the registry is in.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.count == self.folded.len()
    }

    /// Whose envelopes are in.
    #[must_use]
    pub fn participants(&self) -> Participants {
        let positions = self
            .folded
            .iter()
            .enumerate()
            .filter_map(|(position, folded)| folded.then_some(position));
        Participants::from_positions(self.folded.len(), positions)
    }

    /// Closes the fold.
    #[must_use]
    pub fn finish(self) -> Aggregate {
        Aggregate {
            context: self.context,
            participants: self.participants(),
            vector: self.vector.into(),
        }
    }
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
}

/// The XOR of the participants' envelopes, as it travels to the servers. Not
/// trusted before [`Aggregate::check`], and then only as far as that goes: who
/// really sealed, nobody can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The round.
    pub context: RoundContext,
    /// Whose envelopes are in it.
    pub participants: Participants,
    /// As long as a broadcast.
    pub vector: Bytes,
}

impl Aggregate {
    /// Checks all of I2 and I15 that concerns the aggregate: its round, its
    /// length, its participants registered, and those of them who are distinct
    /// peers enough. `registry` is the one that the header names.
    ///
    /// # Errors
    /// [`AggregateError`], naming the first check that failed.
    pub fn check(
        &self,
        context: &RoundContext,
        header: &RoundHeader,
        registry: &ClientRegistry,
    ) -> Result<CheckedAggregate<'_>, AggregateError> {
        self.check_shape(context, header)?;
        let found = floor::distinct_peers(&self.participants, registry);
        if found < header.floor as usize {
            return Err(AggregateError::TooFew {
                found,
                needed: header.floor,
            });
        }
        Ok(CheckedAggregate {
            aggregate: self,
            digest: self.digest(),
        })
    }

    /// What can be checked without the registry: whoever reads a record counts
    /// participants, and leaves it to the servers that they are distinct peers.
    ///
    /// # Errors
    /// [`AggregateError`], naming the first check that failed.
    pub fn check_shape(
        &self,
        context: &RoundContext,
        header: &RoundHeader,
    ) -> Result<(), AggregateError> {
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
        Ok(())
    }

    /// The digest that partials are signed over.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Canonical::new()
            .fixed(self.context.as_bytes())
            .bytes(self.participants.as_bytes())
            .bytes(&self.vector)
            .digest("zipnet/aggregate/v1")
    }
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
