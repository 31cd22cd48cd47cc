//! Whom to call: by chance, the peer that answered last first, and those that
//! failed last. Nobody is believed because it was asked first, and no refusal
//! speaks for the others (A6).

mod ranking;

use core::{marker::PhantomData, time::Duration};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, stream::FuturesUnordered};
use mosaik::{FunctionId, Network, PeerId};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout};
use zipnet_protocol::{Instance, InstanceName};

use crate::{
    entropy::Dice,
    invoke::{InvokeError, Reply, invoke},
    network::serving,
    wire::{Call, Hello, Refused, SHORT_REPLY, hello_id},
};
use ranking::Ranking;

/// Most peers that are asked the same at once.
const AT_ONCE: usize = 16;
/// Most peers that are asked the same at all: as many as a roster may have.
const MOST: usize = zipnet_protocol::MAX_ROSTER;

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
    /// All that were asked refused, and this is the least final of their
    /// reasons.
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

    /// How little hope is left. Who did not answer may do so next time, who is
    /// busy or knows of no such round yet likewise.
    const fn finality(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Refused {
                reason: Refused::Busy | Refused::NotOpen,
                ..
            } => 2,
            Self::Refused { .. } => 3,
            Self::Nobody { .. } => 4,
        }
    }

    /// Of two peers' outcomes, the one that leaves more hope: one malicious
    /// peer's refusal must not look like everybody's.
    fn less_final(self, other: Self) -> Self {
        if other.finality() <= self.finality() {
            other
        } else {
            self
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
}

impl Refresh {
    /// Whether it is time.
    fn take(&mut self, now: Instant) -> bool {
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        self.pause = (self.pause * 2).clamp(REFRESH, REFRESH_MAX);
        self.due = Some(now + self.pause);
        true
    }
}

/// The peers that serve one function.
pub struct Peers<Req, Res> {
    network: Arc<Network>,
    function: FunctionId,
    call: &'static str,
    /// Longest answer that is taken, in bytes.
    longest: u32,
    allowed: Option<Allowed>,
    ranking: Mutex<Ranking>,
    refresh: Mutex<Refresh>,
    types: PhantomData<fn(&Req) -> Res>,
}

impl Peers<(), Hello> {
    /// The peers that say to which committee of a name they belong, as far as
    /// they are `allowed`.
    #[must_use]
    pub fn hello(network: Arc<Network>, name: &InstanceName, allowed: Option<Allowed>) -> Self {
        Self::new(network, hello_id(name), "hello", SHORT_REPLY, allowed)
    }
}

impl<Req: Serialize, Res: DeserializeOwned> Peers<Req, Res> {
    /// The peers that serve a call of an instance, as far as they are
    /// `allowed`. No longer answer is taken than the call has.
    #[must_use]
    pub fn of<C>(network: Arc<Network>, instance: &Instance, allowed: Option<Allowed>) -> Self
    where
        C: Call<Request = Req, Reply = Res>,
    {
        Self::new(network, C::id(instance), C::LABEL, C::MAX_REPLY, allowed)
    }

    fn new(
        network: Arc<Network>,
        function: FunctionId,
        call: &'static str,
        longest: u32,
        allowed: Option<Allowed>,
    ) -> Self {
        Self {
            network,
            function,
            call,
            longest,
            allowed,
            ranking: Mutex::new(Ranking::new(Dice::fresh())),
            refresh: Mutex::default(),
            types: PhantomData,
        }
    }

    /// Who serves the function, in the order in which to ask: the peer that
    /// answered last, the others by chance, those that failed last.
    #[must_use]
    pub fn serving(&self) -> Vec<PeerId> {
        let peers = self.present();
        lock(&self.ranking).order(peers)
    }

    /// Who serves the function.
    fn present(&self) -> Vec<PeerId> {
        let catalog = self.network.discovery().catalog();
        let me = self.network.local().id();
        catalog
            .signed_peers()
            .filter(|entry| entry.functions().contains(&self.function))
            .map(|entry| *entry.id())
            .filter(|peer| *peer != me)
            .filter(|peer| self.allowed.as_ref().is_none_or(|allowed| allowed(peer)))
            .collect()
    }

    /// Asks one peer after the other, each for at most `patience`, until one
    /// answers. A refusal ends nothing: another peer may do better.
    ///
    /// # Errors
    /// The least final [`PeerError`] of all that were asked, so a refusal only
    /// if all of them refused.
    pub async fn call(
        &self,
        request: &Req,
        patience: Duration,
    ) -> Result<(PeerId, Res), PeerError> {
        let mut worst = PeerError::Nobody { call: self.call };
        for peer in self.serving() {
            match self.ask(peer, request, patience).await {
                (peer, Ok(reply)) => {
                    lock(&self.ranking).prefer(peer);
                    return Ok((peer, reply));
                }
                (_, Err(error)) => worst = worst.less_final(error),
            }
        }
        self.refresh(matches!(worst, PeerError::Failed { .. }));
        Err(worst)
    }

    /// Asks a peer that somebody has named. It may be one that this process was
    /// not told of, or that was not told of this one: if it does not answer,
    /// catalogs are compared.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn call_one(
        &self,
        peer: PeerId,
        request: &Req,
        patience: Duration,
    ) -> Result<Res, PeerError> {
        let (_, outcome) = self.ask(peer, request, patience).await;
        if matches!(outcome, Err(PeerError::Failed { .. })) {
            self.refresh(true);
        }
        outcome
    }

    /// Asks two peers at once that are chosen by chance, whoever is preferred,
    /// so that a liar has to be both of them. Fewer if there are fewer; in the
    /// order in which they answer.
    pub async fn call_two(
        &self,
        request: &Req,
        patience: Duration,
    ) -> Vec<(PeerId, Result<Res, PeerError>)> {
        let peers = self.present();
        let peers = lock(&self.ranking).pick(peers, 2);
        self.call_all(peers, request, patience).await
    }

    /// Hands the same to all that serve the function, 16 at once and 64 at
    /// most, and tells what each of them said, in the order in which they
    /// answer. It takes as long as the slowest, so up to four times `patience`.
    pub async fn call_each(
        &self,
        request: &Req,
        patience: Duration,
    ) -> Vec<(PeerId, Result<Res, PeerError>)> {
        let mut peers = self.serving();
        peers.truncate(MOST);
        self.call_all(peers, request, patience).await
    }

    /// Asks these peers, 16 at once.
    pub async fn call_all(
        &self,
        peers: Vec<PeerId>,
        request: &Req,
        patience: Duration,
    ) -> Vec<(PeerId, Result<Res, PeerError>)> {
        let mut waiting = peers.into_iter();
        let mut asked = FuturesUnordered::new();
        let mut outcomes = Vec::new();
        loop {
            while asked.len() < AT_ONCE
                && let Some(peer) = waiting.next()
            {
                asked.push(self.ask(peer, request, patience));
            }
            match asked.next().await {
                Some(outcome) => outcomes.push(outcome),
                None => break,
            }
        }
        if outcomes.iter().all(|(_, outcome)| outcome.is_err()) {
            let failed = |(_, outcome): &(_, Result<Res, PeerError>)| {
                matches!(outcome, Err(PeerError::Failed { .. }))
            };
            self.refresh(outcomes.iter().any(failed));
        }
        outcomes
    }

    /// Asks one peer, and remembers how it did.
    async fn ask(
        &self,
        peer: PeerId,
        request: &Req,
        patience: Duration,
    ) -> (PeerId, Result<Res, PeerError>) {
        let outcome = self.call_peer(peer, request, patience).await;
        match &outcome {
            Ok(_) => *lock(&self.refresh) = Refresh::default(),
            Err(PeerError::Refused {
                reason: Refused::Busy | Refused::NotOpen,
                ..
            }) => lock(&self.ranking).disregard(&peer),
            Err(_) => lock(&self.ranking).distrust(peer),
        }
        (peer, outcome)
    }

    /// Compares catalogs with a few peers, in the background: gossip alone may
    /// take very long to tell of a peer that has restarted. Only if somebody did
    /// not answer, or nobody is known.
    pub(crate) fn refresh(&self, unreachable: bool) {
        let discovery = self.network.discovery();
        let catalog = discovery.catalog();
        // Peers that are known but may not be asked are no reason to look on.
        let known = catalog
            .signed_peers()
            .any(|entry| entry.functions().contains(&self.function));
        if known && !unreachable {
            return;
        }
        if !lock(&self.refresh).take(Instant::now()) {
            return;
        }
        // Whoever serves something hears more than a client.
        let peers: Vec<_> = serving(&catalog).collect();
        for address in lock(&self.ranking).sample(peers, REFRESH_PEERS) {
            let sync = discovery.sync_with(address);
            tokio::spawn(async move {
                let _ = tokio::time::timeout(REFRESH_PATIENCE, sync).await;
            });
        }
    }

    /// The peer that answered last lied: all others are asked before it. Done
    /// again and again, this comes round to each.
    pub fn distrust(&self) {
        lock(&self.ranking).distrust_preferred();
    }

    /// This peer lied: all others are asked before it.
    pub fn distrust_peer(&self, peer: PeerId) {
        lock(&self.ranking).distrust(peer);
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
        let reply = invoke(
            &self.network,
            peer,
            self.function,
            request.into(),
            self.longest,
        )
        .await?;
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

#[cfg(test)]
mod tests;
