//! The command line.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    become_guest::become_guest,
    output,
    place::{self, Name, Place},
    supervise::{self, Signals, supervise},
    verbs,
};

/// Runs zipnet's committee servers in guests of this host: looks whether the host is fit
/// for TDX, launches guests, watches them, and gives them other images.
///
/// From a bare host with TDX to a server with its secrets: `zipnet-host doctor`, then
/// `zipnet-host launch`, then the `zipnet-attest provision` that it prints.
#[derive(Debug, Parser)]
#[command(
    name = "zipnet-host",
    version,
    after_help = "Exit status: 0 done, 1 refused, failed or not fit, 2 usage."
)]
pub struct Cli {
    /// Folder for the state, images and consoles of this host's guests
    #[arg(long, value_name = "DIR", global = true, env = "ZIPNET_RUN", default_value = place::DEFAULT)]
    run_dir: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether this host has what a TD needs: a line for each check, with a remedy
    ///
    /// Reads /sys, /proc, /dev and /run, connects to the quote generation service and
    /// the PCCS, and compares the image with its manifest. Changes nothing.
    Doctor(verbs::doctor::Arguments),
    /// Start a guest, and wait until it waits for its secrets or serves
    ///
    /// The image is compared with its manifest, copied to the run folder, and run from
    /// there. The guest does not depend on this program: if it is killed, the guest goes on,
    /// and `launch NAME` takes it up. Without --config, the guest is started as it was the
    /// last time.
    Launch(verbs::launch::Arguments),
    /// Show how guests are: running or not, what they wait for, their last word of health
    Status(verbs::status::Arguments),
    /// Press a guest's power button, and kill it if it does not power off in time
    Stop(verbs::stop::Arguments),
    /// Show what a guest has said on its console, which is cut to four files of 1 MiB
    Console(verbs::console::Arguments),
    /// Give a guest another image, and the old one back if that does not come up
    ///
    /// One guest of a host at a time, and only if the other guests of the same instance
    /// serve and the peers named by --peers-ready answer with 200. Its secrets are given
    /// anew afterwards: a guest keeps none.
    Upgrade(verbs::upgrade::Arguments),
    /// Write an image's files to a folder, and print a libvirt domain that runs them
    ///
    /// For libvirt 11.6 or later. The domain's RTMR0 is not predicted by the manifest.
    Libvirt(verbs::libvirt::Arguments),
    /// Watch a guest; `launch` starts this
    #[command(hide = true)]
    Watch { name: Name },
    /// Become a guest's launcher; who watches starts this
    #[command(hide = true)]
    Guest {
        name: Name,
        #[arg(long)]
        generation: u64,
    },
}

/// What a verb failed with, and whether an argument was wrong.
struct Failure {
    error: Box<dyn Error>,
    usage: bool,
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: Box::new(error),
            usage: false,
        }
    }
}

fn usage<E: Error + 'static>(usage: bool, error: E) -> Failure {
    Failure {
        error: Box::new(error),
        usage,
    }
}

impl Cli {
    /// Does what was asked for.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.verb.run(&self.run_dir) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(failure) => {
                output::warn(&format!(
                    "error: {}",
                    zipnet_attest::report::plain(&failure.error.to_string())
                ));
                for cause in zipnet_attest::report::causes(&*failure.error) {
                    output::warn(&format!("because: {cause}"));
                }
                ExitCode::from(if failure.usage { 2 } else { 1 })
            }
        }
    }
}

impl Verb {
    fn run(&self, run_dir: &Path) -> Result<bool, Failure> {
        let place = || Place::open(run_dir);
        match self {
            Self::Doctor(arguments) => return Ok(verbs::doctor::run(arguments)),
            Self::Launch(arguments) => {
                verbs::launch::run(&place()?, arguments)
                    .map_err(|error| usage(error.is_usage(), error))?;
            }
            Self::Status(arguments) => verbs::status::run(&place()?, arguments)?,
            Self::Stop(arguments) => verbs::stop::run(&place()?, arguments)?,
            Self::Console(arguments) => verbs::console::run(&place()?, arguments)?,
            Self::Upgrade(arguments) => {
                verbs::upgrade::run(&place()?, arguments)
                    .map_err(|error| usage(error.is_usage(), error))?;
            }
            Self::Libvirt(arguments) => {
                verbs::libvirt::run(arguments).map_err(|error| usage(error.is_usage(), error))?;
            }
            Self::Watch { name } => watch(&place()?, name)?,
            Self::Guest { name, generation } => {
                let place = place()?;
                become_guest(&place, &place.guest(name), *generation)?;
            }
        }
        Ok(true)
    }
}

/// Away from the terminal of whoever launches.
fn watch(place: &Place, name: &Name) -> Result<(), supervise::SuperviseError> {
    let _ = rustix::process::setsid();
    let signals = Signals::take()?;
    let folder = place.guest(name);
    let right = supervise::lock(&folder)?;
    match supervise(place, &folder, &right, &signals, |_| ()) {
        // Whoever launched it reads that from what is written down.
        Err(supervise::SuperviseError::Ended { .. }) => Ok(()),
        other => other,
    }
}
