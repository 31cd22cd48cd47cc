//! What the tasks of a server share.

use core::{future::Future, time::Duration};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mosaik::{
    Group, GroupKey, Network, PeerId,
    groups::{CommandError, ConsensusConfig},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;
use zipnet_attest::Refusal;
use zipnet_protocol::{
    AdmittedServer, DhSecret, PeerKey, Round, ServerBundle, ServerId, SigningSecret, Whereabouts,
};

use super::{ServerError, ServerSettings, faults::Faults, herald::Herald, waiting::Waiting};
use crate::{
    attestation::{
        Standing, VouchError, Vouched,
        own::OwnEvidence,
        ticket::{Tickets, Validator},
        vouch,
    },
    book::AtDoors,
    committee::{
        Committee, Shared, View,
        ahead::Log,
        command::{Command, Order, Presented, ServerRegistration, SignedPolicy},
    },
    guard::Guard,
    health::Pulse,
    network::Node,
    roles::common::peer_id,
    settings::CommitteeRules,
};

/// How long a command may take until it is committed.
const EXECUTE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a loop may take to go round. What one waits for at most is a quote, with
/// collateral from a source that does not answer.
const ROUND: Duration = Duration::from_mins(3);

/// What mosaik gives back for a command; it does not hold on to the group.
type Pending =
    futures::future::BoxFuture<'static, Result<mosaik::groups::Index, CommandError<Committee>>>;

/// The secrets of this boot (I1), and the committee key.
pub(super) struct Keys {
    pub dh: DhSecret,
    pub signing: SigningSecret,
    /// Of the transport identity.
    pub transport: SigningSecret,
    pub committee: SigningSecret,
}

/// What a server of an attested instance has besides.
#[derive(Clone)]
pub(super) struct Attested {
    /// What it shows.
    pub own: Arc<OwnEvidence>,
    /// What it thinks of its peers' tickets.
    pub tickets: Arc<Tickets>,
}

/// A command did not get through. It may be sent again: whatever is committed
/// twice changes nothing the second time.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecuteError {
    #[error("The command does not encode")]
    Encode(#[source] postcard::Error),
    #[error("This server has left the group")]
    Left,
    #[error("The group did not take the command: {0}")]
    Group(String),
    #[error("The group did not commit the command within {} s", EXECUTE_TIMEOUT.as_secs())]
    TimedOut,
}

pub(super) struct Context {
    pub rules: Arc<CommitteeRules>,
    pub shared: Arc<Shared>,
    pub settings: ServerSettings,
    /// The doors of aggregators.
    pub ground: AtDoors,
    /// Where this server's own door is.
    at: Whereabouts,
    keys: Keys,
    /// In an attested instance.
    attested: Option<Attested>,
    bundle: Mutex<AdmittedServer>,
    guard: Mutex<Guard>,
    group: Mutex<Option<Group<Committee>>>,
    group_key: GroupKey,
    consensus: ConsensusConfig,
    network: std::sync::Weak<Network>,
    peer: PeerId,
    stop: CancellationToken,
    leaving: AtomicBool,
    replaced: watch::Sender<bool>,
    waiting: Waiting,
    faults: Faults,
    herald: Herald,
    /// Transport keys of the servers that were registered in this process's
    /// life and still count.
    known: Mutex<BTreeMap<ServerId, PeerKey>>,
}

impl Context {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by the role's start"
    )]
    pub fn new(
        node: &Node,
        rules: Arc<CommitteeRules>,
        keys: Keys,
        bundle: &AdmittedServer,
        attested: Option<Attested>,
        shared: Arc<Shared>,
        group_secret: &Zeroizing<[u8; 32]>,
        consensus: ConsensusConfig,
        settings: ServerSettings,
        ground: AtDoors,
    ) -> Self {
        let guard = Guard::new(rules.clone(), *bundle.id(), *bundle.digest());
        let context = Self {
            guard: Mutex::new(guard),
            bundle: Mutex::new(bundle.clone()),
            attested,
            group: Mutex::new(None),
            group_key: GroupKey::new(mosaik::Digest::from_bytes(**group_secret)),
            network: Arc::downgrade(node.network()),
            peer: node.peer(),
            replaced: watch::Sender::new(false),
            waiting: Waiting::default(),
            faults: Faults::default(),
            herald: Herald::default(),
            known: Mutex::default(),
            rules,
            shared,
            settings,
            ground,
            at: bundle.at().clone(),
            keys,
            consensus,
            stop: CancellationToken::new(),
            leaving: AtomicBool::new(false),
        };
        context.join_group();
        context
    }

    /// The token that ends this server's tasks.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Whether this server opens no more rounds because it is about to leave.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Opens no more rounds, and resolves once no open round needs this
    /// server's partial any more.
    pub async fn drained(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        let me = *self.me().digest();
        let mut views = self.shared.watch();
        let done = views.wait_for(|view| {
            view.state.current().is_none_or(|current| {
                !current
                    .round
                    .roster()
                    .iter()
                    .any(|server| *server.digest() == me)
            })
        });
        // The sender lives in `self`.
        let _ = done.await;
    }

    /// This server as it is registered, or wants to be.
    pub fn me(&self) -> AdmittedServer {
        lock(&self.bundle).clone()
    }

    pub fn id(&self) -> ServerId {
        *lock(&self.bundle).id()
    }

    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn guard(&self) -> MutexGuard<'_, Guard> {
        lock(&self.guard)
    }

    /// The guard, unless it is at work.
    pub fn try_guard(&self) -> Option<MutexGuard<'_, Guard>> {
        self.guard.try_lock().ok()
    }

    /// What a server of an attested instance has besides.
    pub const fn attested(&self) -> Option<&Attested> {
        self.attested.as_ref()
    }

    /// Whether a registered server's evidence holds for this server, now. In
    /// an instance without evidence everybody's does.
    pub fn stands(&self, view: &View, server: &AdmittedServer) -> bool {
        self.attested.is_none()
            || self
                .judge(view, server)
                .is_some_and(|judged| judged.is_ok())
    }

    /// What a registered server's evidence comes to for this server, now; `None` if there
    /// is none.
    pub fn judge(
        &self,
        view: &View,
        server: &AdmittedServer,
    ) -> Option<Result<Standing, Arc<Refusal>>> {
        let Attested { own, .. } = self.attested.as_ref()?;
        let admission = view.state.admissions().of(server.id())?;
        let authority = own.authority();
        Some(authority.judge(&self.rules.instance, server, &admission.credential))
    }

    /// Vouches for the roster of a round by the evidence that is registered
    /// (I3).
    pub fn vouch(&self, view: &View, round: &Round) -> Result<Vouched, VouchError> {
        let authority = self.attested.as_ref().map(|with| &**with.own.authority());
        let admissions = view.state.admissions();
        vouch(&self.rules.instance, authority, round, |server| {
            let admission = admissions.of(server.id())?;
            Some(admission.credential.clone())
        })
    }

    /// Whether the committee lists this server's newest evidence, and a policy
    /// that is not older than its own.
    pub fn is_shown(&self, view: &View) -> bool {
        let Some(Attested { own, .. }) = &self.attested else {
            return true;
        };
        let admissions = view.state.admissions();
        let shown = own.shown().map(|(credential, _)| credential);
        let listed = admissions
            .of(&self.id())
            .map(|admission| &admission.credential);
        shown.as_ref() == listed
            && admissions
                .policy()
                .is_some_and(|policy| policy.serial() >= own.authority().policy().serial())
    }

    /// How this server wants to be listed; `None` as long as it has no
    /// evidence to show.
    pub fn registration(&self, view: &View) -> Option<ServerRegistration> {
        let bundle = self.me().bundle().clone();
        let Some(Attested { own, .. }) = &self.attested else {
            return Some(ServerRegistration::unattested(bundle));
        };
        let (credential, _) = own.shown()?;
        let admissions = view.state.admissions();
        let policy = own.authority().policy();
        let known = admissions.policy().map(|policy| policy.serial());
        let presented = Presented {
            credential: (*credential).clone(),
            at: own.authority().now().max(admissions.clock()),
            policy: (known < Some(policy.serial())).then(|| SignedPolicy::from(&policy.file)),
        };
        Some(ServerRegistration {
            bundle,
            presented: Some(presented),
        })
    }

    /// What clients asked for and the committee has not heard yet.
    pub const fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// What followers are told.
    pub const fn herald(&self) -> &Herald {
        &self.herald
    }

    /// What this server has against aggregators.
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The pulse of one of this server's loops.
    pub fn pulse(&self, name: &'static str) -> Pulse {
        self.settings.health.pulse(name, ROUND)
    }

    /// The state once it has changed, or after a while; `None` when this server
    /// ends.
    pub async fn next_view(
        &self,
        views: &mut watch::Receiver<Arc<View>>,
        patience: Duration,
    ) -> Option<Arc<View>> {
        tokio::select! {
            () = self.stop.cancelled() => return None,
            _ = views.changed() => {}
            () = tokio::time::sleep(patience) => {}
        }
        Some(views.borrow_and_update().clone())
    }

    /// The state now.
    pub fn view(&self) -> Arc<View> {
        self.shared.view()
    }

    /// Signs this server's bundle again under a higher boot number, because
    /// the clock stands before the registered one.
    pub fn raise_boot(&self, above: u64) -> bool {
        let keys = &self.keys;
        let bundle = ServerBundle::sign(
            &self.rules.instance,
            &keys.dh,
            &keys.signing,
            &keys.transport,
            &keys.committee,
            above.saturating_add(1),
            self.at.clone(),
        );
        let Ok(admitted) = bundle.verify(&self.rules.instance) else {
            return false;
        };
        self.guard().set_bundle(*admitted.digest());
        *lock(&self.bundle) = admitted;
        true
    }

    /// Has mosaik look for servers to bond with.
    pub fn nudge(&self) {
        if let Some(network) = self.network.upgrade() {
            Node::nudge(&network);
        }
    }

    /// The network, while it lives.
    pub fn network(&self) -> Option<Arc<Network>> {
        self.network.upgrade()
    }

    /// Joins the ordering group with a machine in the state of a cold start;
    /// the leader's snapshot brings it up to date.
    pub fn join_group(&self) {
        let Some(network) = self.network.upgrade() else {
            return;
        };
        let machine = Committee::new(self.rules.clone(), self.shared.clone());
        let mut builder = network
            .groups()
            .with_key(self.group_key)
            .with_consensus_config(self.consensus.clone());
        if let Some(Attested { own, tickets }) = &self.attested {
            let validator = Validator::new(own.authority().clone(), tickets.clone());
            builder = builder.require_ticket(validator);
        }
        let log = Log::new(self.shared.ahead().clone());
        let group = builder
            .with_state_machine(machine)
            .with_log_storage(log)
            .join();
        *lock(&self.group) = Some(group);
    }

    /// Leaves the ordering group; bonded members are told.
    pub fn leave_group(&self) {
        drop(lock(&self.group).take());
    }

    fn with_group<T>(&self, use_it: impl FnOnce(&Group<Committee>) -> T) -> Option<T> {
        lock(&self.group).as_ref().map(use_it)
    }

    /// Whether this server leads the group.
    pub fn is_leader(&self) -> bool {
        self.with_group(Group::is_leader).unwrap_or(false)
    }

    /// Who leads the group.
    pub fn leader(&self) -> Option<PeerId> {
        self.with_group(Group::leader).flatten()
    }

    /// The peers that are bonded with this server.
    pub fn bonded(&self) -> Vec<PeerId> {
        self.with_group(|group| group.bonds().iter().map(|bond| *bond.peer().id()).collect())
            .unwrap_or_default()
    }

    /// Every server that was registered in this process's life, with whether
    /// it is here now: registered and bonded.
    pub fn attendance(&self, view: &View, bonded: &[PeerId]) -> Vec<(PeerKey, bool)> {
        let servers = view.state.servers();
        let mut known = lock(&self.known);
        for (id, server) in servers {
            known.insert(*id, *server.peer());
        }
        known.retain(|id, _| view.state.knows(id));
        known
            .iter()
            .map(|(id, peer)| {
                let here = servers
                    .get(id)
                    .is_some_and(|server| self.is_bonded(server, bonded));
                (*peer, here)
            })
            .collect()
    }

    /// Whether a server is bonded with this one, or is this one.
    pub fn is_bonded(&self, server: &AdmittedServer, bonded: &[PeerId]) -> bool {
        peer_id(&server.member()).is_some_and(|peer| peer == self.peer || bonded.contains(&peer))
    }

    /// Signs an order and waits until it is committed; yields its index in the
    /// log. That it changed the state, only the state tells.
    pub fn execute(
        &self,
        order: &Order,
    ) -> impl Future<Output = Result<u64, ExecuteError>> + Send + use<> {
        let issued = Command::sign(&self.rules.instance, self.id(), order, &self.keys.signing)
            .map_err(ExecuteError::Encode)
            .and_then(|command| {
                self.with_group(|group| -> Pending { Box::pin(group.execute(command)) })
                    .ok_or(ExecuteError::Left)
            });
        async move {
            match timeout(EXECUTE_TIMEOUT, issued?).await {
                Err(_) => Err(ExecuteError::TimedOut),
                Ok(Ok(index)) => Ok(index.0),
                Ok(Err(CommandError::Offline(_))) => {
                    Err(ExecuteError::Group("no leader is known".to_owned()))
                }
                Ok(Err(error)) => Err(ExecuteError::Group(error.to_string())),
            }
        }
    }

    /// As [`Context::execute`], for orders that are sent again if need be.
    pub async fn try_execute(&self, order: &Order, what: &'static str) -> Option<u64> {
        match self.execute(order).await {
            Ok(index) => Some(index),
            Err(error) => {
                tracing::debug!(
                    what,
                    because = %crate::report::chain(&error),
                    "not committed"
                );
                None
            }
        }
    }

    /// Strikes this server from the registry, if the committee can hear it.
    pub async fn farewell(&self, patience: Duration) {
        let listed = self.view().state.servers().contains_key(&self.id());
        if listed
            && timeout(patience, self.execute(&Order::Leave))
                .await
                .is_err()
        {
            tracing::debug!("the committee did not take the farewell");
        }
    }

    /// Ends the process because another one has its identity.
    pub fn replaced(&self) {
        self.replaced.send_replace(true);
    }

    /// Resolves when the server cannot go on.
    pub async fn fatal(&self) -> ServerError {
        let mut replaced = self.replaced.subscribe();
        // The sender lives in `self`.
        let _ = replaced.wait_for(|replaced| *replaced).await;
        ServerError::Replaced {
            server: self.id().short(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
