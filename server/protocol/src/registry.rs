//! The ordered set of registered clients that a round header names.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::{
    bundle::{BundleError, ClientBundle, RegisteredClient},
    ids::{ClientId, Digest},
    instance::Instance,
    merkle::Tree,
    registry_tree::{HASHES, RegistryProof},
};

/// Most clients that a registry holds.
pub const MAX_CLIENTS: usize = 1 << 16;

/// Registered clients, ordered by id. Positions in this order are what
/// [`Participants`](crate::Participants) bits mean.
#[derive(Debug, Clone, Default)]
pub struct ClientRegistry {
    clients: Vec<RegisteredClient>,
    /// The tree over them, once somebody has asked for its root.
    tree: OnceLock<Arc<Tree>>,
    /// The tree as it was before they changed, and how many in front are the
    /// same: what stands on those alone is not hashed again.
    before: Option<(Arc<Tree>, usize)>,
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
            tree: OnceLock::new(),
            before: None,
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
        let place = self
            .clients
            .binary_search_by(|other| other.id().cmp(client.id()));
        match place {
            Ok(position) => {
                if let Some(slot) = self.clients.get_mut(position) {
                    *slot = client;
                }
            }
            Err(_) if self.clients.len() >= MAX_CLIENTS => return false,
            Err(position) => self.clients.insert(position, client),
        }
        let (Ok(position) | Err(position)) = place;
        self.changed_from(position);
        true
    }

    /// Removes the clients for which `gone` says so.
    pub fn remove_where(&mut self, mut gone: impl FnMut(&ClientId) -> bool) {
        let (mut at, mut first) = (0_usize, None);
        self.clients.retain(|client| {
            let goes = gone(client.id());
            if goes {
                first = first.or(Some(at));
            }
            at = at.saturating_add(1);
            !goes
        });
        if let Some(first) = first {
            self.changed_from(first);
        }
    }

    /// The clients in front of a position are the same as before.
    fn changed_from(&mut self, position: usize) {
        match (self.tree.take(), &mut self.before) {
            (Some(tree), before) => *before = Some((tree, position)),
            (None, Some((_, same))) => *same = position.min(*same),
            (None, None) => {}
        }
    }

    fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| {
            let leaves = self.clients.iter().map(|client| *client.leaf()).collect();
            Arc::new(match &self.before {
                Some((before, same)) => before.changed(&HASHES, leaves, *same),
                None => Tree::new(&HASHES, leaves),
            })
        })
    }

    /// The root of the tree over the ordered clients with their keys, which
    /// headers name.
    #[must_use]
    pub fn root(&self) -> Digest {
        *self.tree().root()
    }

    /// Shows that the client at a position is there, to whoever knows the root
    /// and the number of clients; `None` if there is no such position.
    #[must_use]
    pub fn proof(&self, position: usize) -> Option<RegistryProof> {
        self.tree().path(position).map(RegistryProof::new)
    }
}

impl PartialEq for ClientRegistry {
    fn eq(&self, other: &Self) -> bool {
        self.clients == other.clients
    }
}

impl Eq for ClientRegistry {}
