//! Collateral on disk: for each model of platform and CA the newest, which
//! never goes back. Whoever can only choose what a verifier is shown cannot
//! bring an evaluation back in which a broken platform was still up to date.
//!
//! A folder is of one trust root. What it holds is taken as trusted when it is
//! compared, and verified again by whoever uses it: someone who can write the
//! folder can stop updates or delete them, but not have a quote accepted.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    collateral::{Collateral, MAX_COLLATERAL},
    edition::Edition,
    genuine::Trusted,
    platforms::{Ca, Platforms},
    rules::Refusal,
};

/// Most files of a folder that are listed.
const MAX_FILES: usize = 1024;
/// Held while a file is compared and replaced.
const LOCK: &str = ".lock";

/// Collateral in a folder, one file for each FMSPC and CA, named like
/// `00806F050000-platform.json`, in the `QuoteCollateralV3` JSON form.
///
/// Any number of processes may use a folder at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

/// What became of collateral that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was the newest and is stored.
    Stored,
    /// It is not newer than what is stored, or a part of it is older; what is
    /// stored stays.
    Older,
}

/// A file that held no collateral and was moved aside.
#[derive(Debug, thiserror::Error)]
#[error("What was known of a platform is lost, and an older edition may be believed again; the file is kept as {to}", to = .to.display())]
pub struct SetAside {
    /// Where it is now.
    to: PathBuf,
    #[source]
    reason: StoreError,
}

/// Collateral could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No folder.
    #[error("Could not create the folder {path} for collateral; one that can be written would be right", path = .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No lock.
    #[error("Could not lock {path}; a file that can be written, on a file system with locks, would be right", path = .path.display())]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be read.
    #[error("Could not read the collateral in {path}; a file that can be read would be right", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("Could not write the collateral to {path}; a folder with space that can be written would be right", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold collateral.
    #[error("{path} holds no collateral; the QuoteCollateralV3 JSON form would be right, or no such file", path = .path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// A file holds other collateral than its name says.
    #[error("{path} holds collateral of {found}; the one that its name says would be right, or no such file", path = .path.display())]
    Misnamed {
        /// Which.
        path: PathBuf,
        /// FMSPC and CA that it is of.
        found: String,
    },
    /// What was put has no place.
    #[error(
        "The collateral to store belongs nowhere; a known FMSPC, CA and evaluation would be right"
    )]
    Unfit(#[source] Refusal),
    /// More files than Intel has models.
    #[error("The folder {path} holds collateral of more than {MAX_FILES} models; one that nobody else writes would be right", path = .path.display())]
    Many {
        /// Which.
        path: PathBuf,
    },
    /// No room in memory.
    #[error(
        "The collateral to keep is of one model more than the {limit} that fit; a shelf with a folder would be right"
    )]
    Full {
        /// How many do.
        limit: usize,
    },
    /// What was put could not be read back.
    #[error("The collateral to store has {found} bytes; at most {MAX_COLLATERAL} would be right")]
    Long {
        /// In the JSON form.
        found: usize,
    },
}

impl Store {
    /// Opens a folder, which is created if there is none.
    ///
    /// # Errors
    /// [`StoreError::Folder`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        match fs::create_dir_all(&folder) {
            Ok(()) => Ok(Self { folder }),
            Err(source) => Err(StoreError::Folder {
                path: folder,
                source,
            }),
        }
    }

    /// The newest collateral of a model of platform, if there is any. As good
    /// as the folder: nothing of it is verified here.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read, or is something else.
    pub fn get(&self, fmspc: [u8; 6], ca: Ca) -> Result<Option<Collateral>, StoreError> {
        let platforms = Platforms { fmspc, ca };
        let found = self.read(platforms)?;
        Ok(found.map(|(collateral, _)| collateral))
    }

    /// All that is stored, by model of platform and CA. As good as the folder:
    /// nothing of it is verified here.
    ///
    /// # Errors
    /// [`StoreError`] if the folder or a file cannot be read, or is something
    /// else; [`StoreError::Many`] beyond 1024 files.
    pub fn list(&self) -> Result<Vec<Collateral>, StoreError> {
        let found = self.names()?.into_iter();
        let found = found.map(|platforms| self.read(platforms));
        // A file may have gone meanwhile.
        found
            .filter_map(Result::transpose)
            .map(|read| read.map(|(collateral, _)| collateral))
            .collect()
    }

    /// Whose collateral there is, by the names of files.
    fn names(&self) -> Result<Vec<Platforms>, StoreError> {
        let failed = |source| StoreError::Read {
            path: self.folder.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(platforms) = name.to_str().and_then(named) {
                if found.len() >= MAX_FILES {
                    return Err(StoreError::Many {
                        path: self.folder.clone(),
                    });
                }
                found.push(platforms);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Stores collateral if it is newer than what is stored and no part of it
    /// is older, or what is stored has expired, or is beyond `highest`, the
    /// highest TCB evaluation of the track (`None`: no end).
    ///
    /// It takes [`Trusted`], which only verification yields: a document that
    /// nobody signed cannot replace one that Intel did, however new it calls
    /// itself. Collateral that condemns a platform does not come in with that
    /// platform's own quote; [`trusted_alone`](crate::trusted_alone) needs
    /// none.
    ///
    /// # Errors
    /// [`StoreError`]; what is stored then stays, also if it is not
    /// collateral: [`Store::set_aside`] says so first.
    pub fn put(&self, trusted: Trusted<'_>, highest: Option<u32>) -> Result<Put, StoreError> {
        let collateral = trusted.collateral();
        let edition = Edition::of(collateral).map_err(StoreError::Unfit)?;
        let json = collateral.to_json();
        if json.len() > MAX_COLLATERAL {
            return Err(StoreError::Long { found: json.len() });
        }
        // Until the file is closed.
        let _lock = self.lock()?;
        let stored = self.read(edition.platforms)?;
        let at = trusted.at();
        if stored.is_some_and(|(_, stored)| !stored.gives_way(&edition, at, highest)) {
            return Ok(Put::Older);
        }
        let path = self.path(edition.platforms);
        match self.replace(&path, json.as_bytes()) {
            Ok(()) => Ok(Put::Stored),
            Err(source) => Err(StoreError::Write { path, source }),
        }
    }

    /// Moves files aside that have the name of collateral and hold none, or
    /// another's: what they held is not known any more, and an older edition
    /// may be believed again. Whoever calls this says so, loudly.
    ///
    /// # Errors
    /// [`StoreError`] if the folder or a file cannot be read or moved.
    pub fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        let _lock = self.lock()?;
        let mut aside = Vec::new();
        for platforms in self.names()? {
            let Err(reason) = self.read(platforms) else {
                continue;
            };
            if !matches!(
                reason,
                StoreError::Form { .. } | StoreError::Misnamed { .. }
            ) {
                return Err(reason);
            }
            let path = self.path(platforms);
            let to = path.with_extension("corrupt");
            match fs::rename(&path, &to) {
                Ok(()) => aside.push(SetAside { to, reason }),
                Err(source) => return Err(StoreError::Write { path, source }),
            }
        }
        Ok(aside)
    }

    fn path(&self, platforms: Platforms) -> PathBuf {
        self.folder.join(format!("{platforms}.json"))
    }

    fn lock(&self) -> Result<File, StoreError> {
        let path = self.folder.join(LOCK);
        let lock = || {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| StoreError::Lock {
            path: path.clone(),
            source,
        })
    }

    pub(crate) fn read(
        &self,
        platforms: Platforms,
    ) -> Result<Option<(Collateral, Edition)>, StoreError> {
        let path = self.path(platforms);
        let bytes = match bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        let parsed = Collateral::from_json(&bytes)
            .and_then(|collateral| Edition::of(&collateral).map(|edition| (collateral, edition)));
        match parsed {
            Ok((_, edition)) if edition.platforms != platforms => Err(StoreError::Misnamed {
                path,
                found: edition.platforms.to_string(),
            }),
            Ok(found) => Ok(Some(found)),
            Err(source) => Err(StoreError::Form { path, source }),
        }
    }

    /// Replaces a file as a whole: readers, and whoever comes after a crash,
    /// find the old one or the new one. The caller holds the lock, so that one
    /// name for the temporary file is enough, and a torn one is overwritten.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The new name is on disk when the folder is.
        #[cfg(unix)]
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }
}

/// Whose collateral a file of this name holds.
fn named(name: &str) -> Option<Platforms> {
    let (fmspc, ca) = name.strip_suffix(".json")?.split_once('-')?;
    let mut platforms = Platforms {
        fmspc: [0; 6],
        ca: ca.parse().ok()?,
    };
    hex::decode_to_slice(fmspc, &mut platforms.fmspc).ok()?;
    Some(platforms)
}

/// Reads a file; one byte more than collateral may have is enough to refuse it.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(MAX_COLLATERAL).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
