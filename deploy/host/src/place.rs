//! Where everything of a host's guests is kept: the run folder.

use core::{fmt, str::FromStr};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zipnet_measurements::Digest256;

use crate::files::{self, FileError};

/// Where it is unless told otherwise.
pub const DEFAULT: &str = "/run/zipnet";
/// Longest name of a guest.
const MAX_NAME: usize = 64;
/// Most guests of a host: far more than it has keys for.
const MAX_GUESTS: usize = 1024;

/// The name of a guest on its host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Text is no name of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "1 to {MAX_NAME} of a-z A-Z 0-9 . _ - that begin with a letter or digit would be right: it names a folder"
)]
pub struct NameError;

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if begins && text.len() <= MAX_NAME && text.bytes().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError)
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The run folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Others could change what is in it.
    #[error(
        "{path} belongs to user {owner} and has the mode {mode:o}; one that belongs to user {me} and that nobody else writes would be right",
        path = .path.display()
    )]
    Others {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
        /// Its mode.
        mode: u32,
        /// Who asks.
        me: u32,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A run folder.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    /// Opens the run folder, and makes it if it is not there.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn open(path: &Path) -> Result<Self, PlaceError> {
        files::private_folder(path)?;
        let read = |source| FileError::Read(path.to_owned(), source);
        // Commands are started elsewhere than where they were typed.
        let path = fs::canonicalize(path).map_err(read)?;
        let found = fs::metadata(&path).map_err(|source| FileError::Read(path.clone(), source))?;
        let me = rustix::process::geteuid().as_raw();
        let mode = found.mode() & 0o7777;
        if found.uid() != me || mode & 0o022 != 0 {
            let owner = found.uid();
            return Err(PlaceError::Others {
                path,
                owner,
                mode,
                me,
            });
        }
        let place = Self(path);
        files::private_folder(&place.guests_folder())?;
        files::private_folder(&place.images())?;
        Ok(place)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn guests_folder(&self) -> PathBuf {
        self.0.join("guests")
    }

    /// The images that guests run, each in a folder named by its launcher's SHA-256.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The lock of whoever adds or removes images.
    #[must_use]
    pub fn images_lock(&self) -> PathBuf {
        self.0.join("images.lock")
    }

    /// The lock of the one upgrade that there may be on a host.
    #[must_use]
    pub fn upgrade_lock(&self) -> PathBuf {
        self.0.join("upgrade.lock")
    }

    /// The folder of a guest, which may not be there.
    #[must_use]
    pub fn guest(&self, name: &Name) -> Folder {
        Folder {
            path: self.guests_folder().join(&name.0),
            name: name.clone(),
        }
    }

    /// All guests that were ever launched here, by name.
    ///
    /// # Errors
    /// [`PlaceError`] if the folder cannot be read.
    pub fn guests(&self) -> Result<Vec<Folder>, PlaceError> {
        let path = self.guests_folder();
        let entries = fs::read_dir(&path).map_err(|source| FileError::Read(path, source))?;
        let mut names: Vec<Name> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok())
            .take(MAX_GUESTS)
            .collect();
        names.sort();
        Ok(names.iter().map(|name| self.guest(name)).collect())
    }
}

/// The folder of a guest.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// Whose it is.
    pub name: Name,
}

/// Gives each file of a guest's folder its name.
macro_rules! files {
    ($($(#[$about:meta])* $name:ident = $file:literal;)*) => {
        impl Folder {
            $($(#[$about])* #[must_use] pub fn $name(&self) -> PathBuf { self.path.join($file) })*
        }
    };
}

files! {
    /// What is to run: [`crate::plan::Wanted`].
    wanted = "wanted.json";
    /// Which process runs it: [`crate::plan::Ran`].
    ran = "ran.json";
    /// What its console said of it: [`crate::seen::Seen`].
    seen = "seen.json";
    /// The upgrade that is under way: [`crate::plan::Journal`].
    journal = "upgrade.json";
    /// What its console says comes through here.
    fifo = "console.fifo";
    /// The console's newest lines.
    console = "console.log";
    /// Where the launcher unpacks the image.
    work = "work";
    /// The lock of verbs that change something.
    verb_lock = "verb.lock";
    /// The lock of whoever watches the guest.
    supervisor_lock = "supervisor.lock";
    /// What who watches the guest says, if it has no terminal.
    supervisor_log = "supervisor.log";
    /// The lock that the guest's own processes hold.
    guest_lock = "guest.lock";
}

impl Folder {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a configuration is kept as it was when its guest was launched.
    #[must_use]
    pub fn config(&self, digest: Digest256) -> PathBuf {
        self.path.join(format!("config-{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_name_names_one_folder() {
        for right in ["a", "server-1", "acme.mix_2", "0"] {
            assert_eq!(right.parse::<Name>().unwrap().to_string(), right);
        }
        let long = "a".repeat(MAX_NAME + 1);
        for wrong in ["", ".", "..", "a/b", "../a", "-a", "a b", "a\n", "ä", &long] {
            assert_eq!(wrong.parse::<Name>(), Err(NameError), "{wrong}");
        }
    }

    #[test]
    fn a_folder_that_others_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let place = Place::open(&path).unwrap();
        for private in [place.path(), &place.images(), &place.guests_folder()] {
            assert_eq!(fs::metadata(private).unwrap().mode() & 0o777, 0o700);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).unwrap();
        let error = Place::open(&path).unwrap_err().to_string();
        assert!(error.contains("has the mode 775"), "{error}");
    }
}
