//! Whom to call: by chance, the peer that answered last first, and those that
//! failed last. Nobody is believed because it was asked first, and no refusal
//! speaks for the others (A6).

mod ranking;

use core::{marker::PhantomData, time::Duration};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout};
use zipnet_door::PeerId;
use zipnet_protocol::{Instance, InstanceName};

use crate::{
    entropy::Dice,
    ground::{Ground, Heard, Scope, Way},
    wire::{Call, CallInfo, Hello, HelloCall, Refused},
};
use ranking::Ranking;

/// Most peers that are asked the same at once.
const AT_ONCE: usize = 16;
/// Most peers that are asked the same at all: as many as a roster may have.
const MOST: usize = zipnet_protocol::MAX_ROSTER;

/// How soon one looks around when calls begin to fail; the pause doubles from time
/// to time.
const REFRESH: Duration = Duration::from_secs(1);
/// The longest pause.
const REFRESH_MAX: Duration = Duration::from_secs(15);

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
        /// What happened, in the transport's words.
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

/// When one looks around next, because calls fail.
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

/// The peers that answer one call.
pub struct Peers<Req, Res> {
    way: Arc<dyn Way>,
    call: &'static str,
    allowed: Option<Allowed>,
    ranking: Mutex<Ranking>,
    refresh: Mutex<Refresh>,
    types: PhantomData<fn(&Req) -> Res>,
}

impl Peers<(), Hello> {
    /// The peers that say to which committee of a name they belong, as far as
    /// they are `allowed`.
    #[must_use]
    pub fn hello(ground: &dyn Ground, name: &InstanceName, allowed: Option<Allowed>) -> Self {
        let call = CallInfo::of::<HelloCall>();
        Self::new(ground.way(call, Scope::Name(name)), call.label, allowed)
    }
}

impl<Req: Serialize, Res: DeserializeOwned> Peers<Req, Res> {
    /// The peers that answer a call of an instance, as far as they are `allowed`.
    /// No longer answer is taken than the call has.
    #[must_use]
    pub fn on<C>(ground: &dyn Ground, instance: &Instance, allowed: Option<Allowed>) -> Self
    where
        C: Call<Request = Req, Reply = Res>,
    {
        let call = CallInfo::of::<C>();
        let way = ground.way(call, Scope::Instance(instance));
        Self::new(way, call.label, allowed)
    }

    fn new(way: Arc<dyn Way>, call: &'static str, allowed: Option<Allowed>) -> Self {
        Self {
            way,
            call,
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
        let mut peers = self.way.present();
        peers.retain(|peer| self.allowed.as_ref().is_none_or(|allowed| allowed(peer)));
        peers
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

    /// Looks for others who may answer. Only if somebody did not, or nobody is
    /// known.
    pub(crate) fn refresh(&self, unreachable: bool) {
        // Peers that are known but may not be asked are no reason to look on.
        if !unreachable && !self.way.present().is_empty() {
            return;
        }
        if lock(&self.refresh).take(Instant::now()) {
            self.way.look_around();
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
            Ok(Err(error)) => error,
            Err(_) => silence(patience),
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

    async fn attempt(&self, peer: PeerId, request: &Req) -> Result<Result<Res, Refused>, String> {
        let request = postcard::to_stdvec(request)
            .map_err(|error| format!("the request does not encode: {error}"))?;
        let answer = match self.way.invoke(peer, request).await? {
            Ok(answer) => answer,
            Err(refused) => return Ok(Err(refused)),
        };
        postcard::from_bytes(&answer)
            .map(Ok)
            .map_err(|error| format!("its answer does not decode: {error}"))
    }
}

impl<Req: Serialize, Res: DeserializeOwned> Peers<Req, Res> {
    /// Asks one peer for all that it has to say, now and later.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn subscribe(
        &self,
        peer: PeerId,
        request: &Req,
        patience: Duration,
    ) -> Result<Subscription<Res>, PeerError> {
        let failed = |reason| PeerError::Failed {
            call: self.call,
            peer: peer.fmt_short().to_string(),
            reason,
        };
        let request = postcard::to_stdvec(request)
            .map_err(|error| failed(format!("the request does not encode: {error}")))?;
        let answers = match timeout(patience, self.way.stream(peer, request)).await {
            Ok(answers) => answers.map_err(failed)?,
            Err(_) => return Err(failed(silence(patience))),
        };
        Ok(Subscription {
            answers,
            call: self.call,
            peer,
            types: PhantomData,
        })
    }
}

/// What one peer has to say, now and later.
pub struct Subscription<Res> {
    answers: Box<dyn Heard>,
    call: &'static str,
    peer: PeerId,
    types: PhantomData<fn() -> Res>,
}

impl<Res: DeserializeOwned> Subscription<Res> {
    /// The next answer; `None` if there will be no more.
    ///
    /// # Errors
    /// [`PeerError`], also if nothing comes in time.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<Res>, PeerError> {
        let (call, peer) = (self.call, self.peer.fmt_short().to_string());
        let failed = |reason| PeerError::Failed {
            call,
            peer: peer.clone(),
            reason,
        };
        let answer = match timeout(patience, self.answers.next()).await {
            Ok(None) => return Ok(None),
            Ok(Some(answer)) => answer.map_err(failed)?,
            Err(_) => return Err(failed(silence(patience))),
        };
        let answer = answer.map_err(|reason| PeerError::Refused {
            call,
            peer: peer.clone(),
            reason,
        })?;
        postcard::from_bytes(&answer)
            .map(Some)
            .map_err(|error| failed(format!("its answer does not decode: {error}")))
    }
}

impl<Res> core::fmt::Debug for Subscription<Res> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Subscription({})", self.call)
    }
}

fn silence(patience: Duration) -> String {
    format!("nothing within {} ms", patience.as_millis())
}

impl<Req, Res> core::fmt::Debug for Peers<Req, Res> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Peers({})", self.call)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
