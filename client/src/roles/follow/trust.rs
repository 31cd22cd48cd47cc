//! Which rounds a follower believes (I5, I6): what its user set, and who is
//! vouched for.

use zipnet_protocol::{PeerKey, Round};

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
        let aggregator = header.aggregator;
        if !named.is_empty()
            && !named
                .iter()
                .any(|peer| peer.as_bytes() == aggregator.as_bytes())
        {
            return Err(NewsError::Aggregator { found: aggregator });
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
