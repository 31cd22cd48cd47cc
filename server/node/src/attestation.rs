//! Attestation in a server: what it shows of itself. What it believes of others is in
//! [`zipnet::attestation`], which is here too.
//!
//! Tickets, which gate the bonds of the committee's group, name evidence by
//! its digest ([`ticket`]); the evidence itself is fetched from the peer.

pub mod keepsakes;
pub mod own;
#[cfg(test)]
mod tests;
pub mod ticket;

use core::time::Duration;
use std::{net::SocketAddr, sync::Arc};

use zipnet_attest::{Mode, QuoteSource, SecretText};
use zipnet_protocol::Digest;

pub use keepsakes::Keepsakes;
pub use zipnet::attestation::*;

/// What an attesting server is set to, besides.
pub struct ServerAttestation {
    /// What it verifies by.
    pub authority: Arc<Authority>,
    /// Where its quotes come from.
    pub source: Arc<dyn QuoteSource>,
    /// How long one statement of it is in force.
    pub lifetime: Duration,
    /// SHA-256 of the file of its public settings, which its statements then
    /// name; `None` for the digest of the committee's rules.
    pub config: Option<Digest>,
    /// What it gives to guests that verify, if it does.
    pub giving: Option<Arc<Giving>>,
}

/// What a server gives to guests that are to be members too.
#[derive(Debug)]
pub struct Giving {
    /// Where they ask, over TCP.
    pub listen: SocketAddr,
    /// What servers of the instance show of themselves.
    pub mode: Mode,
    /// The committee secret.
    pub committee_secret: SecretText,
    /// Identities of servers that may come back.
    pub keepsakes: Keepsakes,
}

impl core::fmt::Debug for ServerAttestation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ServerAttestation")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}
