//! The command line of `zipnet-measure`: predicts the measurements of a TDX guest,
//! explains and compares them.
//!
//! Exit status: 0 done and the same, 1 a difference or failure, 2 usage or bad
//! input.

mod confirm;
mod diff;
mod explain;
mod files;
mod inputs;
mod predict;
mod release;
mod replay;

use std::{error::Error, io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use files::FileError;

/// Predicts the measurements of a TDX guest, explains and compares them.
#[derive(Debug, Parser)]
#[command(
    name = "zipnet-measure",
    version,
    after_help = "Exit status: 0 done and the same, 1 a difference or failure, 2 usage or bad input."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the registers that these files give
    Predict(predict::Arguments),
    /// Print which event goes into which register, and what it depends on
    Explain(explain::Arguments),
    /// Say which event is the first that differs, and the likely cause
    Diff(diff::Arguments),
    /// Print the registers that an event log gives
    Replay(replay::Arguments),
    /// Write a release manifest
    Release(release::Arguments),
    /// Boot an image on a TDX host, and write down which predictions that confirms
    Confirm(confirm::Arguments),
}

/// What a verb came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Differs,
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
        Verb::Predict(arguments) => predict::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Diff(arguments) => diff::run(&arguments),
        Verb::Replay(arguments) => replay::run(&arguments),
        Verb::Release(arguments) => release::run(&arguments),
        Verb::Confirm(arguments) => confirm::run(&arguments),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(1),
        Err(error) => {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "error: {}", plain(&error.to_string()));
            let mut next = error.source();
            while let Some(cause) = next {
                let _ = writeln!(err, "because: {}", plain(&cause.to_string()));
                next = cause.source();
            }
            ExitCode::from(error.status())
        }
    }
}

/// Why a verb came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what it is said to be.
    #[error("{path} cannot be used", path = .path.display())]
    Input {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error>,
    },
    /// The arguments do not fit.
    #[error("{0}")]
    Usage(String),
    /// There is no manifest of these reports.
    #[error("No manifest can be made")]
    Release(#[source] crate::release::ReleaseError),
}

impl Failure {
    /// Wraps what a parser refused.
    fn input(path: &std::path::Path, source: impl Error + 'static) -> Self {
        Self::Input {
            path: path.to_owned(),
            source: Box::new(source),
        }
    }

    const fn status(&self) -> u8 {
        match self {
            Self::File(error) => error.status(),
            Self::Input { .. } | Self::Usage(_) | Self::Release(_) => 2,
        }
    }
}

/// Text without what steers a terminal: logs and manifests come from strangers.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Writes a line to standard output; a reader that has gone is no failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", plain(line));
}

/// Writes one JSON value, indented.
fn say_json(value: &impl serde::Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}
