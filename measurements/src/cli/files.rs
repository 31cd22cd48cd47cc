//! Files that a user names.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// A file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("Could not read {path}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It could not be written.
    #[error("Could not write {path}", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is too long.
    #[error("{path} is longer than the {limit} bytes that are sensible here", path = .path.display())]
    Long {
        /// Which.
        path: PathBuf,
        /// In bytes.
        limit: usize,
    },
}

impl FileError {
    /// 2 if the user named the wrong thing.
    pub const fn status(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::Long { .. } => 2,
            Self::Write { .. } => 1,
        }
    }
}

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(cap).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(FileError::Long {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Writes a file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    std::fs::write(path, bytes).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The last part of a path.
pub fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
