//! Aggregators that are out for good.
//!
//! One is struck on proof, by whoever brings it: everybody who applies the
//! command sees the same. What cannot be proved, that it shows its auditors
//! nothing or something else than it signed for, is voted on by the servers, and
//! more than half of the committee have to agree: a few of them who lie can neither
//! strike an honest aggregator nor keep one that was proved at fault. That one
//! honest server among liars stops a faulty one all the same is not decided
//! here: it gives no more partials (see the server's auditor).

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use zipnet_protocol::{AggregatorBundle, Fault, PeerKey, Proof, ServerId};

use super::state::{Applied, CommitteeState, Refusal};

/// Most aggregators that are remembered; beyond that the first ones that were
/// struck are forgotten. They are admitted by hand, so that takes a while.
pub const MAX_STRUCK: usize = 1024;
/// For how many rounds a vote counts. Silence may pass.
pub const VOTE_ROUNDS: u64 = 256;
/// Most aggregators that one server's votes stand against.
const MAX_VOTES: usize = 8;

/// Why an aggregator should be struck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strike {
    /// It signed what shows its fault. Decided by every server alike, on this alone.
    Proof(Box<Proof>),
    /// The sender found what it cannot prove.
    Vote,
}

impl Strike {
    /// A word for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Proof(proof) => Fault::reason(&proof.fault),
            Self::Vote => "vote",
        }
    }
}

/// Who is struck, and who wants whom to be. A part of the replicated state and
/// of snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strikes {
    /// In the order in which they were struck.
    struck: Vec<PeerKey>,
    /// By whom, against whom, and how many rounds the committee had opened.
    votes: BTreeMap<(ServerId, PeerKey), u64>,
}

impl Strikes {
    /// Whether an aggregator is struck. It cannot be registered again.
    #[must_use]
    pub fn is_struck(&self, aggregator: &PeerKey) -> bool {
        self.struck.contains(aggregator)
    }

    /// Who is struck, the first one first.
    #[must_use]
    pub fn struck(&self) -> &[PeerKey] {
        &self.struck
    }

    /// The servers whose vote against an aggregator stands, at a round number.
    pub fn voters(&self, aggregator: &PeerKey, opened: u64) -> impl Iterator<Item = &ServerId> {
        let stands = move |at: u64| opened.checked_sub(at).is_some_and(|age| age < VOTE_ROUNDS);
        self.votes
            .iter()
            .filter(move |((_, against), at)| against == aggregator && stands(**at))
            .map(|((server, _), _)| server)
    }

    /// Whether it is of a size that the rules let it come to.
    #[must_use]
    pub fn is_bounded(&self, servers: usize) -> bool {
        self.struck.len() <= MAX_STRUCK && self.votes.len() <= servers.saturating_mul(MAX_VOTES)
    }

    fn strike(&mut self, aggregator: PeerKey) {
        if self.struck.len() >= MAX_STRUCK {
            self.struck.remove(0);
        }
        self.struck.push(aggregator);
        self.votes.retain(|(_, against), _| *against != aggregator);
    }

    /// Keeps a vote, the newest ones of a server if they are too many.
    fn vote(&mut self, server: ServerId, aggregator: PeerKey, opened: u64) {
        self.votes.insert((server, aggregator), opened);
        loop {
            let of_server = || self.votes.iter().filter(|((by, _), _)| *by == server);
            if of_server().count() <= MAX_VOTES {
                return;
            }
            let others = of_server().filter(|((_, against), _)| *against != aggregator);
            let Some((oldest, _)) = others.min_by_key(|(_, at)| **at) else {
                return;
            };
            let oldest = *oldest;
            self.votes.remove(&oldest);
        }
    }

    /// Drops the votes of whoever is no longer registered.
    fn keep_votes(&mut self, registered: impl Fn(&ServerId) -> bool) {
        self.votes.retain(|(server, _), _| registered(server));
    }
}

impl CommitteeState {
    /// Aggregators that are struck or voted against.
    #[must_use]
    pub fn strikes(&self) -> &Strikes {
        &self.strikes
    }

    pub(super) fn strike_aggregator(
        &mut self,
        sender: ServerId,
        aggregator: PeerKey,
        strike: &Strike,
    ) -> Result<Applied, Refusal> {
        if self.strikes.is_struck(&aggregator) {
            return Err(Refusal::Struck(aggregator));
        }
        match strike {
            Strike::Proof(proof) => {
                let guilty = proof.verify(&self.rules.instance).map_err(Refusal::Proof)?;
                if guilty != aggregator {
                    return Err(Refusal::Accused {
                        accused: aggregator,
                        guilty,
                    });
                }
                Ok(self.strike_out(aggregator, proof.fault.reason()))
            }
            Strike::Vote => {
                let (servers, opened) = (&self.servers, self.opened);
                let strikes = Arc::make_mut(&mut self.strikes);
                strikes.keep_votes(|server| servers.contains_key(server));
                strikes.vote(sender, aggregator, opened);
                let votes = strikes.voters(&aggregator, opened).count();
                if votes.saturating_mul(2) <= self.committee_size() as usize {
                    return Ok(Applied::Voted { aggregator, votes });
                }
                Ok(self.strike_out(aggregator, "vote"))
            }
        }
    }

    fn strike_out(&mut self, aggregator: PeerKey, reason: &'static str) -> Applied {
        Arc::make_mut(&mut self.strikes).strike(aggregator);
        self.aggregators.strike(&aggregator);
        Applied::Struck { aggregator, reason }
    }

    /// Lists aggregators, but for those that are struck: an admission does not
    /// bring one back.
    pub(super) fn register_aggregators(
        &mut self,
        mut bundles: Vec<AggregatorBundle>,
    ) -> Result<Applied, Refusal> {
        let struck = |bundle: &AggregatorBundle| self.strikes.is_struck(bundle.peer());
        let first = bundles.iter().find(|bundle| struck(bundle));
        let first = first.map(|bundle| *bundle.peer());
        bundles.retain(|bundle| !struck(bundle));
        if let (Some(first), true) = (first, bundles.is_empty()) {
            return Err(Refusal::Struck(first));
        }
        let rules = &self.rules;
        self.aggregators
            .register(&rules.instance, &rules.aggregators, bundles, self.opened)
    }
}
