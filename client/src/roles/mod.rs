//! What a process can be, and what they have in common.

pub mod asking;
pub mod client;
pub mod common;
pub mod directory;
pub mod follow;
pub mod roll;
