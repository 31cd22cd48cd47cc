//! A round's header and what must hold before anyone acts on it.

use serde::{Deserialize, Serialize};

use crate::{
    bundle::{AdmittedServer, BundleError, LeastServers, ServerBundle},
    canonical::Canonical,
    ids::{ClientId, Digest, Epoch, InstanceId, Nonce, PeerKey, RoundContext, ServerId},
    instance::Instance,
    keys::{KeyError, Signature, SigningSecret},
    leaves::Leaves,
    params::RoundParams,
};

/// Most servers in a roster.
pub const MAX_ROSTER: usize = 64;

const OPEN: &str = "zipnet/open-round/v3";

/// A header that no honest party acts on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// For another deployment.
    #[error("The header is for instance {found}; this is {expected}")]
    Instance {
        /// Named by the header.
        found: InstanceId,
        /// Ours.
        expected: InstanceId,
    },
    /// No server, too many, unordered or repeated ones.
    #[error("The roster of {servers} servers is not an ascending list of 1 to 64 distinct ones")]
    Roster {
        /// Its length.
        servers: usize,
    },
    /// I7.
    #[error(
        "The roster has {servers} servers of a committee of {committee}; more than half would be right"
    )]
    Minority {
        /// Servers in the roster.
        servers: usize,
        /// Servers in the committee.
        committee: u32,
    },
    /// Too many leaves, unordered or repeated ones.
    #[error("The {leaves} leaves are not an ascending list of at most 16 distinct ones")]
    Leaves {
        /// How many.
        leaves: usize,
    },
    /// The bundles beside the header are not those of its roster.
    #[error("No bundle matches the roster entry of server {server}")]
    MissingBundle {
        /// Whose is missing.
        server: ServerId,
    },
    /// A bundle of the roster does not verify.
    #[error("The bundle of server {server} is refused")]
    Bundle {
        /// Whose.
        server: ServerId,
        /// Why.
        #[source]
        source: BundleError,
    },
    /// Two servers with one key: whoever has it is both, and counts once.
    #[error("Servers {one} and {other} of the roster have the same {key} key")]
    SharedKey {
        /// The first.
        one: ServerId,
        /// The second.
        other: ServerId,
        /// Which key.
        key: &'static str,
    },
    /// I15: a floor below what the header itself asks for.
    #[error(
        "The header's participation floor is {floor}; its minimum of {minimum} participants or more would be right"
    )]
    Floor {
        /// The floor.
        floor: u32,
        /// The minimum.
        minimum: u32,
    },
    /// Signed by somebody outside of the roster.
    #[error("The header is opened by {opener}, who is not in its roster")]
    Opener {
        /// Who.
        opener: ServerId,
    },
    /// The opener's signature.
    #[error("The header is not signed by the server that it says opened it")]
    Signature(#[source] KeyError),
}

/// One server of a roster: its id and the digest of the bundle that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The server.
    pub server: ServerId,
    /// The digest of its bundle ([`AdmittedServer::digest`]).
    pub bundle: Digest,
}

/// What a round is. Its digest, the context, goes into every pad key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundHeader {
    /// The deployment.
    pub instance: InstanceId,
    /// The committee's life since the last cold start of all servers.
    pub epoch: Epoch,
    /// Strictly increasing within an epoch.
    pub number: u64,
    /// Fresh bytes, so that no context repeats (I4).
    pub nonce: Nonce,
    /// Digest of the last broadcast record of the epoch, or zero.
    pub previous: Digest,
    /// Shape of the broadcast.
    pub params: RoundParams,
    /// Fewest participants that servers unblind an aggregate of (I2).
    pub min_participants: u32,
    /// Fewest distinct peers among the participants of this round's aggregate
    /// (I15): `min_participants` at least, and nine tenths of those who took part
    /// in the last record and are still registered.
    pub floor: u32,
    /// How many servers the committee has (I7).
    pub committee_size: u32,
    /// The servers whose partials the round needs, ascending by id.
    pub roster: Vec<RosterEntry>,
    /// How many clients the registry has.
    pub clients: u32,
    /// Root of the client registry that participant bits refer to.
    pub registry: Digest,
    /// The peer whose aggregate counts in this round, so that no two aggregates share out
    /// the participants of one round. Clients hand their envelopes to their leaf, or to
    /// this one, and to nobody else.
    pub aggregator: PeerKey,
    /// Aggregators that take envelopes for it; if there are none, it takes all.
    pub leaves: Leaves,
}

impl RoundHeader {
    /// Whether a client that asks for so many servers takes part in the round.
    #[must_use]
    pub const fn serves(&self, least: LeastServers) -> bool {
        least.takes(self.roster.len(), self.committee_size)
    }

    /// Who takes a client's envelope: its leaf, and otherwise the aggregator itself, which
    /// takes those of a leaf that does not answer. The aggregator alone sees all parts, and
    /// leaves out what came both ways; at another leaf it would be in two parts without
    /// anybody's fault.
    #[must_use]
    pub fn takers(&self, client: &ClientId) -> [&PeerKey; 2] {
        let leaf = self.leaves.of(client).unwrap_or(&self.aggregator);
        [leaf, &self.aggregator]
    }

    /// The canonical encoding.
    #[must_use]
    pub fn canonical(&self) -> Canonical {
        let start = Canonical::new()
            .fixed(self.instance.as_bytes())
            .fixed(self.epoch.as_bytes())
            .u64(self.number)
            .fixed(self.nonce.as_bytes())
            .fixed(self.previous.as_bytes());
        let middle = self
            .params
            .encode(start)
            .u32(self.min_participants)
            .u32(self.floor)
            .u32(self.committee_size)
            .count(self.roster.len());
        let end = self
            .roster
            .iter()
            .fold(middle, |to, entry| {
                to.fixed(entry.server.as_bytes())
                    .fixed(entry.bundle.as_bytes())
            })
            .u32(self.clients)
            .fixed(self.registry.as_bytes())
            .fixed(self.aggregator.as_bytes());
        self.leaves.encode(end)
    }

    /// The digest of the canonical encoding.
    #[must_use]
    pub fn context(&self) -> RoundContext {
        RoundContext::new(*self.canonical().digest("zipnet/header/v3").as_bytes())
    }

    /// Signs the header as the server that opens the round.
    #[must_use]
    pub fn sign(self, opener: ServerId, signing: &SigningSecret) -> SignedHeader {
        let signature = signing.sign(OPEN, &self.canonical());
        SignedHeader {
            header: self,
            opener,
            signature,
        }
    }
}

/// A header as it travels. Not trusted before [`SignedHeader::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHeader {
    header: RoundHeader,
    opener: ServerId,
    signature: Signature,
}

impl SignedHeader {
    pub(crate) const fn from_parts(
        header: RoundHeader,
        opener: ServerId,
        signature: Signature,
    ) -> Self {
        Self {
            header,
            opener,
            signature,
        }
    }

    /// The opener's signature, unverified.
    pub(crate) const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the header says, unverified.
    #[must_use]
    pub const fn header(&self) -> &RoundHeader {
        &self.header
    }

    /// Who says to have opened the round, unverified.
    #[must_use]
    pub const fn opener(&self) -> &ServerId {
        &self.opener
    }

    /// Checks all that can be checked without knowing the committee's state:
    /// the instance, the roster with its bundles, and the opener's signature.
    /// That the number and the predecessor are right, only a committee member
    /// knows.
    ///
    /// # Errors
    /// [`HeaderError`], naming the first check that failed.
    pub fn verify(
        &self,
        instance: &Instance,
        bundles: &[ServerBundle],
    ) -> Result<Round, HeaderError> {
        self.verify_knowing(instance, bundles, &[])
    }

    /// As [`SignedHeader::verify`]. A bundle that is among those in `known`, which
    /// were verified before for this instance, is not verified again: rosters
    /// seldom change.
    ///
    /// # Errors
    /// [`HeaderError`], naming the first check that failed.
    pub fn verify_knowing(
        &self,
        instance: &Instance,
        bundles: &[ServerBundle],
        known: &[AdmittedServer],
    ) -> Result<Round, HeaderError> {
        let roster = self
            .header
            .roster
            .iter()
            .take(MAX_ROSTER)
            .map(|entry| {
                let before = known.iter().find(|server| {
                    *server.id() == entry.server && *server.digest() == entry.bundle
                });
                if let Some(server) = before {
                    return Ok(server.clone());
                }
                let bundle = bundles
                    .iter()
                    .take(MAX_ROSTER)
                    .find(|bundle| *bundle.server_id() == entry.server)
                    .ok_or(HeaderError::MissingBundle {
                        server: entry.server,
                    })?;
                bundle
                    .verify(instance)
                    .map_err(|source| HeaderError::Bundle {
                        server: entry.server,
                        source,
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.verify_with(instance, roster)
    }

    /// As [`SignedHeader::verify`], over bundles that were verified before.
    /// `roster` may hold more servers than the header names.
    ///
    /// # Errors
    /// [`HeaderError`], naming the first check that failed.
    pub fn verify_with(
        &self,
        instance: &Instance,
        admitted: impl IntoIterator<Item = AdmittedServer>,
    ) -> Result<Round, HeaderError> {
        let header = &self.header;
        if header.instance != *instance.id() {
            return Err(HeaderError::Instance {
                found: header.instance,
                expected: *instance.id(),
            });
        }
        let servers = header.roster.len();
        let ascending = header
            .roster
            .iter()
            .zip(header.roster.iter().skip(1))
            .all(|(a, b)| a.server < b.server);
        if servers == 0 || servers > MAX_ROSTER || !ascending {
            return Err(HeaderError::Roster { servers });
        }
        if servers.saturating_mul(2) <= header.committee_size as usize {
            return Err(HeaderError::Minority {
                servers,
                committee: header.committee_size,
            });
        }
        if !header.leaves.is_sound() {
            return Err(HeaderError::Leaves {
                leaves: header.leaves.len(),
            });
        }
        // A round without a participant unblinds nothing, whatever the minimum.
        let minimum = header.min_participants.max(1);
        if header.floor < minimum {
            return Err(HeaderError::Floor {
                floor: header.floor,
                minimum,
            });
        }
        let admitted: Vec<_> = admitted.into_iter().collect();
        let roster = header
            .roster
            .iter()
            .map(|entry| {
                admitted
                    .iter()
                    .find(|server| *server.id() == entry.server && *server.digest() == entry.bundle)
                    .cloned()
                    .ok_or(HeaderError::MissingBundle {
                        server: entry.server,
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        all_distinct(&roster)?;
        let opener = roster
            .iter()
            .find(|server| *server.id() == self.opener)
            .ok_or(HeaderError::Opener {
                opener: self.opener,
            })?;
        opener
            .signing()
            .verify(OPEN, &header.canonical(), &self.signature)
            .map_err(HeaderError::Signature)?;
        Ok(Round {
            context: header.context(),
            signed: self.clone(),
            roster,
        })
    }
}

fn all_distinct(roster: &[AdmittedServer]) -> Result<(), HeaderError> {
    for (at, server) in roster.iter().enumerate() {
        let shared = roster.iter().take(at).find_map(|other| {
            let key = server.shared_key(other)?;
            Some((other, key))
        });
        if let Some((other, key)) = shared {
            return Err(HeaderError::SharedKey {
                one: *other.id(),
                other: *server.id(),
                key,
            });
        }
    }
    Ok(())
}

/// A round whose header verified: signed by one of its roster, the roster
/// admitted to this instance and more than half of the committee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    signed: SignedHeader,
    context: RoundContext,
    roster: Vec<AdmittedServer>,
}

impl Round {
    /// The header.
    #[must_use]
    pub const fn header(&self) -> &RoundHeader {
        &self.signed.header
    }

    /// The header with its signature, to hand on.
    #[must_use]
    pub const fn signed(&self) -> &SignedHeader {
        &self.signed
    }

    /// The digest of the header.
    #[must_use]
    pub const fn context(&self) -> &RoundContext {
        &self.context
    }

    /// The servers of the round, ascending by id.
    #[must_use]
    pub fn roster(&self) -> &[AdmittedServer] {
        &self.roster
    }

    /// The server of the roster with an id.
    #[must_use]
    pub fn server(&self, id: &ServerId) -> Option<&AdmittedServer> {
        self.roster.iter().find(|server| server.id() == id)
    }

    /// The bundles of the roster, to hand on.
    #[must_use]
    pub fn bundles(&self) -> Vec<ServerBundle> {
        self.roster
            .iter()
            .map(|server| server.bundle().clone())
            .collect()
    }

    /// Where a round stands in its epoch.
    #[must_use]
    pub const fn position(&self) -> (Epoch, u64) {
        (self.signed.header.epoch, self.signed.header.number)
    }
}
