//! What time it is, for whoever runs on a host that may lie about it.
//!
//! The clock of a TD is its host's. What Intel and those who sign policies have
//! signed at a time shows that this time has passed; from then on it goes forward with the processor's
//! counter, whatever the host says (PID 1 holds the host's clock against that
//! counter, too). A host may set the clock forward, and gains nothing by it but
//! that this guest refuses others.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use zipnet_attest::provision::CLOCK_FLOOR_FILE as FILE;

/// How far the floor moves before it is written again, in seconds.
const OFTEN: u64 = 3600;

/// A time that has passed, and since when this process knows.
#[derive(Debug, Clone, Copy)]
struct Floor {
    at: u64,
    since: Instant,
    /// What is in the file.
    kept: u64,
}

/// A clock that does not go back behind what was signed.
#[derive(Debug)]
pub(super) struct Clock {
    floor: Mutex<Floor>,
    file: Option<PathBuf>,
}

impl Clock {
    /// A clock that keeps its floor in the folder for the state, if there is
    /// one. A file that holds no time is moved aside, and said so.
    pub(super) fn open(state: Option<&Path>) -> Self {
        let file = state.map(|state| state.join(FILE));
        let kept = file.as_deref().map_or(0, |file| match read(file) {
            Ok(at) => at,
            Err(error) => {
                let aside = file.with_extension("corrupt");
                let moved = fs::rename(file, &aside);
                tracing::error!(
                    file = %file.display(),
                    because = %error,
                    aside = %aside.display(),
                    moved = moved.is_ok(),
                    "attestation: the time that is known to have passed is lost; a host that turned its clock back may be believed"
                );
                0
            }
        });
        Self {
            floor: Mutex::new(Floor {
                at: kept,
                since: Instant::now(),
                kept,
            }),
            file,
        }
    }

    /// Seconds since 1970, and not before anything that is known to have
    /// happened.
    pub(super) fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let clock = since.map_or(0, |since| since.as_secs());
        clock.max(self.floor().now())
    }

    /// A time is known to have passed, by something that was signed.
    pub(super) fn passed(&self, time: u64, by: &dyn core::fmt::Display) {
        let host = SystemTime::now().duration_since(UNIX_EPOCH);
        let host = host.map_or(0, |since| since.as_secs());
        let kept = {
            let mut floor = self.floor();
            if time <= floor.now() {
                return;
            }
            floor.at = time;
            floor.since = Instant::now();
            let file = self.file.as_deref();
            let file = file.filter(|_| time >= floor.kept.saturating_add(OFTEN));
            if file.is_some() {
                floor.kept = time;
            }
            file
        };
        if time > host {
            tracing::warn!(
                behind = time.saturating_sub(host),
                %by,
                "attestation: this host's clock is behind what was signed already; it is not believed"
            );
        }
        if let Some(file) = kept
            && let Err(error) = write(file, time)
        {
            tracing::warn!(file = %file.display(), because = %error, "attestation: the time that has passed could not be kept");
        }
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Floor {
    fn now(&self) -> u64 {
        self.at.saturating_add(self.since.elapsed().as_secs())
    }
}

/// The time in a file; 0 if there is none.
fn read(file: &Path) -> io::Result<u64> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn write(file: &Path, time: u64) -> io::Result<()> {
    let temporary = file.with_extension("new");
    let mut new = File::create(&temporary)?;
    writeln!(new, "{time}")?;
    new.sync_all()?;
    fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    }

    #[test]
    fn f7_a_clock_goes_on_from_what_was_signed_and_survives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::open(Some(folder.path()));
        assert!(clock.now().abs_diff(host()) <= 1);
        let later = host() + 86_400;
        clock.passed(later, &"a test");
        assert!(clock.now() >= later);
        clock.passed(later - 3600, &"something older");
        assert!(clock.now() >= later);
        let again = Clock::open(Some(folder.path()));
        assert!(again.now() >= later);
    }

    #[test]
    fn a_file_without_a_time_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "yesterday").unwrap();
        let clock = Clock::open(Some(folder.path()));
        assert!(clock.now().abs_diff(host()) <= 1);
        assert!(folder.path().join("clock-floor.corrupt").exists());
        clock.passed(host() + 86_400, &"a test");
        assert!(folder.path().join(FILE).exists());
    }
}
