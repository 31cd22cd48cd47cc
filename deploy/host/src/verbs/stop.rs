//! `stop`: ends a guest by its power button, or hard.

use std::time::Duration;

use clap::Args;

use super::{Busy, alone};
use crate::{
    files::{self, FileError},
    output,
    place::{Name, Place},
    seen::{Phase, Seen, now},
    supervise,
    up::{self, DownError},
};

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The guest's name on this host
    #[arg(value_name = "NAME")]
    name: Name,
    /// How long it may take to power off before it is killed
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    grace: Duration,
}

/// A guest was not stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// There is none.
    #[error("There is no guest {0} here; `zipnet-host status` lists those that there are")]
    Unknown(Name),
    /// Another verb.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not end.
    #[error(transparent)]
    Down(#[from] DownError),
}

/// Stops a guest.
///
/// # Errors
/// [`StopError`].
pub fn run(place: &Place, arguments: &Arguments) -> Result<(), StopError> {
    let folder = place.guest(&arguments.name);
    if !folder.path().is_dir() {
        return Err(StopError::Unknown(arguments.name.clone()));
    }
    let _alone = alone(&folder, "stop")??;
    // First: nobody is to start anything when the guest has ended.
    supervise::stop_wanting(&folder)?;
    files::remove(&folder.journal())?;
    let ran = folder.alive()?.is_some();
    let killed = up::end(&folder, arguments.grace)?;
    up::unwatched(&folder);
    // If nobody watched, nobody else writes it down, or tidies up.
    if let Ok(Some(mut seen)) = files::read_state::<Seen>(&folder.seen()) {
        seen.enter(Phase::Ended, now());
        let _ = files::write_state(&folder.seen(), &seen);
    }
    let _ = files::remove(&folder.work());
    let name = &arguments.name;
    output::say(&match (ran, killed) {
        (false, _) => format!("The guest {name} did not run."),
        (true, false) => format!("The guest {name} has powered off."),
        (true, true) => {
            let grace = humantime::format_duration(arguments.grace);
            format!("The guest {name} was killed: it did not power off within {grace}.")
        }
    });
    Ok(())
}
