//! The ordered set of registered clients that a round header names.

use std::sync::OnceLock;

use rayon::prelude::*;

use serde::{Deserialize, Serialize};

use crate::{
    bundle::{BundleError, ClientBundle, LeastServers, RegisteredClient},
    canonical::Canonical,
    ids::{ClientId, Digest, PeerKey},
    instance::Instance,
    keys::DhPublic,
};

/// Most clients that a registry holds.
pub const MAX_CLIENTS: usize = 1 << 16;

/// Registered clients, ordered by id. Positions in this order are what
/// [`Participants`](crate::Participants) bits mean.
#[derive(Debug, Clone, Default)]
pub struct ClientRegistry {
    clients: Vec<RegisteredClient>,
    digest: OnceLock<Digest>,
}

impl ClientRegistry {
    /// Builds a registry out of clients in any order; the last of several with
    /// the same id stays, and what exceeds [`MAX_CLIENTS`] is dropped.
    #[must_use]
    pub fn from_clients(mut clients: Vec<RegisteredClient>) -> Self {
        clients.reverse();
        clients.sort_by_key(|client| *client.id());
        clients.dedup_by_key(|client| *client.id());
        clients.truncate(MAX_CLIENTS);
        Self {
            clients,
            digest: OnceLock::new(),
        }
    }

    /// Verifies bundles that came from outside, over all cores, and builds the
    /// registry of them.
    ///
    /// # Errors
    /// [`BundleError`] of one that does not verify.
    pub fn verify(instance: &Instance, bundles: &[ClientBundle]) -> Result<Self, BundleError> {
        bundles
            .par_iter()
            .map(|bundle| bundle.verify(instance))
            .collect::<Result<Vec<_>, _>>()
            .map(Self::from_clients)
    }

    /// As [`ClientRegistry::verify`], but looks only into bundles that are not
    /// in `known`: one that was verified before is the same to the last byte.
    ///
    /// # Errors
    /// [`BundleError`] of one that does not verify.
    pub fn verify_new(
        instance: &Instance,
        bundles: &[ClientBundle],
        known: &Self,
    ) -> Result<Self, BundleError> {
        bundles
            .par_iter()
            .map(|bundle| match known.get(&bundle.client_id()) {
                Some(client) if client.bundle() == bundle => Ok(client.clone()),
                _ => bundle.verify(instance),
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Self::from_clients)
    }

    /// Number of clients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The clients in order.
    pub fn iter(&self) -> impl Iterator<Item = &RegisteredClient> {
        self.clients.iter()
    }

    /// The client at a position.
    #[must_use]
    pub fn at(&self, position: usize) -> Option<&RegisteredClient> {
        self.clients.get(position)
    }

    /// The position of a client.
    #[must_use]
    pub fn position(&self, id: &ClientId) -> Option<usize> {
        self.clients
            .binary_search_by(|client| client.id().cmp(id))
            .ok()
    }

    /// The client with an id.
    #[must_use]
    pub fn get(&self, id: &ClientId) -> Option<&RegisteredClient> {
        self.position(id).and_then(|position| self.at(position))
    }

    /// Adds or replaces a client. `false` if the registry is full.
    pub fn insert(&mut self, client: RegisteredClient) -> bool {
        match self
            .clients
            .binary_search_by(|other| other.id().cmp(client.id()))
        {
            Ok(position) => {
                if let Some(slot) = self.clients.get_mut(position) {
                    *slot = client;
                }
            }
            Err(_) if self.clients.len() >= MAX_CLIENTS => return false,
            Err(position) => self.clients.insert(position, client),
        }
        self.digest = OnceLock::new();
        true
    }

    /// Removes the clients for which `gone` says so.
    pub fn remove_where(&mut self, mut gone: impl FnMut(&ClientId) -> bool) {
        let before = self.clients.len();
        self.clients.retain(|client| !gone(client.id()));
        if self.clients.len() != before {
            self.digest = OnceLock::new();
        }
    }

    /// The digest over the ordered clients with their keys.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| digest_of(self.clients.iter()))
    }
}

/// A client as the registry's digest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryEntry {
    /// Its id.
    pub client: ClientId,
    /// Its X25519 key.
    pub dh: DhPublic,
    /// Its transport key.
    pub peer: PeerKey,
    /// Fewest servers of a round that it takes part in.
    pub least_servers: LeastServers,
}

impl From<&RegisteredClient> for RegistryEntry {
    fn from(client: &RegisteredClient) -> Self {
        Self {
            client: *client.id(),
            dh: *client.dh(),
            peer: *client.peer(),
            least_servers: client.least_servers(),
        }
    }
}

/// The digest of a registry of these clients.
pub(crate) fn registry_digest(entries: &[RegistryEntry]) -> Digest {
    digest_of(entries.iter().copied())
}

fn digest_of(clients: impl ExactSizeIterator<Item = impl Into<RegistryEntry>>) -> Digest {
    let start = Canonical::new().count(clients.len());
    clients
        .map(Into::into)
        .fold(start, |to, entry| {
            to.fixed(entry.client.as_bytes())
                .fixed(entry.dh.as_bytes())
                .fixed(entry.peer.as_bytes())
                .u32(entry.least_servers.number())
        })
        .digest("zipnet/client-registry/v2")
}

impl PartialEq for ClientRegistry {
    fn eq(&self, other: &Self) -> bool {
        self.clients == other.clients
    }
}

impl Eq for ClientRegistry {}
