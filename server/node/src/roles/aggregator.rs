//! The aggregator: untrusted for anonymity, trusted to be there. It never
//! holds the committee secret.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mosaik::Network;
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use zipnet_protocol::{
    Admission, Aggregate, AggregatorBundle, BundleError, CertifiedRound, ClientBundle,
    ClientRegistry, Fold, FoldError, Instance, MAX_CLIENTS, PeerKey, Round, SealedEnvelope,
    distinct_peers,
};

use super::{
    common::{self, CommitteeKeyError, ServeError},
    directory::Directory,
    enlist,
    follow::{Event, Follower},
};
use crate::{
    attestation::upkeep,
    metrics,
    network::{JoinError, Node, Presence},
    peers::{Allowed, PeerError, Peers},
    settings::{NetworkSettings, TrustSettings},
    wire::{
        AggregateCall, Call as _, EnvelopeCall, REGISTRY_PAGE, Refused, RegistryCall,
        RegistryRequest,
    },
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long to wait before a server is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What an operator sets for an aggregator.
#[derive(Debug)]
pub struct AggregatorSettings {
    /// How it joins the network.
    pub network: NetworkSettings,
    /// Whom it follows.
    pub trust: TrustSettings,
    /// How long it collects envelopes of a round, at most.
    pub fold_deadline: Duration,
    /// What the committee admitted it with, if it did.
    pub admission: Option<Admission>,
}

/// An aggregator could not start.
#[derive(Debug, thiserror::Error)]
pub enum AggregatorError {
    /// No network.
    #[error("Could not join the network")]
    Join(#[source] JoinError),
    /// No committee key.
    #[error("Could not learn which committee to serve")]
    CommitteeKey(#[source] CommitteeKeyError),
    /// A call.
    #[error("Could not answer calls")]
    Serve(#[source] ServeError),
}

/// A registry could not be fetched.
#[derive(Debug, thiserror::Error)]
enum RegistryError {
    #[error("No server gave the client registry")]
    Peers(#[source] PeerError),
    #[error("The client registry holds a bundle that does not verify")]
    Bundle(#[source] BundleError),
    #[error("The client registry is not the one that the header names")]
    Digest,
}

/// The round that takes envelopes now.
struct Collecting {
    round: Arc<CertifiedRound>,
    registry: Arc<ClientRegistry>,
    fold: Fold,
}

impl Collecting {
    /// Whether enough distinct peers are in for servers to unblind (I15).
    fn reaches_floor(&self) -> bool {
        let peers = distinct_peers(&self.fold.participants(), &self.registry);
        peers >= self.round.header().floor as usize
    }
}

struct Aggregator {
    instance: Instance,
    fold_deadline: Duration,
    current: Mutex<Option<Collecting>>,
    /// An envelope came in.
    folded: Notify,
    registries: Peers<RegistryRequest, Vec<ClientBundle>>,
    servers: Peers<Aggregate, ()>,
    known: Mutex<Option<Arc<ClientRegistry>>>,
}

/// Runs an aggregator until `stop` is cancelled.
///
/// # Errors
/// [`AggregatorError`].
pub async fn run(
    settings: AggregatorSettings,
    stop: CancellationToken,
) -> Result<(), AggregatorError> {
    let start = async {
        let node = Node::join(&settings.network, Presence::Infrastructure)
            .await
            .map_err(AggregatorError::Join)?;
        common::announce(&node, &settings.network, &settings.trust.name, "aggregator");
        let instance = common::find_instance(&node, &settings.trust, &settings.network)
            .await
            .map_err(AggregatorError::CommitteeKey)?;
        Ok((node, instance))
    };
    let (node, instance) = tokio::select! {
        started = start => started?,
        () = stop.cancelled() => return Ok(()),
    };
    let network: Arc<Network> = node.network().clone();
    let authority = settings.trust.authority.clone();
    let directory = Arc::new(Directory::new(&network, &instance, authority.clone()));
    let upkeep = authority.map(|authority| tokio::spawn(upkeep::run(authority)));
    let servers: Allowed = {
        let directory = directory.clone();
        Arc::new(move |peer| directory.is_server(peer))
    };
    let aggregator = Arc::new(Aggregator {
        fold_deadline: settings.fold_deadline,
        current: Mutex::default(),
        folded: Notify::new(),
        registries: Peers::new(
            network.clone(),
            RegistryCall::id(&instance),
            RegistryCall::LABEL,
            Some(servers.clone()),
        ),
        servers: Peers::new(
            network.clone(),
            AggregateCall::id(&instance),
            AggregateCall::LABEL,
            Some(servers.clone()),
        ),
        known: Mutex::default(),
        instance: instance.clone(),
    });
    let hello = common::serve_hello(&network, &instance).map_err(AggregatorError::Serve)?;
    let desk = {
        let aggregator = aggregator.clone();
        common::serve::<EnvelopeCall, _, _>(&network, &instance, 65_536, move |envelope, caller| {
            let aggregator = aggregator.clone();
            async move { aggregator.take(&envelope, &caller) }
        })
        .map_err(AggregatorError::Serve)?
    };
    node.show();
    tracing::info!("aggregator booting; waiting for collections to come online");

    let mut follower = Follower::new(network.clone(), &instance, &settings.trust, &directory);
    let keeper = tokio::spawn(directory.run());
    let me = node.transport().peer_key();
    let bundle = AggregatorBundle::sign(&instance, settings.admission, node.transport());
    let enlisted = tokio::spawn(enlist::run(
        network.clone(),
        instance.clone(),
        bundle,
        servers,
    ));
    let mut rounds = JoinSet::new();
    loop {
        let events = tokio::select! {
            events = follower.next() => events,
            () = stop.cancelled() => break,
        };
        for event in events {
            let Event::Opened(round) = event else {
                continue;
            };
            if round.header().aggregator != me {
                continue;
            }
            // The newest round is the only one that a server still wants.
            rounds.abort_all();
            while rounds.join_next().await.is_some() {}
            rounds.spawn(aggregator.clone().serve(round));
        }
    }
    tracing::info!("aggregator leaving");
    rounds.shutdown().await;
    keeper.abort();
    enlisted.abort();
    if let Some(upkeep) = upkeep {
        upkeep.abort();
    }
    drop((desk, hello, follower, aggregator, network));
    node.leave().await;
    Ok(())
}

impl Aggregator {
    /// Collects a round's envelopes and delivers the aggregate.
    async fn serve(self: Arc<Self>, round: Arc<CertifiedRound>) {
        let number = round.header().number;
        let registry = loop {
            match self.registry(&round).await {
                Ok(registry) => break registry,
                Err(error) => {
                    tracing::warn!(
                        round = number,
                        because = %crate::report::chain(&error),
                        "cannot serve a round yet"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let fold = Fold::new(*round.context(), round.header(), registry.len());
        *self.current() = Some(Collecting {
            round: round.clone(),
            registry,
            fold,
        });
        // Counted from when collecting begins (A4): the time that the registry
        // took is nobody's fault who seals.
        let everybody = self.until(|collecting| collecting.fold.is_complete());
        if timeout(self.fold_deadline, everybody).await.is_err() {
            // Below the floor no server unblinds: late is better than never.
            self.until(Collecting::reaches_floor).await;
        }
        let Some(collected) = self.current().take() else {
            return;
        };
        let count = collected.fold.count();
        self.deliver(&round, collected.fold.finish(), count).await;
    }

    /// Waits until the fold is as wanted.
    async fn until(&self, wanted: impl Fn(&Collecting) -> bool) {
        loop {
            let folded = self.folded.notified();
            if self.current().as_ref().is_none_or(&wanted) {
                return;
            }
            folded.await;
        }
    }

    async fn deliver(&self, round: &Round, aggregate: Aggregate, participants: usize) {
        let number = round.header().number;
        loop {
            match self.servers.call(&aggregate, PATIENCE).await {
                Ok((peer, ())) => {
                    metrics::aggregate("forwarded");
                    tracing::info!(
                        round = %format_args!("r{number}"),
                        participants,
                        server = %peer.fmt_short(),
                        "aggregator: forwarded aggregate"
                    );
                    return;
                }
                // A call that timed out may have arrived all the same.
                Err(error) if error.refusal() == Some(&Refused::Repeated) => return,
                Err(error) => {
                    metrics::aggregate("failed");
                    tracing::debug!(
                        round = number,
                        because = %crate::report::chain(&error),
                        "no server took the aggregate"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Takes an envelope from the peer that the client is registered with.
    fn take(&self, envelope: &SealedEnvelope, caller: &PeerKey) -> Result<(), Refused> {
        metrics::payload("client-aggregator", envelope.vector.len());
        let outcome = self.fold(envelope, caller);
        metrics::envelope(match &outcome {
            Ok(()) => "folded",
            Err(Refused::Unregistered) => "unregistered",
            Err(Refused::NotOpen) => "not-open",
            Err(Refused::Repeated) => "repeated",
            Err(Refused::Busy | Refused::Text(_)) => "refused",
        });
        if outcome.is_ok() {
            self.folded.notify_waiters();
        }
        outcome
    }

    fn fold(&self, envelope: &SealedEnvelope, caller: &PeerKey) -> Result<(), Refused> {
        let mut current = self.current();
        let current = current.as_mut().ok_or(Refused::NotOpen)?;
        if envelope.context != *current.round.context() {
            return Err(Refused::NotOpen);
        }
        let client = current
            .registry
            .get(&envelope.client)
            .ok_or(Refused::Unregistered)?;
        if client.peer() != caller {
            return Err(Refused::Text(
                "the client is registered with another peer".to_owned(),
            ));
        }
        current
            .fold
            .add(&current.registry, envelope)
            .map_err(|error| match error {
                FoldError::Context => Refused::NotOpen,
                FoldError::Unregistered { .. } => Refused::Unregistered,
                FoldError::Repeated { .. } => Refused::Repeated,
                FoldError::Length { .. } => Refused::because(&error),
            })
    }

    /// The registry that the round's header names, verified.
    async fn registry(&self, round: &Round) -> Result<Arc<ClientRegistry>, RegistryError> {
        let header = round.header();
        let known = lock(&self.known).clone();
        if let Some(known) = known
            && known.digest() == header.registry
        {
            return Ok(known);
        }
        let mut bundles = Vec::new();
        let clients = (header.clients as usize).min(MAX_CLIENTS);
        while bundles.len() < clients {
            let request = RegistryRequest {
                digest: header.registry,
                offset: u32::try_from(bundles.len()).unwrap_or(u32::MAX),
            };
            let (_, page) = self
                .registries
                .call(&request, PATIENCE)
                .await
                .map_err(RegistryError::Peers)?;
            if page.is_empty() || page.len() > REGISTRY_PAGE {
                return Err(RegistryError::Digest);
            }
            bundles.extend(page);
        }
        let registry =
            ClientRegistry::verify(&self.instance, &bundles).map_err(RegistryError::Bundle)?;
        if registry.digest() != header.registry {
            return Err(RegistryError::Digest);
        }
        let before = lock(&self.known).take();
        for client in registry.iter() {
            let new = before
                .as_ref()
                .is_none_or(|before| before.get(client.id()).is_none());
            if new {
                tracing::info!(client = %client.id().short(), "registering client bundle");
            }
        }
        let registry = Arc::new(registry);
        *lock(&self.known) = Some(registry.clone());
        Ok(registry)
    }

    fn current(&self) -> MutexGuard<'_, Option<Collecting>> {
        lock(&self.current)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
