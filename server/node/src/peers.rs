//! Calling other nodes.
//!
//! mosaik's caller tries peers in order of round-trip time, and a peer that
//! crashed stays first in line until the catalog forgets it, minutes later.
//! So there is one caller for each peer here, and the choice is ours: the one
//! that answered last, then the others in turn.

use core::time::Duration;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use mosaik::{
    FunctionId, Network, PeerId,
    functions::{CallError, Caller},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::wire::Refused;

/// How often catalogs are compared while calls fail.
const REFRESH: Duration = Duration::from_secs(1);
/// With how many peers at once.
const REFRESH_PEERS: usize = 3;
/// How long a peer may take.
const REFRESH_PATIENCE: Duration = Duration::from_secs(5);

/// Nobody answered a call.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody serves the function.
    #[error("No reachable peer serves `{call}`")]
    Nobody {
        /// The call.
        call: &'static str,
    },
    /// Somebody refused, and that is final.
    #[error("Peer {peer} refused `{call}`")]
    Refused {
        /// The call.
        call: &'static str,
        /// Who.
        peer: String,
        /// Why.
        #[source]
        reason: Refused,
    },
    /// The last of all that were asked failed.
    #[error("Peer {peer} did not answer `{call}`: {reason}")]
    Failed {
        /// The call.
        call: &'static str,
        /// Who.
        peer: String,
        /// What happened, in mosaik's words.
        reason: String,
    },
}

impl PeerError {
    /// The reason of a refusal.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refused> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

type PeerCaller<Req, Res> = Arc<Caller<Req, Res, Refused>>;

/// Tells whether a peer may be asked.
pub type Allowed = Arc<dyn Fn(&PeerId) -> bool + Send + Sync>;

/// Only these peers.
#[must_use]
pub fn only(peers: Vec<PeerId>) -> Allowed {
    Arc::new(move |peer| peers.contains(peer))
}

/// The peers that serve one function.
pub struct Peers<Req, Res>
where
    Req: Serialize + DeserializeOwned + Send + 'static,
    Res: Serialize + DeserializeOwned + Send + 'static,
{
    network: Arc<Network>,
    function: FunctionId,
    call: &'static str,
    allowed: Option<Allowed>,
    callers: Mutex<HashMap<PeerId, PeerCaller<Req, Res>>>,
    preferred: Mutex<Option<PeerId>>,
    refreshed: Mutex<Option<Instant>>,
    turn: Mutex<usize>,
}

impl<Req, Res> Peers<Req, Res>
where
    Req: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    Res: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// The peers that serve `function`, as far as they are `allowed`.
    #[must_use]
    pub fn new(
        network: Arc<Network>,
        function: FunctionId,
        call: &'static str,
        allowed: Option<Allowed>,
    ) -> Self {
        Self {
            network,
            function,
            call,
            allowed,
            callers: Mutex::default(),
            preferred: Mutex::default(),
            refreshed: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Who serves the function, the preferred peer first.
    #[must_use]
    pub fn serving(&self) -> Vec<PeerId> {
        let catalog = self.network.discovery().catalog();
        let me = self.network.local().id();
        let mut peers: Vec<PeerId> = catalog
            .signed_peers()
            .filter(|entry| entry.functions().contains(&self.function))
            .map(|entry| *entry.id())
            .filter(|peer| *peer != me)
            .filter(|peer| self.allowed.as_ref().is_none_or(|allowed| allowed(peer)))
            .collect();
        lock(&self.callers).retain(|peer, _| peers.contains(peer));
        let preferred = *lock(&self.preferred);
        peers.sort_by_key(|peer| Some(*peer) != preferred);
        peers
    }

    /// Asks one peer after the other, each for at most `patience`, until one
    /// answers or refuses for good.
    ///
    /// # Errors
    /// [`PeerError`] of the last peer that was asked.
    pub async fn call(
        &self,
        request: &Req,
        patience: Duration,
    ) -> Result<(PeerId, Res), PeerError> {
        let mut last = PeerError::Nobody { call: self.call };
        for peer in self.serving() {
            match self.call_peer(peer, request, patience).await {
                Ok(reply) => {
                    *lock(&self.preferred) = Some(peer);
                    return Ok((peer, reply));
                }
                Err(error) => {
                    // Somebody else may do better: whoever is busy, or knows
                    // of no such round yet, does not speak for the others.
                    let settled = error
                        .refusal()
                        .is_some_and(|reason| !matches!(reason, Refused::Busy | Refused::NotOpen));
                    if settled {
                        return Err(error);
                    }
                    let mut preferred = lock(&self.preferred);
                    if *preferred == Some(peer) {
                        *preferred = None;
                    }
                    last = error;
                }
            }
        }
        self.refresh(&last);
        Err(last)
    }

    /// Compares catalogs with a few peers, in the background: gossip alone may
    /// take very long to tell of a peer that has restarted.
    fn refresh(&self, last: &PeerError) {
        let now = Instant::now();
        {
            let mut refreshed = lock(&self.refreshed);
            if refreshed.is_some_and(|at| now.duration_since(at) < REFRESH) {
                return;
            }
            *refreshed = Some(now);
        }
        let discovery = self.network.discovery().clone();
        // Peers that are known but may not be asked are no reason to look on.
        let failed = matches!(last, PeerError::Failed { .. });
        if !failed
            && discovery
                .catalog()
                .signed_peers()
                .any(|entry| entry.functions().contains(&self.function))
        {
            return;
        }
        // Whoever serves something hears more than a client.
        let peers: Vec<_> = discovery
            .catalog()
            .signed_peers()
            .filter(|entry| !entry.functions().is_empty())
            .map(|entry| entry.address().clone())
            .collect();
        let start = lock(&self.turn).wrapping_add(REFRESH_PEERS);
        *lock(&self.turn) = start;
        for step in 0..REFRESH_PEERS.min(peers.len()) {
            let at = start
                .wrapping_add(step)
                .checked_rem(peers.len())
                .unwrap_or(0);
            if let Some(address) = peers.get(at) {
                let sync = discovery.sync_with(address.clone());
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(REFRESH_PATIENCE, sync).await;
                });
            }
        }
    }

    /// Asks another peer first next time.
    pub fn distrust(&self) {
        let distrusted = lock(&self.preferred).take();
        let next = self
            .serving()
            .into_iter()
            .find(|peer| Some(*peer) != distrusted);
        *lock(&self.preferred) = next;
    }

    /// Asks one peer.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn call_peer(
        &self,
        peer: PeerId,
        request: &Req,
        patience: Duration,
    ) -> Result<Res, PeerError> {
        let caller = self.caller(peer);
        let name = || peer.fmt_short().to_string();
        let started = Instant::now();
        tracing::trace!(call = self.call, peer = %peer.fmt_short(), "calling");
        caller
            .call_with_timeout(request.clone(), patience)
            .await
            .map_err(|error| match error {
                CallError::Application(reason) => PeerError::Refused {
                    call: self.call,
                    peer: name(),
                    reason,
                },
                other => {
                    tracing::debug!(
                        call = self.call,
                        peer = %peer.fmt_short(),
                        error = %other,
                        after_ms = started.elapsed().as_millis(),
                        "call failed"
                    );
                    PeerError::Failed {
                        call: self.call,
                        peer: name(),
                        reason: other.to_string(),
                    }
                }
            })
    }

    fn caller(&self, peer: PeerId) -> PeerCaller<Req, Res> {
        lock(&self.callers)
            .entry(peer)
            .or_insert_with(|| {
                let caller = self
                    .network
                    .functions()
                    .caller::<Req, Res, Refused>()
                    .with_function_id(self.function)
                    .require(move |candidate| *candidate.id() == peer)
                    .build();
                Arc::new(caller)
            })
            .clone()
    }
}

impl<Req, Res> core::fmt::Debug for Peers<Req, Res>
where
    Req: Serialize + DeserializeOwned + Send + 'static,
    Res: Serialize + DeserializeOwned + Send + 'static,
{
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Peers({})", self.call)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
