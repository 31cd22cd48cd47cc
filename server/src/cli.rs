//! The command lines of the binaries. Their manuals are made of the same.

use clap::{Command, CommandFactory as _};

use crate::{admit::Admit, keys::Keys, status::Ask};

pub mod aggregator;
pub mod server;

/// What `zipnet-server` takes, with its verbs, which it tells apart by itself: without
/// one it serves.
#[must_use]
pub fn server() -> Command {
    server::Cli::command()
        .subcommand(Admit::command().name("admit"))
        .subcommand(Keys::command().name("keys"))
        .subcommand(Ask::command().name("status"))
        .disable_help_subcommand(true)
}

/// What `zipnet-aggregator` takes.
#[must_use]
pub fn aggregator() -> Command {
    aggregator::Cli::command()
}
