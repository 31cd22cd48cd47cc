//! The replicated state as a newcomer receives it. The sender is a member, but
//! that does not make it honest: every part is verified again.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use zipnet_attest::TrustBase;
use zipnet_protocol::{
    AdmittedServer, Aggregate, AggregateError, BundleError, CertificateError, Certification,
    Certifications, ClientBundle, ClientId, ClientRegistry, Digest, Epoch, HeaderError, Instance,
    MAX_CLIENTS, MAX_ROSTER, PartialError, RecordError, RoundHeader, ServerBundle, ServerId,
    ShownInvite, SignedHeader, SignedPartial, Tally,
};

use super::{
    admission::{Absent, Admission, Admissions},
    aggregators::{Aggregators, AggregatorsSnapshot},
    command::{Published, SignedPolicy},
    invites::Invites,
    rounds::MAX_JUMP,
    state::{CommitteeState, Final, InFlight, Refusal},
    strikes::Strikes,
};
use crate::{attestation::Credential, settings::CommitteeRules};

/// Farthest that the time of the last registration may be ahead of those that
/// are still there, in seconds: no collateral is in force for longer.
const MAX_CLOCK_AHEAD: u64 = 31 * 86_400;

/// A snapshot that a newcomer refuses.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot.
    #[error("The snapshot does not decode")]
    Decode(#[source] postcard::Error),
    /// More servers or clients than a committee has.
    #[error(
        "The snapshot lists {servers} servers and {clients} clients, more than a committee has"
    )]
    Size {
        /// Servers in it.
        servers: usize,
        /// Clients in it.
        clients: usize,
    },
    /// A bundle.
    #[error("The snapshot holds a bundle that does not verify")]
    Bundle(#[source] BundleError),
    /// The evidence of a server, or the policy.
    #[error("The snapshot's evidence does not verify")]
    Evidence(#[source] Refusal),
    /// The head.
    #[error("The snapshot's newest record does not verify")]
    Record(#[source] RecordError),
    /// The open round.
    #[error("The snapshot's open round does not verify")]
    Header(#[source] HeaderError),
    /// The registry of the newest record or of the open round.
    #[error("The snapshot's rounds name another client registry than the one beside them")]
    Registry,
    /// The aggregators.
    #[error("The snapshot's aggregators are refused")]
    Aggregators(#[source] Refusal),
    /// A certification of the open round.
    #[error("A certification in the snapshot does not verify")]
    Certificate(#[source] CertificateError),
    /// Its aggregate.
    #[error("The snapshot's aggregate does not verify")]
    Aggregate(#[source] AggregateError),
    /// One of its partials.
    #[error("A partial of the snapshot does not verify")]
    Partial(#[source] PartialError),
    /// Parts that verify and do not belong together.
    #[error("The snapshot's {0} does not fit the rest of it")]
    Inconsistent(&'static str),
}

/// The whole state on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    epoch: Option<Epoch>,
    opened: u64,
    head: Option<Published>,
    /// The registry of the newest record; absent if it stands in the snapshot
    /// anyway.
    head_registry: Option<Vec<ClientBundle>>,
    servers: Vec<ServerBundle>,
    /// In an attested instance.
    admissions: Option<AdmissionsSnapshot>,
    absent: Vec<(ServerId, Absent)>,
    clients: Vec<(ClientBundle, u64)>,
    aggregators: AggregatorsSnapshot,
    current: Option<OpenSnapshot>,
    /// The sender's word, like the list of servers: whoever is told something
    /// else than the others finds their rounds not to fit.
    strikes: Strikes,
    /// By which invites the clients are registered, where these are needed.
    invites: Vec<(ClientId, ShownInvite)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct AdmissionsSnapshot {
    clock: u64,
    policy: SignedPolicy,
    /// Evidence, and by which time it was judged, of each server in order.
    credentials: Vec<(Credential, u64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenSnapshot {
    header: SignedHeader,
    bundles: Vec<ServerBundle>,
    /// Absent if it is the registry that stands in the snapshot anyway.
    registry: Option<Vec<ClientBundle>>,
    certifications: Vec<Certification>,
    tally: Option<TallySnapshot>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct TallySnapshot {
    aggregate: Aggregate,
    /// The senders' signatures under these are not kept: nobody but its sender
    /// can tell whether one is right, and a wrong one costs the round.
    commitments: Vec<(ServerId, Digest)>,
    partials: Vec<SignedPartial>,
}

impl CommitteeState {
    /// Takes a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let active = |client: &ClientBundle| {
            let id = client.client_id();
            self.activity.get(&id).copied().unwrap_or(self.opened)
        };
        // What stands in the snapshot anyway is not repeated.
        let apart = |registry: &Arc<ClientRegistry>| {
            (*registry != self.clients).then(|| {
                let clients = registry.iter();
                clients.map(|client| client.bundle().clone()).collect()
            })
        };
        Snapshot {
            epoch: self.epoch,
            opened: self.opened,
            head: self.head.as_ref().map(|head| head.published.clone()),
            head_registry: self.head.as_ref().and_then(|head| apart(&head.registry)),
            servers: self
                .servers
                .values()
                .map(|server| server.bundle().clone())
                .collect(),
            admissions: self.admissions.snapshot(),
            absent: self
                .absent
                .iter()
                .map(|(server, boot)| (*server, *boot))
                .collect(),
            clients: self
                .clients
                .iter()
                .map(|client| (client.bundle().clone(), active(client.bundle())))
                .collect(),
            aggregators: self.aggregators.snapshot(),
            current: self.current.as_ref().map(|current| OpenSnapshot {
                header: current.round.signed().clone(),
                bundles: current.round.bundles(),
                registry: apart(&current.registry),
                certifications: current
                    .certifications
                    .iter(current.round.context())
                    .collect(),
                tally: current.tally.as_ref().map(|tally| TallySnapshot {
                    aggregate: tally.aggregate().clone(),
                    commitments: tally
                        .commitments()
                        .map(|(server, commitment)| (*server, *commitment))
                        .collect(),
                    partials: tally.partials().cloned().collect(),
                }),
            }),
            strikes: Strikes::clone(&self.strikes),
            invites: self
                .invites
                .iter()
                .map(|(client, invite)| (*client, invite.clone()))
                .collect(),
        }
    }

    /// Builds the state that a snapshot describes, verifying all of it.
    ///
    /// # Errors
    /// [`SnapshotError`], naming the first part that does not verify.
    pub fn restore(rules: Arc<CommitteeRules>, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let snapshot: Snapshot = postcard::from_bytes(bytes).map_err(SnapshotError::Decode)?;
        let servers = snapshot.servers.len();
        if servers > MAX_ROSTER
            || snapshot.absent.len() > MAX_ROSTER
            || snapshot.clients.len() > MAX_CLIENTS
        {
            return Err(SnapshotError::Size {
                servers,
                clients: snapshot.clients.len(),
            });
        }
        let instance = &rules.instance;
        let servers = snapshot
            .servers
            .iter()
            .map(|bundle| bundle.verify(instance).map(|server| (*server.id(), server)))
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map_err(SnapshotError::Bundle)?;
        let admissions = match (&rules.trust, snapshot.admissions) {
            (None, None) => Admissions::default(),
            // As long as nobody is registered, there is no policy.
            (Some(_), None) if servers.is_empty() => Admissions::default(),
            (Some(base), Some(admissions)) => admissions.restore(base, instance, &servers)?,
            _ => return Err(SnapshotError::Inconsistent("evidence")),
        };
        let (bundles, activity): (Vec<_>, BTreeMap<_, _>) = snapshot
            .clients
            .into_iter()
            .map(|(bundle, active)| {
                let id = bundle.client_id();
                (bundle, (id, active))
            })
            .unzip();
        let clients =
            Arc::new(ClientRegistry::verify(instance, &bundles).map_err(SnapshotError::Bundle)?);
        let invites = Invites::restore(&rules, &clients, snapshot.invites)
            .ok_or(SnapshotError::Inconsistent("list of invites"))?;
        let head = snapshot
            .head
            .map(|published| restore_head(&rules, published, snapshot.head_registry, &clients))
            .transpose()?;
        let aggregators = Aggregators::restore(instance, &rules.aggregators, snapshot.aggregators)
            .map_err(SnapshotError::Aggregators)?;
        let current = snapshot
            .current
            .map(|open| open.restore(&rules, &clients))
            .transpose()?;
        Self {
            epoch: snapshot.epoch,
            opened: snapshot.opened,
            head,
            servers: Arc::new(servers),
            admissions,
            absent: Arc::new(snapshot.absent.into_iter().collect()),
            clients,
            invites: Arc::new(invites),
            activity: Arc::new(activity),
            aggregators,
            current,
            strikes: Arc::new(snapshot.strikes),
            rules,
        }
        .consistent()
    }

    /// Refuses what no sequence of commands leads to.
    fn consistent(self) -> Result<Self, SnapshotError> {
        let rules = &self.rules;
        // An unset committee size may have grown since a round opened.
        let size = |header: &RoundHeader| self.committee_size().min(header.committee_size.max(1));
        let follows_rules = |header: &RoundHeader| rules.check(header, size(header)).is_ok();
        let fits = [
            (
                "list of servers",
                rules
                    .committee_size
                    .is_none_or(|size| self.servers.len() <= size as usize)
                    && self.servers.keys().all(|id| !self.absent.contains_key(id)),
            ),
            ("epoch", self.epoch.is_some() || self.opened == 0),
            (
                "newest record",
                self.head.as_ref().is_none_or(|head| {
                    self.epoch == Some(head.epoch())
                        && head.rank().0 <= self.opened
                        && follows_rules(head.checked.round().header())
                }),
            ),
            (
                "open round",
                self.current.as_ref().is_none_or(|current| {
                    let header = current.round.header();
                    self.epoch == Some(header.epoch)
                        && self.opened == header.number
                        && self.previous() == header.previous
                        && follows_rules(header)
                }),
            ),
            ("number of rounds", {
                let head = self.head.as_ref().map_or(0, |head| head.rank().0);
                self.opened.saturating_sub(head) <= MAX_JUMP
            }),
            ("strikes", self.strikes.is_bounded(MAX_ROSTER)),
            (
                "clients' activity",
                self.activity.values().all(|active| *active <= self.opened),
            ),
            (
                "aggregators' activity",
                self.aggregators.is_bounded(self.opened),
            ),
        ];
        match fits.iter().find(|(_, fits)| !fits) {
            Some((what, _)) => Err(SnapshotError::Inconsistent(what)),
            None => Ok(self),
        }
    }
}

impl Admissions {
    fn snapshot(&self) -> Option<AdmissionsSnapshot> {
        let policy = self.policy.as_ref()?;
        let credential = |admission: &Admission| {
            let credential = Credential::clone(&admission.credential);
            (credential, admission.at)
        };
        Some(AdmissionsSnapshot {
            clock: self.clock,
            policy: SignedPolicy::from(&policy.file),
            credentials: self.of.values().map(credential).collect(),
        })
    }
}

impl AdmissionsSnapshot {
    /// Judges everything again, each by the time at which it was admitted.
    fn restore(
        self,
        base: &TrustBase,
        instance: &Instance,
        servers: &BTreeMap<ServerId, AdmittedServer>,
    ) -> Result<Admissions, SnapshotError> {
        let clock = self.clock;
        let latest = self.credentials.iter().map(|(_, at)| *at).max();
        let far = latest.is_some_and(|at| clock.saturating_sub(at) > MAX_CLOCK_AHEAD);
        if self.credentials.len() != servers.len() || far || latest > Some(clock) {
            return Err(SnapshotError::Inconsistent("evidence"));
        }
        let policy = Admissions::open(base, &self.policy).map_err(SnapshotError::Evidence)?;
        let of = servers
            .values()
            .zip(self.credentials)
            .map(|(server, (credential, at))| {
                let credential = Arc::new(credential);
                let admission = Admissions::judge(&policy, instance, server, credential, at)?;
                Ok((*server.id(), admission))
            })
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map_err(SnapshotError::Evidence)?;
        Ok(Admissions {
            clock,
            policy: Some(policy),
            of: Arc::new(of),
        })
    }
}

/// The registry that a header names: the one beside it, or the snapshot's.
fn restore_registry(
    rules: &CommitteeRules,
    bundles: Option<Vec<ClientBundle>>,
    clients: &Arc<ClientRegistry>,
    header: &RoundHeader,
) -> Result<Arc<ClientRegistry>, SnapshotError> {
    let registry = match bundles {
        None => clients.clone(),
        Some(bundles) if bundles.len() > MAX_CLIENTS => return Err(SnapshotError::Registry),
        Some(bundles) => Arc::new(
            ClientRegistry::verify(&rules.instance, &bundles).map_err(SnapshotError::Bundle)?,
        ),
    };
    if registry.root() != header.registry || registry.len() != header.clients as usize {
        return Err(SnapshotError::Registry);
    }
    Ok(registry)
}

fn restore_head(
    rules: &CommitteeRules,
    published: Published,
    registry: Option<Vec<ClientBundle>>,
    clients: &Arc<ClientRegistry>,
) -> Result<Arc<Final>, SnapshotError> {
    let checked = published
        .record
        .verify(&rules.instance, &published.bundles)
        .map_err(SnapshotError::Record)?;
    let registry = restore_registry(rules, registry, clients, checked.round().header())?;
    Ok(Arc::new(Final {
        published,
        checked,
        registry,
    }))
}

impl OpenSnapshot {
    fn restore(
        self,
        rules: &CommitteeRules,
        clients: &Arc<ClientRegistry>,
    ) -> Result<InFlight, SnapshotError> {
        let round = self
            .header
            .verify(&rules.instance, &self.bundles)
            .map_err(SnapshotError::Header)?;
        let registry = restore_registry(rules, self.registry, clients, round.header())?;
        let mut certifications = Certifications::default();
        let mut certified = None;
        for certification in &self.certifications {
            certified = certifications
                .add(&round, certification)
                .map_err(SnapshotError::Certificate)?
                .map(Arc::new);
        }
        if certified.is_none() && self.tally.is_some() {
            return Err(SnapshotError::Inconsistent("aggregate"));
        }
        let tally = self
            .tally
            .map(|taken| {
                let checked = taken
                    .aggregate
                    .check(round.context(), round.header(), &registry)
                    .map_err(SnapshotError::Aggregate)?;
                let mut tally = Tally::new(&checked);
                for (server, commitment) in taken.commitments {
                    tally
                        .commit(&round, server, commitment)
                        .map_err(SnapshotError::Partial)?;
                }
                for partial in taken.partials {
                    tally.add(&round, partial).map_err(SnapshotError::Partial)?;
                }
                Ok(Arc::new(tally))
            })
            .transpose()?;
        Ok(InFlight {
            round: Arc::new(round),
            registry,
            certifications,
            certified,
            tally,
        })
    }
}
