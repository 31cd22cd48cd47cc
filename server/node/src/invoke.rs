//! Calls a mosaik function of one peer.
//!
//! mosaik's own caller chooses the peer by itself, by round-trip time, and a
//! peer that crashed stays first in line until the catalog forgets it, minutes
//! later. It also pings every peer of a function at every change of the catalog
//! until one ping was answered, and peers answer pings one after the other: of
//! many clients that start together, none comes through. So this speaks the
//! protocol of mosaik 0.4.2 (`functions/accept.rs`, `network/link.rs`) itself:
//! a connection a call, on it one stream, on that one frame each way, each a
//! length of 4 bytes (big endian) and as many bytes of postcard.

use bytes::Bytes;
use mosaik::{
    FunctionId, Network, NetworkId, PeerId,
    iroh::{
        Endpoint, EndpointAddr,
        endpoint::{ConnectError, Connection, ConnectionError, RecvStream, VarInt},
    },
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ALPN: &[u8] = b"/mosaik/functions/1.0";
/// The codes of mosaik for "it was answered" and "I do not know you".
const SUCCESS: VarInt = VarInt::from_u32(200);
const UNKNOWN_PEER: VarInt = VarInt::from_u32(401);
/// What mosaik's frame adds to an answer, in bytes: its kind and its length.
const FRAMING: u32 = 16;
/// Bytes that are made room for before they have come.
const READ_AHEAD: usize = 64 << 10;

/// A call did not come through.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The peer is not in the catalog.
    #[error("its address is not known")]
    Address,
    /// No connection.
    #[error("it could not be connected: {0}")]
    Connect(#[source] ConnectError),
    /// The peer closed the connection and said why.
    #[error("it closed the connection: {0}")]
    Closed(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] std::io::Error),
    /// More than we take.
    #[error("it would answer {found} bytes; at most {most} are taken")]
    Length {
        /// By its word.
        found: u32,
        /// The longest that the call has.
        most: u32,
    },
    /// Not mosaik's protocol.
    #[error("its answer does not decode: {0}")]
    Decode(#[source] postcard::Error),
    /// A request that does not encode.
    #[error("the request does not encode: {0}")]
    Encode(#[source] postcard::Error),
}

#[derive(Serialize)]
struct Request {
    network: NetworkId,
    function: FunctionId,
    payload: Bytes,
}

/// What a function answered, still encoded.
#[derive(Debug, Deserialize)]
pub enum Reply {
    /// Its result.
    Ok(Bytes),
    /// Its refusal.
    Err(Bytes),
}

/// Calls `function` of `peer` with an encoded request, and takes an answer of
/// at most `longest` bytes: whoever is asked is often a stranger, and mosaik
/// itself would take 4 GiB. It may take for ever: the caller sets the time-out.
///
/// # Errors
/// [`InvokeError`].
pub async fn invoke(
    network: &Network,
    peer: PeerId,
    function: FunctionId,
    payload: Bytes,
    longest: u32,
) -> Result<Reply, InvokeError> {
    let request = Request {
        network: *network.network_id(),
        function,
        payload,
    };
    let request = postcard::to_stdvec(&request).map_err(InvokeError::Encode)?;
    let address = || -> Option<EndpointAddr> {
        let catalog = network.discovery().catalog();
        Some(catalog.get_signed(&peer)?.address().clone())
    };
    let address = address().ok_or(InvokeError::Address)?;
    match attempt(
        network.local().endpoint(),
        address.clone(),
        &request,
        longest,
    )
    .await
    {
        Err((_, Some(code))) if code == UNKNOWN_PEER => {
            // It has to have us in its catalog first.
            let _ = network.discovery().sync_with(address.clone()).await;
            attempt(network.local().endpoint(), address, &request, longest).await
        }
        other => other,
    }
    .map_err(|(error, _)| error)
}

/// Calls, and keeps the connection when it was answered, as an attacker does.
#[cfg(test)]
pub(crate) async fn keep(
    network: &Network,
    peer: PeerId,
    function: FunctionId,
    payload: Bytes,
) -> Result<(Connection, Reply), InvokeError> {
    let request = Request {
        network: *network.network_id(),
        function,
        payload,
    };
    let request = postcard::to_stdvec(&request).map_err(InvokeError::Encode)?;
    let address = {
        let catalog = network.discovery().catalog();
        let entry = catalog.get_signed(&peer).ok_or(InvokeError::Address)?;
        entry.address().clone()
    };
    let connected = network.local().endpoint().connect(address, ALPN).await;
    let connection = connected.map_err(InvokeError::Connect)?;
    let reply = exchange(&connection, &request, 1 << 10).await?;
    Ok((connection, reply))
}

type AttemptError = (InvokeError, Option<VarInt>);

async fn attempt(
    endpoint: &Endpoint,
    address: EndpointAddr,
    request: &[u8],
    longest: u32,
) -> Result<Reply, AttemptError> {
    let connection = endpoint
        .connect(address, ALPN)
        .await
        .map_err(|error| (InvokeError::Connect(error), None))?;
    match exchange(&connection, request, longest).await {
        Ok(reply) => {
            connection.close(SUCCESS, b"Success");
            Ok(reply)
        }
        // Why the peer closed says more than that a stream ended.
        Err(error) => Err(match connection.close_reason() {
            Some(ConnectionError::ApplicationClosed(close)) => (
                InvokeError::Closed(close.reason.escape_ascii().to_string()),
                Some(close.error_code),
            ),
            _ => (error, None),
        }),
    }
}

async fn exchange(
    connection: &Connection,
    request: &[u8],
    longest: u32,
) -> Result<Reply, InvokeError> {
    let broken = InvokeError::Broken;
    let opened = connection.open_bi().await;
    let (mut to, mut from) = opened.map_err(|error| broken(error.into()))?;
    let length = u32::try_from(request.len())
        .map_err(|_| InvokeError::Encode(postcard::Error::SerializeBufferFull))?;
    to.write_u32(length).await.map_err(broken)?;
    to.write_all(request)
        .await
        .map_err(|error| broken(error.into()))?;
    let frame = read_frame(&mut from, longest.saturating_add(FRAMING)).await?;
    postcard::from_bytes(&frame).map_err(InvokeError::Decode)
}

async fn read_frame(from: &mut RecvStream, most: u32) -> Result<Vec<u8>, InvokeError> {
    let found = from.read_u32().await.map_err(InvokeError::Broken)?;
    if found > most {
        return Err(InvokeError::Length { found, most });
    }
    let length = found as usize;
    let mut frame = Vec::with_capacity(length.min(READ_AHEAD));
    let read = from.take(u64::from(found)).read_to_end(&mut frame).await;
    read.map_err(InvokeError::Broken)?;
    if frame.len() < length {
        return Err(InvokeError::Broken(
            std::io::ErrorKind::UnexpectedEof.into(),
        ));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use core::{future::Future, net::Ipv4Addr, time::Duration};

    use mosaik::iroh::{RelayMode, endpoint::presets};
    use tokio::time::timeout;

    use super::*;

    /// Longest answer that the tests take.
    const LONGEST: u32 = 1 << 10;

    async fn endpoint() -> Endpoint {
        Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .alpns(vec![ALPN.to_vec()])
            .bind_addr((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .bind()
            .await
            .unwrap()
    }

    /// Calls a peer that does with the first connection what `answer` says.
    async fn call<F, Fut>(answer: F) -> Result<Reply, AttemptError>
    where
        F: FnOnce(Connection) -> Fut + Send + 'static,
        Fut: Future<Output = Connection> + Send,
    {
        let (ours, theirs) = (endpoint().await, endpoint().await);
        let address = theirs.addr();
        let peer = tokio::spawn(async move {
            let connection = theirs.accept().await.unwrap().await.unwrap();
            answer(connection).await.closed().await;
            theirs.close().await;
        });
        let outcome = timeout(
            Duration::from_secs(20),
            attempt(&ours, address, b"hello", LONGEST),
        );
        let outcome = outcome.await.unwrap();
        ours.close().await;
        timeout(Duration::from_secs(40), peer)
            .await
            .unwrap()
            .unwrap();
        outcome
    }

    /// Says `bytes` on the first stream, and no more.
    async fn say(bytes: Vec<u8>) -> Result<Reply, InvokeError> {
        let outcome = call(|connection| async move {
            let (mut to, mut from) = connection.accept_bi().await.unwrap();
            assert_eq!(from.read_u32().await.unwrap(), 5);
            to.write_all(&bytes).await.unwrap();
            to.finish().unwrap();
            connection
        });
        outcome.await.map_err(|(error, _)| error)
    }

    fn frame(reply: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(reply);
        bytes
    }

    #[tokio::test]
    async fn an_answer_comes_back_as_it_was_sent() {
        let reply = say(frame(b"\x00\x03yes")).await.unwrap();
        assert!(matches!(reply, Reply::Ok(bytes) if &bytes[..] == b"yes"));
        let reply = say(frame(b"\x01\x02no")).await.unwrap();
        assert!(matches!(reply, Reply::Err(bytes) if &bytes[..] == b"no"));
    }

    #[tokio::test]
    async fn i8_an_answer_that_claims_four_gigabytes_is_not_waited_for() {
        let error = say(vec![0xff; 8]).await.unwrap_err();
        assert!(matches!(
            error,
            InvokeError::Length {
                found: u32::MAX,
                ..
            }
        ));
        assert!(error.to_string().contains("at most 1040"), "{error}");
    }

    #[tokio::test]
    async fn a17_an_answer_is_as_long_as_its_call_allows_and_no_longer() {
        let longest = |length: u32| {
            let mut reply = vec![0];
            reply.extend(postcard::to_stdvec(&vec![7_u8; length as usize]).unwrap());
            frame(&reply)
        };
        let reply = say(longest(LONGEST)).await.unwrap();
        assert!(matches!(reply, Reply::Ok(bytes) if bytes.len() == LONGEST as usize));
        let error = say(longest(LONGEST + FRAMING)).await.unwrap_err();
        assert!(matches!(error, InvokeError::Length { .. }), "{error}");
    }

    #[tokio::test]
    async fn i8_a_torn_or_garbled_answer_is_an_error() {
        let torn = frame(b"\x00\x03yes")[..6].to_vec();
        assert!(matches!(say(torn).await, Err(InvokeError::Broken(_))));
        assert!(matches!(say(Vec::new()).await, Err(InvokeError::Broken(_))));
        // A third kind of reply; a payload that is longer than the frame.
        for garbled in [&b"\x02\x00"[..], b"\x00\x7fx", b""] {
            let error = say(frame(garbled)).await.unwrap_err();
            assert!(matches!(error, InvokeError::Decode(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn what_a_peer_says_when_it_closes_is_told() {
        let outcome = call(|connection| async move {
            connection.close(UNKNOWN_PEER, b"Unknown\nPeer");
            connection
        });
        let (error, code) = outcome.await.unwrap_err();
        assert_eq!(code, Some(UNKNOWN_PEER));
        assert_eq!(
            error.to_string(),
            r"it closed the connection: Unknown\nPeer"
        );
    }
}
