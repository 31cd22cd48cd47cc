//! Waiting until a generation of a guest is up, and ending one.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use zipnet_measurements::Digest256;

use crate::{
    alive,
    files::{self, FileError},
    image::{self, Kept},
    place::{Folder, Name, Place, PlaceError},
    plan::{Ran, Wanted},
    seen::{Phase, Seen},
    supervise::{self, SuperviseError},
};

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(100);
/// For how long nobody may watch and nothing run before a guest counts as gone.
const GONE: Duration = Duration::from_secs(5);
/// For how long nobody may watch before somebody else does.
const UNWATCHED: Duration = Duration::from_millis(500);
/// How long processes may take to end: those that were killed, QEMU after its launcher,
/// and whoever watched.
const KILLED: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(2);
/// How long a start that was under way may take to show.
const BEGUN: Duration = Duration::from_secs(1);
const NOTICE: Duration = Duration::from_secs(15);

/// A guest did not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// It ended.
    #[error("It ended before it was up: {0}")]
    Ended(String),
    /// It took too long.
    #[error("It was not up within {limit} and {phase}; its last lines: {tail}")]
    Late {
        /// How long it had.
        limit: humantime::FormattedDuration,
        /// How far it was.
        phase: &'static str,
        /// What it said.
        tail: String,
    },
    /// Nobody watches it.
    #[error("It is gone, and nobody watches it: both were killed, or the host's disk is full")]
    Gone,
    /// Somebody else changed his mind.
    #[error("Somebody stopped it, or launched it anew, meanwhile")]
    Stopped,
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A guest did not end.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Even killed.
    #[error(
        "Processes of the guest {0} do not end although they were killed; `fuser {path}` names them",
        path = .1.display()
    )]
    Stuck(Name, std::path::PathBuf),
}

/// Says what is wanted from now on, and removes images that nobody wants any more.
///
/// # Errors
/// [`PlaceError`].
pub fn want(
    place: &Place,
    folder: &Folder,
    wanted: &Wanted,
    kept: Option<&Kept>,
) -> Result<(), PlaceError> {
    files::write_state(&folder.wanted(), wanted)?;
    let Some(kept) = kept else {
        return Ok(());
    };
    let mut images: Vec<Digest256> = Vec::new();
    for folder in place.guests()? {
        // What cannot be read may need any of them.
        let (Ok(wanted), Ok(journal)) = (folder.read_wanted(), folder.read_journal()) else {
            return Ok(());
        };
        images.extend(wanted.map(|wanted| wanted.plan.image));
        images.extend(
            journal
                .iter()
                .flat_map(|journal| [journal.from.image, journal.to.image]),
        );
    }
    image::tidy(place, kept, &images)?;
    Ok(())
}

/// Has somebody watch the guest, unless somebody does.
///
/// # Errors
/// [`SuperviseError`].
pub fn watched(place: &Place, folder: &Folder) -> Result<(), SuperviseError> {
    if folder.is_watched() {
        return Ok(());
    }
    supervise::detach(place, folder)
}

/// Waits until a generation waits for its secrets or serves.
///
/// # Errors
/// [`UpError`].
pub fn wait(
    place: &Place,
    folder: &Folder,
    generation: u64,
    limit: Duration,
) -> Result<Seen, UpError> {
    let end = Instant::now() + limit;
    let mut lived = Instant::now();
    loop {
        let seen: Option<Seen> = files::read_state(&folder.seen())?;
        let seen = seen.filter(|seen| seen.generation == generation);
        let seen = seen.unwrap_or_else(|| Seen::new(generation, 0));
        if seen.phase.is_up() {
            return Ok(seen);
        }
        if seen.phase == Phase::Ended {
            unwatched_unless_wanted(folder, generation)?;
            return Err(UpError::Ended(seen.reason()));
        }
        let wanted = folder.read_wanted()?;
        if !wanted.is_some_and(|wanted| wanted.run && wanted.generation == generation) {
            return Err(UpError::Stopped);
        }
        if folder.is_watched() {
            lived = Instant::now();
        } else if folder.alive()?.is_some() && lived.elapsed() >= UNWATCHED {
            // Whoever watched was killed just now: somebody else takes it up.
            if supervise::detach(place, folder).is_ok() {
                lived = Instant::now();
            }
        }
        if lived.elapsed() >= GONE {
            return Err(UpError::Gone);
        }
        if Instant::now() >= end {
            return Err(UpError::Late {
                limit: humantime::format_duration(limit),
                phase: seen.phase.words(),
                tail: seen.tail.join(" | "),
            });
        }
        thread::sleep(EVERY);
    }
}

/// Who watches a guest that has ended does so no longer, unless another generation is
/// wanted.
fn unwatched_unless_wanted(folder: &Folder, generation: u64) -> Result<(), FileError> {
    let wanted = folder.read_wanted()?;
    if wanted.is_some_and(|wanted| wanted.generation == generation) {
        unwatched(folder);
    }
    Ok(())
}

/// Waits until nobody watches a guest that has ended.
pub fn unwatched(folder: &Folder) {
    let end = Instant::now() + NOTICE;
    while folder.is_watched() && Instant::now() < end {
        thread::sleep(EVERY);
    }
}

/// Ends what runs of earlier generations than the wanted one, also if it was about to
/// start.
///
/// # Errors
/// [`DownError`].
pub fn supersede(folder: &Folder, generation: u64, grace: Duration) -> Result<(), DownError> {
    let until = Instant::now() + BEGUN;
    while Instant::now() < until {
        match folder.alive()? {
            Some((ran, _)) if ran.generation >= generation => break,
            Some(_) => {
                end(folder, grace)?;
            }
            None => thread::sleep(EVERY),
        }
    }
    Ok(())
}

/// Ends a guest's processes: by its power button, and after `grace` hard. Whether it
/// had to be killed.
///
/// # Errors
/// [`DownError`].
pub fn end(folder: &Folder, grace: Duration) -> Result<bool, DownError> {
    let mut killed = false;
    let before = folder.alive()?;
    if let Some((_, alive)) = &before {
        alive.signal(Signal::TERM);
        if !alive.ends_within(grace) {
            killed = true;
            alive.signal(Signal::KILL);
            let _ = alive.ends_within(KILLED);
        }
    }
    // Whoever watches sweeps, too, and may have started the next one by now.
    let ran: Option<Ran> = files::read_state(&folder.ran())?;
    let same = before
        .as_ref()
        .is_none_or(|(before, _)| Some(before) == ran.as_ref());
    if same && !folder.is_watched() && !alive::sweep(&folder.guest_lock(), SOON) {
        return Err(DownError::Stuck(folder.name.clone(), folder.guest_lock()));
    }
    Ok(killed)
}
