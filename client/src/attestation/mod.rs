//! Attestation: what evidence a process believes.
//!
//! The rules are those of `zipnet_attest`; here they meet clocks, tasks and
//! peers. An [`Authority`] is what a process verifies by: a trust base, the
//! newest policy, the newest collateral. It [`vouches`](vouch) for the servers
//! of a round, and nothing is unblinded (I3), sealed (I5) or read (I6) in an
//! attested instance without that.
//!
//! What a server shows of itself is in `zipnet_node::attestation`.

pub mod authority;
mod clock;
pub mod credential;
mod lookups;
mod newest;
mod past;
pub mod policy;
#[cfg(test)]
mod sources_tests;
#[cfg(test)]
mod tests;
pub mod upkeep;
mod vouch;

use core::time::Duration;
use std::{path::PathBuf, sync::Arc};

use zipnet_attest::{Collateral, PolicyFile, TrustBase};

pub use authority::{Authority, Standing};
pub use credential::Credential;
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
