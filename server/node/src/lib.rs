//! The roles of a zipnet deployment over mosaik.
//!
//! This crate is everything that touches the network, the clock and the
//! operating system. The rules of a round live in
//! [`zipnet_protocol`]; this crate moves checked values between processes and
//! decides *when*, never *what*.
//!
//! - [`roles::server`]: a committee server; [`roles::aggregator`]. Clients are in
//!   [`zipnet`], which this stands on.
//! - [`committee`]: the replicated state machine of the servers.
//! - [`attestation`]: what a server shows of itself, and whose evidence is believed.
//! - [`guard`]: what a server holds itself to, whatever the log says.
//! - [`status`]: how a server is, for its operator.
//! - [`rules`], [`network`], [`members`], [`door`], [`wire`], [`invoke`], [`relay`]: the
//!   ground they stand on.
//!
//! Every await on the network has a time-out. Secrets live in
//! [`zeroize::Zeroizing`] or types that zeroize themselves, and none has a
//! `Debug` that shows it.

pub mod attestation;
pub mod committee;
pub mod door;
pub mod guard;
pub mod invoke;
pub mod members;
pub mod metrics;
pub mod network;
pub mod relay;
pub mod roles;
pub mod rules;
pub mod status;
#[cfg(test)]
mod testing;
pub mod wire;

pub use zipnet::{backoff, book, entropy, ground, health, pace, peers, report};

/// What an operator sets.
pub mod settings {
    pub use crate::rules::*;
    pub use zipnet::settings::*;
}
