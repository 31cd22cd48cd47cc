//! What the zipnet binaries share: arguments, logging, signals, and how
//! errors reach the operator.
//!
//! Contract: a refused setting is one line on standard error and exit status
//! 2; a failure at run time is one line, with its causes behind `because:`,
//! and exit status 1. No message holds a secret.

pub mod admit;
pub mod args;
pub mod attestation;
pub mod cli;
pub mod history;
pub mod invite;
pub mod keys;
pub mod log;
pub mod process;
pub mod secrets;
pub mod status;

pub use process::{Failure, main_with};
