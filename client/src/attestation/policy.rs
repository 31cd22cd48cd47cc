//! Policy files: read, kept, and only ever replaced by later ones.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::PoisonError,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use zipnet_attest::{
    PolicyFile, TrustBase, policy::MAX_POLICY, signed::MAX_SIGNATURES, trust::TrustError,
};

use super::{Authority, InForce};

/// Name of the newest policy in the folder for the state.
const NEWEST: &str = "newest-policy.json";

/// A policy file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It, or its signatures, cannot be read.
    #[error("Could not read {path}; a policy with its signatures in `.minisig` beside it would be right", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is refused.
    #[error("The policy {path} gives no rules", path = .path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: TrustError,
    },
    /// The newest one that was seen cannot be used.
    #[error("The newest policy that was seen, kept in {path}, cannot be used; without it an older one would be believed. Whoever knows better removes it", path = .path.display())]
    Kept {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn core::error::Error + Send + Sync>,
    },
    /// The newest one cannot be kept.
    #[error("Could not write {path}, so that the policy's serial might go back", path = .path.display())]
    Keep {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The policy of `file`, or the later one that an earlier process left in the
/// folder for the state.
pub(super) fn load(
    base: &TrustBase,
    file: &Path,
    state: Option<&Path>,
) -> Result<InForce, PolicyError> {
    let configured = open(base, file, 0)?;
    let Some(state) = state else {
        return Ok(configured);
    };
    match kept(base, state)? {
        Some(newest) if newest.serial() > configured.serial() => {
            tracing::warn!(
                configured = configured.serial(),
                newest = newest.serial(),
                "attestation: the policy file is older than the newest policy that was seen, which stays in force"
            );
            Ok(newest)
        }
        _ => {
            keep(state, &configured)?;
            Ok(configured)
        }
    }
}

/// A policy with its signatures in one file, so that both change at once.
#[derive(Serialize, Deserialize)]
struct Kept {
    policy: String,
    signatures: String,
}

/// The policy that was kept. One that cannot be used is an error: nobody can
/// tell how new it was.
fn kept(base: &TrustBase, state: &Path) -> Result<Option<InForce>, PolicyError> {
    let path = state.join(NEWEST);
    let failed = |source| PolicyError::Kept {
        path: path.clone(),
        source,
    };
    let limit = MAX_POLICY.saturating_add(MAX_SIGNATURES).saturating_mul(2);
    let bytes = match bounded(&path, limit) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
    let file = PolicyFile {
        policy: kept.policy.into_bytes(),
        signatures: kept.signatures,
    };
    let verifier = base.open(&file, 0).map_err(|error| failed(error.into()))?;
    Ok(Some(InForce { file, verifier }))
}

/// Reads and opens a policy file.
fn open(base: &TrustBase, path: &Path, newest: u64) -> Result<InForce, PolicyError> {
    let file = read(path).map_err(|(path, source)| PolicyError::Read { path, source })?;
    let verifier = base
        .open(&file, newest)
        .map_err(|source| PolicyError::Refused {
            path: path.to_owned(),
            source,
        })?;
    Ok(InForce { file, verifier })
}

fn read(path: &Path) -> Result<PolicyFile, (PathBuf, io::Error)> {
    let beside = signatures(path);
    let policy = bounded(path, MAX_POLICY).map_err(|error| (path.to_owned(), error))?;
    let signed = bounded(&beside, MAX_SIGNATURES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
        .map_err(|error| (beside, error))?;
    Ok(PolicyFile {
        policy,
        signatures: signed,
    })
}

/// Reads a file; one byte more than is allowed is enough to refuse it.
fn bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn signatures(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Keeps the newest policy.
fn keep(state: &Path, policy: &InForce) -> Result<(), PolicyError> {
    let path = state.join(NEWEST);
    let put = || {
        let kept = Kept {
            policy: String::from_utf8_lossy(&policy.file.policy).into_owned(),
            signatures: policy.file.signatures.clone(),
        };
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&kept)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        // The new name is on disk when the folder is.
        File::open(state)?.sync_all()
    };
    put().map_err(|source| PolicyError::Keep {
        path: path.clone(),
        source,
    })
}

/// When a policy and its signatures were written.
pub(super) fn written(path: &Path) -> [Option<SystemTime>; 2] {
    [path, &signatures(path)].map(|path| fs::metadata(path).ok()?.modified().ok())
}

impl Authority {
    /// Puts a policy that came from elsewhere in force, if enough keys signed
    /// it and its serial is higher. `true` if it was.
    pub fn adopt(&self, file: &PolicyFile) -> bool {
        let newest = self.policy().serial().saturating_add(1);
        match self.base().open(file, newest) {
            Ok(verifier) => self.enforce(InForce {
                file: file.clone(),
                verifier,
            }),
            Err(_) => false,
        }
    }

    /// Reads the policy file again.
    pub(super) fn reload(&self) {
        let serial = self.policy().serial();
        match open(self.base(), &self.settings.policy, serial) {
            Ok(policy) if policy.serial() > serial => {
                self.enforce(policy);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(
                because = %crate::report::chain(&error),
                in_force = serial,
                "attestation: the policy file has changed and is refused; the old policy stays in force"
            ),
        }
    }

    fn enforce(&self, policy: InForce) -> bool {
        let serial = policy.serial();
        // One at a time, so that what is kept is what is in force.
        let _one = self
            .enforcing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if serial <= self.policy().serial() {
            return false;
        }
        if let Some(state) = &self.settings.state
            && let Err(error) = keep(state, &policy)
        {
            tracing::warn!(because = %crate::report::chain(&error), "attestation: a policy could not be kept");
        }
        self.put_in_force(policy);
        tracing::info!(serial, "attestation: a new policy is in force");
        true
    }
}
