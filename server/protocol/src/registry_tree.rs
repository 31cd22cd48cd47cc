//! The tree whose root a round's header names: its leaves are the registered
//! clients, in the order of their positions.
//!
//! ```text
//! leaf = D("zipnet/registry-leaf/v1", client_id ‖ dh ‖ peer ‖ u32(least_servers))
//! node = D("zipnet/registry-node/v1", left ‖ right)
//! root = D("zipnet/client-registry/v3", u32(clients) ‖ top)
//! ```

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{
    bundle::{LeastServers, RegisteredClient},
    canonical::Canonical,
    ids::{ClientId, Digest, PeerKey},
    keys::DhPublic,
    merkle::{Domains, Hashes},
};

pub(crate) static HASHES: LazyLock<Hashes> = LazyLock::new(|| {
    Hashes::new(&Domains {
        leaf: "zipnet/registry-leaf/v1",
        node: "zipnet/registry-node/v1",
        root: "zipnet/client-registry/v3",
    })
});

/// Levels between the leaves and the top of the largest registry.
const MAX_DEPTH: usize = crate::registry::MAX_CLIENTS.ilog2() as usize;

/// A client as the registry's tree names it.
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

impl RegistryEntry {
    pub(crate) fn leaf(&self) -> Digest {
        let content = Canonical::new()
            .fixed(self.client.as_bytes())
            .fixed(self.dh.as_bytes())
            .fixed(self.peer.as_bytes())
            .u32(self.least_servers.number());
        HASHES.leaf(content.as_bytes())
    }
}

impl From<&RegisteredClient> for RegistryEntry {
    fn from(client: &RegisteredClient) -> Self {
        Self::from(client.bundle())
    }
}

/// Nothing leads from this client at this position to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The proof does not lead from the client at its position to the root of the registry")]
pub struct NotListed;

/// More digests than a path of any registry has.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("The path has {0} digests; {MAX_DEPTH} at most would be right")]
struct TooLong(usize);

/// Shows that a client stands at a position of the registry that a header names.
/// Believed for the root alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Digest>", into = "Vec<Digest>")]
pub struct RegistryProof {
    path: Vec<Digest>,
}

impl RegistryProof {
    pub(crate) const fn new(path: Vec<Digest>) -> Self {
        Self { path }
    }

    /// Checks that a registry of so many clients with this root has the client
    /// at the position.
    ///
    /// # Errors
    /// [`NotListed`].
    pub fn verify(
        &self,
        root: &Digest,
        clients: u32,
        position: u32,
        client: &RegistryEntry,
    ) -> Result<(), NotListed> {
        let (clients, position) = (clients as usize, position as usize);
        match HASHES.climb(client.leaf(), clients, position, &self.path) {
            Some(led) if led == *root => Ok(()),
            _ => Err(NotListed),
        }
    }
}

impl TryFrom<Vec<Digest>> for RegistryProof {
    type Error = String;

    fn try_from(path: Vec<Digest>) -> Result<Self, String> {
        if path.len() > MAX_DEPTH {
            return Err(TooLong(path.len()).to_string());
        }
        Ok(Self { path })
    }
}

impl From<RegistryProof> for Vec<Digest> {
    fn from(proof: RegistryProof) -> Self {
        proof.path
    }
}
