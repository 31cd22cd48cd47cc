//! What a giver has to remember from one guest to the next: the newest collateral and the highest
//! serial of a policy, so that whoever answers for a PCCS, or hands out files, brings nothing older
//! back.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{Shelf, TrustBase, provision::GuestStatement, store::StoreError};

use crate::cli::{causes, say_aside};

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nobody says where it is.
    #[error(
        "Neither --state nor HOME says where to remember collateral and serials; --state with a folder that stays would be right"
    )]
    Nowhere,
    /// Collateral.
    #[error("The collateral that was seen cannot be used")]
    Shelf(#[source] StoreError),
    /// The serial.
    #[error("{path} does not hold the highest serial that was seen; digits would be right, or no such file if you know that no newer policy was signed", path = .path.display())]
    Serial {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The serial, written.
    #[error("Could not write {path}, so that the policy's serial might go back", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A folder of one instance under one trust base.
pub struct State {
    folder: PathBuf,
    /// The newest collateral that was seen.
    pub shelf: Shelf,
    /// The highest serial that was seen.
    pub newest: u64,
}

/// Opens the folder that is named, or the user's own.
pub fn open(named: Option<&Path>, base: &TrustBase, instance: &str) -> Result<State, StateError> {
    let root = match named {
        Some(folder) => folder.to_owned(),
        None => own()?,
    };
    // Instances under the same keys have policies of their own.
    let instance = GuestStatement::instance(instance);
    let folder = root
        .join(hex::encode(base.anchor()))
        .join(hex::encode(instance));
    let (shelf, aside) = Shelf::open(folder.join("collateral")).map_err(StateError::Shelf)?;
    for aside in aside {
        say_aside(&format!(
            "{aside}; because: {}",
            causes(&aside).join("; because: ")
        ));
    }
    let path = folder.join("newest-serial");
    let newest = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    };
    let newest = newest.map_err(|source| StateError::Serial { path, source })?;
    Ok(State {
        folder,
        shelf,
        newest,
    })
}

fn own() -> Result<PathBuf, StateError> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    Ok(state.ok_or(StateError::Nowhere)?.join("zipnet-attest"))
}

impl State {
    /// Remembers the serial of a policy.
    pub fn saw(&self, serial: u64) -> Result<(), StateError> {
        if serial <= self.newest {
            return Ok(());
        }
        let path = self.folder.join("newest-serial");
        let put = || {
            let temporary = path.with_extension("new");
            let mut file = File::create(&temporary)?;
            writeln!(file, "{serial}")?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        put().map_err(|source| StateError::Write {
            path: path.clone(),
            source,
        })
    }
}
