//! How one client registry differs from another.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::{BundleError, ClientBundle, RegisteredClient},
    ids::{ClientId, Digest},
    instance::Instance,
    registry::{ClientRegistry, MAX_CLIENTS},
};

/// A delta that does not lead to the registry that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// More changes than a registry has clients.
    #[error("The delta has {0} changes; at most 65536 of each kind would be right")]
    Size(usize),
    /// A bundle in it.
    #[error("A bundle in the delta is refused")]
    Bundle(#[source] BundleError),
    /// What comes out is another registry.
    #[error("The delta leads to another registry than the one that is wanted")]
    Root,
}

/// What leads from one registry to a later one. Not trusted before
/// [`ClientRegistry::changed_by`] has led to a root that is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryDelta {
    /// Clients that are gone, ascending.
    pub removed: Vec<ClientId>,
    /// Clients that are new, or have another bundle, ascending by id.
    pub added: Vec<ClientBundle>,
}

impl RegistryDelta {
    /// How many clients are in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.removed.len().saturating_add(self.added.len())
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What several deltas do, one after the other; `None` if that is more than
    /// `most` changes.
    #[must_use]
    pub fn joined<'a>(steps: impl IntoIterator<Item = &'a Self>, most: usize) -> Option<Self> {
        let mut changes: BTreeMap<ClientId, Option<&ClientBundle>> = BTreeMap::new();
        for step in steps {
            changes.extend(step.removed.iter().map(|client| (*client, None)));
            let added = step.added.iter();
            changes.extend(added.map(|bundle| (bundle.client_id(), Some(bundle))));
        }
        if changes.len() > most {
            return None;
        }
        let mut joined = Self::default();
        for (client, bundle) in changes {
            match bundle {
                Some(bundle) => joined.added.push(bundle.clone()),
                None => joined.removed.push(client),
            }
        }
        Some(joined)
    }
}

impl ClientRegistry {
    /// What leads from this registry to a later one.
    #[must_use]
    pub fn delta_to(&self, later: &Self) -> RegistryDelta {
        let mut delta = RegistryDelta::default();
        let (mut then, mut now) = (self.iter().peekable(), later.iter().peekable());
        loop {
            match (then.peek(), now.peek()) {
                (None, None) => return delta,
                (Some(old), new) if new.is_none_or(|new| old.id() < new.id()) => {
                    delta.removed.push(*old.id());
                    then.next();
                }
                (old, Some(new)) => {
                    let known = old.filter(|old| old.id() == new.id());
                    // Registries share the clients that they have in common.
                    if known != Some(new) {
                        delta.added.push(new.bundle().clone());
                    }
                    if known.is_some() {
                        then.next();
                    }
                    now.next();
                }
                (Some(_), None) => {
                    then.next();
                }
            }
        }
    }

    /// The registry that a delta leads to from this one. Only bundles that are
    /// new are verified, over all cores.
    ///
    /// # Errors
    /// [`DeltaError`], also if what comes out has another root.
    pub fn changed_by(
        &self,
        instance: &Instance,
        delta: &RegistryDelta,
        root: &Digest,
    ) -> Result<Self, DeltaError> {
        let most = delta.removed.len().max(delta.added.len());
        if most > MAX_CLIENTS {
            return Err(DeltaError::Size(most));
        }
        let added: Vec<RegisteredClient> = delta
            .added
            .par_iter()
            .map(|bundle| bundle.verify(instance))
            .collect::<Result<_, _>>()
            .map_err(DeltaError::Bundle)?;
        let mut later = self.clone();
        if !delta.removed.is_empty() {
            let mut gone = delta.removed.clone();
            gone.sort_unstable();
            later.remove_where(|client| gone.binary_search(client).is_ok());
        }
        for client in added {
            if !later.insert(client) {
                return Err(DeltaError::Root);
            }
        }
        if later.root() == *root {
            Ok(later)
        } else {
            Err(DeltaError::Root)
        }
    }
}
