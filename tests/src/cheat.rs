//! An aggregator that is admitted and cheats, in the test itself.
//!
//! It does what an aggregator does, or a leaf, and gives every client its receipt; what it
//! does to the aggregate or part then, a [`Trick`] says.

use core::time::Duration;
use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mosaik::PeerId;
use tokio::{runtime::Runtime, time::Instant};
use zeroize::Zeroizing;
use zipnet_door::{Desk, Door};
use zipnet_node::{
    book::{AtDoors, Book},
    door::{self, DoorOptions},
    ground::Ground as _,
    peers::{Peers, only},
    settings::{BootstrapHint, RelaySetting, TransportSeed},
    wire::{
        AggregateCall, AuditCall, AuditRequest, Call, CollectsCall, EnlistCall, EnvelopeCall,
        Follow, FollowCall, PartCall, Refused, RegistryCall, RegistryRequest,
    },
};
use zipnet_protocol::{
    Admission, Aggregate, AggregatorBundle, ClientRegistry, CommitteeSecret, EnvelopeReceipt, Fold,
    Instance, InstanceName, Part, PeerKey, RegisteredClient, RoundContext, RoundHeader,
    SealedEnvelope, SigningSecret, Whereabouts,
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
    /// Refuses every envelope.
    Refuse,
    /// Takes none, and answers with receipts that do not hold.
    Junk,
}

struct Open {
    context: RoundContext,
    header: RoundHeader,
    registry: ClientRegistry,
    envelopes: Vec<SealedEnvelope>,
    /// How many are its own to take.
    expected: usize,
    /// Its number, if it is a leaf.
    leaf: Option<u8>,
}

/// What it hands on.
enum Yield {
    Aggregate(Aggregate),
    Part(Part),
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
    _door: Door,
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
        let hints: Vec<BootstrapHint> = hints.collect::<Result<_, _>>()?;
        let servers: Vec<PeerId> = hints.iter().map(|hint| hint.peer).collect();
        let seed = TransportSeed::from_entropy(zipnet_node::entropy::fresh()?);
        let signing = SigningSecret::from_seed(seed.as_bytes());
        let options = DoorOptions {
            bind: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            ..DoorOptions::default()
        };
        let guard = runtime.enter();
        let opened = runtime.block_on(door::open(&seed, &RelaySetting::Embedded, &options));
        let (mut door, addresses) = opened?;
        let admission = Admission::sign(&name, &signing.peer_key(), &committee);
        let at = Whereabouts::of_door(addresses);
        let bundle = AggregatorBundle::sign(&instance, Some(admission), &signing, at);
        let inner = Arc::new(Inner {
            signing,
            state: Mutex::new(State {
                trick: Trick::Honest,
                open: None,
                kept: Vec::new(),
                cheated: 0,
            }),
        });
        let (takes, shows) = (inner.clone(), inner.clone());
        let desk = Desk::new(|_| true)
            .on::<EnvelopeCall, _, _>(1024, move |envelope, _| {
                core::future::ready(takes.take(&envelope))
            })
            .on::<CollectsCall, _, _>(1024, |_, _| core::future::ready(Ok(())))
            .on::<AuditCall, _, _>(16, move |request, _| {
                core::future::ready(shows.show(&request))
            });
        door.serve(desk);
        let ground = AtDoors(Book::new(door.doors(), &hints));
        runtime.spawn(enlist(
            ground.clone(),
            instance.clone(),
            servers.clone(),
            bundle,
        ));
        runtime.spawn(aggregate(inner.clone(), ground, instance, servers));
        drop(guard);
        Ok(Self {
            inner,
            _door: door,
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

    /// How many rounds it has served.
    #[must_use]
    pub fn served(&self) -> usize {
        self.inner.state().kept.len()
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
        let trick = state.trick;
        let open = state.open.as_mut().ok_or(Refused::NotOpen)?;
        let checked = envelope
            .check(&open.context, &open.header, &open.registry)
            .map_err(|_| Refused::NotOpen)?;
        let mut receipt = EnvelopeReceipt::sign(&checked, &self.signing);
        match trick {
            Trick::Refuse | Trick::Junk => state.cheated += 1,
            _ => {}
        }
        if trick == Trick::Refuse {
            return Err(Refused::Text("go away".to_owned()));
        }
        if trick == Trick::Junk {
            receipt.position ^= 1;
            return Ok(receipt);
        }
        let open = state.open.as_mut().ok_or(Refused::NotOpen)?;
        if !open.envelopes.contains(envelope) {
            open.envelopes.push(envelope.clone());
        }
        Ok(receipt)
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
    fn close(&self) -> Option<Yield> {
        let mut state = self.state();
        let Open {
            context,
            header,
            registry,
            mut envelopes,
            leaf,
            ..
        } = state.open.take()?;
        envelopes.sort_by_key(|envelope| envelope.client);
        let mut cheats = false;
        let least = if leaf.is_some() {
            0
        } else {
            header.floor.max(1)
        };
        if state.trick == Trick::Drop && envelopes.len() > least as usize {
            envelopes.remove(0);
            cheats = true;
        }
        let mut fold = Fold::new(context, &header, registry.len());
        for envelope in &envelopes {
            fold.add(&registry, envelope).ok()?;
        }
        let noisy = matches!(state.trick, Trick::Noise | Trick::Hide);
        let with_noise = |vector: &[u8]| vector.iter().map(|byte| byte ^ 0x5a).collect();
        let mut yields = match leaf {
            None => Yield::Aggregate(fold.finish(&self.signing)),
            Some(_) => Yield::Part(fold.finish_part(&self.signing)?),
        };
        if noisy {
            yields = match yields {
                Yield::Aggregate(all) => Yield::Aggregate(Aggregate::sign(
                    context,
                    all.participants,
                    all.envelopes,
                    with_noise(&all.vector),
                    &self.signing,
                )),
                Yield::Part(Part { seal, vector, .. }) => Yield::Part(Part::sign(
                    context,
                    &header,
                    seal.leaf,
                    seal.participants,
                    seal.envelopes,
                    with_noise(&vector),
                    &self.signing,
                )),
            };
            cheats = true;
        }
        state.cheated += usize::from(cheats);
        state.kept.push((context, envelopes));
        Some(yields)
    }

    /// Whether everybody is in.
    fn is_complete(&self) -> bool {
        let state = self.state();
        let open = state.open.as_ref();
        open.is_none_or(|open| open.envelopes.len() >= open.expected)
    }
}

/// The peers that serve a call among the servers.
fn peers<C: Call>(
    ground: &AtDoors,
    instance: &Instance,
    servers: &[PeerId],
) -> Peers<C::Request, C::Reply> {
    let allowed = Some(only(servers.to_vec()));
    Peers::on::<C>(ground, instance, allowed)
}

async fn enlist(
    ground: AtDoors,
    instance: Instance,
    servers: Vec<PeerId>,
    bundle: AggregatorBundle,
) {
    let peers = peers::<EnlistCall>(&ground, &instance, &servers);
    loop {
        for server in &servers {
            let _ = peers.call_peer(*server, &bundle, PATIENCE).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Aggregates each round that names it, or whose leaf it is.
async fn aggregate(inner: Arc<Inner>, ground: AtDoors, instance: Instance, servers: Vec<PeerId>) {
    let me: PeerKey = inner.signing.peer_key();
    let mut seen = Vec::new();
    let news = peers::<FollowCall>(&ground, &instance, &servers);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Follow {
            after: None,
            seen: None,
            wait: 0,
            aggregators: None,
        };
        let Ok((_, news)) = news.call(&now, PATIENCE).await else {
            continue;
        };
        let Some(opened) = news.open else { continue };
        let header = opened.certificate.header.header().clone();
        let context = header.context();
        let is_named = header.aggregator == me || header.leaves.number(&me).is_some();
        if !is_named || seen.contains(&context) {
            continue;
        }
        seen.push(context);
        for bundle in &opened.aggregators {
            ground.told(&instance, bundle);
        }
        if let Err(error) = serve_round(&inner, &ground, &instance, &servers, header).await {
            let _ = writeln!(std::io::stderr(), "the cheat lost a round: {error:?}");
        }
    }
}

async fn serve_round(
    inner: &Inner,
    ground: &AtDoors,
    instance: &Instance,
    servers: &[PeerId],
    header: RoundHeader,
) -> TestResult {
    let request = RegistryRequest {
        root: header.registry,
        offset: 0,
    };
    let registries = peers::<RegistryCall>(ground, instance, servers);
    let (_, bundles) = registries.call(&request, PATIENCE).await?;
    let registry = ClientRegistry::verify(instance, &bundles)?;
    if registry.root() != header.registry {
        return Err(Failed::because("another registry"));
    }
    let (root, leaves) = (header.aggregator, &header.leaves);
    let me = inner.signing.peer_key();
    let leaf = leaves.number(&me).filter(|_| root != me);
    let is_own =
        |client: &&RegisteredClient| leaf.is_none() || leaves.number_of(client.id()) == leaf;
    inner.state().open = Some(Open {
        context: header.context(),
        expected: registry.iter().filter(is_own).count(),
        leaf,
        header,
        registry,
        envelopes: Vec::new(),
    });
    let until = Instant::now() + WINDOW;
    while !inner.is_complete() && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    match inner.close() {
        None => {}
        Some(Yield::Aggregate(aggregate)) => {
            let aggregates = peers::<AggregateCall>(ground, instance, servers);
            for server in servers {
                let _ = aggregates.call_peer(*server, &aggregate, PATIENCE).await;
            }
        }
        Some(Yield::Part(part)) => {
            let root = PeerId::from_bytes(root.as_bytes())?;
            let above = Peers::on::<PartCall>(ground, instance, None);
            above.call_one(root, &part, PATIENCE).await?;
        }
    }
    Ok(())
}
