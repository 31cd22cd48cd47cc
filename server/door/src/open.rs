//! Letting peers in.

use core::{net::SocketAddr, sync::atomic::Ordering, time::Duration};
use std::sync::Arc;

use iroh::{
    Endpoint,
    endpoint::{Connection, Incoming, IncomingAddr, RecvStream, SendStream, VarInt},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, timeout},
};
use zipnet_protocol::PeerKey;

use crate::{
    ALPN, PeerId,
    desk::{Desk, Slow},
    dial::Doors,
    endpoint::{self, Bind, OpenError, Reach, Seed, Windows},
    frame,
    lobby::{Counts, Limits, Lobby, Place},
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a request may take to come.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a stranger may stay that asks nothing.
const IDLE: Duration = Duration::from_secs(20);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// What strangers may have under way.
const STRANGER: Windows = Windows {
    streams: 8,
    bytes: 64 << 10,
};
/// What those who are known may have under way.
const KNOWN: Windows = Windows {
    streams: 256,
    bytes: 8 << 20,
};

/// Why a connection is closed, for whoever was let in.
const LEAVING: VarInt = VarInt::from_u32(0);
const FULL: VarInt = VarInt::from_u32(1);
const IDLED: VarInt = VarInt::from_u32(2);
const NO_FRAME: VarInt = VarInt::from_u32(3);
const TOO_SLOW: VarInt = VarInt::from_u32(4);

/// How a door is opened.
#[derive(Debug, Clone)]
pub struct DoorSettings {
    /// The transport identity.
    pub seed: Seed,
    /// Where.
    pub bind: Bind,
    /// How it is reached.
    pub reach: Reach,
    /// How many are let in.
    pub limits: Limits,
}

/// An open door; [`Door::close`] closes it.
#[derive(Debug)]
pub struct Door {
    endpoint: Endpoint,
    lobby: Arc<Lobby>,
    counts: Arc<Counts>,
    limits: Limits,
    accepting: Option<JoinHandle<()>>,
}

impl Door {
    /// Opens the socket. Nobody is let in before [`Door::serve`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: &DoorSettings) -> Result<Self, OpenError> {
        let alpns = vec![ALPN.to_vec()];
        let (bind, reach) = (settings.bind, &settings.reach);
        let endpoint = endpoint::open(&settings.seed, bind, reach, STRANGER, alpns).await?;
        Ok(Self {
            endpoint,
            lobby: Lobby::new(settings.limits),
            counts: Arc::default(),
            limits: settings.limits,
            accepting: None,
        })
    }

    /// Lets peers in from now on.
    pub fn serve(&mut self, desk: Desk) {
        let house = House {
            desk,
            lobby: self.lobby.clone(),
            counts: self.counts.clone(),
        };
        let task = accept(self.endpoint.clone(), Arc::new(house));
        if let Some(before) = self.accepting.replace(tokio::spawn(task)) {
            before.abort();
        }
    }

    /// The identity by which it is dialled.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.endpoint.id()
    }

    /// The addresses that it listens on and is known to be reached at.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.endpoint.addr().ip_addrs().copied().collect();
        if addresses.is_empty() {
            addresses = self.endpoint.bound_sockets();
        }
        addresses
    }

    /// The sockets that it listens on.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketAddr> {
        self.endpoint.bound_sockets()
    }

    /// Connections to the doors of others, under the same identity.
    #[must_use]
    pub fn doors(&self) -> Arc<Doors> {
        Doors::on(self.endpoint.clone())
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Connections now: in handshakes, of strangers, of those who are known.
    #[must_use]
    pub fn connections(&self) -> (usize, usize, usize) {
        self.lobby.numbers()
    }

    /// How many it holds at most.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes leave of everybody.
    pub async fn close(mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
        self.endpoint.close().await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
        // An endpoint that is dropped without this cuts its peers off.
        if !self.endpoint.is_closed()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let endpoint = self.endpoint.clone();
            runtime.spawn(async move { endpoint.close().await });
        }
    }
}

struct House {
    desk: Desk,
    lobby: Arc<Lobby>,
    counts: Arc<Counts>,
}

async fn accept(endpoint: Endpoint, house: Arc<House>) {
    // They end with this task.
    let mut guests = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while guests.try_join_next().is_some() {}
        let address = match incoming.remote_addr() {
            IncomingAddr::Ip(address) => Some(address.ip()),
            _ => None,
        };
        // Nothing is kept of an address that has not proved to be one: whoever
        // sends from made-up addresses costs a packet each.
        if address.is_some() && !incoming.remote_addr_validated() {
            Counts::add(&house.counts.challenged);
            let _ = incoming.retry();
            continue;
        }
        let Some(place) = house.lobby.enter(address) else {
            Counts::add(&house.counts.full);
            incoming.refuse();
            continue;
        };
        guests.spawn(welcome(incoming, place, house.clone()));
    }
}

async fn welcome(incoming: Incoming, mut place: Place, house: Arc<House>) {
    let shaken = timeout(HANDSHAKE, async { incoming.accept().ok()?.await.ok() }).await;
    let Ok(Some(connection)) = shaken else {
        Counts::add(&house.counts.failed);
        return;
    };
    let peer = connection.remote_id();
    let key = PeerKey::new(*peer.as_bytes());
    if !place.is(peer, house.desk.knows(&key)) {
        Counts::add(&house.counts.full);
        connection.close(FULL, b"full");
        return;
    }
    Counts::add(&house.counts.accepted);
    Guest {
        connection,
        key,
        place,
        house,
    }
    .serve()
    .await;
}

/// A connection that was let in.
struct Guest {
    connection: Connection,
    key: PeerKey,
    place: Place,
    house: Arc<House>,
}

/// What is wrong with a stream's peer.
enum Fault {
    NoFrame,
    TooSlow,
}

impl Guest {
    async fn serve(mut self) {
        let mut calls: JoinSet<Result<(), Fault>> = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let displaced = self.place.displaced();
        let mut asked = Instant::now();
        self.widen();
        let (code, why): (VarInt, &[u8]) = loop {
            tokio::select! {
                stream = self.connection.accept_bi() => {
                    let Ok((send, receive)) = stream else {
                        return;
                    };
                    asked = Instant::now();
                    calls.spawn(answer(self.house.clone(), self.key, send, receive));
                }
                Some(done) = calls.join_next(), if !calls.is_empty() => match done {
                    Ok(Err(Fault::NoFrame)) => break (NO_FRAME, b"no frame"),
                    Ok(Err(Fault::TooSlow)) => break (TOO_SLOW, b"slow"),
                    _ => {}
                },
                () = displaced.notified() => {
                    Counts::add(&self.house.counts.displaced);
                    break (FULL, b"displaced");
                }
                _ = look.tick() => {
                    if self.place.is_known() {
                        continue;
                    }
                    if self.house.desk.knows(&self.key) && self.place.settles() {
                        self.widen();
                    } else if calls.is_empty() && asked.elapsed() > IDLE {
                        Counts::add(&self.house.counts.displaced);
                        break (IDLED, b"idle");
                    }
                }
            }
        };
        if code == NO_FRAME || code == TOO_SLOW {
            Counts::add(&self.house.counts.cut);
        }
        self.connection.close(code, why);
    }

    /// Those who are known may have more under way.
    fn widen(&self) {
        if self.place.is_known() {
            let streams = VarInt::from_u32(KNOWN.streams);
            self.connection.set_max_concurrent_bi_streams(streams);
            self.connection
                .set_receive_window(VarInt::from_u32(KNOWN.bytes));
        }
    }
}

async fn answer(
    house: Arc<House>,
    caller: PeerKey,
    send: SendStream,
    mut receive: RecvStream,
) -> Result<(), Fault> {
    let longest = |kind| house.desk.entry(kind).map(|entry| entry.longest);
    let request = timeout(REQUEST, frame::read(&mut receive, longest)).await;
    let (kind, body) = match request {
        Ok(Ok(Some(request))) => request,
        // The peer has changed its mind, or has gone.
        Ok(Ok(None) | Err(frame::FrameError::Torn(_))) => return Ok(()),
        Ok(Err(_)) => return Err(Fault::NoFrame),
        Err(_) => return Err(Fault::TooSlow),
    };
    let Some(entry) = house.desk.entry(kind) else {
        return Err(Fault::NoFrame);
    };
    // One frame a stream.
    let _ = receive.stop(LEAVING);
    entry
        .answer(body, caller, send)
        .await
        .map_err(|Slow| Fault::TooSlow)
}

impl Counts {
    /// A counter's value.
    #[must_use]
    pub fn value(counter: &core::sync::atomic::AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
