//! The registry that a round's header names.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zipnet_protocol::{
    BundleError, ClientBundle, ClientRegistry, Instance, MAX_CLIENTS, PeerKey, RoundHeader,
};

use crate::{
    ground::Ground,
    peers::{Allowed, PeerError, Peers},
    wire::{REGISTRY_PAGE, RegistryCall, RegistryRequest},
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// A registry could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistryError {
    #[error("No server gave the client registry")]
    Peers(#[source] PeerError),
    #[error("The client registry holds a bundle that does not verify")]
    Bundle(#[source] BundleError),
    #[error("The client registry is not the one that the header names")]
    Digest,
}

/// Fetches registries, and remembers the newest one.
pub(super) struct Registries {
    instance: Instance,
    servers: Peers<RegistryRequest, Vec<ClientBundle>>,
    known: Mutex<Arc<ClientRegistry>>,
}

impl Registries {
    pub fn new(ground: &dyn Ground, instance: &Instance, servers: Allowed) -> Self {
        Self {
            instance: instance.clone(),
            servers: Peers::on::<RegistryCall>(ground, instance, Some(servers)),
            known: Mutex::default(),
        }
    }

    /// Whether a peer has a client in the newest registry.
    pub fn has(&self, peer: &PeerKey) -> bool {
        let known = self.known().clone();
        known.iter().any(|client| client.peer() == peer)
    }

    /// The registry that a header names. Only bundles that the one before did
    /// not hold are verified: a change of one client must not cost the
    /// time of ten thousand (A4).
    pub async fn of(&self, header: &RoundHeader) -> Result<Arc<ClientRegistry>, RegistryError> {
        let known = self.known().clone();
        if known.root() == header.registry {
            return Ok(known);
        }
        let fetched = self.fetch(header).await;
        if fetched.is_err() {
            // Whoever gave a wrong page is not asked first again.
            self.servers.distrust();
        }
        let bundles = fetched?;
        let registry = ClientRegistry::verify_new(&self.instance, &bundles, &known)
            .map_err(RegistryError::Bundle);
        let registry = registry.and_then(|registry| {
            let right =
                registry.root() == header.registry && registry.len() == header.clients as usize;
            right
                .then(|| Arc::new(registry))
                .ok_or(RegistryError::Digest)
        });
        if registry.is_err() {
            self.servers.distrust();
        }
        let registry = registry?;
        for client in registry.iter() {
            if known.get(client.id()).is_none() {
                tracing::info!(client = %client.id().short(), "registering client bundle");
            }
        }
        *self.known() = registry.clone();
        Ok(registry)
    }

    async fn fetch(&self, header: &RoundHeader) -> Result<Vec<ClientBundle>, RegistryError> {
        let mut bundles = Vec::new();
        let clients = (header.clients as usize).min(MAX_CLIENTS);
        while bundles.len() < clients {
            let request = RegistryRequest {
                digest: header.registry,
                offset: u32::try_from(bundles.len()).unwrap_or(u32::MAX),
            };
            let (_, page) = self
                .servers
                .call(&request, PATIENCE)
                .await
                .map_err(RegistryError::Peers)?;
            if page.is_empty() || page.len() > REGISTRY_PAGE {
                return Err(RegistryError::Digest);
            }
            bundles.extend(page);
        }
        Ok(bundles)
    }

    fn known(&self) -> MutexGuard<'_, Arc<ClientRegistry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
