//! A folder of this machine.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use object_store::local::LocalFileSystem;

/// What the folder is held by. No name of an archive's files.
const LOCK: &str = "lock";

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system.
    #[error("Could not {what} {path}; a folder that this process may write would be right", path = .path.display())]
    Files {
        /// What failed.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else writes there.
    #[error("Another process uses {path}; a folder for each archive would be right", path = .path.display())]
    Used {
        /// Where.
        path: PathBuf,
    },
    /// The store.
    #[error("Could not open {path}", path = .path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: object_store::Error,
    },
}

/// Holds a folder until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Makes the folder, holds it, and removes what a process that was killed left half written.
pub fn open(folder: &Path) -> Result<(LocalFileSystem, Lock), FolderError> {
    let failed = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Files { what, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("make", folder))?;
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(failed("write", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let path = folder.to_owned();
            return Err(FolderError::Used { path });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    for part in ["index", "records", "credentials"] {
        sweep(&folder.join(part))?;
    }
    sweep_files(folder)?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|source| FolderError::Store {
        path: folder.to_owned(),
        source,
    })?;
    // A file is whole on the disk before it has its name, and has its name when a call returns.
    Ok((store.with_fsync(true), Lock { _file: file }))
}

/// Sweeps a folder and those in it: they are two deep.
fn sweep(folder: &Path) -> Result<(), FolderError> {
    sweep_files(folder)?;
    for entry in list(folder)? {
        if entry.is_dir() {
            sweep_files(&entry)?;
        }
    }
    Ok(())
}

/// Removes files that were being written: the store calls them by the name that they were to get,
/// `#` and a number.
fn sweep_files(folder: &Path) -> Result<(), FolderError> {
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let staged = name.rsplit_once('#').is_some_and(|(_, number)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if staged {
            fs::remove_file(&path).map_err(|source| FolderError::Files {
                what: "remove",
                path: path.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |source| FolderError::Files {
        what: "list",
        path: folder.to_owned(),
        source,
    };
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_half_written_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let epoch = folder.path().join("records/aa");
        fs::create_dir_all(&epoch).unwrap();
        let kept = [
            folder.path().join("head"),
            epoch.join("1-bb"),
            epoch.join("x#y"),
        ];
        let gone = [folder.path().join("head#1"), epoch.join("1-bb#12")];
        for file in kept.iter().chain(&gone) {
            fs::write(file, "x").unwrap();
        }
        let held = open(folder.path()).unwrap();
        assert!(kept.iter().all(|file| file.exists()));
        assert!(gone.iter().all(|file| !file.exists()));
        let again = open(folder.path());
        assert!(matches!(again, Err(FolderError::Used { .. })), "{again:?}");
        drop(held);
        assert!(open(folder.path()).is_ok());
    }
}
