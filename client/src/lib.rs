//! Clients and readers of a zipnet deployment, and whoever judges its servers: what one
//! depends on who is not in the committee.
//!
//! The rules of a round live in [`zipnet_protocol`], those of evidence in [`zipnet_attest`];
//! this crate moves checked values between them and the doors of servers ([`zipnet_door`])
//! and decides *when*, never *what*. Nothing here knows mosaik, the committee's own network.
//!
//! - [`roles::client`]: [`Publisher`](roles::client::Publisher) and
//!   [`Reader`](roles::client::Reader), to embed.
//! - [`roles::follow`]: the committee's news, verified.
//! - [`attestation`]: whose evidence a process believes.
//! - [`health`]: whether the process is well, and why not.
//! - [`pace`]: what everybody reads from a record, and how often to talk.
//! - [`settings`], [`ground`], [`book`], [`wire`], [`peers`], [`backoff`], [`entropy`],
//!   [`metrics`]: the ground they stand on.
//!
//! Every await on the network has a time-out. Secrets live in
//! [`zeroize::Zeroizing`] or types that zeroize themselves, and none has a
//! `Debug` that shows it.

pub mod attestation;
pub mod backoff;
pub mod book;
pub mod entropy;
pub mod ground;
pub mod health;
pub mod metrics;
pub mod pace;
pub mod peers;
pub mod roles;
pub mod settings;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;

pub use zipnet_attest::report;
pub use zipnet_door::PeerId;
