//! History of a committee as an archive keeps it: immutable files, read over HTTP and verified
//! by whoever trusts no archive.
//!
//! - [`layout`], [`head`], [`index`], [`record`]: how the files are called and what they hold.
//!   Pure; nothing that is decoded there is believed.
//! - [`read`]: history out of an archive, verified.
//!
//! What writes and serves the files is `zipnet_archive`.

pub mod head;
pub mod index;
pub mod layout;
pub mod read;
pub mod record;
mod text;
