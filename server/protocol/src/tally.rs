//! The tally of a round: from commitments and partials to the record.

use std::collections::BTreeMap;

use crate::{
    fold::{Aggregate, CheckedAggregate},
    ids::{Digest, ServerId},
    partial::{PartialError, SignedPartial, commitments_digest},
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

    /// What the servers of the roster have committed to, once all have: that
    /// is what each signs its partial for.
    #[must_use]
    pub fn committed(&self, round: &Round) -> Option<Digest> {
        let all: Option<Vec<_>> = round
            .roster()
            .iter()
            .map(|server| Some((server.id(), *self.commitments.get(server.id())?)))
            .collect();
        let all = all?.into_iter();
        Some(commitments_digest(round.context(), &self.digest, all))
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
        let committed = self
            .committed(round)
            .ok_or(PartialError::Early { server })?;
        if self.commitment(&server) != Some(&partial.commitment()) {
            return Err(PartialError::Commitment { server });
        }
        if partial.commitments != committed {
            return Err(PartialError::Commitments { server });
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
