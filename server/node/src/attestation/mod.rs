//! Attestation in a node: what evidence it believes, and what it shows itself.
//!
//! The rules are those of `zipnet_attest`; here they meet clocks, tasks and
//! peers. An [`Authority`] is what a process verifies by: a trust base, the
//! newest policy, the newest collateral. It [`vouches`](vouch) for the servers
//! of a round, and nothing is unblinded (I3), sealed (I5) or read (I6) in an
//! attested instance without that.
//!
//! Tickets, which gate the bonds of the committee's group, name evidence by
//! its digest ([`ticket`]); the evidence itself is fetched from the peer.

pub mod authority;
mod clock;
pub mod credential;
#[cfg(test)]
pub(crate) mod fixture;
pub mod keepsakes;
mod lookups;
mod newest;
pub mod own;
mod past;
pub mod policy;
#[cfg(test)]
mod sources_tests;
#[cfg(test)]
mod tests;
pub mod ticket;
pub mod upkeep;
mod vouch;

use core::time::Duration;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use zipnet_attest::{Collateral, Mode, PolicyFile, QuoteSource, SecretText, TrustBase};
use zipnet_protocol::Digest;

pub use authority::{Authority, Standing};
pub use credential::Credential;
pub use keepsakes::Keepsakes;
pub use vouch::{VouchError, Vouched, vouch};

/// Where collateral comes from.
#[derive(Debug, Clone)]
pub enum CollateralSource {
    /// A folder that somebody else fills, as `zipnet-attest collateral fetch`
    /// does.
    Folder(PathBuf),
    /// A PCCS, or Intel's PCS.
    Http(Arc<zipnet_attest::fetch::Source>),
    /// This one, for good.
    Fixed(Box<Collateral>),
    /// Nowhere but from those who show it with their evidence.
    Shown,
}

/// What a verifying process is set to.
#[derive(Debug)]
pub struct AuthoritySettings {
    /// Trust root and policy keys.
    pub base: Arc<TrustBase>,
    /// The policy file; its signatures are beside it, in `.minisig`.
    pub policy: PathBuf,
    /// Where collateral comes from.
    pub collateral: CollateralSource,
    /// How often it is asked for anew.
    pub refresh: Duration,
    /// Folder for what has to survive the process: the newest policy and
    /// collateral that were seen. Without one they are forgotten.
    pub state: Option<PathBuf>,
}

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

/// A policy in force, with the file that it comes from.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The file, to hand on.
    pub file: PolicyFile,
    /// The policy and its root.
    pub verifier: zipnet_attest::Verifier,
}

impl InForce {
    /// Its serial.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.verifier.policy().serial
    }
}
