//! The tally of a round: from partials to the record.

use std::collections::BTreeMap;

use crate::{
    fold::{Aggregate, CheckedAggregate},
    ids::{Digest, ServerId},
    partial::{PartialError, SignedPartial},
    record::BroadcastRecord,
    round::Round,
};

/// Collects the partials of one aggregate until every server of the roster has
/// given its own.
#[derive(Debug, Clone)]
pub struct Tally {
    aggregate: Aggregate,
    digest: Digest,
    partials: BTreeMap<ServerId, SignedPartial>,
}

impl Tally {
    /// Starts collecting for a checked aggregate.
    #[must_use]
    pub fn new(aggregate: &CheckedAggregate<'_>) -> Self {
        Self {
            aggregate: aggregate.aggregate().clone(),
            digest: *aggregate.digest(),
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

    /// Whether a server's partial is in.
    #[must_use]
    pub fn contains(&self, server: &ServerId) -> bool {
        self.partials.contains_key(server)
    }

    /// The partials that are in.
    pub fn partials(&self) -> impl Iterator<Item = &SignedPartial> {
        self.partials.values()
    }

    /// Takes a partial in. With the last one, the record comes out.
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
