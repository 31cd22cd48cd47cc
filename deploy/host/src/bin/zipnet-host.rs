//! Runs zipnet's committee servers in guests of a TDX host.

use std::process::ExitCode;

use clap::Parser as _;
use zipnet_host::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
