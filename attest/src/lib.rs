//! Attestation of zipnet's servers.
//!
//! A server runs in a TD. What it says about its keys is a [`Statement`]; the
//! hash of that is in a TD quote. Whoever is to trust the server checks, in
//! this order:
//!
//! 1. [`mod@genuine`]: the quote was made by Intel's quoting enclave on a platform
//!    that Intel has not revoked, and the TD was launched safely;
//! 2. the platform's TCB status is one that its [`Policy`] accepts;
//! 3. the measurements are those of an image of the policy, and the statement
//!    says what the verifier [`Expected`].
//!
//! [`Verifier`] does all of it; a [`Verified`] cannot be had otherwise.
//!
//! What Intel publishes for that, a [`Collateral`], is fetched with `fetch`,
//! verified with [`trusted_alone`] and kept on a [`Shelf`]. Before it is fetched
//! for a stranger's quote, [`origin()`] tells whether that is from a certified
//! platform.
//!
//! In the guest, [`tsm`] asks the kernel for a quote. Its secrets reach it by
//! [`provision`], which is where this library does open sockets.
//!
//! Every refusal names its [`Rule`], what was found and what was expected. No
//! rule knows of mosaik, sockets or clocks: the time is an argument. Input of
//! any bytes is refused, never a panic, with bounded work.

mod alone;
mod certification;
#[cfg(feature = "cli")]
pub mod cli;
pub mod collateral;
mod ecdsa;
mod edition;
pub mod evidence;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod genuine;
pub mod hexes;
pub mod keepsake;
pub mod mode;
mod origin;
mod platforms;
pub mod policy;
pub mod provision;
pub mod quote;
mod reader;
pub mod report;
mod root;
pub mod rules;
pub mod secret;
pub mod shelf;
pub mod signed;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod source;
pub mod statement;
pub mod store;
pub mod tcb;
pub mod trust;
pub mod tsm;
pub mod verified;
pub mod warm;

pub use alone::trusted_alone;
pub use collateral::Collateral;
pub use edition::{Edition, List};
pub use evidence::Evidence;
pub use genuine::{Genuine, TrustRoot, Trusted, genuine, trusted};
pub use mode::Mode;
pub use origin::{Origin, origin};
pub use platforms::{Ca, CaError, Platforms};
pub use policy::Policy;
pub use quote::{Quote, TdReport};
pub use rules::{Refusal, Rule};
pub use secret::SecretText;
pub use shelf::Shelf;
pub use signed::{PolicyKeys, SignedPolicy};
pub use source::QuoteSource;
pub use statement::{Role, Statement};
pub use store::Store;
pub use trust::{PolicyFile, TrustBase};
pub use verified::{Expected, Verified, VerifiedTd, Verifier};
pub use warm::WarmVerifier;
