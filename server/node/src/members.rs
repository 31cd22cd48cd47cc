//! mosaik's network as a ground of calls: how servers reach each other.

use core::time::Duration;
use std::sync::Arc;

use mosaik::{FunctionId, Network, PeerId};
use zipnet_protocol::AdmittedServer;

use crate::{
    entropy::Dice,
    ground::{Calling, Ground, Scope, Way},
    invoke::{Reply, invoke},
    network::serving,
    roles::common::peer_id,
    wire::{CallInfo, function_id, hello_id},
};

/// With how many peers at once catalogs are compared.
const REFRESH_PEERS: usize = 3;
/// How long a peer may take.
const REFRESH_PATIENCE: Duration = Duration::from_secs(5);

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

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
