//! The host's side of zipnet's guests.
//!
//! [`command()`] is `zipnet-host`: [`doctor`] looks whether a host is fit for TDX, and
//! the other [`verbs`] run guests. QEMU's arguments are the launcher's alone: an
//! [`image`] is one file that starts itself, and this program verifies it and runs it
//! (docs/decisions/0023).
//!
//! The state of a host's guests is in the run folder ([`place`]), one folder for each.
//! Three processes share it, and any of them may be killed at any moment:
//!
//! | process | does | if it is killed |
//! | --- | --- | --- |
//! | a verb | says what is wanted ([`plan`]) | another verb goes on |
//! | who watches ([`mod@supervise`]) | starts guests, keeps consoles | guests go on, the next verb takes them up |
//! | the launcher ([`mod@become_guest`]) | is the guest | the guest has ended |
//!
//! Who lives is known by locks and by processes told apart for good ([`alive`]), never
//! by a number in a file alone.

#![deny(clippy::indexing_slicing)]

pub mod alive;
pub mod become_guest;
pub mod cli;
pub mod console;
pub mod doctor;
pub mod files;
pub mod http;
pub mod image;
pub mod libvirt;
pub mod neighbours;
pub mod next;
pub mod notify;
pub mod output;
pub mod place;
pub mod plan;
pub mod quotes;
pub mod seen;
pub mod shape;
pub mod status;
pub mod supervise;
pub mod up;
pub mod verbs;

/// The command line of `zipnet-host`, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    <cli::Cli as clap::CommandFactory>::command()
}
