//! The command line of `zipnet-attest`: looks at TD quotes and verifies them,
//! fetches what that takes, and gives guests that verify their secrets.
//!
//! Exit status: 0 verified, 1 refused or failed, 2 usage, 3 could not decide.

mod answer;
mod checks;
mod collateral;
mod evidence;
mod files;
mod given;
mod html;
mod live;
mod policy;
mod provision;
mod quote;
mod receive;
mod report;
mod sections;
mod show;
mod values;
mod verify;

use std::{
    io::Write as _,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::report::{causes, plain};

use files::FileError;

/// Looks at TD quotes and verifies them, fetches what that takes, and gives guests that
/// verify their secrets.
#[derive(Debug, Parser)]
#[command(
    name = "zipnet-attest",
    version,
    after_help = "Exit status: 0 verified, 1 refused or failed, 2 usage, 3 could not decide (for instance without collateral, or when nobody answers who has some)."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Have this machine make a TD quote
    Quote(quote::Arguments),
    /// Say whether a quote is genuine and how Intel rates its platform, or whether a
    /// server's evidence holds under a policy
    Verify(Box<verify::Arguments>),
    /// Write a page that says what `verify` found, for people
    Report(report::Arguments),
    /// Print what a quote says, without verifying anything
    Show(show::Arguments),
    /// Fetch and look at collateral: what Intel publishes about platforms
    #[command(subcommand)]
    Collateral(collateral::Verb),
    /// Make, sign, check and try policies
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Give a guest its secrets, if its evidence holds
    Provision(Box<provision::Arguments>),
    /// Wait for secrets, as a guest does, and write them to files
    Receive(receive::Arguments),
}

/// What a verb came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Verified,
    Refused,
    Undecided,
}

impl Outcome {
    const fn status(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Refused => 1,
            Self::Undecided => 3,
        }
    }
}

/// What it takes and says of itself; its manual is made of it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Quote(arguments) => quote::run(&arguments).map_err(Failure::from),
        Verb::Verify(arguments) => verify::run(&arguments).map_err(Failure::from),
        Verb::Report(arguments) => report::run(&arguments).map_err(Failure::from),
        Verb::Show(arguments) => show::run(&arguments).map_err(Failure::from),
        Verb::Collateral(verb) => collateral::run(&verb).map_err(Failure::from),
        Verb::Policy(verb) => policy::run(&verb).map_err(Failure::from),
        Verb::Provision(arguments) => provision::run(&arguments).map_err(Failure::from),
        Verb::Receive(arguments) => receive::run(&arguments).map_err(Failure::from),
    };
    match outcome {
        Ok(outcome) => ExitCode::from(outcome.status()),
        Err(error) => {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "error: {}", plain(&error.to_string()));
            for cause in causes(&error) {
                let _ = writeln!(err, "because: {cause}");
            }
            ExitCode::from(error.status())
        }
    }
}

/// Why a verb came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Evidence(#[from] evidence::EvidenceError),
    #[error(transparent)]
    Quote(#[from] quote::QuoteError),
    #[error(transparent)]
    Collateral(#[from] collateral::CollateralVerbError),
    #[error(transparent)]
    Policy(#[from] policy::PolicyVerbError),
    #[error(transparent)]
    Provision(#[from] provision::ProvisionError),
    #[error(transparent)]
    Receive(#[from] receive::ReceiveError),
}

impl Failure {
    const fn status(&self) -> u8 {
        match self {
            _ if self.is_usage() => 2,
            Self::Evidence(error) if error.is_undecided() => 3,
            Self::Provision(error) if error.is_undecided() => 3,
            _ => 1,
        }
    }

    const fn is_usage(&self) -> bool {
        match self {
            Self::File(error) => error.is_usage(),
            Self::Evidence(error) => error.is_usage(),
            Self::Quote(_) => false,
            Self::Collateral(error) => error.is_usage(),
            Self::Policy(error) => error.is_usage(),
            Self::Provision(error) => error.is_usage(),
            Self::Receive(error) => error.is_usage(),
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Writes a line to standard error, beside what is printed, without what steers
/// a terminal: it may hold a stranger's words.
fn say_aside(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "note: {}", plain(line));
}

/// Writes a line to standard output; a reader that has gone is no failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
