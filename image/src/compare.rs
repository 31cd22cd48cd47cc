//! Two builds, compared byte by byte.

use std::{collections::BTreeSet, io::Read as _, path::Path};

use crate::{
    files::{self, FileError},
    newc::{self, Archive, NewcError},
};

/// Largest initramfs that is looked into, unpacked, in bytes.
const MAX_ARCHIVE: u64 = 1 << 30;

/// An initramfs that cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error("The initramfs could not be read")]
    File(#[from] FileError),
    /// Its compression.
    #[error("It is no archive that zstd compressed")]
    Compression(#[source] std::io::Error),
    /// Its format.
    #[error("It is no archive of the format newc")]
    Archive(#[from] NewcError),
}

/// What is in an initramfs.
///
/// # Errors
/// [`OpenError`].
pub fn open(compressed: &[u8]) -> Result<Archive, OpenError> {
    let mut plain = Vec::new();
    zstd::Decoder::new(compressed)
        .and_then(|decoder| decoder.take(MAX_ARCHIVE).read_to_end(&mut plain))
        .map_err(OpenError::Compression)?;
    Ok(newc::read(&plain)?)
}

/// In what two folders with images differ, one sentence for each file; none if
/// they are the same.
///
/// # Errors
/// [`FileError`].
pub fn compare(left: &Path, right: &Path) -> Result<Vec<String>, FileError> {
    let mut names = BTreeSet::new();
    for dir in [left, right] {
        for path in files::entries(dir)? {
            names.insert(path.file_name().unwrap_or_default().to_owned());
        }
    }
    let mut differences = Vec::new();
    for name in names {
        let shown = name.to_string_lossy();
        let (one, other) = (left.join(&name), right.join(&name));
        for (has, dir) in [(one.exists(), left), (other.exists(), right)] {
            if !has {
                differences.push(format!("{shown} is not in {}", dir.display()));
            }
        }
        if one.exists() && other.exists() {
            let (one, other) = (files::read(&one)?, files::read(&other)?);
            if let Some(at) = first_difference(&one, &other) {
                differences.push(format!("{shown} {}", describe(at, &one, &other)));
                differences.extend(members(&one, &other));
            }
        }
    }
    Ok(differences)
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.iter().zip(other).take_while(|(a, b)| a == b);
    Some(same.count())
}

fn describe(at: usize, one: &[u8], other: &[u8]) -> String {
    format!(
        "differs from byte {at} on ({} and {} bytes)",
        one.len(),
        other.len()
    )
}

/// The first member in which two initramfs differ.
fn members(one: &[u8], other: &[u8]) -> Option<String> {
    let (one, other) = (open(one).ok()?, open(other).ok()?);
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    names.into_iter().find_map(|name| {
        let (left, right) = (one.get(name), other.get(name));
        if left == right {
            return None;
        }
        let told = match (left, right) {
            (Some(left), Some(right)) => first_difference(left.data(), right.data()).map_or_else(
                || "has other permissions".to_owned(),
                |at| describe(at, left.data(), right.data()),
            ),
            _ => "is in one of them only".to_owned(),
        };
        Some(format!("  its first member that differs: {name} {told}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{initramfs, newc::Entry};

    fn initramfs_with(content: &str) -> Vec<u8> {
        let file = |text: &str| Entry::File {
            mode: 0o644,
            data: text.as_bytes().to_vec(),
        };
        let archive = [("a", "same"), ("b", content), ("c", content)];
        let archive = archive.map(|(name, text)| (name.to_owned(), file(text)));
        initramfs::compress(&Archive::from(archive), 3).unwrap()
    }

    #[test]
    fn the_first_member_that_differs_is_named() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for (dir, content) in dirs.iter().zip(["content", "consent"]) {
            files::write(&dir.path().join("x"), &initramfs_with(content)).unwrap();
            files::write(&dir.path().join("y"), b"same").unwrap();
        }
        let [left, right] = dirs.each_ref().map(tempfile::TempDir::path);
        assert!(compare(left, left).unwrap().is_empty());
        let told = compare(left, right).unwrap();
        assert!(told[0].starts_with("x differs from byte "), "{told:?}");
        assert_eq!(
            told[1],
            "  its first member that differs: b differs from byte 3 on (7 and 7 bytes)"
        );
        assert_eq!(told.len(), 2);
        files::write(&right.join("z"), b"more").unwrap();
        let told = compare(left, right).unwrap();
        assert_eq!(told[2], format!("z is not in {}", left.display()));
    }
}
