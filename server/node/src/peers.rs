//! Whom to call: the peer that answered last, then the others in turn.

use core::{marker::PhantomData, time::Duration};
use std::sync::{Arc, Mutex, PoisonError};

use mosaik::{FunctionId, Network, PeerId};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout};

use crate::{
    invoke::{InvokeError, Reply, invoke},
    network::serving,
    wire::Refused,
};

/// How soon catalogs are compared when calls begin to fail; the pause doubles
/// from time to time.
const REFRESH: Duration = Duration::from_secs(1);
/// The longest pause.
const REFRESH_MAX: Duration = Duration::from_secs(15);
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

/// Tells whether a peer may be asked.
pub type Allowed = Arc<dyn Fn(&PeerId) -> bool + Send + Sync>;

/// Only these peers.
#[must_use]
pub fn only(peers: Vec<PeerId>) -> Allowed {
    Arc::new(move |peer| peers.contains(peer))
}

/// When catalogs are compared next, because calls fail.
#[derive(Debug, Default)]
struct Refresh {
    due: Option<Instant>,
    pause: Duration,
    /// Whose turn it is.
    turn: usize,
}

impl Refresh {
    /// The turn, if one is due.
    fn take(&mut self, now: Instant) -> Option<usize> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        self.pause = (self.pause * 2).clamp(REFRESH, REFRESH_MAX);
        self.due = Some(now + self.pause);
        self.turn = self.turn.wrapping_add(REFRESH_PEERS);
        Some(self.turn)
    }
}

/// The peers that serve one function.
pub struct Peers<Req, Res> {
    network: Arc<Network>,
    function: FunctionId,
    call: &'static str,
    allowed: Option<Allowed>,
    preferred: Mutex<Option<PeerId>>,
    refresh: Mutex<Refresh>,
    types: PhantomData<fn(&Req) -> Res>,
}

impl<Req: Serialize, Res: DeserializeOwned> Peers<Req, Res> {
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
            preferred: Mutex::default(),
            refresh: Mutex::default(),
            types: PhantomData,
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
                    *lock(&self.refresh) = Refresh::default();
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
        let discovery = self.network.discovery();
        let catalog = discovery.catalog();
        // Peers that are known but may not be asked are no reason to look on.
        let known = catalog
            .signed_peers()
            .any(|entry| entry.functions().contains(&self.function));
        if known && !matches!(last, PeerError::Failed { .. }) {
            return;
        }
        let Some(start) = lock(&self.refresh).take(Instant::now()) else {
            return;
        };
        // Whoever serves something hears more than a client.
        let peers: Vec<_> = serving(&catalog).collect();
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
        tracing::trace!(call = self.call, peer = %peer.fmt_short(), "calling");
        let started = Instant::now();
        let outcome = match timeout(patience, self.attempt(peer, request)).await {
            Ok(Ok(answer)) => {
                return answer.map_err(|reason| PeerError::Refused {
                    call: self.call,
                    peer: peer.fmt_short().to_string(),
                    reason,
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing within {} ms", patience.as_millis()),
        };
        tracing::debug!(
            call = self.call,
            peer = %peer.fmt_short(),
            error = outcome,
            after_ms = started.elapsed().as_millis(),
            "call failed"
        );
        Err(PeerError::Failed {
            call: self.call,
            peer: peer.fmt_short().to_string(),
            reason: outcome,
        })
    }

    async fn attempt(
        &self,
        peer: PeerId,
        request: &Req,
    ) -> Result<Result<Res, Refused>, InvokeError> {
        let request = postcard::to_stdvec(request).map_err(InvokeError::Encode)?;
        let reply = invoke(&self.network, peer, self.function, request.into()).await?;
        Ok(match reply {
            Reply::Ok(result) => Ok(postcard::from_bytes(&result).map_err(InvokeError::Decode)?),
            Reply::Err(refusal) => {
                Err(postcard::from_bytes(&refusal).map_err(InvokeError::Decode)?)
            }
        })
    }
}

impl<Req, Res> core::fmt::Debug for Peers<Req, Res> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Peers({})", self.call)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
