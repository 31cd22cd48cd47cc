//! What travels at doors and is in the committee's log as well.

use serde::{Deserialize, Serialize};
use zipnet_protocol::{BroadcastRecord, ClientBundle, ServerBundle, ShownInvite};

/// A record with what is needed to check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The record.
    pub record: BroadcastRecord,
    /// The bundles of its roster.
    pub bundles: Vec<ServerBundle>,
}

/// A client that is to be listed, as it travels. Not trusted before
/// its bundle and invite were verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Its bundle.
    pub bundle: ClientBundle,
    /// Its invite, where one is needed. It stays with the servers: the registry
    /// that others get does not hold it.
    pub invite: Option<ShownInvite>,
}

impl From<ClientBundle> for Wish {
    fn from(bundle: ClientBundle) -> Self {
        Self {
            bundle,
            invite: None,
        }
    }
}
