//! The aggregator: untrusted for anonymity, trusted to be there. It never
//! holds the committee secret.
//!
//! [`collect`] takes envelopes and gives receipts, [`keep`] has what auditors
//! are shown, [`deliver`] hands the aggregate to the servers, or [`hand_on`] a leaf's part
//! to the aggregator above it, [`registry`]
//! fetches what a header names, [`footing`] says whether all that can be done.

mod collect;
mod deliver;
mod footing;
mod hand_on;
mod keep;
mod registry;

use core::{
    future::{Future, ready},
    time::Duration,
};
use std::sync::Arc;

use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use zipnet_door::OpenError;
use zipnet_protocol::{
    Admission, Aggregate, AggregatorBundle, CertifiedRound, Instance, MAX_LEAVES, PeerKey,
    SigningSecret, Whereabouts,
};

use self::{
    collect::{Desk, Yield},
    footing::Footing,
    hand_on::Above,
    registry::Registries,
};
use super::{
    common::{self, CommitteeKeyError},
    directory::Directory,
    enlist,
    follow::{Event, Follower},
    roll,
};
use crate::{
    attestation::upkeep,
    book::{AtDoors, Book},
    door::{self, DoorOptions},
    entropy::EntropyError,
    ground::Ground,
    health::{Code, Health, Pulse, Reason},
    metrics,
    peers::{Allowed, Peers},
    settings::{NetworkSettings, TrustSettings},
    wire::{
        AUDIT_PAGE_BYTES, AggregateCall, AuditCall, CollectsCall, EnvelopeCall, Follow, FollowCall,
        HelloCall, PartCall, PartOfCall,
    },
};

/// How long a server may take to say which round is open.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait before a server is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a loop may take to go round, and how often one that waits says so.
const ROUND: Duration = Duration::from_mins(1);
const BEAT: Duration = Duration::from_secs(5);
/// Most auditors at once: pages are large.
const AUDITORS: usize = 16;

/// What an operator sets for an aggregator.
#[derive(Debug)]
pub struct AggregatorSettings {
    /// How it is reached, and whom it asks first.
    pub network: NetworkSettings,
    /// Its door.
    pub door: DoorOptions,
    /// Whom it follows.
    pub trust: TrustSettings,
    /// How long it collects envelopes of a round, at most.
    pub fold_deadline: Duration,
    /// What the committee admitted it with, if it did.
    pub admission: Option<Admission>,
    /// Where it says how it is.
    pub health: Health,
}

/// An aggregator could not start.
#[derive(Debug, thiserror::Error)]
pub enum AggregatorError {
    /// No randomness.
    #[error("Could not make a transport identity")]
    Entropy(#[source] EntropyError),
    /// No door.
    #[error("Could not open the aggregator's door")]
    Open(#[source] OpenError),
    /// No committee key.
    #[error("Could not learn which committee to serve")]
    CommitteeKey(#[source] CommitteeKeyError),
}

struct Aggregator {
    fold_deadline: Duration,
    desk: Desk,
    registries: Registries,
    servers: Peers<Aggregate, ()>,
    above: Above,
    footing: Arc<Footing>,
}

/// Runs an aggregator until `stop` is cancelled.
///
/// # Errors
/// [`AggregatorError`].
pub async fn run(
    settings: AggregatorSettings,
    stop: CancellationToken,
) -> Result<(), AggregatorError> {
    let seed = settings.network.seed_or_fresh();
    let seed = seed.map_err(AggregatorError::Entropy)?;
    let transport = SigningSecret::from_seed(seed.as_bytes());
    let opened = door::open(&seed, &settings.network.relay, &settings.door).await;
    let (mut door, addresses) = opened.map_err(AggregatorError::Open)?;
    let hint = door::hint(&door, &addresses);
    common::up_at(&hint, &settings.network, &settings.trust.name, "aggregator");
    let book = Book::new(door.doors(), &settings.network.bootstrap);
    let ground: Arc<dyn Ground> = Arc::new(AtDoors(book.clone()));
    let health = &settings.health;
    let instance = match find_instance(&settings, &ground, &stop).await {
        Ok(Some(instance)) => instance,
        other => {
            door.close().await;
            return other.map(|_| ());
        }
    };
    let authority = settings.trust.authority.clone();
    let directory = Arc::new(Directory::new(&ground, &instance, authority.clone()));
    let upkeep = authority.map(|authority| tokio::spawn(upkeep::run(authority)));
    let servers = directory.allowed();
    let aggregator = Arc::new(Aggregator {
        fold_deadline: settings.fold_deadline,
        desk: Desk::new(transport.clone()),
        registries: Registries::new(&*ground, &instance, servers.clone()),
        servers: Peers::on::<AggregateCall>(&*ground, &instance, Some(servers.clone())),
        above: Above::new(&*ground, &instance, servers.clone()),
        footing: Arc::default(),
    });
    let watched = {
        let (footing, directory) = (aggregator.footing.clone(), directory.clone());
        tokio::spawn(footing::watch(footing, directory, health.clone()))
    };
    door.serve(desk(&instance, &aggregator, servers.clone()));
    tracing::info!("aggregator booting; waiting for collections to come online");

    let mut follower = Follower::new(&ground, &instance, &settings.trust, &directory);
    let pulse = health.pulse("follower", ROUND);
    let rolls = tokio::spawn(roll::keep(book, directory.clone()));
    let keeper = spawn_alive(health, "directory", directory.run());
    tokio::select! {
        () = aggregator.set_aside_open_rounds(&*ground, &instance, servers.clone()) => {}
        () = stop.cancelled() => {}
    }
    // Only now: no header names this peer before, unless an earlier life of it
    // was listed.
    let bundle = AggregatorBundle::sign(
        &instance,
        settings.admission,
        &transport,
        Whereabouts::of_door(addresses),
    );
    let footing = aggregator.footing.clone();
    let enlisting = enlist::run(
        ground.clone(),
        instance.clone(),
        bundle,
        servers,
        move |listed| footing.listed(listed),
    );
    let enlisted = spawn_alive(health, "enlisting", enlisting);
    let (mut rounds, mut told) = (JoinSet::new(), JoinSet::new());
    loop {
        let events = tokio::select! {
            events = beating(&pulse, follower.next()) => events,
            Some(_) = told.join_next() => continue,
            () = door::watch(&door) => break,
            () = stop.cancelled() => break,
        };
        for event in events {
            let Some(round) = aggregator.hears(event, &mut told) else {
                continue;
            };
            // The newest round is the only one that a server still wants; one that
            // was begun before, or is another aggregator's, ends none (A10).
            if aggregator.desk.begins(&round) {
                rounds.abort_all();
                while rounds.join_next().await.is_some() {}
                aggregator.desk.abandon();
                rounds.spawn(aggregator.clone().serve(round));
            }
        }
    }
    tracing::info!("aggregator leaving");
    health.leaves();
    watched.abort();
    rounds.shutdown().await;
    keeper.abort();
    enlisted.abort();
    rolls.abort();
    if let Some(upkeep) = upkeep {
        upkeep.abort();
    }
    drop(follower);
    door.close().await;
    Ok(())
}

/// Spawns what is to go on for ever: whoever asks for the process's health hears of its end.
fn spawn_alive(
    health: &Health,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let pulse = health.pulse(name, Duration::MAX);
    tokio::spawn(async move {
        task.await;
        drop(pulse);
    })
}

/// Waits for what may take long, and says meanwhile that the loop goes on.
async fn beating<T>(pulse: &Pulse, work: impl Future<Output = T>) -> T {
    let mut work = core::pin::pin!(work);
    loop {
        pulse.beat();
        if let Ok(done) = timeout(BEAT, &mut work).await {
            return done;
        }
    }
}

/// The instance to serve; `None` if it was stopped before.
async fn find_instance(
    settings: &AggregatorSettings,
    ground: &Arc<dyn Ground>,
    stop: &CancellationToken,
) -> Result<Option<Instance>, AggregatorError> {
    let text = "nobody has told the committee key yet";
    settings.health.begins(Reason::new(Code::Committee, text));
    let hints = &settings.network.bootstrap;
    tokio::select! {
        found = common::find_instance(ground, &settings.trust, hints) => {
            found.map(Some).map_err(AggregatorError::CommitteeKey)
        }
        () = stop.cancelled() => Ok(None),
    }
}

/// What is answered at the door: envelopes are taken, and said for which rounds; the
/// envelopes of the last rounds are shown to servers, and to nobody else.
fn desk(
    instance: &Instance,
    aggregator: &Arc<Aggregator>,
    is_server: Allowed,
) -> zipnet_door::Desk {
    const CALLERS: usize = 65_536;
    let hello = common::hello(instance);
    let (known, takes) = (aggregator.clone(), aggregator.clone());
    let (collects, shows) = (aggregator.clone(), aggregator.clone());
    let (adds, gives) = (aggregator.clone(), aggregator.clone());
    let (sums, leaf) = (aggregator.clone(), aggregator.clone());
    let audits = is_server.clone();
    let server =
        move |caller: &PeerKey, of: &Allowed| common::peer_id(caller).is_some_and(|peer| of(&peer));
    let auditors =
        zipnet_door::Admission::from(AUDITORS).only(move |caller| server(caller, &audits));
    let leaves =
        zipnet_door::Admission::from(MAX_LEAVES).only(move |caller| sums.desk.is_leaf(caller));
    zipnet_door::Desk::new(move |caller| {
        server(caller, &is_server) || known.registries.has(caller) || leaf.desk.is_leaf(caller)
    })
    .on::<HelloCall, _, _>(256, move |(), _| ready(Ok(hello.clone())))
    .on::<EnvelopeCall, _, _>(CALLERS, move |envelope, caller| {
        ready(takes.desk.take(&envelope, &caller))
    })
    .on::<CollectsCall, _, _>(CALLERS, move |(context, client), caller| {
        ready(collects.desk.collects(&context, &client, &caller))
    })
    .on::<PartCall, _, _>(leaves, move |part, caller| {
        ready(adds.desk.take_part(part, &caller))
    })
    .on::<PartOfCall, _, _>(auditors.clone(), move |(context, leaf), _| {
        ready(gives.desk.part(&context, leaf))
    })
    .on::<AuditCall, _, _>(auditors, move |request, _| {
        let from = request.from as usize;
        ready(shows.desk.page(&request.context, from, AUDIT_PAGE_BYTES))
    })
}

impl Aggregator {
    /// Takes note of an event. Returns the round that has opened, if one has.
    fn hears(
        self: &Arc<Self>,
        event: Event,
        told: &mut JoinSet<()>,
    ) -> Option<Arc<CertifiedRound>> {
        match event {
            Event::Opened(round) => {
                self.desk.heard(&round);
                Some(round)
            }
            Event::Finalized(done) => {
                if let Some(receipt) = self.above.broken(&done) {
                    let this = self.clone();
                    told.spawn(async move { this.above.tell(receipt).await });
                }
                None
            }
        }
    }

    /// Sets aside the rounds that are open now and name this peer: an earlier
    /// life of it may have given receipts there, which this one could not
    /// keep. All servers are asked, and one that answers has to be there; to
    /// have an honest aggregator struck by its own receipts, all that
    /// answer would have to lie while it restarts in the middle of a round.
    async fn set_aside_open_rounds(
        &self,
        ground: &dyn Ground,
        instance: &Instance,
        servers: Allowed,
    ) {
        let servers = Peers::on::<FollowCall>(ground, instance, Some(servers));
        let now = Follow {
            after: None,
            seen: None,
            wait: 0,
            aggregators: None,
        };
        loop {
            let asked = servers.serving().into_iter();
            let asked = asked.map(|peer| servers.call_peer(peer, &now, PATIENCE));
            let answers = futures::future::join_all(asked).await;
            let mut answers = answers.into_iter().filter_map(Result::ok).peekable();
            let anybody = answers.peek().is_some();
            for opened in answers.filter_map(|news| news.open) {
                self.desk
                    .set_aside(opened.certificate.header.header().context());
            }
            if anybody {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Collects a round's envelopes and delivers the aggregate.
    async fn serve(self: Arc<Self>, round: Arc<CertifiedRound>) {
        let header = round.header();
        let registry = loop {
            match self.registries.of(header).await {
                Ok(registry) => {
                    self.footing.serves(Ok(()));
                    break registry;
                }
                Err(error) => {
                    let because = crate::report::chain(&error);
                    self.footing.serves(Err((header.number, because)));
                    tracing::warn!(
                        round = header.number,
                        because = %crate::report::chain(&error),
                        "cannot serve a round yet"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        self.desk.open(round.clone(), registry);
        // The window is counted from here: whoever delays the registry makes
        // rounds longer, and not smaller (A4). Leaves have half of it, so that their
        // parts are there before the aggregator's ends.
        let me = self.desk.peer();
        let is_root = header.aggregator == me;
        let window = if is_root {
            self.fold_deadline
        } else {
            self.fold_deadline / 2
        };
        let complete = timeout(window, self.desk.complete()).await;
        if complete.is_err() && is_root {
            // Below the floor no server unblinds (I2, I15): late is better
            // than never, and never better than few.
            self.desk.enough().await;
        }
        let Some(collected) = self.desk.close() else {
            return;
        };
        metrics::folded(collected.participants, collected.registered);
        let (number, participants) = (header.number, collected.participants);
        match &collected.yields {
            Yield::Aggregate(aggregate) => {
                deliver::deliver(&self.servers, aggregate, number, participants).await;
            }
            Yield::Part(part) => self.above.hand_on(part, &header.aggregator, number).await,
        }
    }
}
