//! What a process can be.

pub mod aggregator;
pub mod asking;
pub mod client;
pub mod common;
pub mod directory;
mod enlist;
pub mod follow;
pub mod roll;
pub mod server;
