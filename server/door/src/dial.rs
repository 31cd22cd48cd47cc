//! This process's connections to the doors of others.

use core::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use iroh::{
    Endpoint, EndpointAddr, RelayUrl, TransportAddr,
    endpoint::{ConnectError, Connection, ConnectionError, RecvStream, VarInt, WriteError},
};
use tokio::time::timeout;

use crate::{
    ALPN, PeerId,
    call::Refused,
    endpoint::{self, Bind, OpenError, Reach, Seed, Windows},
    frame::{self, ANSWER, FrameError},
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a peer may keep the whole of a connection silent after it was asked something:
/// its QUIC acknowledges what comes, however slow the process behind it is. One that was
/// killed and started again does not know the connection any more, and says nothing.
const DEAF: Duration = Duration::from_secs(2);
/// Most peers whose addresses are remembered.
const MOST: usize = 1_024;
/// Most addresses of one peer.
const ADDRESSES: usize = 8;

/// Why a connection is closed that nothing comes back on.
const GONE: VarInt = VarInt::from_u32(5);

/// A call did not come through.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("it could not be connected: {0}")]
    Connect(#[source] Box<ConnectError>),
    /// No connection in time.
    #[error("no connection within {} s", CONNECT.as_secs())]
    Late,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] ConnectionError),
    /// The request did not go.
    #[error("the request did not go: {0}")]
    Write(#[source] WriteError),
    /// No answer that is one.
    #[error("its answer is none")]
    Frame(#[source] FrameError),
    /// It ended without an answer.
    #[error("it ended without an answer")]
    Nothing,
}

#[derive(Debug, Default)]
struct Peer {
    addresses: Vec<TransportAddr>,
    /// Only one connection is made at a time.
    connection: Arc<tokio::sync::Mutex<Option<Connection>>>,
    /// Whether it is being looked at whether the peer still hears us.
    watched: Arc<AtomicBool>,
}

/// Lasting connections to doors, one for each peer that is called, made when it is
/// called first.
#[derive(Debug)]
pub struct Doors {
    endpoint: Endpoint,
    peers: Mutex<BTreeMap<PeerId, Peer>>,
}

impl Doors {
    /// Opens a socket for one who has no door.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(seed: &Seed, bind: Bind, reach: &Reach) -> Result<Arc<Self>, OpenError> {
        let endpoint = endpoint::open(seed, bind, reach, Windows::NONE, Vec::new()).await?;
        Ok(Self::on(endpoint))
    }

    pub(crate) fn on(endpoint: Endpoint) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            peers: Mutex::default(),
        })
    }

    /// The transport identity of this process.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.endpoint.id()
    }

    /// Remembers where a peer may be reached. Whoever says so is not believed in
    /// anything else: the peer's key authenticates whoever answers there.
    pub fn learn(
        &self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = SocketAddr>,
        relay: Option<RelayUrl>,
    ) {
        let mut peers = self.lock();
        if peers.len() >= MOST && !peers.contains_key(&peer) {
            return;
        }
        let known = &mut peers.entry(peer).or_default().addresses;
        let direct = addresses.into_iter().map(TransportAddr::Ip);
        for address in direct.chain(relay.map(TransportAddr::Relay)) {
            // The newest are kept.
            known.retain(|other| *other != address);
            known.push(address);
            if known.len() > ADDRESSES {
                known.remove(0);
            }
        }
    }

    /// Asks a peer, and reads one answer of at most `longest` bytes. It may take for
    /// ever: the caller sets the time-out.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        peer: PeerId,
        kind: u8,
        body: &[u8],
        longest: u32,
    ) -> Result<Result<Bytes, Refused>, CallError> {
        let mut stream = self.stream(peer, kind, body, longest).await?;
        stream.next().await?.ok_or(CallError::Nothing)
    }

    /// Asks a peer, and reads whatever it pushes.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn stream(
        &self,
        peer: PeerId,
        kind: u8,
        body: &[u8],
        longest: u32,
    ) -> Result<Stream, CallError> {
        let mut connection = self.connection(peer).await?;
        let (mut send, receive) = if let Ok(stream) = connection.open_bi().await {
            stream
        } else {
            // It has closed since it was looked at; nothing was sent yet.
            connection = self.connection(peer).await?;
            connection.open_bi().await.map_err(CallError::Broken)?
        };
        let request = frame::frame(kind, body);
        send.write_chunk(request).await.map_err(CallError::Write)?;
        let _ = send.finish();
        self.watch(&peer, connection);
        Ok(Stream { receive, longest })
    }

    /// Gives a connection up on which nothing comes back, so that the next call makes
    /// another.
    fn watch(&self, peer: &PeerId, connection: Connection) {
        let watched = self.lock().get(peer).map(|peer| peer.watched.clone());
        let Some(watched) = watched.filter(|watched| !watched.swap(true, Ordering::Relaxed)) else {
            return;
        };
        let heard = connection.stats().udp_rx.datagrams;
        tokio::spawn(async move {
            tokio::time::sleep(DEAF).await;
            watched.store(false, Ordering::Relaxed);
            if connection.stats().udp_rx.datagrams == heard {
                connection.close(GONE, b"deaf");
            }
        });
    }

    /// Whether there is a connection to a peer.
    #[must_use]
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        let slot = self.lock().get(peer).map(|peer| peer.connection.clone());
        let open = |slot: Arc<tokio::sync::Mutex<Option<Connection>>>| {
            let held = slot.try_lock().ok()?;
            held.as_ref().map(|open| open.close_reason().is_none())
        };
        slot.and_then(open).unwrap_or(false)
    }

    async fn connection(&self, peer: PeerId) -> Result<Connection, CallError> {
        let (slot, addresses) = {
            let mut peers = self.lock();
            let known = peers.entry(peer).or_default();
            (known.connection.clone(), known.addresses.clone())
        };
        let mut held = slot.lock().await;
        if let Some(open) = held.as_ref().filter(|open| open.close_reason().is_none()) {
            return Ok(open.clone());
        }
        let address = EndpointAddr::from_parts(peer, addresses);
        let connecting = self.endpoint.connect(address, ALPN);
        let connection = timeout(CONNECT, connecting)
            .await
            .map_err(|_| CallError::Late)?
            .map_err(|source| CallError::Connect(Box::new(source)))?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Takes leave of everybody.
    pub async fn close(&self) {
        self.endpoint.close().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a peer answers, one after the other.
#[derive(Debug)]
pub struct Stream {
    receive: RecvStream,
    longest: u32,
}

impl Stream {
    /// The next answer; `None` at the end.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn next(&mut self) -> Result<Option<Result<Bytes, Refused>>, CallError> {
        let read = frame::read(&mut self.receive, frame::answers(self.longest)).await;
        let Some((kind, body)) = read.map_err(CallError::Frame)? else {
            return Ok(None);
        };
        if kind == ANSWER {
            return Ok(Some(Ok(body)));
        }
        let refused = postcard::from_bytes(&body);
        let refused = refused.map_err(|error| CallError::Frame(FrameError::Body(error)))?;
        Ok(Some(Err(refused)))
    }
}
