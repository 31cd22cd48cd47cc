//! What a process can be.

pub mod aggregator;
mod enlist;
mod serve;
pub mod server;

pub use zipnet::roles::{asking, client, directory, follow, roll};

/// What all roles do alike: say that they are up, serve calls, tell the
/// committee key.
pub mod common {
    pub use super::serve::*;
    pub use zipnet::roles::common::*;
}
