//! Kernel modules, as Debian's package has them.

use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// Longest module, in bytes.
const MAX_MODULE: u64 = 64 << 20;

/// A module that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// A folder or file.
    #[error("The kernel's modules could not be read")]
    File(#[from] FileError),
    /// It is not there.
    #[error(
        "The kernel package has no module {name}; image/modules names those that it should have"
    )]
    Missing {
        /// Which.
        name: String,
    },
    /// It is not compressed as it should be.
    #[error("{path} could not be decompressed; is the kernel package whole?", path = .path.display())]
    Compression {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Names in a list of modules, without comments and marks.
pub fn names(list: &str) -> impl Iterator<Item = &str> {
    let lines = list.lines().map(|line| line.trim_start_matches('-'));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// All modules below a folder.
///
/// # Errors
/// [`ModuleError::File`].
pub fn find(dir: &Path) -> Result<Vec<PathBuf>, ModuleError> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in files::entries(&dir)? {
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// A module by its name, decompressed; its signature is at its end.
///
/// # Errors
/// [`ModuleError`].
pub fn load(found: &[PathBuf], name: &str) -> Result<Vec<u8>, ModuleError> {
    // The kernel takes `-` and `_` for one another.
    let same = |path: &&PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let (stem, kind) = file.split_once('.').unwrap_or_default();
        matches!(kind, "ko" | "ko.xz") && stem.replace('-', "_") == name.replace('-', "_")
    };
    let path = found
        .iter()
        .find(same)
        .ok_or_else(|| ModuleError::Missing {
            name: name.to_owned(),
        })?;
    let bytes = files::read(path)?;
    if path.extension().is_none_or(|kind| kind != "xz") {
        return Ok(bytes);
    }
    let mut module = Vec::new();
    let decoder = liblzma::read::XzDecoder::new(&*bytes);
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, MAX_MODULE), &mut module)
        .map_err(|source| ModuleError::Compression {
            path: path.clone(),
            source,
        })?;
    Ok(module)
}
