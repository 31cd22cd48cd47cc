//! Which rounds a follower believes (I5, I6): what its user set, and who is
//! vouched for.

use zipnet_protocol::{AggregatorBundle, PeerKey, Round, RoundHeader};

use super::{Follower, NewsError};
use crate::{attestation::vouch, settings::TrustSettings};

/// Farthest that a round may be ahead of the last record.
const MAX_JUMP: u64 = 1 << 20;

/// What must hold of any roster, but for its evidence: its size, and the servers that are
/// pinned.
///
/// # Errors
/// [`NewsError`].
pub fn pinned(trust: &TrustSettings, round: &Round) -> Result<(), NewsError> {
    let header = round.header();
    let found = round.roster().len();
    if let Some(size) = trust.committee_size {
        let needed = trust.min_servers.unwrap_or(size);
        if header.committee_size != size || found < needed as usize {
            return Err(NewsError::SmallRoster {
                found,
                committee: header.committee_size,
                needed,
            });
        }
    }
    let required = trust.required.iter();
    holds_all(round, required.map(|peer| PeerKey::new(*peer.as_bytes())))
}

impl Follower {
    /// What must hold of any roster.
    pub(super) fn trusted_roster(&self, round: &Round) -> Result<(), NewsError> {
        pinned(&self.trust, round)?;
        let authority = self.trust.authority.as_deref();
        vouch(&self.instance, authority, round, |server| {
            authority?.credential(server.digest())
        })
        .map(|_| ())
        .map_err(NewsError::Vouch)
    }

    /// What must hold of a round that is to be sealed for (I5): besides, every
    /// server that is known to be there is in its roster, unless a smaller
    /// number was set as enough.
    pub(super) fn trusted_open(&self, round: &Round) -> Result<(), NewsError> {
        let header = round.header();
        let base = self.course.highest(&header.epoch);
        if header.number.saturating_sub(base) > MAX_JUMP {
            return Err(NewsError::Ahead {
                number: header.number,
            });
        }
        if header.min_participants < self.trust.min_participants {
            return Err(NewsError::FewParticipants {
                found: header.min_participants,
                needed: self.trust.min_participants,
            });
        }
        let named = &self.trust.aggregators;
        let is_named = |one: &&PeerKey| named.iter().any(|peer| peer.as_bytes() == one.as_bytes());
        let mut all = header.leaves.iter().chain([&header.aggregator]);
        if let Some(found) = all.find(|one| !named.is_empty() && !is_named(one)) {
            return Err(NewsError::Aggregator { found: *found });
        }
        // The keys of that boot are gone, so nobody finalizes this any more.
        let outdated = round
            .roster()
            .iter()
            .find(|server| self.directory.outdates(server));
        if let Some(server) = outdated {
            return Err(NewsError::Outdated {
                server: *server.peer(),
            });
        }
        self.trusted_roster(round)?;
        if !header.serves(self.trust.least_servers()) {
            return Err(NewsError::SmallRoster {
                found: round.roster().len(),
                committee: header.committee_size,
                needed: self.trust.min_servers.unwrap_or(header.committee_size),
            });
        }
        match self.trust.min_servers {
            None => holds_all(round, self.directory.servers()),
            Some(_) => Ok(()),
        }
    }

    /// Keeps where a round's aggregator and leaves are. Nobody signed which of these the
    /// server tells: those that the header does not name are passed over, and only what
    /// holds as a whole is not to be told again.
    pub(super) fn take_aggregators(&mut self, header: &RoundHeader, told: &[AggregatorBundle]) {
        let is_named = |bundle: &&AggregatorBundle| {
            header.aggregator == *bundle.peer() || header.leaves.number(bundle.peer()).is_some()
        };
        let holds = |bundle: &&AggregatorBundle| bundle.verify(&self.instance, |_| true).is_ok();
        let mut held = 0_usize;
        for bundle in told.iter().filter(is_named).filter(holds) {
            self.ground.told(&self.instance, bundle);
            held = held.saturating_add(1);
        }
        if self.claims.is_some() && held > 0 && held == told.len() {
            self.polls.has_aggregators(AggregatorBundle::told(told));
        }
    }
}

fn holds_all(round: &Round, servers: impl IntoIterator<Item = PeerKey>) -> Result<(), NewsError> {
    let roster = round.roster();
    match servers
        .into_iter()
        .find(|wanted| !roster.iter().any(|server| server.peer() == wanted))
    {
        Some(missing) => Err(NewsError::Required {
            server: missing.to_string(),
        }),
        None => Ok(()),
    }
}
