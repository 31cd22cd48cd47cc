//! An archive of finalized records: immutable files, and HTTP for whoever reads them. What is in
//! them and how it is verified is `zipnet_history`.
//!
//! - [`objects`]: where files are kept, a folder or an S3-compatible store.
//! - [`keeper`]: writes verified records, and says what is missing.
//! - [`serve`]: the files over HTTP, with events and a page.
//! - [`follow`]: how records come: the committee is followed as any reader does. Nothing else
//!   here touches its network.
//! - [`cli`]: what the program takes.

pub mod cli;
pub mod follow;
pub mod keeper;
pub mod objects;
pub mod serve;

pub use keeper::{Arrival, Keeper};
