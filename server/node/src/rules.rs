//! What servers of one instance agree on, parsed strictly.

use core::{fmt, str::FromStr, time::Duration};
use std::{collections::BTreeSet, sync::Arc};

use mosaik::NetworkId;
use zipnet_attest::TrustBase;
use zipnet_protocol::{Canonical, Digest, Instance, PeerKey, RoundHeader, RoundParams};

use zipnet::settings::{NetworkSettings, SettingError, clip, parse_peer};

/// When a server that does not answer stops being listed.
pub const SERVER_LEASE: Duration = Duration::from_secs(30);

/// The id of a universe on mosaik's network.
#[must_use]
pub fn network_id(settings: &NetworkSettings) -> NetworkId {
    NetworkId::from(settings.universe.as_str())
}

/// What servers of one instance must agree on. It is part of the ordering
/// group's identity: servers that differ in it never meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitteeRules {
    /// The deployment.
    pub instance: Instance,
    /// What its servers' evidence is judged by for good; `None` if they show
    /// none. Its anchor is that of the instance.
    pub trust: Option<Arc<TrustBase>>,
    /// Shape of the broadcasts.
    pub params: RoundParams,
    /// Fewest clients of a round.
    pub min_participants: u32,
    /// How many servers the committee is meant to have; the registered ones if
    /// unset.
    pub committee_size: Option<u32>,
    /// Fewest servers of a round; the whole committee if unset. Less than all
    /// trades any-trust among the committee for liveness.
    pub min_servers: Option<u32>,
    /// Most clients that one peer may register.
    pub clients_per_peer: u32,
    /// Which clients are admitted.
    pub clients: ClientRules,
    /// Which aggregators are dealt with.
    pub aggregators: AggregatorRules,
    /// How many aggregators share out the clients of a round; with less than two, its
    /// aggregator takes all of them.
    pub leaves: u32,
}

/// Which clients a committee lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientRules {
    /// Whoever asks, within the limits.
    #[default]
    Open,
    /// Whoever shows an invite, for one client at a time.
    Invite,
}

impl FromStr for ClientRules {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        match text {
            "open" => Ok(Self::Open),
            "invite" => Ok(Self::Invite),
            _ => Err(SettingError::Clients { text: clip(text) }),
        }
    }
}

impl fmt::Display for ClientRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Invite => "invite",
        })
    }
}

/// How many clients one peer may register, unless it is set otherwise.
pub const CLIENTS_PER_PEER: u32 = 16;

/// Which aggregators a committee deals with: those that are named, and those
/// that show an admission by the committee key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AggregatorRules {
    /// Peers that need no admission.
    pub named: BTreeSet<PeerKey>,
    /// Whether nobody needs one. Then whoever likes chooses the participants
    /// of rounds.
    pub any: bool,
}

impl AggregatorRules {
    /// Whether a peer needs no admission.
    #[must_use]
    pub fn admits(&self, peer: &PeerKey) -> bool {
        self.any || self.named.contains(peer)
    }
}

/// One word of `ZIPNET_AGGREGATORS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AggregatorName {
    /// Nobody needs an admission.
    Any,
    /// This peer needs none.
    Peer(PeerKey),
}

impl FromStr for AggregatorName {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let peer = parse_peer(text).map_err(|_| SettingError::Aggregator { text: clip(text) })?;
        Ok(Self::Peer(PeerKey::new(*peer.as_bytes())))
    }
}

impl FromIterator<AggregatorName> for AggregatorRules {
    fn from_iter<T: IntoIterator<Item = AggregatorName>>(names: T) -> Self {
        let mut rules = Self::default();
        for name in names {
            match name {
                AggregatorName::Any => rules.any = true,
                AggregatorName::Peer(peer) => {
                    rules.named.insert(peer);
                }
            }
        }
        rules
    }
}

impl CommitteeRules {
    /// The digest of everything but the trust base, which is in the instance
    /// id.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let canonical = Canonical::new()
            .fixed(self.instance.id().as_bytes())
            .u32(self.params.slots())
            .count(self.params.slot_bytes())
            .u32(self.min_participants)
            .u32(self.committee_size.unwrap_or(0))
            .u32(self.min_servers.unwrap_or(0))
            .u32(self.clients_per_peer)
            .u32(u32::from(self.clients == ClientRules::Invite))
            .u32(if self.leaves < 2 { 0 } else { self.leaves })
            .u32(u32::from(self.aggregators.any))
            .count(self.aggregators.named.len());
        let named = self.aggregators.named.iter();
        named
            .fold(canonical, |to, peer| to.fixed(peer.as_bytes()))
            .digest("zipnet/committee-machine/v6")
    }

    /// Checks a header against what the committee agreed on beforehand, for a
    /// committee of `size` servers. Whatever claims to be a round of this
    /// committee passes here, wherever it comes from.
    ///
    /// # Errors
    /// The name of the first thing that does not fit.
    pub fn check(&self, header: &RoundHeader, size: u32) -> Result<(), &'static str> {
        let size = self.committee_size.unwrap_or(size);
        let fits = [
            ("instance", header.instance == *self.instance.id()),
            ("parameters", header.params == self.params),
            (
                "minimum of participants",
                header.min_participants == self.min_participants,
            ),
            ("committee size", header.committee_size == size),
            ("roster", header.roster.len() >= self.roster_minimum(size)),
            (
                "number of clients",
                header.clients >= self.min_participants.max(1),
            ),
        ];
        match fits.iter().find(|(_, fits)| !fits) {
            Some((what, _)) => Err(what),
            None => Ok(()),
        }
    }

    /// Fewest servers of a roster in a committee of `size`: more than half of
    /// it, and all of it unless the rules say otherwise (I7).
    #[must_use]
    pub fn roster_minimum(&self, size: u32) -> usize {
        let size = size as usize;
        let majority = (size / 2).saturating_add(1);
        let wanted = self.min_servers.map_or(size, |servers| servers as usize);
        wanted.max(majority)
    }

    /// From how many others of a committee of `size` a server that is new to an epoch
    /// has to hear up to which round they stand, before it stands for a round of
    /// fewer than all: so many that each roster that an earlier boot of it can have
    /// been in has one of them besides (I7).
    #[must_use]
    pub fn words_needed(&self, size: u32) -> usize {
        let size = size as usize;
        let unheard = self
            .roster_minimum(u32::try_from(size).unwrap_or(u32::MAX))
            .saturating_sub(2);
        size.saturating_sub(1).saturating_sub(unheard)
    }
}
