//! A node on the mosaik network: joining, staying reachable, leaving.

use core::{future::Future, net::Ipv4Addr, net::SocketAddr, time::Duration};
use std::{collections::BTreeSet, sync::Arc};

use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use mosaik::{Network, PeerId, SecretKey, discovery, iroh, network};
use tokio::{task::JoinHandle, time::timeout};
use zipnet_protocol::SigningSecret;

use crate::{
    entropy::{self, EntropyError},
    settings::{BootstrapHint, NetworkSettings, RelaySetting, TransportSeed},
};

/// How long joining the network may take: a relay that does not answer would
/// otherwise hang mosaik for ever.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often bootstrap peers that are not known yet are dialled.
const REDIAL: Duration = Duration::from_secs(2);
/// How long one attempt may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How far the clocks of peers may be off. Nothing here rests on them: rounds
/// are counted, and each server measures its own time.
const CLOCK_DRIFT: Duration = Duration::from_mins(10);
/// How many peers are told at once what a node serves.
const SHOWN: usize = 16;
/// mosaik sends the word of departure within 500 ms of the network's end.
const DEPARTURE: Duration = Duration::from_millis(700);

/// The node could not join the network.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No randomness.
    #[error("Could not make a transport identity")]
    Entropy(#[source] EntropyError),
    /// The embedded relay.
    #[error("Could not start the embedded relay on 127.0.0.1")]
    Relay(#[source] iroh_relay::server::SpawnError),
    /// The embedded relay did not say where it listens.
    #[error("The embedded relay has no usable address")]
    RelayAddress,
    /// A setting of the discovery.
    #[error("The discovery settings do not build")]
    Discovery(#[source] discovery::ConfigBuilderError),
    /// The socket or the network as a whole.
    #[error(
        "Could not open the network on {bind}; a free UDP address of this machine would be right"
    )]
    Network {
        /// Where.
        bind: String,
        /// Why.
        #[source]
        source: Box<network::Error>,
    },
    /// No relay answered.
    #[error(
        "No relay answered within {} s (relay setting `{relay}`); a reachable relay URL, or `embedded` where all nodes reach each other directly, would be right",
        JOIN_TIMEOUT.as_secs()
    )]
    NoRelay {
        /// The setting.
        relay: String,
    },
}

/// How often a node tells the universe that it lives. Servers speak often, so
/// that a restarted one is back soon; clients are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A server or an aggregator.
    Infrastructure,
    /// A client.
    Client,
}

/// A joined node.
pub struct Node {
    network: Arc<Network>,
    transport: SigningSecret,
    redial: JoinHandle<()>,
    hints: Vec<BootstrapHint>,
    /// Kept alive as long as the node.
    _relay: Option<Server>,
}

impl Node {
    /// Joins the network, or says why not within a bounded time.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn join(settings: &NetworkSettings, presence: Presence) -> Result<Self, JoinError> {
        let seed = match &settings.seed {
            Some(seed) => seed.clone(),
            None => TransportSeed::from_entropy(entropy::fresh().map_err(JoinError::Entropy)?),
        };
        let (relay_mode, relay) = relay(&settings.relay).await?;
        let announce = match presence {
            Presence::Infrastructure => Duration::from_secs(5),
            Presence::Client => Duration::from_secs(45),
        };
        let mut discovery = discovery::Config::builder()
            .with_announce_interval(announce)
            .with_max_time_drift(CLOCK_DRIFT)
            .with_bootstrap(
                settings
                    .bootstrap
                    .iter()
                    .map(BootstrapHint::endpoint_addr)
                    .collect::<Vec<_>>(),
            );
        if settings.relay != RelaySetting::Default {
            // Without the public relays there is no internet to search.
            discovery = discovery.no_dht_bootstrap();
        }
        let builder = Network::builder(settings.network_id())
            .with_secret_key(SecretKey::from_bytes(seed.as_bytes()))
            .with_relay_mode(relay_mode)
            .with_addresses(settings.bind.into_iter().collect::<BTreeSet<_>>())
            .with_discovery(discovery);
        let network = timeout(JOIN_TIMEOUT, builder.build())
            .await
            .map_err(|_| JoinError::NoRelay {
                relay: settings.relay.to_string(),
            })?
            .map_err(|source| JoinError::Network {
                bind: settings
                    .bind
                    .map_or_else(|| "any address".to_owned(), |bind| bind.to_string()),
                source: Box::new(source),
            })?;
        let network = Arc::new(network);
        let redial = tokio::spawn(redial(
            Arc::downgrade(&network),
            settings.bootstrap.clone(),
            presence,
        ));
        Ok(Self {
            network,
            transport: SigningSecret::from_seed(seed.as_bytes()),
            redial,
            hints: settings.bootstrap.clone(),
            _relay: relay,
        })
    }

    /// The mosaik network.
    #[must_use]
    pub const fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The key of the transport identity.
    #[must_use]
    pub const fn transport(&self) -> &SigningSecret {
        &self.transport
    }

    /// This node's id.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.network.local().id()
    }

    /// The hint with which others find this node, by its first bound address
    /// that is not a wildcard, else loopback.
    #[must_use]
    pub fn hint(&self) -> BootstrapHint {
        let addr = self.network.local().addr();
        let address = addr
            .ip_addrs()
            .find(|address| !address.ip().is_unspecified() && address.is_ipv4())
            .or_else(|| addr.ip_addrs().next())
            .copied()
            .or_else(|| {
                let bound = self.network.local().endpoint().bound_sockets();
                bound
                    .first()
                    .map(|socket| SocketAddr::from((Ipv4Addr::LOCALHOST, socket.port())))
            });
        BootstrapHint {
            peer: self.peer(),
            address,
        }
    }

    /// Tells peers at once what this node serves now, in the background: a few
    /// that serve something, and the bootstrap peers. Gossip may lose the word.
    pub fn show(&self) {
        let discovery = self.network.discovery();
        let catalog = discovery.catalog();
        let serving = catalog
            .signed_peers()
            .filter(|entry| !entry.functions().is_empty())
            .take(SHOWN)
            .map(|entry| entry.address().clone());
        let hints = self.hints.iter().map(BootstrapHint::endpoint_addr);
        for address in serving.chain(hints) {
            let peer = address.id;
            let sync = discovery.sync_with(address);
            tokio::spawn(async move { bounded(sync, &peer).await });
        }
    }

    /// Says goodbye to the network and closes the socket. Everything that
    /// holds the network must have been dropped before.
    pub async fn leave(self) {
        self.redial.abort();
        let endpoint = self.network.local().endpoint().clone();
        drop(self.network);
        tokio::time::sleep(DEPARTURE).await;
        // Closing waits for peers that may be gone.
        let _ = timeout(Duration::from_millis(500), endpoint.close()).await;
    }
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Node({})", self.peer())
    }
}

async fn relay(setting: &RelaySetting) -> Result<(iroh::RelayMode, Option<Server>), JoinError> {
    let custom = |url: iroh::RelayUrl| {
        // Without `None` iroh would probe the relay's QUIC port for 3 s.
        let config = iroh::RelayConfig::new(url, None);
        iroh::RelayMode::Custom(iroh::RelayMap::from(config))
    };
    match setting {
        RelaySetting::Default => Ok((iroh::RelayMode::Default, None)),
        RelaySetting::Url(url) => Ok((custom(url.clone()), None)),
        RelaySetting::Embedded => {
            let mut config = ServerConfig::default();
            config.relay = Some(RelayConfig::new((Ipv4Addr::LOCALHOST, 0)));
            let server = Server::spawn(config).await.map_err(JoinError::Relay)?;
            let address = server.http_addr().ok_or(JoinError::RelayAddress)?;
            let url = format!("http://{address}")
                .parse()
                .map_err(|_| JoinError::RelayAddress)?;
            Ok((custom(url), Some(server)))
        }
    }
}

/// mosaik dials bootstrap peers once. This dials them until they are known,
/// and again when they were forgotten. Servers and aggregators besides compare
/// catalogs with one known peer after the other: gossip alone may take long to
/// tell of a peer that has restarted.
async fn redial(network: std::sync::Weak<Network>, hints: Vec<BootstrapHint>, presence: Presence) {
    let mut turn = 0_usize;
    loop {
        let addresses = {
            let Some(network) = network.upgrade() else {
                return;
            };
            let catalog = network.discovery().catalog();
            let unknown = hints
                .iter()
                .filter(|hint| hint.peer != network.local().id())
                .filter(|hint| catalog.get_signed(&hint.peer).is_none())
                .map(BootstrapHint::endpoint_addr);
            let mut addresses: Vec<_> = unknown.collect();
            if presence == Presence::Infrastructure {
                turn = turn.wrapping_add(1);
                let known = catalog.signed_peers_count().max(1);
                let next = catalog
                    .signed_peers()
                    .nth(turn.checked_rem(known).unwrap_or(0));
                addresses.extend(next.map(|entry| entry.address().clone()));
            }
            addresses
        };
        for address in addresses {
            let Some(network) = network.upgrade() else {
                return;
            };
            let peer = address.id;
            let dial = network.discovery().sync_with(address);
            drop(network);
            bounded(dial, &peer).await;
        }
        tokio::time::sleep(REDIAL).await;
    }
}

async fn bounded<E: core::fmt::Display>(dial: impl Future<Output = Result<(), E>>, peer: &PeerId) {
    match timeout(DIAL_TIMEOUT, dial).await {
        Ok(Ok(())) => tracing::trace!(peer = %peer.fmt_short(), "compared catalogs"),
        Ok(Err(error)) => {
            tracing::debug!(peer = %peer.fmt_short(), %error, "could not compare catalogs");
        }
        Err(_) => tracing::debug!(peer = %peer.fmt_short(), "a peer does not answer"),
    }
}
