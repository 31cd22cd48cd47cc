//! What a server holds itself to, whatever the log says (I2, I7).
//!
//! mosaik's groups order commands among crash-faulty members, nothing more: a
//! leader can show different logs to different servers, and a partition can
//! make a server forget. The guard lives in the process, outside of all that.

use std::{collections::BTreeMap, sync::Arc};

use zipnet_protocol::{
    Aggregate, AggregateError, ClientRegistry, Digest, Epoch, PadTable, Round, RoundContext,
    ServerId, SignedPartial, SigningSecret,
};

use crate::{attestation::Vouched, settings::CommitteeRules};

/// Most epochs in a server's life.
const MAX_EPOCHS: usize = 1024;

/// A partial that this server does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The roster has other keys for this server, or none.
    #[error("The round's roster does not hold this server with the keys of this boot")]
    NotInRoster,
    /// The header disagrees with what this server was configured with.
    #[error("The round's {0} is not what this server was configured with")]
    Rules(&'static str),
    /// I3.
    #[error("The servers that were vouched for are those of another round")]
    NotVouched,
    /// The registry is not the one that the header names.
    #[error("The client registry is not the one that the round's header names")]
    Registry,
    /// The aggregate.
    #[error("The aggregate is refused")]
    Aggregate(#[source] AggregateError),
    /// I2.
    #[error(
        "This server has signed a partial for round {last} of the epoch; round {number} comes too late"
    )]
    Signed {
        /// The highest signed.
        last: u64,
        /// The refused one.
        number: u64,
    },
    /// I7: what an earlier boot of this server signed, only the others know.
    #[error(
        "This server is new to the epoch; its first round there needs the whole committee of {committee}, the roster has {roster}"
    )]
    Amnesia {
        /// Servers in the committee.
        committee: u32,
        /// Servers in the roster.
        roster: usize,
    },
    /// More epochs than a process should ever see.
    #[error("The committee started over more than 1024 times; restart the server")]
    Epochs,
}

impl GuardError {
    /// A word for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotInRoster => "not-in-roster",
            Self::Rules(_) => "rules",
            Self::NotVouched => "not-vouched",
            Self::Registry => "registry",
            Self::Aggregate(_) => "aggregate",
            Self::Signed { .. } => "signed",
            Self::Amnesia { .. } => "amnesia",
            Self::Epochs => "epochs",
        }
    }
}

/// The memory of what this process has signed.
#[derive(Debug)]
pub struct Guard {
    rules: Arc<CommitteeRules>,
    server: ServerId,
    bundle: Digest,
    signed: BTreeMap<Epoch, u64>,
    last: Option<(RoundContext, Digest, SignedPartial)>,
}

impl Guard {
    /// The guard of a server that has signed nothing, known by its bundle.
    #[must_use]
    pub const fn new(rules: Arc<CommitteeRules>, server: ServerId, bundle: Digest) -> Self {
        Self {
            rules,
            server,
            bundle,
            signed: BTreeMap::new(),
            last: None,
        }
    }

    /// The bundle may change until the first partial: a server whose clock was
    /// set back has to register again under a higher boot number.
    pub fn set_bundle(&mut self, bundle: Digest) {
        if self.signed.is_empty() {
            self.bundle = bundle;
        }
    }

    /// Whether any partial was given in this process's life.
    #[must_use]
    pub fn has_signed(&self) -> bool {
        !self.signed.is_empty()
    }

    /// The highest round number of an epoch that was signed.
    #[must_use]
    pub fn floor(&self, epoch: &Epoch) -> u64 {
        self.signed.get(epoch).copied().unwrap_or(0)
    }

    /// Computes the partial of a round, or hands out the same bytes again if
    /// it was computed before. At most one partial leaves this process for any
    /// round number (I2); the number is taken before anything is computed. The
    /// whole roster has to be vouched for (I3).
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn unblind(
        &mut self,
        round: &Round,
        vouched: &Vouched,
        registry: &ClientRegistry,
        aggregate: &Aggregate,
        pads: &PadTable,
        signing: &SigningSecret,
    ) -> Result<SignedPartial, GuardError> {
        let header = round.header();
        let me = round.server(&self.server);
        if me.is_none_or(|server| *server.digest() != self.bundle) {
            return Err(GuardError::NotInRoster);
        }
        self.check_rules(round)?;
        if vouched.context() != round.context() {
            return Err(GuardError::NotVouched);
        }
        if registry.len() != header.clients as usize || registry.digest() != header.registry {
            return Err(GuardError::Registry);
        }
        let checked = aggregate
            .check(round.context(), header)
            .map_err(GuardError::Aggregate)?;
        if let Some((context, digest, partial)) = &self.last
            && context == round.context()
            && digest == checked.digest()
        {
            return Ok(partial.clone());
        }
        match self.signed.get(&header.epoch) {
            Some(last) if header.number <= *last => {
                return Err(GuardError::Signed {
                    last: *last,
                    number: header.number,
                });
            }
            None if self.signed.len() >= MAX_EPOCHS => return Err(GuardError::Epochs),
            // An earlier boot may have signed this very number in the other
            // half of a partition. A roster of everybody holds whoever knows.
            None if header.number > 1 && header.roster.len() < header.committee_size as usize => {
                return Err(GuardError::Amnesia {
                    committee: header.committee_size,
                    roster: header.roster.len(),
                });
            }
            _ => {}
        }
        self.signed.insert(header.epoch, header.number);
        let partial = SignedPartial::compute(round, &checked, pads, self.server, signing);
        self.last = Some((*round.context(), *checked.digest(), partial.clone()));
        Ok(partial)
    }

    fn check_rules(&self, round: &Round) -> Result<(), GuardError> {
        let header = round.header();
        self.rules
            .check(header, header.committee_size)
            .map_err(GuardError::Rules)
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
