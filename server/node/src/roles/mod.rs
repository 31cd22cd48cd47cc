//! What a process can be.

pub mod aggregator;
pub mod client;
pub mod common;
pub mod directory;
pub mod follow;
pub mod server;
