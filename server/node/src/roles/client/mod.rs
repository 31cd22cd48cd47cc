//! Clients, to embed or to run: [`Publisher`] seals messages and cover,
//! [`Reader`] verifies and yields what was broadcast.
//!
//! ```no_run
//! # async fn example(settings: zipnet_node::roles::client::ClientSettings) -> Result<(), Box<dyn std::error::Error>> {
//! use zipnet_node::roles::client::{Client, Participation};
//!
//! let client = Client::start(settings, Participation::Talk).await?;
//! let mut reader = client.reader();
//! let receipt = client.publisher().publish(b"hello".to_vec()).await?;
//! println!("landed in round {} slot {}", receipt.round, receipt.slot);
//! if let Some(round) = reader.next().await {
//!     for (slot, message) in round.messages() {
//!         println!("{slot}: {}", String::from_utf8_lossy(&message));
//!     }
//! }
//! client.leave().await;
//! # Ok(()) }
//! ```

mod driver;
mod publisher;
mod reader;
mod registration;

use core::time::Duration;
use std::sync::Arc;

use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
};
use zipnet_protocol::{DhSecret, FinalizedRound, Instance, RoundParams, Sealer, SlotKey};

pub use publisher::{PublishError, Publisher, Receipt};
pub use reader::Reader;

use super::{
    common::{self, CommitteeKeyError},
    directory::Directory,
    follow::Follower,
};
use crate::{
    entropy::{self, EntropyError},
    network::{JoinError, Node, Presence},
    peers::Allowed,
    settings::{NetworkSettings, TrustSettings},
};
use registration::Registrar;

/// Rounds that a slow reader may lag behind before it loses some.
const READER_BACKLOG: usize = 256;
/// Messages that wait to be sealed.
const OUTBOX: usize = 64;

/// What a user sets for a client.
#[derive(Debug)]
pub struct ClientSettings {
    /// How it joins the network.
    pub network: NetworkSettings,
    /// Whom it trusts.
    pub trust: TrustSettings,
    /// The shape of the broadcasts, to refuse over-long messages at once.
    pub params: RoundParams,
}

/// What a client does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Participation {
    /// Seals messages, and cover when it has none.
    Talk,
    /// Seals cover always.
    Cover,
    /// Only reads.
    Watch,
}

/// A client could not start.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No randomness.
    #[error("Could not make the client's keys")]
    Entropy(#[source] EntropyError),
    /// No network.
    #[error("Could not join the network")]
    Join(#[source] JoinError),
    /// No committee key.
    #[error("Could not learn which committee to talk to")]
    CommitteeKey(#[source] CommitteeKeyError),
}

/// A running client.
#[derive(Debug)]
pub struct Client {
    node: Node,
    instance: Instance,
    params: RoundParams,
    outbox: mpsc::Sender<driver::Outgoing>,
    finalized: broadcast::Sender<Arc<FinalizedRound>>,
    registrar: Option<Arc<Registrar>>,
    tasks: JoinSet<()>,
}

impl Client {
    /// Joins the network with fresh keys (I1) and starts to follow the
    /// committee.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start(
        settings: ClientSettings,
        participation: Participation,
    ) -> Result<Self, ClientError> {
        let node = Node::join(&settings.network, Presence::Client)
            .await
            .map_err(ClientError::Join)?;
        common::announce(&node, &settings.network, &settings.trust.name, "client");
        let instance = common::find_instance(&node, &settings.trust, &settings.network)
            .await
            .map_err(ClientError::CommitteeKey)?;
        let directory = Arc::new(Directory::new(node.network(), &instance));
        let follower = Follower::new(
            node.network().clone(),
            &instance,
            &settings.trust,
            &directory,
        );
        let (outbox, incoming) = mpsc::channel(OUTBOX);
        let finalized = broadcast::Sender::new(READER_BACKLOG);
        let mut tasks = JoinSet::new();
        tasks.spawn(directory.clone().run());
        let registrar = if participation == Participation::Watch {
            tasks.spawn(driver::watch(follower, finalized.clone()));
            None
        } else {
            let dh = DhSecret::from_entropy(&entropy::fresh().map_err(ClientError::Entropy)?);
            let slot_key = SlotKey::from_entropy(entropy::fresh().map_err(ClientError::Entropy)?);
            let sealer = Sealer::new(&instance, dh, slot_key, node.transport());
            let servers: Allowed = Arc::new(move |peer| directory.is_server(peer));
            let bundle = sealer.bundle().clone();
            let registrar = Arc::new(Registrar::new(node.network(), &instance, bundle, servers));
            tasks.spawn(registrar.clone().run());
            let driver = driver::Driver::new(
                node.network(),
                &instance,
                sealer,
                registrar.clone(),
                settings.trust.aggregators.clone(),
                incoming,
                finalized.clone(),
            );
            tasks.spawn(driver.run(follower));
            Some(registrar)
        };
        Ok(Self {
            node,
            instance,
            params: settings.params,
            outbox,
            finalized,
            registrar,
            tasks,
        })
    }

    /// A handle to publish with.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.outbox.clone(), self.params)
    }

    /// A handle to read with, from the next finalized round on.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.finalized.subscribe())
    }

    /// The instance that the client belongs to.
    #[must_use]
    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Withdraws from the registry and leaves the network.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
        if let Some(registrar) = self.registrar.take() {
            let patience = Duration::from_secs(1);
            registrar.withdraw(self.node.transport(), patience).await;
        }
        drop(self.outbox);
        self.node.leave().await;
    }
}
