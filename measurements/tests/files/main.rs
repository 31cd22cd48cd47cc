//! Parsers and predictions over files: golden ones, real logs, hostile bytes.

#![allow(clippy::unwrap_used)]

mod cli;
mod confirm;
mod corpus;
mod differences;
mod golden;
mod guest;
mod hostile;
mod properties;
mod refused;
#[path = "../../fuzz/targets.rs"]
mod targets;
mod td;
mod vectors;
