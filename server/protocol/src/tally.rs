//! The tally of a round: from commitments and partials to the record.

use std::collections::BTreeMap;

use crate::{
    fold::{Aggregate, CheckedAggregate},
    ids::{Digest, ServerId},
    partial::{PartialError, SignedPartial},
    record::BroadcastRecord,
    round::Round,
};

/// Collects for one aggregate what the servers of the roster give: first all
/// commitments, then the partials that they stand for (I17). Whoever gives its
/// partial last knows the broadcast before; it cannot choose it any more.
#[derive(Debug, Clone)]
pub struct Tally {
    aggregate: Aggregate,
    digest: Digest,
    commitments: BTreeMap<ServerId, Digest>,
    partials: BTreeMap<ServerId, SignedPartial>,
}

impl Tally {
    /// Starts collecting for a checked aggregate.
    #[must_use]
    pub fn new(aggregate: &CheckedAggregate<'_>) -> Self {
        Self {
            aggregate: aggregate.aggregate().clone(),
            digest: *aggregate.digest(),
            commitments: BTreeMap::new(),
            partials: BTreeMap::new(),
        }
    }

    /// The aggregate.
    #[must_use]
    pub const fn aggregate(&self) -> &Aggregate {
        &self.aggregate
    }

    /// The aggregate's digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What a server has committed to.
    #[must_use]
    pub fn commitment(&self, server: &ServerId) -> Option<&Digest> {
        self.commitments.get(server)
    }

    /// The commitments that are in.
    pub fn commitments(&self) -> impl Iterator<Item = (&ServerId, &Digest)> {
        self.commitments.iter()
    }

    /// Whether every server of the roster has committed to its partial.
    #[must_use]
    pub fn is_committed(&self, round: &Round) -> bool {
        let roster = round.roster();
        roster
            .iter()
            .all(|server| self.commitments.contains_key(server.id()))
    }

    /// Takes a server's commitment in. That it is the server's, the caller
    /// answers for. The first one counts.
    ///
    /// # Errors
    /// [`PartialError::Stranger`] or [`PartialError::Repeated`].
    pub fn commit(
        &mut self,
        round: &Round,
        server: ServerId,
        commitment: Digest,
    ) -> Result<(), PartialError> {
        if round.server(&server).is_none() {
            return Err(PartialError::Stranger { server });
        }
        if self.commitments.contains_key(&server) {
            return Err(PartialError::Repeated { server });
        }
        self.commitments.insert(server, commitment);
        Ok(())
    }

    /// Whether a server's partial is in.
    #[must_use]
    pub fn contains(&self, server: &ServerId) -> bool {
        self.partials.contains_key(server)
    }

    /// The partials that are in.
    pub fn partials(&self) -> impl Iterator<Item = &SignedPartial> {
        self.partials.values()
    }

    /// Takes a partial in, once all commitments are there and if it is the one
    /// that its server committed to. With the last one, the record comes out.
    ///
    /// # Errors
    /// [`PartialError`]; the tally is then as it was.
    pub fn add(
        &mut self,
        round: &Round,
        partial: SignedPartial,
    ) -> Result<Option<BroadcastRecord>, PartialError> {
        if self.contains(&partial.server) {
            return Err(PartialError::Repeated {
                server: partial.server,
            });
        }
        partial.verify(round, &self.digest)?;
        let server = partial.server;
        if !self.is_committed(round) {
            return Err(PartialError::Early { server });
        }
        if self.commitment(&server) != Some(&partial.commitment()) {
            return Err(PartialError::Commitment { server });
        }
        self.partials.insert(partial.server, partial);
        if round
            .roster()
            .iter()
            .any(|server| !self.contains(server.id()))
        {
            return Ok(None);
        }
        Ok(Some(BroadcastRecord {
            header: round.signed().clone(),
            aggregate: self.aggregate.clone(),
            partials: self.partials.values().cloned().collect(),
        }))
    }
}
