//! Files of the run folder: small, whole or not there, and locked.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

/// Longest file of state, in bytes.
const MAX_STATE: u64 = 256 << 10;
/// Whoever looks whether a lock is held takes it for a moment: so often is tried again.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(10);

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading.
    #[error("Could not read {path}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Writing.
    #[error("Could not write {path}", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// Of state.
    #[error(
        "{path} is not what zipnet-host wrote; `zipnet-host stop` ends the guest, and with its folder removed it can be launched anew",
        path = .0.display()
    )]
    State(PathBuf, #[source] serde_json::Error),
    /// Longer than any.
    #[error("{path} has more than {1} bytes", path = .0.display())]
    Long(PathBuf, u64),
}

/// Makes a folder that only its user enters, if it is not there.
///
/// # Errors
/// [`FileError`].
pub fn private_folder(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FileError::Write(path.to_owned(), source))
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|source| FileError::Read(path.to_owned(), source))?;
    if bytes.len() as u64 > most {
        return Err(FileError::Long(path.to_owned(), most));
    }
    Ok(bytes)
}

/// Writes a file that only its user reads: the old one is there until the new one is
/// whole.
///
/// # Errors
/// [`FileError`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    // Two who write at once do not write into one file.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|source| {
            let _ = fs::remove_file(&fresh);
            FileError::Write(path.to_owned(), source)
        })
}

/// Writes state as [`write()`] does.
///
/// # Errors
/// [`FileError`].
pub fn write_state(path: &Path, state: &impl Serialize) -> Result<(), FileError> {
    let bytes = serde_json::to_vec_pretty(state)
        .map_err(|source| FileError::Write(path.to_owned(), source.into()))?;
    write(path, &bytes)
}

/// Reads state; `None` if there is none.
///
/// # Errors
/// [`FileError`].
pub fn read_state<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    match read(path, MAX_STATE) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| FileError::State(path.to_owned(), source)),
        Err(FileError::Read(_, source)) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file or folder, if it is there.
///
/// # Errors
/// [`FileError`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Write(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// A lock that is held until this is dropped, or its process is gone, however that
/// ended.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes a lock, unless somebody has it.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be made.
    pub fn take(path: &Path, what: &str) -> Result<Option<Self>, FileError> {
        let failed = |source| FileError::Write(path.to_owned(), source);
        let mut file = open(path).map_err(failed)?;
        for _ in 0..TRIES {
            if file.try_lock().is_ok() {
                // For messages only; a full disk is no reason to fail.
                let _ = file.set_len(0);
                let _ = write!(file, "{what}, process {}", std::process::id());
                return Ok(Some(Self(file)));
            }
            thread::sleep(BETWEEN);
        }
        Ok(None)
    }

    /// Takes a lock as soon as nobody has it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn wait(path: &Path) -> Result<Self, FileError> {
        let file = open(path).and_then(|file| file.lock().map(|()| file));
        file.map(Self)
            .map_err(|source| FileError::Write(path.to_owned(), source))
    }

    /// Has the programs that this process becomes hold the lock too.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn keep_across_exec(&self) -> io::Result<()> {
        Ok(rustix::io::fcntl_setfd(
            &self.0,
            rustix::io::FdFlags::empty(),
        )?)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Whether somebody has a lock.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// Who holds a lock, by his own word.
#[must_use]
pub fn holder(path: &Path) -> String {
    let text = read(path, 256).unwrap_or_default();
    zipnet_attest::report::plain(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!is_held(&path));
        let lock = Lock::take(&path, "a test").unwrap().unwrap();
        assert!(is_held(&path));
        assert!(holder(&path).starts_with("a test, process "));
        assert!(Lock::take(&path, "another").unwrap().is_none());
        drop(lock);
        assert!(!is_held(&path));
        assert!(Lock::take(&path, "another").unwrap().is_some());
    }

    #[test]
    fn state_is_whole_bounded_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read_state::<Vec<u8>>(&path).unwrap(), None);
        write_state(&path, &vec![1, 2]).unwrap();
        assert_eq!(read_state::<Vec<u8>>(&path).unwrap(), Some(vec![1, 2]));
        fs::write(&path, "[1, 2").unwrap();
        assert!(matches!(
            read_state::<Vec<u8>>(&path),
            Err(FileError::State(..))
        ));
        fs::write(&path, vec![b' '; 300 << 10]).unwrap();
        assert!(matches!(
            read_state::<Vec<u8>>(&path),
            Err(FileError::Long(..))
        ));
    }
}
