//! Which peers are servers of the instance.
//!
//! Anyone on the universe may announce that it serves our calls. This asks
//! each for its bundle and evidence and keeps those that the committee key
//! admitted and whose evidence holds, if servers show any. Only
//! they are asked for news, and a client seals only for rosters that hold all
//! of them (I5), so that one malicious server cannot open rounds without the
//! honest ones.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mosaik::{Network, PeerId};
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use zipnet_protocol::{AdmittedServer, Instance, PeerKey};

use super::common::peer_id;
use crate::{
    attestation::Authority,
    peers::Peers,
    wire::{Call as _, Member, MemberCall},
};

/// How often the catalog is looked through.
const TICK: Duration = Duration::from_millis(200);
/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a peer that is no server is asked again.
const AGAIN: Duration = Duration::from_secs(15);
/// How soon a peer that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// Most peers that are asked at once.
const AT_ONCE: usize = 8;

#[derive(Debug, Default)]
struct Known {
    servers: BTreeMap<PeerId, AdmittedServer>,
    /// Peers that are not to be asked before a time.
    others: BTreeMap<PeerId, Instant>,
}

/// The servers that this process has met.
#[derive(Debug)]
pub struct Directory {
    instance: Instance,
    authority: Option<Arc<Authority>>,
    peers: Arc<Peers<(), Member>>,
    known: Mutex<Known>,
    changed: Notify,
}

impl Directory {
    /// A directory of nobody yet.
    #[must_use]
    pub fn new(
        network: &Arc<Network>,
        instance: &Instance,
        authority: Option<Arc<Authority>>,
    ) -> Self {
        let peers = Peers::new(
            network.clone(),
            MemberCall::id(instance),
            MemberCall::LABEL,
            None,
        );
        Self {
            instance: instance.clone(),
            authority,
            peers: Arc::new(peers),
            known: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether a peer is an admitted server.
    #[must_use]
    pub fn is_server(&self, peer: &PeerId) -> bool {
        self.lock().servers.contains_key(peer)
    }

    /// The transport keys of the servers that announce themselves now.
    #[must_use]
    pub fn servers(&self) -> Vec<PeerKey> {
        let known = self.lock();
        known
            .servers
            .keys()
            .map(|peer| PeerKey::new(*peer.as_bytes()))
            .collect()
    }

    /// Resolves when a server was met.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Keeps the directory for ever.
    pub async fn run(self: Arc<Self>) {
        let mut asked = JoinSet::new();
        loop {
            let serving = self.peers.serving();
            for peer in self.strangers(&serving) {
                let this = self.clone();
                asked.spawn(async move { this.ask(peer).await });
            }
            while asked.join_next().await.is_some() {}
            tokio::time::sleep(TICK).await;
        }
    }

    /// The peers to ask next, after those that are gone were forgotten.
    fn strangers(&self, serving: &[PeerId]) -> Vec<PeerId> {
        let mut known = self.lock();
        known.servers.retain(|peer, server| {
            let stands = self
                .authority
                .as_ref()
                .is_none_or(|authority| authority.stands(&self.instance, server));
            serving.contains(peer) && stands
        });
        known.others.retain(|peer, _| serving.contains(peer));
        let now = Instant::now();
        serving
            .iter()
            .filter(|peer| !known.servers.contains_key(*peer))
            .filter(|peer| known.others.get(*peer).is_none_or(|until| *until <= now))
            .take(AT_ONCE)
            .copied()
            .collect()
    }

    async fn ask(&self, peer: PeerId) {
        let answer = self.peers.call_peer(peer, &(), PATIENCE).await;
        let server = answer
            .as_ref()
            .ok()
            .and_then(|member| self.admitted(&peer, member));
        let mut known = self.lock();
        if let Some(server) = server {
            known.others.remove(&peer);
            known.servers.insert(peer, server);
            drop(known);
            self.changed.notify_waiters();
        } else {
            let pause = if answer.is_ok() { AGAIN } else { RETRY };
            known.others.insert(peer, Instant::now() + pause);
        }
    }

    /// The server that a peer is: the bundle its own, and evidence that holds,
    /// if servers show any.
    fn admitted(&self, peer: &PeerId, member: &Member) -> Option<AdmittedServer> {
        let server = member.bundle.verify(&self.instance).ok()?;
        if peer_id(server.peer()) != Some(*peer) {
            return None;
        }
        if let Some(authority) = &self.authority {
            let credential = Arc::new(member.credential.clone()?);
            authority.judge(&self.instance, &server, &credential).ok()?;
        }
        Some(server)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
