//! The iroh endpoint under a door, and under those who knock.

use core::{net::SocketAddr, time::Duration};

use iroh::{
    Endpoint, RelayConfig, RelayMap, RelayMode, RelayUrl, SecretKey,
    endpoint::{BindError, IdleTimeout, QuicTransportConfig, VarInt, presets},
};
use zeroize::Zeroizing;

/// Longest silence on a connection. iroh says something every 5 s, so whoever is
/// silent for longer is gone.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes that a peer may send on one stream before they are read: a large frame
/// comes in a few round trips.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes that are on their way to a peer at most, unacknowledged.
const SEND_WINDOW: u64 = 4 << 20;

/// The seed of a transport identity, 32 bytes. No `Debug` shows it.
pub type Seed = Zeroizing<[u8; 32]>;

/// Where a socket is opened; any free port of any address by default.
pub type Bind = Option<SocketAddr>;

/// How peers are found and reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// By addresses that are known, and by nothing else.
    Direct,
    /// Besides, through this relay.
    Relay(RelayUrl),
    /// Through iroh's public relays, and by its discovery, which needs the internet.
    Public,
}

/// An endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No address.
    #[error("{bind} cannot be listened on; an address of this machine would be right")]
    Address {
        /// Where.
        bind: SocketAddr,
    },
    /// The socket.
    #[error(
        "Could not open a door on {}; a free UDP address of this machine would be right",
        bind.map_or_else(|| "any address".to_owned(), |bind| bind.to_string())
    )]
    Bind {
        /// Where.
        bind: Bind,
        /// Why.
        #[source]
        source: Box<BindError>,
    },
}

/// What a peer may have under way before it is known who it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Streams that it may open.
    pub streams: u32,
    /// Bytes that it may send before they are read.
    pub bytes: u32,
}

impl Windows {
    /// Nothing: those who knock take no calls.
    pub const NONE: Self = Self {
        streams: 0,
        bytes: 8 << 20,
    };
}

pub(crate) async fn open(
    seed: &Seed,
    bind: Bind,
    reach: &Reach,
    windows: Windows,
    alpns: Vec<Vec<u8>>,
) -> Result<Endpoint, OpenError> {
    let config = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(windows.streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(windows.bytes))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .build();
    let mut builder = match reach {
        Reach::Direct => Endpoint::builder(presets::Minimal),
        Reach::Relay(url) => {
            // Without `None` iroh would probe the relay's QUIC port for 3 s.
            let map = RelayMap::from(RelayConfig::new(url.clone(), None));
            Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Custom(map))
        }
        Reach::Public => Endpoint::builder(presets::N0),
    };
    builder = builder
        .secret_key(SecretKey::from_bytes(seed))
        .transport_config(config)
        .alpns(alpns);
    if let Some(bind) = bind {
        builder = builder
            .clear_ip_transports()
            .bind_addr(bind)
            .map_err(|_| OpenError::Address { bind })?;
    }
    builder.bind().await.map_err(|source| OpenError::Bind {
        bind,
        source: Box::new(source),
    })
}
