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
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, task::JoinSet, time::Instant};
use zipnet_door::PeerId;
use zipnet_protocol::{AdmittedServer, Instance, PeerKey};

use super::asking::{Asking, Outcome};
use crate::{
    attestation::Authority,
    entropy::Dice,
    ground::Ground,
    peers::{Allowed, Peers},
    wire::{Member, MemberCall},
};

/// How often the catalog is looked through.
const TICK: Duration = Duration::from_millis(200);
/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Known {
    servers: BTreeMap<PeerId, AdmittedServer>,
    /// The other peers.
    asking: Asking,
}

/// The servers that this process has met.
pub struct Directory {
    instance: Instance,
    authority: Option<Arc<Authority>>,
    ground: Arc<dyn Ground>,
    peers: Arc<Peers<(), Member>>,
    known: Mutex<Known>,
    changed: Notify,
    began: Instant,
}

impl Directory {
    /// A directory of nobody yet.
    #[must_use]
    pub fn new(
        ground: &Arc<dyn Ground>,
        instance: &Instance,
        authority: Option<Arc<Authority>>,
    ) -> Self {
        let peers = Peers::on::<MemberCall>(&**ground, instance, None);
        Self {
            instance: instance.clone(),
            authority,
            ground: ground.clone(),
            peers: Arc::new(peers),
            known: Mutex::new(Known {
                servers: BTreeMap::new(),
                asking: Asking::new(Dice::fresh()),
            }),
            changed: Notify::new(),
            began: Instant::now(),
        }
    }

    /// The instance whose servers they are.
    #[must_use]
    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The peers under which servers answer.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<PeerId> {
        self.lock().servers.keys().copied().collect()
    }

    /// Servers that have started over since they were met: who they are now is asked
    /// anew.
    pub fn renew(&self, named: &[AdmittedServer]) {
        self.lock().servers.retain(|_, met| {
            let newer = |server: &&AdmittedServer| server.boot() > met.boot();
            let mut same = named.iter().filter(|server| server.peer() == met.peer());
            !same.any(|server| newer(&server))
        });
    }

    /// This peer is no server any more.
    pub fn forget(&self, peer: &PeerId) {
        self.lock().servers.remove(peer);
    }

    /// Whether a peer is an admitted server.
    #[must_use]
    pub fn is_server(&self, peer: &PeerId) -> bool {
        self.lock().servers.contains_key(peer)
    }

    /// Only admitted servers are asked, whoever they are when it is.
    #[must_use]
    pub fn allowed(self: &Arc<Self>) -> Allowed {
        let directory = self.clone();
        Arc::new(move |peer| directory.is_server(peer))
    }

    /// Whether a later boot of this server than the given one was met.
    #[must_use]
    pub fn outdates(&self, server: &AdmittedServer) -> bool {
        let known = self.lock();
        let mut same = known.servers.values();
        same.any(|met| met.peer() == server.peer() && met.boot() > server.boot())
    }

    /// The transport keys of the servers that announce themselves now.
    #[must_use]
    pub fn servers(&self) -> Vec<PeerKey> {
        let known = self.lock();
        known
            .servers
            .values()
            .map(|server| *server.peer())
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
            for peer in self.strangers() {
                let this = self.clone();
                asked.spawn(async move { this.ask(peer).await });
            }
            // Whoever is done leaves its place to the next one at once: those
            // that keep silent hold up nobody.
            tokio::select! {
                Some(_) = asked.join_next(), if !asked.is_empty() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// The peers to ask next, after those that are gone were forgotten.
    fn strangers(&self) -> Vec<PeerId> {
        let mut serving: BTreeSet<_> = self.peers.serving().into_iter().collect();
        let mut known = self.lock();
        known.servers.retain(|peer, server| {
            let stands = self
                .authority
                .as_ref()
                .is_none_or(|authority| authority.stands(&self.instance, server));
            serving.contains(peer) && stands
        });
        serving.retain(|peer| !known.servers.contains_key(peer));
        known.asking.next(&serving, self.began.elapsed())
    }

    async fn ask(&self, peer: PeerId) {
        let answer = self.peers.call_peer(peer, &(), PATIENCE).await;
        let server = answer
            .as_ref()
            .ok()
            .and_then(|member| self.admitted(&peer, member));
        let outcome = match (&server, &answer) {
            (Some(_), _) => Outcome::Server,
            (None, Ok(_)) => Outcome::Stranger,
            (None, Err(_)) => Outcome::Silent,
        };
        let mut known = self.lock();
        known.asking.answered(&peer, outcome, self.began.elapsed());
        if let Some(server) = server {
            known.servers.insert(peer, server);
            drop(known);
            self.changed.notify_waiters();
        }
    }

    /// The server that a peer is: the bundle its own, and evidence that holds,
    /// if servers show any.
    fn admitted(&self, peer: &PeerId, member: &Member) -> Option<AdmittedServer> {
        let server = member.bundle.verify(&self.instance).ok()?;
        if !self.ground.is_at(&server, peer) {
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

impl core::fmt::Debug for Directory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Directory").field(&self.known).finish()
    }
}
