//! A simulated Intel provisioning PKI: **nothing in here is secret, and nothing is real**.
//!
//! Every private key is the SHA-256 digest of a *public* seed, so whoever knows the seed can forge
//! any quote of that world. A world therefore proves nothing about any machine. It exists so that
//! tests and local networks run the very verifier that production runs, with a different trust
//! root, and so that refusals (a revoked platform, a debug TD, a rogue quoting enclave) can be
//! produced at will.
//!
//! Rules for users of this module:
//!
//! * keep it behind the cargo feature `simulation` and build no production image with it;
//! * never put a simulated root next to Intel's in one set of trusted roots;
//! * choose seeds freely, but do not treat them as secrets.
//!
//! A [`Pccs`] serves what worlds publish over HTTP, for tests of whoever fetches collateral.
//!
//! A [`World`] is one root CA, one platform, its collateral and its quoting enclave. The same
//! seed, time and options give the same bytes on every machine, so several nodes can rebuild one
//! world without talking to each other.
//!
//! ```text
//! root CA ──┬── PCK platform CA ── PCK leaf ── QE report ── attestation key ── TD quote
//!           ├── TCB signing ── TCB info, TD QE identity
//!           └── root CA CRL            (PCK CRL by the PCK platform CA)
//! ```
//!
//! Sources of the rules that the files cite:
//!
//! * certificates and CRLs: Intel "SGX PCK Certificate and Certificate Revocation List Profile
//!   Specification" (short: PCK Certificate and CRL Specification);
//! * TCB info v3 and QE identity v2: Intel "Provisioning Certification Service for ECDSA
//!   Attestation", API version 4;
//! * quote, version 4: Intel "TDX DCAP Quoting Library API", appendix A.3.

mod certificates;
mod collateral;
mod crl;
mod error;
mod extension;
mod keys;
mod pccs;
mod platform;
mod publisher;
mod quote;
mod quoting_enclave;
mod time;
mod world;

#[cfg(test)]
mod tests;

pub use error::SimulationError;
pub use pccs::Pccs;
pub use platform::{Platform, TcbSvns};
pub use publisher::{Draft, IMAGE, Publisher, PublisherError};
pub use quote::Td;
pub use world::{SimulatedTd, World, WorldBuilder};
