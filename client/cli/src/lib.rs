//! What the zipnet programs share: arguments, logging, metrics, signals, and how
//! errors reach the operator; and the command line of `zipnet-client`.
//!
//! Contract: a refused setting is one line on standard error and exit status
//! 2; a failure at run time is one line, with its causes behind `because:`,
//! and exit status 1. No message holds a secret.

pub mod args;
pub mod attestation;
pub mod client;
pub mod history;
pub mod invite;
pub mod log;
pub mod metrics;
pub mod process;
pub mod secrets;

pub use process::{Failure, main_with};
