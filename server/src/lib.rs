//! The command lines of server and aggregator. What they share with all zipnet programs,
//! and what of it is promised, is in [`zipnet_cli`].

pub mod admit;
pub mod args;
pub mod attestation;
pub mod cli;
pub mod invite;
pub mod keys;
pub mod secrets;
pub mod status;

pub use zipnet_cli::{Failure, log, main_with, process};
