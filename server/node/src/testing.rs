//! Real nodes on loopback, for tests beside the code.

use core::{net::Ipv4Addr, net::SocketAddr, time::Duration};
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;
use zipnet_protocol::{Instance, InstanceName, PeerKey, SigningSecret};

use crate::{
    network::{Node, Presence},
    peers::Peers,
    settings::{NetworkSettings, RelaySetting},
};

/// How long anything may take that has to come.
pub const SOON: Duration = Duration::from_secs(30);

/// Some instance.
pub fn instance() -> Instance {
    let name: InstanceName = "zipnet.testing".parse().unwrap();
    let committee = SigningSecret::from_seed(&Zeroizing::new([7; 32])).public();
    Instance::new(name, committee)
}

/// A node of a universe that dials the others.
pub async fn node(universe: &str, others: &[&Node]) -> Node {
    let settings = NetworkSettings {
        universe: universe.to_owned(),
        seed: None,
        bootstrap: others.iter().map(|other| other.hint()).collect(),
        bind: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        relay: RelaySetting::Embedded,
    };
    Node::join(&settings, Presence::Infrastructure)
        .await
        .unwrap()
}

/// The key of a node.
pub fn key(node: &Node) -> PeerKey {
    PeerKey::new(*node.peer().as_bytes())
}

/// Waits until so many peers serve the call.
pub async fn met<Req, Res>(peers: &Peers<Req, Res>, many: usize)
where
    Req: Serialize,
    Res: DeserializeOwned,
{
    until("peers are found", || peers.serving().len() >= many).await;
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Counts something across tasks.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<core::sync::atomic::AtomicUsize>);

impl Count {
    pub fn up(&self) {
        self.0.fetch_add(1, core::sync::atomic::Ordering::SeqCst);
    }

    pub fn get(&self) -> usize {
        self.0.load(core::sync::atomic::Ordering::SeqCst)
    }
}
