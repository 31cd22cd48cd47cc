//! A door over real sockets: what it answers, and what it does not take.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use iroh::{
    Endpoint, EndpointAddr, SecretKey, TransportAddr,
    endpoint::{Connection, presets},
};
use tokio::time::timeout;
use zeroize::Zeroizing;
use zipnet_door::{
    ALPN, Admission, Call, CallError, Counts, Desk, Door, DoorSettings, Doors, Limits, PeerId,
    Reach, Refused, Seed, frame,
};

const SOON: Duration = Duration::from_secs(20);

struct Echo;

impl Call for Echo {
    type Request = Vec<u8>;
    type Reply = Vec<u8>;
    const KIND: u8 = 1;
    const LABEL: &'static str = "echo";
    const MAX_REQUEST: u32 = 1 << 20;
    const MAX_REPLY: u32 = 1 << 20;
}

/// Pushes 0, 1, 2 and so on, or floods.
struct Count;

impl Call for Count {
    type Request = u32;
    type Reply = Vec<u8>;
    const KIND: u8 = 2;
    const LABEL: &'static str = "count";
    const MAX_REPLY: u32 = 1 << 20;
}

fn seed(of: u16) -> Seed {
    let mut seed = [3; 32];
    seed[..2].copy_from_slice(&of.to_be_bytes());
    Zeroizing::new(seed)
}

fn id(of: u16) -> PeerId {
    SecretKey::from_bytes(&seed(of)).public()
}

async fn open(limits: Limits, known: Vec<PeerId>) -> (Door, SocketAddr) {
    let settings = DoorSettings {
        seed: seed(0),
        bind: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        reach: Reach::Direct,
        limits,
    };
    let mut door = Door::open(&settings).await.unwrap();
    let is_known = move |key: &zipnet_protocol::PeerKey| {
        known.iter().any(|peer| peer.as_bytes() == key.as_bytes())
    };
    let desk = Desk::new(is_known)
        .on::<Echo, _, _>(4_096, |request: Vec<u8>, _| async move {
            if request == b"no" {
                return Err(Refused::NotOpen);
            }
            Ok(request)
        })
        .push::<Count, _, _>(
            Admission::from(4_096),
            |many, _, mut pushes: zipnet_door::Pushes<Count>| async move {
                for number in 0..many {
                    let body = vec![number.to_le_bytes()[0]; 1 << 16];
                    let frame = zipnet_door::Pushes::<Count>::encode(&body).unwrap();
                    if !pushes.push(frame).await {
                        return;
                    }
                }
                pushes.refuse(&Refused::Repeated).await;
            },
        );
    door.serve(desk);
    let address = door.sockets()[0];
    (door, address)
}

async fn knock(of: u16, at: SocketAddr) -> Arc<Doors> {
    let bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let doors = Doors::open(&seed(of), bind, &Reach::Direct).await.unwrap();
    doors.learn(id(0), [at], None);
    doors
}

async fn echo(doors: &Doors, body: &[u8]) -> Result<Result<Vec<u8>, Refused>, CallError> {
    let body = postcard::to_stdvec(&body.to_vec()).unwrap();
    let call = doors.call(id(0), Echo::KIND, &body, Echo::MAX_REPLY);
    let answer = timeout(SOON, call).await.expect("an answer in time")?;
    Ok(answer.map(|bytes| postcard::from_bytes(&bytes).unwrap()))
}

/// A connection of somebody who keeps to no rule.
async fn raw(of: u16, at: SocketAddr) -> (Endpoint, Connection) {
    let builder = Endpoint::builder(presets::Minimal).secret_key(SecretKey::from_bytes(&seed(of)));
    let endpoint = builder.bind().await.unwrap();
    let address = EndpointAddr::from_parts(id(0), [TransportAddr::Ip(at)]);
    let connection = timeout(SOON, endpoint.connect(address, ALPN)).await;
    (endpoint, connection.unwrap().unwrap())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(SOON, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn many_calls_take_one_connection() {
    let (door, at) = open(Limits::default(), vec![]).await;
    let doors = knock(1, at).await;
    for number in 0..50_u8 {
        let answer = echo(&doors, &[number; 100]).await.unwrap();
        assert_eq!(answer, Ok(vec![number; 100]));
    }
    assert_eq!(echo(&doors, b"no").await.unwrap(), Err(Refused::NotOpen));
    let large = vec![7; 1_000_000];
    assert_eq!(echo(&doors, &large).await.unwrap(), Ok(large.clone()));
    assert_eq!(Counts::value(&door.counts().accepted), 1);
    assert_eq!(door.connections(), (0, 1, 0));
    doors.close().await;
    until("the place is free", || door.connections() == (0, 0, 0)).await;
    door.close().await;
}

#[tokio::test]
async fn a_door_that_is_gone_is_found_again() {
    let (door, at) = open(Limits::default(), vec![]).await;
    let doors = knock(1, at).await;
    assert!(echo(&doors, b"one").await.unwrap().is_ok());
    door.close().await;
    assert!(echo(&doors, b"two").await.is_err());
    let settings = DoorSettings {
        seed: seed(0),
        bind: Some(at),
        reach: Reach::Direct,
        limits: Limits::default(),
    };
    let mut door = Door::open(&settings).await.unwrap();
    door.serve(Desk::new(|_| false).on::<Echo, _, _>(4, |request, _| async { Ok(request) }));
    let again = timeout(SOON, async {
        while echo(&doors, b"three").await.is_err() {}
    });
    assert!(again.await.is_ok());
}

#[tokio::test]
async fn pushes_come_in_order_and_end_with_a_word() {
    let (_door, at) = open(Limits::default(), vec![]).await;
    let doors = knock(1, at).await;
    let body = postcard::to_stdvec(&20_u32).unwrap();
    let mut stream = doors
        .stream(id(0), Count::KIND, &body, Count::MAX_REPLY)
        .await
        .unwrap();
    for number in 0..20_u8 {
        let body = stream.next().await.unwrap().unwrap().unwrap();
        let body: Vec<u8> = postcard::from_bytes(&body).unwrap();
        assert_eq!(body[0], number);
    }
    let end = stream.next().await.unwrap();
    assert_eq!(end, Some(Err(Refused::Repeated)));
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn i19_what_is_no_frame_ends_the_connection_and_troubles_nobody_else() {
    let (door, at) = open(Limits::default(), vec![]).await;
    let honest = knock(1, at).await;
    assert!(echo(&honest, b"before").await.unwrap().is_ok());
    let long = frame::Head {
        kind: Echo::KIND,
        length: u32::MAX,
    };
    for junk in [&long.encode()[..], &[9, 0, 0, 0, 1, 7], &[255; 64]] {
        let (endpoint, connection) = raw(2, at).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_chunk(Bytes::copy_from_slice(junk))
            .await
            .unwrap();
        let _ = send.finish();
        let closed = timeout(SOON, connection.closed()).await;
        assert!(closed.is_ok(), "{junk:?}");
        endpoint.close().await;
    }
    // A frame of the right length whose body is another one's: a word, no more.
    let refused = honest.call(id(0), Count::KIND, b"\xff\xff\xff\xff\xff\xff", 1 << 20);
    let refused = timeout(SOON, refused).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Text(_)), "{refused}");
    assert!(echo(&honest, b"after").await.unwrap().is_ok());
    assert_eq!(Counts::value(&door.counts().cut), 3);
}

#[tokio::test]
async fn i19_a_torn_request_is_dropped_and_its_place_free() {
    let (door, at) = open(Limits::default(), vec![]).await;
    let (_endpoint, connection) = raw(2, at).await;
    for _ in 0..100 {
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        let torn = frame::frame(Echo::KIND, &[7; 100]).slice(..50);
        send.write_chunk(torn).await.unwrap();
        let _ = send.finish();
    }
    assert_eq!(door.connections().1, 1);
    assert!(connection.close_reason().is_none());
}

#[tokio::test]
async fn i19_a_peer_has_no_more_streams_than_strangers_may_have() {
    let (_door, at) = open(Limits::default(), vec![]).await;
    let (_endpoint, connection) = raw(2, at).await;
    let mut held = Vec::new();
    // Silent streams: announced by a byte, never finished.
    for _ in 0..8 {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_chunk(Bytes::from_static(&[1])).await.unwrap();
        held.push((send, receive));
    }
    let ninth = timeout(Duration::from_millis(300), connection.open_bi()).await;
    assert!(ninth.is_err(), "a ninth stream");
    let closed = timeout(SOON, connection.closed()).await;
    assert!(closed.is_ok(), "silent streams are not kept for ever");
}

#[tokio::test]
async fn i19_a_peer_that_never_reads_is_cut() {
    let (door, at) = open(Limits::default(), vec![]).await;
    let (_endpoint, connection) = raw(2, at).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    let body = postcard::to_stdvec(&10_000_u32).unwrap();
    let request = frame::frame(Count::KIND, &body);
    send.write_chunk(request).await.unwrap();
    let _ = send.finish();
    let closed = timeout(3 * SOON, connection.closed()).await;
    assert!(closed.is_ok(), "it does not read 640 MB");
    until("it is counted", || Counts::value(&door.counts().cut) == 1).await;
}

#[tokio::test]
async fn i19_strangers_do_not_keep_out_those_who_are_known() {
    let limits = Limits {
        strangers: 3,
        each_address: 3,
        ..Limits::default()
    };
    let (door, at) = open(limits, vec![id(100)]).await;
    let mut strangers = Vec::new();
    for of in 1..4 {
        let doors = knock(of, at).await;
        assert!(echo(&doors, b"hello").await.unwrap().is_ok());
        strangers.push(doors);
    }
    let fourth = knock(4, at).await;
    assert!(echo(&fourth, b"hello").await.is_err());
    let known = knock(100, at).await;
    assert!(echo(&known, b"hello").await.unwrap().is_ok());
    assert_eq!(door.connections(), (0, 3, 1));
    // A stranger that has asked nothing for long leaves its place.
    drop(strangers);
    until("a place is free", || door.connections().1 < 3).await;
}

#[tokio::test]
async fn i19_an_address_proves_itself_before_anything_is_kept_of_it() {
    let (door, at) = open(Limits::default(), vec![]).await;
    let doors = knock(1, at).await;
    assert!(echo(&doors, b"hello").await.unwrap().is_ok());
    assert!(Counts::value(&door.counts().challenged) >= 1);
    // Another protocol is turned away by the handshake, without a place.
    let endpoint = Endpoint::bind(presets::Minimal).await.unwrap();
    let address = EndpointAddr::from_parts(id(0), [TransportAddr::Ip(at)]);
    let other = timeout(SOON, endpoint.connect(address, b"/other/1")).await;
    assert!(other.unwrap().is_err());
    until("no place is held", || door.connections().0 == 0).await;
}
