//! Files, with errors that name them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file or folder that could not be worked with.
#[derive(Debug, thiserror::Error)]
#[error("Could not {verb} {path}", path = .path.display())]
pub struct FileError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl FileError {
    /// Says what could not be done to which file.
    pub fn of(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { verb, path, source }
    }
}

/// The bytes of a file.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::of("read", path))
}

/// Writes a whole file.
///
/// # Errors
/// [`FileError`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    fs::write(path, bytes).map_err(FileError::of("write", path))
}

/// The entries of a folder in the order of their names.
///
/// # Errors
/// [`FileError`].
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(dir).map_err(FileError::of("list", dir))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(FileError::of("list", dir))?;
    paths.sort();
    Ok(paths)
}
