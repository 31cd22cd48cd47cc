//! Over what calls reach peers.
//!
//! Servers reach each other over mosaik ([`Members`]). Everybody else reaches them
//! through their doors (`crate::book`). Whoever calls, [`crate::peers`], chooses
//! whom to ask and knows nothing of the difference.

use core::future::Future;
use core::{pin::Pin, time::Duration};
use std::sync::Arc;

use bytes::Bytes;
use mosaik::{FunctionId, Network, PeerId};
use zipnet_protocol::{AdmittedServer, AggregatorBundle, Instance, InstanceName};

use crate::{
    entropy::Dice,
    invoke::{Reply, invoke},
    network::serving,
    roles::common::peer_id,
    wire::{CallInfo, Refused, function_id, hello_id},
};

/// With how many peers at once catalogs are compared.
const REFRESH_PEERS: usize = 3;
/// How long a peer may take.
const REFRESH_PATIENCE: Duration = Duration::from_secs(5);

/// What a call met: an answer or a refusal, or else what went wrong, in the words
/// of the transport.
pub type Outcome = Result<Result<Bytes, Refused>, String>;

/// A call under way.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// How one call reaches those who answer it.
pub trait Way: Send + Sync {
    /// Who may answer it.
    fn present(&self) -> Vec<PeerId>;

    /// Asks one of them, for ever if need be: the caller sets the time-out.
    fn invoke(&self, peer: PeerId, request: Vec<u8>) -> Calling<'_>;

    /// Asks one of them for all that it has to say, now and later. Where nothing is
    /// pushed, that is one answer.
    fn stream(&self, peer: PeerId, request: Vec<u8>) -> Streaming<'_> {
        Box::pin(async move {
            let answer = self.invoke(peer, request).await;
            let once: Box<dyn Heard> = Box::new(Once(Some(answer)));
            Ok(once)
        })
    }

    /// Looks for others who may answer it, in the background.
    fn look_around(&self);
}

/// What a peer says, one after the other.
pub trait Heard: Send + Sync {
    /// The next answer; `None` at the end.
    fn next(&mut self) -> Next<'_>;
}

/// An answer that is waited for.
pub type Next<'a> = Pin<Box<dyn Future<Output = Option<Outcome>> + Send + 'a>>;
/// A stream of answers that is being opened.
pub type Streaming<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Heard>, String>> + Send + 'a>>;

struct Once(Option<Outcome>);

impl Heard for Once {
    fn next(&mut self) -> Next<'_> {
        Box::pin(core::future::ready(self.0.take()))
    }
}

/// For what a call is looked up.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// An instance.
    Instance(&'a Instance),
    /// A name, before it is known whose.
    Name(&'a InstanceName),
}

/// Over what calls reach peers.
pub trait Ground: Send + Sync {
    /// How a call reaches peers.
    fn way(&self, call: CallInfo, scope: Scope<'_>) -> Arc<dyn Way>;

    /// Whether this is the peer under which a server answers here.
    fn is_at(&self, server: &AdmittedServer, peer: &PeerId) -> bool;

    /// A server has told where an aggregator is.
    fn told(&self, _: &Instance, _: &AggregatorBundle) {}
}

/// mosaik's network: the committee.
#[derive(Clone)]
pub struct Members(pub Arc<Network>);

impl Ground for Members {
    fn way(&self, call: CallInfo, scope: Scope<'_>) -> Arc<dyn Way> {
        let function = match scope {
            Scope::Instance(instance) => function_id(call.label, instance),
            Scope::Name(name) => hello_id(name),
        };
        Arc::new(ByMosaik {
            network: self.0.clone(),
            function,
            longest: call.longest,
        })
    }

    fn is_at(&self, server: &AdmittedServer, peer: &PeerId) -> bool {
        peer_id(&server.member()) == Some(*peer)
    }
}

struct ByMosaik {
    network: Arc<Network>,
    function: FunctionId,
    longest: u32,
}

impl Way for ByMosaik {
    fn present(&self) -> Vec<PeerId> {
        let catalog = self.network.discovery().catalog();
        let me = self.network.local().id();
        catalog
            .signed_peers()
            .filter(|entry| entry.functions().contains(&self.function))
            .map(|entry| *entry.id())
            .filter(|peer| *peer != me)
            .collect()
    }

    fn invoke(&self, peer: PeerId, request: Vec<u8>) -> Calling<'_> {
        Box::pin(async move {
            let request = request.into();
            let reply = invoke(&self.network, peer, self.function, request, self.longest).await;
            match reply.map_err(|error| error.to_string())? {
                Reply::Ok(answer) => Ok(Ok(answer)),
                Reply::Err(refusal) => postcard::from_bytes(&refusal)
                    .map(Err)
                    .map_err(|error| format!("its refusal does not decode: {error}")),
            }
        })
    }

    /// Compares catalogs with a few peers: gossip alone may take very long to tell
    /// of a peer that has restarted.
    fn look_around(&self) {
        let discovery = self.network.discovery();
        // Whoever serves something hears more than a client.
        let mut peers: Vec<_> = serving(&discovery.catalog()).collect();
        Dice::fresh().shuffle(&mut peers);
        for address in peers.into_iter().take(REFRESH_PEERS) {
            let sync = discovery.sync_with(address);
            tokio::spawn(async move {
                let _ = tokio::time::timeout(REFRESH_PATIENCE, sync).await;
            });
        }
    }
}

impl core::fmt::Debug for Members {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Members({})", self.0.local().id())
    }
}
