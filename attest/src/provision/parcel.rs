//! What a guest is given.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    secret::{SecretText, SecretTextError},
    trust::PolicyFile,
};

/// Longest parcel, in bytes: the longest policy with its signatures and the
/// longest secrets fit, however they are escaped.
pub const MAX_PARCEL: usize = 1 << 20;

/// Version of the format.
const VERSION: u32 = 2;

/// What is sealed to a guest: its secrets, and the policy to begin with.
///
/// As JSON: `version` (2), `time` (seconds since 1970), `committee_secret` and
/// `secret` (hex of their UTF-8; the latter may be `null`), `policy` and
/// `signatures` (the text of both files). Every field is mandatory and unknown ones are refused.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The committee secret.
    pub committee_secret: SecretText,
    /// The giver's clock, seconds since 1970: a guest takes no secrets while its host's clock is
    /// behind.
    pub time: u64,
    /// The seed of the transport identity. Without one, the guest makes one that nobody else
    /// knows, and is a server that nobody knows yet.
    pub secret: Option<SecretText>,
    /// The policy with its signatures.
    pub policy: PolicyFile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    time: u64,
    committee_secret: SecretText,
    #[serde(deserialize_with = "Option::deserialize")]
    secret: Option<SecretText>,
    policy: String,
    signatures: String,
}

/// A parcel cannot be packed or unpacked. No text of it is in any of these.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// Too long.
    #[error("The secrets and the policy have {0} bytes; at most {MAX_PARCEL} would be right")]
    Long(usize),
    /// Not the format.
    #[error(
        "What was sealed is no parcel (column {column} is wrong); version {VERSION} of the format would be right"
    )]
    Form {
        /// Where.
        column: usize,
    },
    /// Another version.
    #[error("What was sealed is a parcel of version {0}; {VERSION} would be right")]
    Version(u32),
    /// A secret.
    #[error("The {name} cannot be used")]
    Secret {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: SecretTextError,
    },
    /// The policy.
    #[error("The policy is no UTF-8")]
    Policy,
}

impl Parcel {
    fn check(&self) -> Result<(), ParcelError> {
        let secrets = [
            ("committee secret", Some(&self.committee_secret)),
            ("seed of the transport identity", self.secret.as_ref()),
        ];
        for (name, secret) in secrets {
            if let Some(secret) = secret {
                secret
                    .check()
                    .map_err(|source| ParcelError::Secret { name, source })?;
            }
        }
        Ok(())
    }

    /// The bytes to seal.
    ///
    /// # Errors
    /// [`ParcelError`].
    pub fn pack(&self) -> Result<Zeroizing<Vec<u8>>, ParcelError> {
        self.check()?;
        let policy = self.policy.policy.clone();
        let form = Form {
            version: VERSION,
            time: self.time,
            committee_secret: self.committee_secret.clone(),
            secret: self.secret.clone(),
            policy: String::from_utf8(policy).map_err(|_| ParcelError::Policy)?,
            signatures: self.policy.signatures.clone(),
        };
        // A vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PARCEL));
        serde_json::to_writer(&mut *bytes, &form).map_err(|_| ParcelError::Form { column: 0 })?;
        if bytes.len() > MAX_PARCEL {
            return Err(ParcelError::Long(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a parcel back. The policy's signatures are not looked at.
    ///
    /// # Errors
    /// [`ParcelError`].
    pub fn unpack(bytes: &[u8]) -> Result<Self, ParcelError> {
        if bytes.len() > MAX_PARCEL {
            return Err(ParcelError::Long(bytes.len()));
        }
        // The parser's own words may hold a piece of the text.
        let form: Form = serde_json::from_slice(bytes).map_err(|error| ParcelError::Form {
            column: error.column(),
        })?;
        if form.version != VERSION {
            return Err(ParcelError::Version(form.version));
        }
        let parcel = Self {
            time: form.time,
            committee_secret: form.committee_secret,
            secret: form.secret,
            policy: PolicyFile {
                policy: form.policy.into_bytes(),
                signatures: form.signatures,
            },
        };
        parcel.check()?;
        Ok(parcel)
    }
}

/// What a guest was given and has accepted: every secret is there, and enough
/// of the instance's keys signed the policy. Only a guest makes one.
#[derive(Debug, Clone)]
pub struct Provisions {
    pub(super) time: u64,
    pub(super) committee_secret: SecretText,
    pub(super) secret: SecretText,
    pub(super) policy: PolicyFile,
}

/// Name of the file with the committee secret: `ZIPNET_COMMITTEE_SECRET_FILE`.
pub const COMMITTEE_SECRET_FILE: &str = "committee-secret";
/// Name of the file with the seed of the transport identity:
/// `ZIPNET_SECRET_FILE`.
pub const SECRET_FILE: &str = "secret";
/// Name of the policy: `ZIPNET_POLICY`. Its signatures are beside it, in
/// `.minisig`.
pub const POLICY_FILE: &str = "policy.json";
const SIGNATURES_FILE: &str = "policy.json.minisig";

/// Provisions could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("Could not write {path}; a folder that is not there yet, in one that can be written, would be right", path = .path.display())]
pub struct StoreError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Name of the file in `ZIPNET_STATE` with a time that is known to have passed:
/// seconds since 1970, in digits.
pub const CLOCK_FLOOR_FILE: &str = "clock-floor";

impl Provisions {
    /// Writes the giver's time where a server finds a time that has passed, in
    /// the folder for its state: its host's clock may go back as soon as the
    /// secrets are there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store_time(&self, state: &Path) -> Result<(), StoreError> {
        let path = state.join(CLOCK_FLOOR_FILE);
        fs::write(&path, format!("{}\n", self.time)).map_err(|source| StoreError { path, source })
    }

    /// The committee secret.
    #[must_use]
    pub const fn committee_secret(&self) -> &SecretText {
        &self.committee_secret
    }

    /// The seed of the transport identity.
    #[must_use]
    pub const fn secret(&self) -> &SecretText {
        &self.secret
    }

    /// The policy with its signatures.
    #[must_use]
    pub const fn policy(&self) -> &PolicyFile {
        &self.policy
    }

    /// Writes four files, readable by this user only, into a new folder. It
    /// is there with all of them, or not at all.
    ///
    /// # Errors
    /// [`StoreError`], also if the folder is there already.
    pub fn store(&self, folder: &Path) -> Result<(), StoreError> {
        let mut unfinished = folder.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError { path, source }
        };
        if folder.exists() {
            return Err(failed(folder)(io::ErrorKind::AlreadyExists.into()));
        }
        // Of a process that did not come to its end.
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&unfinished)(error));
            }
            _ => {}
        }
        private_folder(&unfinished).map_err(failed(&unfinished))?;
        let files: [(&str, &[u8]); 4] = [
            (
                COMMITTEE_SECRET_FILE,
                self.committee_secret.expose().as_bytes(),
            ),
            (SECRET_FILE, self.secret.expose().as_bytes()),
            (POLICY_FILE, &self.policy.policy),
            (SIGNATURES_FILE, self.policy.signatures.as_bytes()),
        ];
        let written = files.into_iter().try_for_each(|(name, bytes)| {
            let path = unfinished.join(name);
            private_file(&path, bytes).map_err(failed(&path))
        });
        let moved = written.and_then(|()| {
            let sync = || File::open(&unfinished)?.sync_all();
            sync()
                .and_then(|()| fs::rename(&unfinished, folder))
                .map_err(failed(folder))
        });
        if moved.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        moved
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

fn private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o400);
    let mut file = file.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
