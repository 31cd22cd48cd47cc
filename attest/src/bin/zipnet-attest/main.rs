//! Looks at TD quotes and verifies them.
//!
//! Exit status: 0 verified, 1 refused or failed, 2 usage, 3 could not decide.

mod files;
mod show;
mod verify;

use std::{error::Error, io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

use files::FileError;

/// Looks at TD quotes and verifies them.
#[derive(Debug, Parser)]
#[command(
    name = "zipnet-attest",
    version,
    after_help = "Exit status: 0 verified, 1 refused or failed, 2 usage, 3 could not decide (for instance without collateral)."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether a quote is genuine, and how Intel rates its platform
    Verify(verify::Arguments),
    /// Print what a quote says, without verifying anything
    Show(show::Arguments),
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

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Show(arguments) => show::run(&arguments),
    };
    match outcome {
        Ok(outcome) => ExitCode::from(outcome.status()),
        Err(error) => {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "error: {error}");
            for cause in causes(&error) {
                let _ = writeln!(err, "because: {cause}");
            }
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

/// What is underneath an error, nearest first.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// Writes a line to standard output; a reader that has gone is no failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
