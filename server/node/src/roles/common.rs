//! What all roles do alike: say that they are up, serve calls, tell the
//! committee key.

use core::{
    future::{Future, ready},
    time::Duration,
};
use std::sync::Arc;

use mosaik::{
    FunctionId, Network, PeerId,
    discovery::PeerInfo,
    functions::{CallContext, Handler, handler::BuilderError},
};
use serde::{Serialize, de::DeserializeOwned};
use zipnet_protocol::{Digest, Instance, InstanceName, PeerKey, SigningPublic, domain_digest};

use super::gate::{Gate, Places};
use crate::{
    network::Node,
    peers::{PeerError, Peers, only},
    settings::{self, NetworkSettings, TrustSettings},
    wire::{Call, Hello, Refused, hello_id},
};

/// How long a client looks for somebody who tells it the committee key.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// A call could not be served.
#[derive(Debug, thiserror::Error)]
#[error("Could not serve `{call}`: the process serves it already")]
pub struct ServeError {
    call: &'static str,
    #[source]
    source: BuilderError,
}

/// Says who and where this node is.
pub fn announce(node: &Node, settings: &NetworkSettings, name: &InstanceName, role: &'static str) {
    tracing::info!(
        "zipnet up: network={} instance={name} peer={} role={}",
        settings.universe,
        node.peer(),
        domain_digest("zipnet/role/v1", role.as_bytes()).short(),
    );
    tracing::info!("bootstrap={}", node.hint());
}

/// A served call; it ends when this is dropped.
pub type Served<C> = Handler<<C as Call>::Request, <C as Call>::Reply, Refused>;

/// Calls of one peer at once, where nothing else is said. A process with many
/// clients is one peer.
pub const CALLS_EACH: usize = 16;

/// Tells something of a caller by its transport key.
pub type Caller = Arc<dyn Fn(&PeerKey) -> bool + Send + Sync>;

/// Who may call, and how many at once (A5).
#[derive(Clone)]
pub struct Admission {
    places: Places,
    allowed: Option<Caller>,
    known: Option<Caller>,
}

impl Admission {
    /// Anybody.
    #[must_use]
    pub const fn of(places: Places) -> Self {
        Self {
            places,
            allowed: None,
            known: None,
        }
    }

    /// Only these. Others are turned away before their request is looked at and
    /// before they take a place.
    #[must_use]
    pub fn only(mut self, allowed: impl Fn(&PeerKey) -> bool + Send + Sync + 'static) -> Self {
        self.allowed = Some(Arc::new(allowed));
        self
    }

    /// Keeps half of the places for these.
    #[must_use]
    pub fn first(mut self, known: impl Fn(&PeerKey) -> bool + Send + Sync + 'static) -> Self {
        self.known = Some(Arc::new(known));
        self
    }
}

impl From<usize> for Admission {
    /// Anybody, so many at once, [`CALLS_EACH`] of each.
    fn from(concurrent: usize) -> Self {
        Self::of(Places::new(concurrent, CALLS_EACH))
    }
}

impl core::fmt::Debug for Admission {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Admission({:?})", self.places)
    }
}

/// Serves a call with a handler that is told the caller's transport key, for
/// those that are admitted; whoever finds no place is told that we are busy.
///
/// What remains of A5: mosaik 0.4.2 keeps the connection of a caller that was
/// answered and does not close it, as it keeps one that never says what it
/// wants, without a limit of number or time. Both cost memory and no places.
///
/// # Errors
/// [`ServeError`] if the process serves it already.
pub fn serve<C, F, Fut>(
    network: &Network,
    instance: &Instance,
    admission: impl Into<Admission>,
    handler: F,
) -> Result<Served<C>, ServeError>
where
    C: Call,
    F: Fn(C::Request, PeerKey) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C::Reply, Refused>> + Send + 'static,
{
    let admission = admission.into();
    serve_as(network, C::id(instance), C::LABEL, admission, handler)
}

fn serve_as<Req, Res, F, Fut>(
    network: &Network,
    id: FunctionId,
    call: &'static str,
    admission: Admission,
    handler: F,
) -> Result<Handler<Req, Res, Refused>, ServeError>
where
    Req: Serialize + DeserializeOwned + Send + 'static,
    Res: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(Req, PeerKey) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Res, Refused>> + Send + 'static,
{
    let Admission {
        places,
        allowed,
        known,
    } = admission;
    let gate = Gate::new(places);
    let key = |peer: &PeerId| PeerKey::new(*peer.as_bytes());
    network
        .functions()
        .handler::<Req, Res, Refused>()
        .with_function_id(id)
        // This is asked first, before anything is taken or decoded.
        .require(move |peer: &PeerInfo| {
            let peer = key(peer.id());
            allowed.as_ref().is_none_or(|allowed| allowed(&peer))
        })
        .serve(move |request, context: CallContext| {
            let caller = key(context.caller().id());
            let known = || known.as_ref().is_some_and(|known| known(&caller));
            // The work begins when the place is had, and the place is left when
            // it is done, whether the caller closes or not.
            let entered = gate
                .enter(caller, known)
                .map(|place| (place, handler(request, caller)));
            async move {
                let (_place, work) = entered.ok_or(Refused::Busy)?;
                work.await
            }
        })
        .map_err(|source| ServeError { call, source })
}

/// Tells whoever asks by the instance's name what its committee key is.
///
/// # Errors
/// [`ServeError`] if the process serves it already.
pub fn serve_hello(
    network: &Network,
    instance: &Instance,
) -> Result<Handler<(), Hello, Refused>, ServeError> {
    let committee = *instance.committee();
    let anchor = instance.anchor().copied();
    serve_as(
        network,
        hello_id(instance.name()),
        "hello",
        256.into(),
        move |(), _| ready(Ok(Hello { committee, anchor })),
    )
}

/// The committee key could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum CommitteeKeyError {
    /// Nobody told it.
    #[error(
        "Nobody told the committee key of instance {name} within {} s; a reachable --bootstrap peer of that instance, or --committee with its key, would be right",
        HELLO_TIMEOUT.as_secs()
    )]
    Unknown {
        /// The instance.
        name: InstanceName,
        /// What the last attempt met.
        #[source]
        source: PeerError,
    },
    /// Evidence that this node does not ask for.
    #[error(
        "The servers of instance {name} show evidence, and this node judges none; ZIPNET_ATTESTATION and ZIPNET_POLICY as its operators published them would be right"
    )]
    Attested {
        /// The instance.
        name: InstanceName,
    },
    /// No evidence.
    #[error(
        "The servers of instance {name} show no evidence, and this node asks for some; another bootstrap peer, or ZIPNET_ATTESTATION=none, would be right"
    )]
    Unattested {
        /// The instance.
        name: InstanceName,
    },
    /// Judged by something else.
    #[error(
        "The committee of instance {name} trusts another root or other policy keys than this node; those that its operators published would be right"
    )]
    Anchor {
        /// The instance.
        name: InstanceName,
    },
    /// Two committees.
    #[error(
        "Two committees use the instance name {name}: {one} and {other}; --committee with the right one is needed"
    )]
    Ambiguous {
        /// The instance.
        name: InstanceName,
        /// One key.
        one: String,
        /// Another key.
        other: String,
    },
}

/// Says so if a peer's committee judges evidence by something else than this
/// node does: the two are in different instances and will never meet.
fn same_anchor(trust: &TrustSettings, theirs: Option<&Digest>) -> Result<(), CommitteeKeyError> {
    let authority = trust.authority.as_ref();
    let ours = authority.map(|authority| Digest::new(*authority.base().anchor()));
    let name = || trust.name.clone();
    match (ours.as_ref(), theirs) {
        (ours, theirs) if ours == theirs => Ok(()),
        (None, _) => Err(CommitteeKeyError::Attested { name: name() }),
        (_, None) => Err(CommitteeKeyError::Unattested { name: name() }),
        _ => Err(CommitteeKeyError::Anchor { name: name() }),
    }
}

/// Asks the bootstrap peers in the background whether they judge evidence by
/// what this node does. Otherwise it would wait for an instance that is not
/// there, and not know why.
fn warn_of_other_anchor(node: &Node, trust: &TrustSettings, network: &NetworkSettings) {
    let asked: Vec<PeerId> = network.bootstrap.iter().map(|hint| hint.peer).collect();
    let trust = trust.clone();
    // Whoever leaves does not wait for this.
    let network = Arc::downgrade(node.network());
    tokio::spawn(async move {
        let asking = async {
            while let Some(network) = network.upgrade() {
                let allowed = (!asked.is_empty()).then(|| only(asked.clone()));
                let peers = Peers::hello(network, &trust.name, allowed);
                if let Ok((peer, hello)) = peers.call(&(), Duration::from_secs(3)).await
                    && Some(hello.committee) == trust.committee
                {
                    if let Err(error) = same_anchor(&trust, hello.anchor.as_ref()) {
                        tracing::error!(
                            told_by = %peer.fmt_short(),
                            because = %crate::report::chain(&error),
                            "this node waits for servers that are not there"
                        );
                    }
                    return;
                }
                drop(peers);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let _ = tokio::time::timeout(HELLO_TIMEOUT, asking).await;
    });
}

/// The node with the instance that it belongs to, as one without the committee
/// secret finds it: by the pinned committee key, or else by the word of its
/// bootstrap peers. If it finds none, the node takes its leave before the process
/// ends: what runs in it does not bear to be cut off.
///
/// # Errors
/// [`CommitteeKeyError`].
pub async fn find_instance(
    node: Node,
    trust: &TrustSettings,
    network: &NetworkSettings,
) -> Result<(Node, Instance), CommitteeKeyError> {
    match ask_for_instance(&node, trust, network).await {
        Ok(instance) => Ok((node, instance)),
        Err(error) => {
            node.leave().await;
            Err(error)
        }
    }
}

async fn ask_for_instance(
    node: &Node,
    trust: &TrustSettings,
    network: &NetworkSettings,
) -> Result<Instance, CommitteeKeyError> {
    let authority = trust.authority.as_deref();
    let instance = |committee| settings::instance(trust.name.clone(), committee, authority);
    if let Some(committee) = trust.committee {
        warn_of_other_anchor(node, trust, network);
        return Ok(instance(committee));
    }
    let bootstrap: Vec<PeerId> = network.bootstrap.iter().map(|hint| hint.peer).collect();
    let asked = (!bootstrap.is_empty()).then(|| only(bootstrap));
    let peers = Peers::hello(node.network().clone(), &trust.name, asked);
    let deadline = tokio::time::Instant::now() + HELLO_TIMEOUT;
    let mut found: Option<(PeerId, SigningPublic)> = None;
    let mut last = PeerError::Nobody { call: "hello" };
    while tokio::time::Instant::now() < deadline {
        for peer in peers.serving() {
            match peers.call_peer(peer, &(), Duration::from_secs(3)).await {
                Ok(hello) => match found {
                    Some((_, key)) if key != hello.committee => {
                        return Err(CommitteeKeyError::Ambiguous {
                            name: trust.name.clone(),
                            one: PeerKey::new(*key.as_bytes()).to_string(),
                            other: PeerKey::new(*hello.committee.as_bytes()).to_string(),
                        });
                    }
                    _ => {
                        same_anchor(trust, hello.anchor.as_ref())?;
                        found = Some((peer, hello.committee));
                    }
                },
                Err(error) => last = error,
            }
        }
        if let Some((peer, key)) = found {
            tracing::warn!(
                committee = %PeerKey::new(*key.as_bytes()),
                told_by = %peer.fmt_short(),
                "took the committee key on a peer's word; pin it with --committee to trust nobody for it"
            );
            return Ok(instance(key));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(CommitteeKeyError::Unknown {
        name: trust.name.clone(),
        source: last,
    })
}

/// A peer id out of a transport key; `None` if it is no curve point.
#[must_use]
pub fn peer_id(key: &PeerKey) -> Option<PeerId> {
    PeerId::from_bytes(key.as_bytes()).ok()
}

#[cfg(test)]
#[path = "common_tests.rs"]
mod tests;
