//! Clients, to embed or to run: [`Publisher`] seals messages and cover,
//! [`Reader`] verifies and yields what was broadcast. [`Zipnet`](crate::Zipnet) sets one up
//! of a line of text.
//!
//! ```no_run
//! # async fn example(settings: zipnet::roles::client::ClientSettings) -> Result<(), Box<dyn std::error::Error>> {
//! use zipnet::roles::client::{Client, Participation};
//!
//! let client = Client::start(settings, Participation::Talk).await?;
//! let mut reader = client.reader();
//! let receipt = client.publisher().publish(b"hello".to_vec()).await?;
//! println!("landed in round {} slot {}", receipt.round, receipt.slot);
//! if let Some(round) = reader.next().await {
//!     for (slot, message) in round?.messages() {
//!         println!("{slot}: {}", String::from_utf8_lossy(&message));
//!     }
//! }
//! client.leave().await;
//! # Ok(()) }
//! ```

mod driver;
pub mod evidence;
pub mod fate;
mod lag;
mod linger;
mod listing;
mod offer;
mod pending;
mod publisher;
mod reader;
mod readiness;
mod registration;
mod sending;
mod witness;

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};
use zipnet_door::Doors;
use zipnet_protocol::{
    DhSecret, FinalizedRound, Instance, Invite, LeastServers, RoundParams, Sealer, SigningSecret,
    SlotKey,
};

pub use lag::Lagged;
pub use linger::{Linger, Stay};
pub use publisher::{GivenUp, PublishError, PublishOptions, Publisher, Receipt};
pub use reader::{Reader, TakesPart};
pub use readiness::{NotReady, Readiness};
pub use sending::{MessageId, Receipts, Sending, Told};

use super::{
    common::{self, CommitteeKeyError, KnockError},
    directory::Directory,
    follow::{Event, Follower, past::Past},
    roll,
};
use crate::{
    attestation::upkeep,
    book::{AtDoors, Book},
    entropy::{self, EntropyError},
    ground::Ground,
    health::Reason,
    settings::{NetworkSettings, TrustSettings},
    wire::Wish,
};
use driver::Driver;
use listing::Registries;
use offer::Offers;
use reader::Rounds;
use readiness::Footing;
use registration::Registrar;
use witness::Witness;

/// Events that a slow listener may lag behind before it loses some.
const BACKLOG: usize = 512;
/// Events that wait for a driver. The follower waits for a driver that has so
/// many: it must miss none.
const INBOX: usize = 16;
/// Messages that wait to be sealed.
const OUTBOX: usize = 64;

/// Where the drivers of one process hear what happens.
type Inboxes = Arc<Mutex<Vec<mpsc::Sender<Event>>>>;

/// What a user sets for a client.
#[derive(Debug)]
pub struct ClientSettings {
    /// How it joins the network.
    pub network: NetworkSettings,
    /// Whom it trusts.
    pub trust: TrustSettings,
    /// The shape of the broadcasts, to refuse over-long messages at once.
    pub params: RoundParams,
    /// By what it is admitted, where that is needed.
    pub invite: Option<Invite>,
}

/// What a client does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Participation {
    /// Seals messages, and cover when it has none.
    Talk,
    /// Seals cover always.
    Cover,
    /// Only reads, lightly like those who take part: the broadcasts, each proven by the
    /// certificate of the round behind it.
    Watch,
    /// Only reads, whole records, and adds their vectors up by itself.
    Audit,
}

impl Participation {
    pub(crate) const fn seals(self) -> bool {
        matches!(self, Self::Talk | Self::Cover)
    }
}

/// A client could not start.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No randomness.
    #[error("Could not make the client's keys")]
    Entropy(#[source] EntropyError),
    /// No socket.
    #[error("Could not reach doors")]
    Knock(#[source] KnockError),
    /// No committee key.
    #[error("Could not learn which committee to talk to")]
    CommitteeKey(#[source] CommitteeKeyError),
    /// An auditor beside those who read lightly.
    #[error(
        "A client that audits cannot share what another one hears, which reads lightly; one that is started by itself would be right"
    )]
    Audit,
}

/// What clients of one process share: its connections, and what it hears.
struct Host {
    doors: Arc<Doors>,
    ground: Arc<dyn Ground>,
    transport: SigningSecret,
    instance: Instance,
    params: RoundParams,
    least_servers: LeastServers,
    directory: Arc<Directory>,
    events: broadcast::Sender<Event>,
    rounds: Rounds,
    inboxes: Inboxes,
    /// Why no round is believed.
    doubts: watch::Receiver<Option<Reason>>,
    /// How many servers there have to be, if that was set.
    servers: Option<u32>,
    /// Whether whole records are read.
    audits: bool,
    tasks: JoinSet<()>,
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Host({})", self.doors.id())
    }
}

/// A running client.
#[derive(Debug)]
pub struct Client {
    host: Arc<Host>,
    publisher: Publisher,
    readiness: readiness::Told,
    registrar: Option<Arc<Registrar>>,
    tasks: JoinSet<()>,
}

impl Client {
    /// Reaches the committee's doors with fresh keys (I1) and starts to follow the
    /// committee.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start(
        settings: ClientSettings,
        participation: Participation,
    ) -> Result<Self, ClientError> {
        let ClientSettings {
            network,
            trust,
            params,
            invite,
        } = settings;
        let (doors, transport) = common::knock(&network).await.map_err(ClientError::Knock)?;
        common::up(&doors.id(), &network, &trust.name, "client");
        let book = Book::new(doors.clone(), &network.bootstrap);
        let ground: Arc<dyn Ground> = Arc::new(AtDoors(book.clone()));
        let found = common::find_instance(&ground, &trust, &network.bootstrap).await;
        let instance = match found {
            Ok(instance) => instance,
            Err(error) => {
                doors.close().await;
                return Err(ClientError::CommitteeKey(error));
            }
        };
        let authority = trust.authority.clone();
        let directory = Directory::new(&ground, &instance, authority.clone());
        let directory = Arc::new(directory);
        let audits = participation == Participation::Audit;
        let mut follower = Follower::new(&ground, &instance, &trust, &directory);
        if !audits {
            // Whether they talk or cover: what is asked is the same for all.
            follower = follower.light();
        }
        let events = broadcast::Sender::new(BACKLOG);
        let past = Past::new(&ground, &instance, &trust, &directory, audits);
        let rounds = Rounds::new(past);
        let doubts = follower.doubts();
        let mut tasks = JoinSet::new();
        if let Some(authority) = authority {
            tasks.spawn(upkeep::run(authority));
        }
        tasks.spawn(directory.clone().run());
        tasks.spawn(roll::keep(book, directory.clone()));
        let inboxes = Inboxes::default();
        let heard = rounds.heard();
        tasks.spawn(follow(follower, events.clone(), heard, inboxes.clone()));
        let host = Host {
            doors,
            ground,
            transport,
            instance,
            params,
            least_servers: trust.least_servers(),
            directory,
            events,
            rounds,
            inboxes,
            doubts,
            servers: trust.min_servers.or(trust.committee_size),
            audits,
            tasks,
        };
        Self::on(Arc::new(host), participation, invite.as_ref())
    }

    /// Another client on the same connections, with fresh keys of its own. To the
    /// committee they are two; whoever sees connections sees one host.
    ///
    /// # Errors
    /// [`ClientError::Entropy`], or [`ClientError::Audit`].
    pub fn another(&self, participation: Participation) -> Result<Self, ClientError> {
        Self::on(self.host.clone(), participation, None)
    }

    /// As [`Client::another`], where clients need an invite: one of its own.
    ///
    /// # Errors
    /// [`ClientError::Entropy`], or [`ClientError::Audit`].
    pub fn another_invited(
        &self,
        participation: Participation,
        invite: &Invite,
    ) -> Result<Self, ClientError> {
        Self::on(self.host.clone(), participation, Some(invite))
    }

    fn on(
        host: Arc<Host>,
        participation: Participation,
        invite: Option<&Invite>,
    ) -> Result<Self, ClientError> {
        if participation == Participation::Audit && !host.audits {
            return Err(ClientError::Audit);
        }
        let (outbox, mut incoming) = mpsc::channel(OUTBOX);
        if participation == Participation::Cover {
            // Nobody publishes through a client that covers always.
            incoming.close();
        }
        let told = broadcast::Sender::new(sending::BACKLOG);
        let publisher = Publisher::new(outbox, host.params, &told);
        let readiness = readiness::Told::new();
        let mut tasks = JoinSet::new();
        let mut registrar = None;
        if participation.seals() {
            host.rounds.takes_part();
            let dh = DhSecret::from_entropy(&entropy::fresh().map_err(ClientError::Entropy)?);
            let slot_key = SlotKey::from_entropy(entropy::fresh().map_err(ClientError::Entropy)?);
            let sealer = Sealer::new(
                &host.instance,
                dh,
                slot_key,
                host.least_servers,
                &host.transport,
            );
            let servers = host.directory.allowed();
            let wish = Wish {
                bundle: sealer.bundle().clone(),
                invite: invite.map(|invite| invite.show(&host.instance, &sealer.id())),
            };
            let witness = Witness::new(&host.ground, &host.instance, servers.clone());
            let rounds = Arc::new(Registries::default());
            let registered =
                Registrar::new(&host.ground, &host.instance, wish, rounds.clone(), servers);
            let registered = Arc::new(registered);
            let events = host.events.subscribe();
            tasks.spawn(async move { rounds.follow(events).await });
            tasks.spawn(registered.clone().run());
            let offers = Offers::new(&host.ground, &host.instance, registered.clone(), witness);
            let (inbox, heard) = mpsc::channel(INBOX);
            lock(&host.inboxes).push(inbox);
            let driver = Driver::new(sealer, offers, incoming);
            tasks.spawn(async move {
                // Whoever listens to what becomes of messages does so until this ends.
                let _told = told;
                driver.run(heard).await;
            });
            registrar = Some(registered);
        }
        let footing = Footing {
            directory: host.directory.clone(),
            registrar: registrar.clone(),
            servers: host.servers,
            doubts: host.doubts.clone(),
        };
        tasks.spawn(footing.watch(host.events.subscribe(), readiness.clone()));
        Ok(Self {
            host,
            publisher,
            readiness,
            registrar,
            tasks,
        })
    }

    /// A handle to publish with.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// A handle to read with, from the next finalized round on.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.host.rounds.reader()
    }

    /// Whether it is ready, and why not.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.readiness()
    }

    /// Takes part for a random number of rounds: before a message and after it,
    /// whoever comes to say one thing only should (A8).
    #[must_use]
    pub fn linger(&self) -> Linger {
        Linger::new(self.reader())
    }

    /// The instance that the client belongs to.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.host.instance
    }

    /// Withdraws from the registry; the last client of a process closes its
    /// connections.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
        self.readiness.leaves();
        if let Some(registrar) = self.registrar.take() {
            let patience = Duration::from_secs(1);
            registrar.withdraw(&self.host.transport, patience).await;
        }
        if let Some(host) = Arc::into_inner(self.host) {
            let Host {
                doors, mut tasks, ..
            } = host;
            tasks.shutdown().await;
            doors.close().await;
        }
    }
}

/// Tells all clients of the node what happens.
async fn follow(
    mut follower: Follower,
    events: broadcast::Sender<Event>,
    rounds: broadcast::Sender<Arc<FinalizedRound>>,
    inboxes: Inboxes,
) {
    loop {
        for event in follower.next().await {
            let heard_by = {
                let mut inboxes = lock(&inboxes);
                inboxes.retain(|inbox| !inbox.is_closed());
                inboxes.clone()
            };
            for inbox in heard_by {
                // It may have left by now.
                let _ = inbox.send(event.clone()).await;
            }
            // Nobody may be listening.
            if let Event::Finalized(done) = &event {
                let _ = rounds.send(done.clone());
            }
            let _ = events.send(event);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
