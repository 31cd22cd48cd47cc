//! An aggregator that is admitted and cheats, in the test itself.
//!
//! It does what an aggregator does, and gives every client its receipt; what it
//! does to the aggregate then, a [`Trick`] says.

use core::time::Duration;
use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mosaik::{Network, PeerId};
use tokio::{runtime::Runtime, time::Instant};
use zeroize::Zeroizing;
use zipnet_node::{
    network::{Node, Presence},
    peers::{Peers, only},
    roles::common::{Served, serve},
    settings::{NetworkSettings, RelaySetting},
    wire::{
        AggregateCall, AuditCall, AuditRequest, Call, CollectsCall, EnlistCall, EnvelopeCall,
        Follow, FollowCall, Refused, RegistryCall, RegistryRequest,
    },
};
use zipnet_protocol::{
    Admission, Aggregate, AggregatorBundle, ClientRegistry, CommitteeSecret, EnvelopeReceipt, Fold,
    Instance, InstanceName, PeerKey, RoundContext, RoundHeader, SealedEnvelope, SigningSecret,
};

use crate::{
    cluster::Cluster,
    process::{Failed, TestResult},
};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it collects.
const WINDOW: Duration = Duration::from_millis(1500);
/// How often it looks for something new.
const LOOK: Duration = Duration::from_millis(50);

/// What it does to an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Nothing yet.
    Honest,
    /// Adds noise, which it could take away again (A2).
    Noise,
    /// Leaves out the first client, whom it gave a receipt.
    Drop,
    /// Adds noise, and shows auditors nothing.
    Hide,
}

struct Open {
    context: RoundContext,
    header: RoundHeader,
    registry: ClientRegistry,
    envelopes: Vec<SealedEnvelope>,
}

struct State {
    trick: Trick,
    open: Option<Open>,
    kept: Vec<(RoundContext, Vec<SealedEnvelope>)>,
    /// Rounds that it has cheated in.
    cheated: usize,
}

struct Inner {
    signing: SigningSecret,
    state: Mutex<State>,
}

/// The cheat. It runs until it is dropped.
pub struct Cheat {
    inner: Arc<Inner>,
    // In the order in which they are dropped.
    _served: (
        Served<EnvelopeCall>,
        Served<CollectsCall>,
        Served<AuditCall>,
    ),
    _node: Node,
    _runtime: Runtime,
}

impl Cheat {
    /// Joins a cluster as an aggregator that its operator has admitted.
    ///
    /// # Errors
    /// If the network cannot be joined.
    pub fn join(cluster: &Cluster) -> TestResult<Self> {
        let runtime = Runtime::new()?;
        let settings = &cluster.settings;
        let name: InstanceName = settings.instance.parse()?;
        let secret = CommitteeSecret::new(Zeroizing::new(settings.secret.clone().into_bytes()));
        let committee = secret.committee_key(&name);
        let instance = Instance::new(name.clone(), committee.public());
        let hints = cluster.servers.iter().map(|server| server.hint.parse());
        let network = NetworkSettings {
            universe: cluster.universe(),
            seed: None,
            bootstrap: hints.collect::<Result<_, _>>()?,
            bind: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            relay: RelaySetting::Embedded,
        };
        let servers: Vec<PeerId> = network.bootstrap.iter().map(|hint| hint.peer).collect();
        let node = runtime.block_on(Node::join(&network, Presence::Infrastructure))?;
        let inner = Arc::new(Inner {
            signing: node.transport().clone(),
            state: Mutex::new(State {
                trick: Trick::Honest,
                open: None,
                kept: Vec::new(),
                cheated: 0,
            }),
        });
        let guard = runtime.enter();
        let envelopes = {
            let inner = inner.clone();
            serve::<EnvelopeCall, _, _>(node.network(), &instance, 1024, move |envelope, _| {
                core::future::ready(inner.take(&envelope))
            })?
        };
        let collects = serve::<CollectsCall, _, _>(node.network(), &instance, 1024, |_, _| {
            core::future::ready(Ok(()))
        })?;
        let audits = {
            let inner = inner.clone();
            serve::<AuditCall, _, _>(node.network(), &instance, 16, move |request, _| {
                core::future::ready(inner.show(&request))
            })?
        };
        node.show();
        let admission = Admission::sign(&name, &node.transport().peer_key(), &committee);
        let bundle = AggregatorBundle::sign(&instance, Some(admission), node.transport());
        runtime.spawn(enlist(
            node.network().clone(),
            instance.clone(),
            servers.clone(),
            bundle,
        ));
        runtime.spawn(aggregate(
            inner.clone(),
            node.network().clone(),
            instance,
            servers,
        ));
        drop(guard);
        Ok(Self {
            inner,
            _served: (envelopes, collects, audits),
            _node: node,
            _runtime: runtime,
        })
    }

    /// Does this from now on.
    pub fn play(&self, trick: Trick) {
        self.inner.state().trick = trick;
    }

    /// How many rounds it has cheated in.
    #[must_use]
    pub fn cheated(&self) -> usize {
        self.inner.state().cheated
    }

    /// The name by which logs call it.
    #[must_use]
    pub fn short(&self) -> String {
        self.inner.signing.peer_key().short()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, envelope: &SealedEnvelope) -> Result<EnvelopeReceipt, Refused> {
        let mut state = self.state();
        let open = state.open.as_mut().ok_or(Refused::NotOpen)?;
        let checked = envelope
            .check(&open.context, &open.header, &open.registry)
            .map_err(|_| Refused::NotOpen)?;
        if !open.envelopes.contains(envelope) {
            open.envelopes.push(envelope.clone());
        }
        Ok(EnvelopeReceipt::sign(&checked, &self.signing))
    }

    fn show(&self, request: &AuditRequest) -> Result<Vec<SealedEnvelope>, Refused> {
        let state = self.state();
        if state.trick == Trick::Hide {
            return Err(Refused::Busy);
        }
        let kept = state.kept.iter();
        let mut kept = kept.filter(|(context, _)| *context == request.context);
        let (_, envelopes) = kept.next().ok_or(Refused::NotOpen)?;
        Ok(envelopes
            .iter()
            .skip(request.from as usize)
            .cloned()
            .collect())
    }

    /// Closes the round, as the trick says.
    fn close(&self) -> Option<Aggregate> {
        let mut state = self.state();
        let Open {
            context,
            header,
            registry,
            mut envelopes,
        } = state.open.take()?;
        envelopes.sort_by_key(|envelope| envelope.client);
        let mut cheats = false;
        if state.trick == Trick::Drop && envelopes.len() > header.floor.max(1) as usize {
            envelopes.remove(0);
            cheats = true;
        }
        let mut fold = Fold::new(context, &header, registry.len());
        for envelope in &envelopes {
            fold.add(&registry, envelope).ok()?;
        }
        let mut aggregate = fold.finish(&self.signing);
        if matches!(state.trick, Trick::Noise | Trick::Hide) {
            let noise = aggregate.vector.iter().map(|byte| byte ^ 0x5a);
            aggregate = Aggregate::sign(
                aggregate.context,
                aggregate.participants,
                aggregate.envelopes,
                noise.collect(),
                &self.signing,
            );
            cheats = true;
        }
        state.cheated += usize::from(cheats);
        state.kept.push((context, envelopes));
        Some(aggregate)
    }

    /// Whether everybody is in.
    fn is_complete(&self) -> bool {
        let state = self.state();
        let open = state.open.as_ref();
        open.is_none_or(|open| open.envelopes.len() >= open.registry.len())
    }
}

/// The peers that serve a call among the servers.
fn peers<C: Call>(
    network: &Arc<Network>,
    instance: &Instance,
    servers: &[PeerId],
) -> Peers<C::Request, C::Reply> {
    let allowed = Some(only(servers.to_vec()));
    Peers::of::<C>(network.clone(), instance, allowed)
}

async fn enlist(
    network: Arc<Network>,
    instance: Instance,
    servers: Vec<PeerId>,
    bundle: AggregatorBundle,
) {
    let peers = peers::<EnlistCall>(&network, &instance, &servers);
    loop {
        for server in &servers {
            let _ = peers.call_peer(*server, &bundle, PATIENCE).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Aggregates each round that names it.
async fn aggregate(
    inner: Arc<Inner>,
    network: Arc<Network>,
    instance: Instance,
    servers: Vec<PeerId>,
) {
    let me: PeerKey = inner.signing.peer_key();
    let mut seen = Vec::new();
    let news = peers::<FollowCall>(&network, &instance, &servers);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Follow {
            after: None,
            seen: None,
            wait: 0,
        };
        let Ok((_, news)) = news.call(&now, PATIENCE).await else {
            continue;
        };
        let Some(opened) = news.open else { continue };
        let header = opened.certificate.header.header().clone();
        let context = header.context();
        if header.aggregator != me || seen.contains(&context) {
            continue;
        }
        seen.push(context);
        if let Err(error) = serve_round(&inner, &network, &instance, &servers, header).await {
            let _ = writeln!(std::io::stderr(), "the cheat lost a round: {error:?}");
        }
    }
}

async fn serve_round(
    inner: &Inner,
    network: &Arc<Network>,
    instance: &Instance,
    servers: &[PeerId],
    header: RoundHeader,
) -> TestResult {
    let request = RegistryRequest {
        digest: header.registry,
        offset: 0,
    };
    let registries = peers::<RegistryCall>(network, instance, servers);
    let (_, bundles) = registries.call(&request, PATIENCE).await?;
    let registry = ClientRegistry::verify(instance, &bundles)?;
    if registry.digest() != header.registry {
        return Err(Failed::because("another registry"));
    }
    inner.state().open = Some(Open {
        context: header.context(),
        header,
        registry,
        envelopes: Vec::new(),
    });
    let until = Instant::now() + WINDOW;
    while !inner.is_complete() && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    let Some(aggregate) = inner.close() else {
        return Ok(());
    };
    let aggregates = peers::<AggregateCall>(network, instance, servers);
    for server in servers {
        let _ = aggregates.call_peer(*server, &aggregate, PATIENCE).await;
    }
    Ok(())
}
