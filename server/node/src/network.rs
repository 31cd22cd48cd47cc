//! A node on the mosaik network: joining, staying reachable, leaving.

mod closing;

use core::{future::Future, net::IpAddr, net::Ipv4Addr, net::SocketAddr, time::Duration};
use std::{collections::BTreeSet, sync::Arc};

use mosaik::{
    Network, PeerId, SecretKey, Tag,
    discovery::{self, Catalog},
    iroh::{self, EndpointAddr},
    network,
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use zipnet_protocol::{SigningSecret, domain_digest};

use self::closing::Closer;
use crate::{
    entropy::EntropyError,
    relay::{EmbeddedRelay, RelayError},
    rules::network_id,
    settings::{BootstrapHint, NetworkSettings, RelaySetting, TransportSeed},
};

/// How long joining the network may take: a relay that does not answer would
/// otherwise hang mosaik for ever.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often bootstrap peers that are not known yet are dialled.
const REDIAL: Duration = Duration::from_secs(2);
/// How far the clocks of peers may be off. Nothing here rests on them: rounds
/// are counted, and each server measures its own time.
const CLOCK_DRIFT: Duration = Duration::from_mins(10);
/// How often mosaik pings every peer that it knows. Nothing here chooses by
/// round-trip time, and of many nodes it costs their number squared.
const RTT_PROBES: Duration = Duration::from_hours(24);
/// Ports of nodes with a lasting identity that were told none: below those
/// that Linux hands out by itself.
const STEADY_PORTS: core::ops::Range<u16> = 20_000..30_000;
/// A tag that comes and goes; it means nothing.
const NUDGE: &str = "zipnet/looking-for-servers";
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
    #[error("Could not start the embedded relay")]
    Relay(#[source] RelayError),
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

impl Presence {
    /// How long one attempt to reach a peer may take. A peer compares catalogs
    /// with one after the other: of many clients that start together, each
    /// waits its turn, and asking twice makes all wait twice as long.
    const fn patience(self) -> Duration {
        match self {
            Self::Infrastructure => Duration::from_secs(5),
            Self::Client => Duration::from_secs(30),
        }
    }
}

/// A joined node.
pub struct Node {
    network: Arc<Network>,
    transport: SigningSecret,
    redial: JoinHandle<()>,
    hints: Vec<BootstrapHint>,
    closer: Closer,
    /// Kept alive as long as the node.
    _relay: Option<EmbeddedRelay>,
}

impl Node {
    /// Joins the network, or says why not within a bounded time.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn join(settings: &NetworkSettings, presence: Presence) -> Result<Self, JoinError> {
        let seed = settings.seed_or_fresh().map_err(JoinError::Entropy)?;
        let (relay_mode, relay) = relay(&settings.relay).await?;
        let announce = match presence {
            Presence::Infrastructure => Duration::from_secs(5),
            Presence::Client => Duration::from_secs(45),
        };
        let mut discovery = discovery::Config::builder()
            .with_announce_interval(announce)
            .with_max_time_drift(CLOCK_DRIFT)
            .with_rtt_probe_interval(RTT_PROBES)
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
        let secret_key = SecretKey::from_bytes(seed.as_bytes());
        let steady = || {
            let lasting = settings.seed.as_ref();
            lasting.map(|seed| steady_address(seed, Ipv4Addr::UNSPECIFIED.into()))
        };
        let bind = settings.bind.or_else(steady);
        let builder = Network::builder(network_id(settings))
            .with_secret_key(secret_key)
            .with_relay_mode(relay_mode)
            .with_addresses(bind.into_iter().collect::<BTreeSet<_>>())
            .with_discovery(discovery);
        let network = timeout(JOIN_TIMEOUT, closing::joined(builder))
            .await
            .map_err(|_| JoinError::NoRelay {
                relay: settings.relay.to_string(),
            })?
            .map_err(|source| JoinError::Network {
                bind: bind.map_or_else(|| "any address".to_owned(), |bind| bind.to_string()),
                source: Box::new(source),
            })?;
        let network = Arc::new(network);
        let closer = Closer::new(network.local().endpoint());
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
            closer,
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
        let hints = self.hints.iter().map(BootstrapHint::endpoint_addr);
        for address in serving(&catalog).take(SHOWN).chain(hints) {
            let peer = address.id;
            let sync = discovery.sync_with(address);
            let patience = Presence::Infrastructure.patience();
            tokio::spawn(async move { bounded(sync, &peer, patience).await });
        }
    }

    /// Has mosaik look at its catalog again, here and at the peers: bonds with
    /// peers are formed when the catalog changes, and only then.
    pub fn nudge(network: &Network) {
        let discovery = network.discovery();
        let tag = Tag::from(NUDGE);
        if discovery.me().tags().contains(&tag) {
            discovery.remove_tags(tag);
        } else {
            discovery.add_tags(tag);
        }
    }

    /// Says goodbye to the network and closes the socket. Everything that
    /// holds the network must have been dropped before.
    pub async fn leave(self) {
        self.redial.abort();
        drop(self.network);
        tokio::time::sleep(DEPARTURE).await;
        self.closer.close().await;
    }
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Node({})", self.peer())
    }
}

async fn relay(
    setting: &RelaySetting,
) -> Result<(iroh::RelayMode, Option<EmbeddedRelay>), JoinError> {
    let custom = |url: iroh::RelayUrl| {
        // Without `None` iroh would probe the relay's QUIC port for 3 s.
        let config = iroh::RelayConfig::new(url, None);
        iroh::RelayMode::Custom(iroh::RelayMap::from(config))
    };
    match setting {
        RelaySetting::Default => Ok((iroh::RelayMode::Default, None)),
        RelaySetting::Url(url) => Ok((custom(url.clone()), None)),
        RelaySetting::Embedded => {
            let relay = EmbeddedRelay::start().await.map_err(JoinError::Relay)?;
            Ok((custom(relay.url().clone()), Some(relay)))
        }
    }
}

/// Where the peers are that serve something: servers and aggregators.
pub(crate) fn serving(catalog: &Catalog) -> impl Iterator<Item = EndpointAddr> {
    catalog
        .signed_peers()
        .filter(|entry| !entry.functions().is_empty())
        .map(|entry| entry.address().clone())
}

/// An address of this interface, with a port that follows from the identity. A peer
/// that comes back where it was is reached at once: iroh sends to the old address of one
/// that moved until the last connection there has timed out, 15 to 20 s. Any port if that
/// one is taken.
pub(crate) fn steady_address(seed: &TransportSeed, ip: IpAddr) -> SocketAddr {
    let peer = SigningSecret::from_seed(seed.as_bytes()).peer_key();
    let digest = domain_digest("zipnet/port/v1", peer.as_bytes());
    let [high, low, ..] = *digest.as_bytes();
    let port = STEADY_PORTS.start
        + u16::from_be_bytes([high, low]) % (STEADY_PORTS.end - STEADY_PORTS.start);
    let address = SocketAddr::new(ip, port);
    match std::net::UdpSocket::bind(address) {
        Ok(_) => address,
        Err(error) => {
            tracing::info!(%address, %error, "the usual port of this identity is not to be had; taking any");
            SocketAddr::new(ip, 0)
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
                let mut serving: Vec<_> = serving(&catalog).collect();
                if !serving.is_empty() {
                    let next = turn % serving.len();
                    addresses.push(serving.swap_remove(next));
                }
            }
            addresses
        };
        let mut dials = JoinSet::new();
        for address in addresses {
            let Some(network) = network.upgrade() else {
                return;
            };
            let peer = address.id;
            let dial = network.discovery().sync_with(address);
            dials.spawn(async move { bounded(dial, &peer, presence.patience()).await });
        }
        dials.join_all().await;
        tokio::time::sleep(REDIAL).await;
    }
}

pub(crate) async fn bounded<E: core::fmt::Display>(
    dial: impl Future<Output = Result<(), E>>,
    peer: &PeerId,
    patience: Duration,
) {
    match timeout(patience, dial).await {
        Ok(Ok(())) => tracing::trace!(peer = %peer.fmt_short(), "compared catalogs"),
        Ok(Err(error)) => {
            tracing::debug!(peer = %peer.fmt_short(), %error, "could not compare catalogs");
        }
        Err(_) => tracing::debug!(peer = %peer.fmt_short(), "a peer does not answer"),
    }
}
