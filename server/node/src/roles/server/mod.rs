//! A committee server.
//!
//! One task each for: its own registration and that of clients
//! ([`registrar`]), opening rounds while it leads ([`leader`]), standing for
//! them ([`certifier`]), unblinding ([`unblinder`]), reminding the committee of what it forgot ([`memory`]),
//! saying what it waits for ([`watchdog`], [`unready`], [`report`]), and looking into what aggregators
//! did ([`auditor`], its memory is [`faults`]); [`desk`] answers calls, and
//! what clients ask for there stays in [`waiting`] until the registrar takes
//! it on. Where servers show evidence, [`attestant`] renews this one's,
//! [`introductions`] looks into that of whoever wants to bond, and [`giver`]
//! gives guests the committee secret. All of them look at the replicated state
//! as it is, not at single events, so that a missed one costs nothing.

mod among;
mod attestant;
mod auditor;
mod certifier;
mod context;
mod desk;
mod faults;
mod floors;
mod giver;
mod herald;
mod history;
mod introductions;
mod keeper;
mod leader;
pub mod link;
mod listing;
mod memory;
mod readiness;
mod registrar;
mod report;
mod silence;
mod tidings;
mod unblinder;
mod unready;
mod waiting;
mod watchdog;

use core::{net::SocketAddr, time::Duration};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use mosaik::{Network, groups::ConsensusConfig};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use zipnet_door::{Door, OpenError};
use zipnet_protocol::{
    AdmittedServer, BundleError, CommitteeSecret, DhSecret, Digest, InstanceName, PeerKey,
    RoundParams, ServerBundle, SigningPublic, SigningSecret, Whereabouts,
};

pub use self::giver::GivingError;
use self::{
    context::{Attested, Context, Keys},
    giver::Givers,
};
use super::common::{self, ServeError};
use crate::{
    attestation::{
        ServerAttestation,
        own::{OwnEvidence, OwnEvidenceError},
        ticket::{Claim, Tickets},
    },
    book::{AtDoors, Book},
    committee::Shared,
    door::{self, DoorOptions},
    entropy::{self, EntropyError},
    health::Health,
    network::{self, JoinError, Node, Presence},
    settings::{self, AggregatorRules, ClientRules, CommitteeRules, NetworkSettings},
    status::{StatusError, StatusSocket},
};

/// How long a leaving server waits for the open round to finish.
const DRAIN: Duration = Duration::from_millis(1500);
/// How long it then waits for its tasks, and for its farewell.
const FAREWELL: Duration = Duration::from_millis(700);

/// What an operator sets for a server.
#[derive(Debug)]
pub struct ServerSettings {
    /// How it joins the committee's network.
    pub network: NetworkSettings,
    /// Where it listens for other servers (UDP); a port that follows from its key, on the
    /// interface of the door, if nothing is said.
    pub member_bind: Option<SocketAddr>,
    /// Addresses at which other servers reach it there, besides those that it finds out.
    pub member_addresses: Vec<SocketAddr>,
    /// The door, for everybody else; `network.bootstrap` are the doors of other servers.
    pub door: DoorOptions,
    /// The instance's name.
    pub name: InstanceName,
    /// The committee admission secret.
    pub secret: CommitteeSecret,
    /// Shape of the broadcasts.
    pub params: RoundParams,
    /// Fewest clients of a round.
    pub min_participants: u32,
    /// How many servers the committee is meant to have.
    pub committee_size: Option<u32>,
    /// Fewest servers of a round.
    pub min_servers: Option<u32>,
    /// Time from one opening to the next.
    pub period: Duration,
    /// How long an open round may take.
    pub deadline: Duration,
    /// Finalized rounds to keep for readers.
    pub retain: usize,
    /// Most bytes of vectors that they may have.
    pub retain_bytes: usize,
    /// Which aggregators are dealt with.
    pub aggregators: AggregatorRules,
    /// How many aggregators share out the clients of a round.
    pub leaves: u32,
    /// Most clients that one peer may register.
    pub clients_per_peer: u32,
    /// Which clients are admitted.
    pub clients: ClientRules,
    /// Where it says how it is.
    pub health: Health,
    /// Socket at which it says more to whoever may open it; none by default.
    pub status: Option<StatusSocket>,
    /// What it shows and verifies; `None` for an instance whose servers show
    /// no evidence.
    pub attestation: Option<Arc<ServerAttestation>>,
}

/// A server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No randomness.
    #[error("Could not make the server's keys")]
    Entropy(#[source] EntropyError),
    /// No network.
    #[error("Could not join the network")]
    Join(#[source] JoinError),
    /// No door.
    #[error("Could not open the server's door")]
    Open(#[source] OpenError),
    /// The consensus settings.
    #[error("The group's consensus settings do not build: {0}")]
    Consensus(String),
    /// The server's own bundle.
    #[error("The server's own bundle does not verify")]
    Bundle(#[source] BundleError),
    /// No evidence.
    #[error("This server cannot show what it is")]
    Evidence(#[source] OwnEvidenceError),
    /// A door for guests.
    #[error("Could not give guests their secrets")]
    Giving(#[source] GivingError),
    /// A socket.
    #[error("Could not say how this server is")]
    Status(#[source] StatusError),
    /// A call.
    #[error("Could not answer calls")]
    Serve(#[source] ServeError),
    /// Somebody else has this identity.
    #[error(
        "Another process registered later as this server ({server}); one process for each ZIPNET_SECRET would be right"
    )]
    Replaced {
        /// The server's id.
        server: String,
    },
}

/// Runs a server until `stop` is cancelled, then takes its leave within a few
/// seconds.
///
/// # Errors
/// [`ServerError`].
pub async fn run(settings: ServerSettings, stop: CancellationToken) -> Result<(), ServerError> {
    let committee = settings.secret.committee_key(&settings.name);
    let rules = rules(&settings, committee.public());
    let dh = DhSecret::from_entropy(&entropy::fresh().map_err(ServerError::Entropy)?);
    let signing = SigningSecret::from_seed(&entropy::fresh().map_err(ServerError::Entropy)?);

    let Front {
        transport,
        mut door,
        addresses,
        member,
    } = Front::open(&settings).await?;
    let node = tokio::select! {
        node = Node::join(&member, Presence::Infrastructure) => node.map_err(ServerError::Join)?,
        () = stop.cancelled() => {
            door.close().await;
            return Ok(());
        }
    };
    let hint = door::hint(&door, &addresses);
    common::up_at(&hint, &settings.network, &settings.name, "server");
    let at = Whereabouts::new(PeerKey::new(*node.peer().as_bytes()), addresses);
    let key = PeerKey::new(*committee.public().as_bytes());
    tracing::info!("committee={key}");

    let bundle = ServerBundle::sign(
        &rules.instance,
        &dh,
        &signing,
        &transport,
        &committee,
        boot_number(),
        at,
    )
    .verify(&rules.instance)
    .map_err(ServerError::Bundle)?;
    let attested = match &settings.attestation {
        None => None,
        Some(attestation) => Some(show(attestation, &node, &rules, &bundle).await?),
    };
    let (attested, claims) = attested.unzip();
    let givers = Givers::open(settings.attestation.as_deref(), &settings.name);
    let givers = givers.await.map_err(ServerError::Giving)?;
    let status = settings.status.as_ref().map(StatusSocket::listen);
    let status = status.transpose().map_err(ServerError::Status)?.flatten();
    let keys = Keys {
        dh,
        signing,
        transport,
        committee,
    };
    let shared = Shared::new(rules.clone(), settings.retain, settings.retain_bytes);
    let group_secret = settings.secret.group_secret(&settings.name);
    let hints = settings.network.bootstrap.clone();
    let joining = hints.iter().any(|hint| hint.peer != door.id());
    let context = Context::new(
        &node,
        rules,
        keys,
        &bundle,
        attested,
        shared,
        &group_secret,
        consensus(joining)?,
        settings,
        AtDoors(Book::new(door.doors(), &hints)),
    );
    let context = Arc::new(context);
    let members = desk::Members::open(node.network(), &context).map_err(ServerError::Serve)?;
    door.serve(desk::desk(&context));
    node.show();
    tracing::info!("server booting; waiting for collections + group");

    let mut tasks = start(&context, node.network(), claims, givers);
    if let Some(status) = status {
        let context = context.clone();
        tasks.spawn(status.serve(context.stop().clone(), move || report::of(&context)));
    }
    let fatal = context.fatal();
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = fatal => Err(error),
        () = door::watch(&door) => Ok(()),
    };
    leave(&context, tasks, outcome.is_ok()).await;
    drop(members);
    context.leave_group();
    drop(context);
    door.close().await;
    node.leave().await;
    outcome
}

/// Ends the open round and the tasks, and, if nothing was wrong, says goodbye to the
/// committee.
async fn leave(context: &Context, mut tasks: JoinSet<()>, well: bool) {
    tracing::info!("server leaving");
    context.settings.health.leaves();
    if well {
        let _ = timeout(DRAIN, context.drained()).await;
    }
    context.stop().cancel();
    // Each task ends its current step by itself; a partial is not torn.
    let _ = timeout(FAREWELL, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
    tasks.shutdown().await;
    if well {
        context.farewell(FAREWELL).await;
    }
}

/// A server's identity, and its door.
struct Front {
    transport: SigningSecret,
    door: Door,
    /// Where others reach the door.
    addresses: Vec<SocketAddr>,
    /// How it joins the committee's own network.
    member: NetworkSettings,
}

impl Front {
    async fn open(settings: &ServerSettings) -> Result<Self, ServerError> {
        let seed = settings.network.seed_or_fresh();
        let seed = seed.map_err(ServerError::Entropy)?;
        let opened = door::open(&seed, &settings.network.relay, &settings.door).await;
        let (door, addresses) = opened.map_err(ServerError::Open)?;
        let member = door::member_seed(&seed);
        let bind = settings.member_bind.or_else(|| {
            let ip = settings.network.bind?.ip();
            Some(network::steady_address(&member, ip))
        });
        Ok(Self {
            transport: SigningSecret::from_seed(seed.as_bytes()),
            door,
            addresses,
            member: NetworkSettings {
                bind,
                seed: Some(member),
                // They are doors: `link` finds out where those are who are behind them.
                bootstrap: Vec::new(),
                ..settings.network.clone()
            },
        })
    }
}

/// What the servers of this committee agree on.
fn rules(settings: &ServerSettings, committee: SigningPublic) -> Arc<CommitteeRules> {
    let authority = settings.attestation.as_ref().map(|with| &with.authority);
    let instance = settings::instance(
        settings.name.clone(),
        committee,
        authority.map(|authority| &**authority),
    );
    Arc::new(CommitteeRules {
        instance,
        trust: authority.map(|authority| authority.base().clone()),
        params: settings.params,
        min_participants: settings.min_participants,
        committee_size: settings.committee_size,
        min_servers: settings.min_servers,
        clients_per_peer: settings.clients_per_peer,
        clients: settings.clients,
        aggregators: settings.aggregators.clone(),
        leaves: settings.leaves,
    })
}

/// Starts the server's tasks.
fn start(
    context: &Arc<Context>,
    network: &Arc<Network>,
    claims: Option<mpsc::Receiver<Claim>>,
    givers: Option<Givers>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(registrar::run(context.clone()));
    tasks.spawn(certifier::run(context.clone()));
    tasks.spawn(unblinder::run(context.clone()));
    tasks.spawn(herald::run(context.clone()));
    tasks.spawn(link::run(context.clone(), network.clone()));
    tasks.spawn(leader::run(context.clone(), network.clone()));
    tasks.spawn(floors::run(context.clone(), network.clone()));
    tasks.spawn(memory::run(context.clone()));
    tasks.spawn(history::run(context.clone(), network.clone()));
    tasks.spawn(watchdog::run(context.clone()));
    tasks.spawn(auditor::run(context.clone()));
    if let Some(givers) = givers {
        tasks.spawn(givers.run(context.stop().clone()));
    }
    if let Some(claims) = claims {
        tasks.spawn(attestant::run(context.clone()));
        tasks.spawn(keeper::run(context.clone(), network.clone()));
        tasks.spawn(introductions::run(context.clone(), network.clone(), claims));
    }
    tasks
}

/// Makes this server's first evidence, before anybody is asked to believe it.
async fn show(
    attestation: &Arc<ServerAttestation>,
    node: &Node,
    rules: &CommitteeRules,
    bundle: &AdmittedServer,
) -> Result<(Attested, mpsc::Receiver<Claim>), ServerError> {
    let own = Arc::new(OwnEvidence::new(attestation.clone()));
    attestant::renew(&own, node.network(), rules, bundle, Digest::ZERO)
        .await
        .map_err(ServerError::Evidence)?;
    let (tickets, claims) = Tickets::new();
    Ok((Attested { own, tickets }, claims))
}

/// Milliseconds since 1970: higher in every boot, unless the clock was set
/// back; then the registrar raises it above what is registered.
fn boot_number() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(1)
}

/// How long a server that knows of no other waits until it leads for itself.
const ALONE: Duration = Duration::from_secs(1);
/// How long one that was told whom to join waits for a leader. Longer than it
/// takes the others to notice that an earlier boot of it is gone (ten heartbeats)
/// and to bond with this one: a server that comes back and leads for itself
/// meanwhile is a rival of their leader in the same term, and the two may take
/// turns for a long while.
const JOINING: Duration = Duration::from_secs(6);

/// How the committee's group elects. What of it is a part of the group's id is
/// the same for all; how long a server waits before it leads for itself is not.
///
/// # Errors
/// [`ServerError::Consensus`], which these values do not provoke.
pub fn consensus(joining: bool) -> Result<ConsensusConfig, ServerError> {
    ConsensusConfig::builder()
        .with_heartbeat_interval(Duration::from_millis(300))
        .with_heartbeat_jitter(Duration::from_millis(100))
        .with_max_missed_heartbeats(10)
        .with_election_timeout(Duration::from_secs(1))
        .with_election_timeout_jitter(Duration::from_millis(700))
        .with_bootstrap_delay(if joining { JOINING } else { ALONE })
        .build()
        .map_err(|error| ServerError::Consensus(error.to_string()))
}
