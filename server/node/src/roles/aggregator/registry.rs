//! The registry that a round's header names.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zipnet_protocol::{
    BundleError, ClientBundle, ClientRegistry, Instance, MAX_CLIENTS, PeerKey, RegistryDelta,
    RoundHeader,
};

use crate::{
    ground::Ground,
    metrics,
    peers::{Allowed, PeerError, Peers},
    wire::{ChangesCall, ChangesRequest, REGISTRY_PAGE, RegistryCall, RegistryRequest},
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long it may take to tell what changed: the whole can still be asked for.
const QUICK: Duration = Duration::from_secs(1);

/// A registry could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistryError {
    #[error("No server gave the client registry")]
    Peers(#[source] PeerError),
    #[error("The client registry holds a bundle that does not verify")]
    Bundle(#[source] BundleError),
    #[error("The client registry is not the one that the header names")]
    Root,
}

/// Fetches registries, and remembers the newest one.
pub(super) struct Registries {
    instance: Instance,
    servers: Peers<RegistryRequest, Vec<ClientBundle>>,
    changes: Peers<ChangesRequest, RegistryDelta>,
    known: Mutex<Arc<ClientRegistry>>,
}

impl Registries {
    pub fn new(ground: &dyn Ground, instance: &Instance, servers: Allowed) -> Self {
        Self {
            instance: instance.clone(),
            servers: Peers::on::<RegistryCall>(ground, instance, Some(servers.clone())),
            changes: Peers::on::<ChangesCall>(ground, instance, Some(servers)),
            known: Mutex::default(),
        }
    }

    /// Whether a peer has a client in the newest registry.
    pub fn has(&self, peer: &PeerKey) -> bool {
        let known = self.known().clone();
        known.iter().any(|client| client.peer() == peer)
    }

    /// The registry that a header names: by what changed in the one before, if
    /// a server can tell, or else the whole of it. Only bundles that the one
    /// before did not hold are verified: a change of one client must not cost the
    /// time of ten thousand (A4).
    pub async fn of(&self, header: &RoundHeader) -> Result<Arc<ClientRegistry>, RegistryError> {
        let known = self.known().clone();
        if known.root() == header.registry {
            return Ok(known);
        }
        let changed = self.changed(&known, header).await;
        metrics::registry_fetched(if changed.is_some() {
            "changes"
        } else {
            "whole"
        });
        let registry = match changed {
            Some(registry) => registry,
            None => self.whole(&known, header).await?,
        };
        let registry = Arc::new(registry);
        for client in registry.iter() {
            if known.get(client.id()).is_none() {
                tracing::info!(client = %client.id().short(), "registering client bundle");
            }
        }
        *self.known() = registry.clone();
        Ok(registry)
    }

    /// By what has changed; `None` if nobody can tell, or whoever does lies.
    async fn changed(
        &self,
        known: &ClientRegistry,
        header: &RoundHeader,
    ) -> Option<ClientRegistry> {
        if known.is_empty() {
            return None;
        }
        let request = ChangesRequest {
            from: known.root(),
            to: header.registry,
        };
        let (peer, delta) = match self.changes.call(&request, QUICK).await {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(
                    because = %crate::report::chain(&error),
                    "no server tells what changed in the client registry"
                );
                return None;
            }
        };
        let changed = known.changed_by(&self.instance, &delta, &header.registry);
        match changed {
            Ok(registry) if registry.len() == header.clients as usize => Some(registry),
            other => {
                self.changes.distrust_peer(peer);
                self.servers.distrust_peer(peer);
                let because = other.err().map(|error| crate::report::chain(&error));
                tracing::warn!(
                    peer = %peer.fmt_short(),
                    because = because.as_deref().unwrap_or("another number of clients"),
                    "a server told wrongly what changed in the client registry"
                );
                None
            }
        }
    }

    async fn whole(
        &self,
        known: &ClientRegistry,
        header: &RoundHeader,
    ) -> Result<ClientRegistry, RegistryError> {
        let whole = async {
            let bundles = self.fetch(header).await?;
            let registry = ClientRegistry::verify_new(&self.instance, &bundles, known)
                .map_err(RegistryError::Bundle)?;
            if registry.root() == header.registry && registry.len() == header.clients as usize {
                Ok(registry)
            } else {
                Err(RegistryError::Root)
            }
        };
        let whole = whole.await;
        if whole.is_err() {
            // Whoever gave a wrong page is not asked first again.
            self.servers.distrust();
        }
        whole
    }

    async fn fetch(&self, header: &RoundHeader) -> Result<Vec<ClientBundle>, RegistryError> {
        let mut bundles = Vec::new();
        let clients = (header.clients as usize).min(MAX_CLIENTS);
        while bundles.len() < clients {
            let request = RegistryRequest {
                root: header.registry,
                offset: u32::try_from(bundles.len()).unwrap_or(u32::MAX),
            };
            let (_, page) = self
                .servers
                .call(&request, PATIENCE)
                .await
                .map_err(RegistryError::Peers)?;
            if page.is_empty() || page.len() > REGISTRY_PAGE {
                return Err(RegistryError::Root);
            }
            bundles.extend(page);
        }
        Ok(bundles)
    }

    fn known(&self) -> MutexGuard<'_, Arc<ClientRegistry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
