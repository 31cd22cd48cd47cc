//! What a server holds itself to, whatever the log says (I2, I7, I13, I17).
//!
//! mosaik's groups order commands among crash-faulty members, nothing more: a
//! leader can show different logs to different servers, and a partition can
//! make a server forget. The guard lives in the process, outside of all that.

use std::{collections::BTreeMap, sync::Arc};

use zipnet_protocol::{
    AdmittedServer, Aggregate, AggregateError, Certification, ClientRegistry, Digest, Epoch,
    Leaves, PadTable, Partial, PeerKey, Round, RoundHeader, ServerId, SignedPartial, SigningSecret,
    Tally,
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
    /// I17: in another log, somebody had committed to something else.
    #[error("This server gave its partial of round {number} for other commitments than these")]
    Given {
        /// The round.
        number: u64,
    },
    /// The registry is not the one that the header names.
    #[error("The client registry is not the one that the round's header names")]
    Registry,
    /// The aggregate.
    #[error("The aggregate is refused")]
    Aggregate(#[source] AggregateError),
    /// I13.
    #[error("The round's {0} is not what this server holds itself")]
    Differs(&'static str),
    /// I2, I13.
    #[error("This server stands for round {last} of the epoch; round {number} comes too late")]
    Signed {
        /// The highest that was certified.
        last: u64,
        /// The refused one.
        number: u64,
    },
    /// I13: another round has this server's word by now, or this one never had.
    #[error("This server does not stand for round {number}, and unblinds no other")]
    Uncertified {
        /// The refused one.
        number: u64,
    },
    /// I2.
    #[error("This server has unblinded another aggregate of round {number}")]
    Unblinded {
        /// The round.
        number: u64,
    },
    /// I17.
    #[error("Not every server has committed to its partial of round {number}")]
    Uncommitted {
        /// The round.
        number: u64,
    },
    /// I7: what an earlier boot of this server signed, only the others know.
    #[error(
        "This server is new to the epoch, and too few others have told it up to which round they stood; without that it stands for rounds of the whole committee of {committee} alone, the roster has {roster}"
    )]
    Amnesia {
        /// Servers in the committee.
        committee: u32,
        /// Servers in the roster.
        roster: usize,
    },
    /// A roster with keys of a boot that is over: that server has asked this one
    /// what it stands for, and goes by the answer.
    #[error("The round's roster has server {server} with the keys of an earlier boot")]
    Outdated {
        /// Which server.
        server: ServerId,
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
            Self::Differs(_) => "differs",
            Self::Signed { .. } => "signed",
            Self::Uncertified { .. } => "uncertified",
            Self::Unblinded { .. } => "unblinded",
            Self::Uncommitted { .. } => "uncommitted",
            Self::Given { .. } => "given",
            Self::Amnesia { .. } => "amnesia",
            Self::Outdated { .. } => "outdated",
            Self::Epochs => "epochs",
        }
    }
}

/// What a server holds itself, to compare a header with (I13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Digest of the newest record, or zeros.
    pub previous: Digest,
    /// Digest of the client registry.
    pub registry: Digest,
    /// Clients in it.
    pub clients: u32,
    /// The participation floor (I15).
    pub floor: u32,
    /// The aggregator that the header names, if it is registered.
    pub aggregator: Option<PeerKey>,
    /// Those of the leaves that the header names who are.
    pub leaves: Leaves,
}

impl Held {
    /// What a header says instead, if it says anything else.
    fn differs(&self, header: &RoundHeader) -> Option<&'static str> {
        let same = [
            ("predecessor", self.previous == header.previous),
            ("client registry", self.registry == header.registry),
            ("number of clients", self.clients == header.clients),
            ("participation floor", self.floor == header.floor),
            ("aggregator", self.aggregator == Some(header.aggregator)),
            ("leaves", self.leaves == header.leaves),
        ];
        same.iter().find(|(_, same)| !same).map(|(what, _)| *what)
    }
}

/// The memory of what this process has signed.
#[derive(Debug)]
pub struct Guard {
    rules: Arc<CommitteeRules>,
    server: ServerId,
    bundle: Digest,
    /// The highest number of each epoch that this process stood for, or that others
    /// say they stood for: an earlier boot of this server may have been with them.
    floors: BTreeMap<Epoch, u64>,
    /// The newest boot of each server that has asked what this one stands for.
    boots: BTreeMap<ServerId, u64>,
    /// The last certification. Only its round may be unblinded.
    standing: Option<Certification>,
    /// The partial of that round, and what it was given for.
    unblinded: Option<Unblinded>,
}

/// A partial that was computed.
#[derive(Debug)]
struct Unblinded {
    aggregate: Digest,
    partial: Partial,
    given: Option<SignedPartial>,
}

impl Guard {
    /// The guard of a server that has signed nothing, known by its bundle.
    #[must_use]
    pub const fn new(rules: Arc<CommitteeRules>, server: ServerId, bundle: Digest) -> Self {
        Self {
            rules,
            server,
            bundle,
            floors: BTreeMap::new(),
            boots: BTreeMap::new(),
            standing: None,
            unblinded: None,
        }
    }

    /// The bundle may change until something was signed: a server whose clock
    /// was set back has to register again under a higher boot number.
    pub fn set_bundle(&mut self, bundle: Digest) {
        if !self.has_signed() {
            self.bundle = bundle;
        }
    }

    /// Whether any round was certified in this process's life.
    #[must_use]
    pub fn has_signed(&self) -> bool {
        self.standing.is_some()
    }

    /// The highest round number of an epoch that this server, in this boot or an
    /// earlier one, can have stood for; `None` if it does not know.
    #[must_use]
    pub fn floor(&self, epoch: &Epoch) -> Option<u64> {
        self.floors.get(epoch).copied()
    }

    /// Tells another server up to which round this one stands, and stands for none
    /// with an earlier boot of it from now on: the other goes by the answer.
    pub fn tell(&mut self, asker: ServerId, boot: u64, epoch: &Epoch) -> Option<u64> {
        let known = self.boots.entry(asker).or_default();
        *known = boot.max(*known);
        self.floor(epoch)
    }

    /// Takes it from enough others (see [`CommitteeRules::words_needed`]) that no
    /// round of the epoch above `floor` can have been this server's. Does nothing if
    /// this server knows by itself.
    pub fn learn(&mut self, epoch: Epoch, floor: u64) {
        if self.floors.len() < MAX_EPOCHS {
            self.floors.entry(epoch).or_insert(floor);
        }
    }

    /// Stands for a round (I13), or hands out the same word again. At most one
    /// round of each number has this server's word; what the header says is what
    /// this server holds itself, and the whole roster is vouched for (I3).
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn certify(
        &mut self,
        round: &Round,
        vouched: &Vouched,
        held: &Held,
        signing: &SigningSecret,
    ) -> Result<Certification, GuardError> {
        let header = round.header();
        self.check_roster(round, vouched)?;
        if let Some(standing) = &self.standing
            && standing.context == *round.context()
        {
            return Ok(standing.clone());
        }
        if let Some(what) = held.differs(header) {
            return Err(GuardError::Differs(what));
        }
        match self.floors.get(&header.epoch) {
            Some(last) if header.number <= *last => {
                return Err(GuardError::Signed {
                    last: *last,
                    number: header.number,
                });
            }
            None if self.floors.len() >= MAX_EPOCHS => return Err(GuardError::Epochs),
            // An earlier boot, or this one in another epoch, may have signed for
            // the other half of a partition. A roster of everybody holds whoever
            // knows; of a smaller one, enough others have to be heard before.
            None if (header.number > 1 || self.has_signed())
                && header.roster.len() < header.committee_size as usize =>
            {
                return Err(GuardError::Amnesia {
                    committee: header.committee_size,
                    roster: header.roster.len(),
                });
            }
            _ => {}
        }
        self.floors.insert(header.epoch, header.number);
        let certification = Certification::sign(*round.context(), self.server, signing);
        self.standing = Some(certification.clone());
        self.unblinded = None;
        Ok(certification)
    }

    /// Computes the partial of the round that this server stands for, and yields
    /// what to commit to (I17). At most one partial of a round is ever made (I2);
    /// for the same aggregate the commitment is the same again.
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
    ) -> Result<Digest, GuardError> {
        let header = round.header();
        self.check_roster(round, vouched)?;
        let standing = self.standing.as_ref().map(|standing| &standing.context);
        if standing != Some(round.context()) {
            return Err(GuardError::Uncertified {
                number: header.number,
            });
        }
        if registry.len() != header.clients as usize || registry.root() != header.registry {
            return Err(GuardError::Registry);
        }
        let checked = aggregate
            .check(round.context(), header, registry)
            .map_err(GuardError::Aggregate)?;
        match &self.unblinded {
            Some(known) if known.aggregate == *checked.digest() => Ok(known.partial.commitment()),
            Some(_) => Err(GuardError::Unblinded {
                number: header.number,
            }),
            None => {
                let partial = Partial::compute(round, &checked, pads, self.server, signing);
                let commitment = partial.commitment();
                self.unblinded = Some(Unblinded {
                    aggregate: *checked.digest(),
                    partial,
                    given: None,
                });
                Ok(commitment)
            }
        }
    }

    /// Hands out the partial that was committed to, once every server of the
    /// roster has committed to its own, and signed for these commitments (I17).
    /// In a log where they are others, it is not given again: whoever has seen it
    /// could have committed anew.
    ///
    /// # Errors
    /// [`GuardError::Uncommitted`] or [`GuardError::Given`].
    pub fn reveal(
        &mut self,
        round: &Round,
        tally: &Tally,
        signing: &SigningSecret,
    ) -> Result<SignedPartial, GuardError> {
        let number = round.header().number;
        let uncommitted = GuardError::Uncommitted { number };
        let Some(known) = &mut self.unblinded else {
            return Err(uncommitted);
        };
        let ours = known.partial.context() == round.context()
            && *tally.digest() == known.aggregate
            && tally.commitment(&self.server) == Some(&known.partial.commitment());
        let Some(commitments) = tally.committed(round).filter(|_| ours) else {
            return Err(uncommitted);
        };
        let given = known
            .given
            .get_or_insert_with(|| known.partial.sign(commitments, signing));
        if given.commitments == commitments {
            Ok(given.clone())
        } else {
            Err(GuardError::Given { number })
        }
    }

    /// What is checked before anything is signed for a round.
    fn check_roster(&self, round: &Round, vouched: &Vouched) -> Result<(), GuardError> {
        let me = round.server(&self.server);
        if me.is_none_or(|server| *server.digest() != self.bundle) {
            return Err(GuardError::NotInRoster);
        }
        self.check_rules(round)?;
        let outdated = |server: &&AdmittedServer| {
            let newest = self.boots.get(server.id());
            newest.is_some_and(|newest| server.boot() < *newest)
        };
        if let Some(server) = round.roster().iter().find(outdated) {
            return Err(GuardError::Outdated {
                server: *server.id(),
            });
        }
        if vouched.context() == round.context() {
            Ok(())
        } else {
            Err(GuardError::NotVouched)
        }
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
