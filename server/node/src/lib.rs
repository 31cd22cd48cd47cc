//! The roles of a zipnet deployment over mosaik.
//!
//! This crate is everything that touches the network, the clock and the
//! operating system. The rules of a round live in
//! [`zipnet_protocol`]; this crate moves checked values between processes and
//! decides *when*, never *what*.
//!
//! - [`roles::server`]: a committee server; [`roles::aggregator`];
//!   [`roles::client`]: [`Publisher`](roles::client::Publisher) and
//!   [`Reader`](roles::client::Reader), to embed.
//! - [`committee`]: the replicated state machine of the servers.
//! - [`attestation`]: whose evidence a node believes, and what it shows itself.
//! - [`guard`]: what a server holds itself to, whatever the log says.
//! - [`health`]: whether the process is well, and why not.
//! - [`pace`]: what everybody reads from a record, and how often to talk.
//! - [`status`]: how a server is, for its operator.
//! - [`settings`], [`network`], [`ground`], [`book`], [`door`], [`wire`], [`invoke`], [`peers`],
//!   [`backoff`], [`relay`], [`entropy`], [`metrics`]: the ground they stand on.
//!
//! Every await on the network has a time-out. Secrets live in
//! [`zeroize::Zeroizing`] or types that zeroize themselves, and none has a
//! `Debug` that shows it.

pub mod attestation;
pub mod backoff;
pub mod book;
pub mod committee;
pub mod door;
pub mod entropy;
pub mod ground;
pub mod guard;
pub mod health;
pub mod invoke;
pub mod metrics;
pub mod network;
pub mod pace;
pub mod peers;
pub mod relay;
pub mod roles;
pub mod settings;
pub mod status;
#[cfg(test)]
mod testing;
pub mod wire;

pub use zipnet_attest::report;
