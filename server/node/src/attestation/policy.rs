//! Policy files: read, kept, and only ever replaced by later ones.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use zipnet_attest::{
    PolicyFile, TrustBase, policy::MAX_POLICY, signed::MAX_SIGNATURES, trust::TrustError,
};

use super::{Authority, InForce};

/// Name of the newest policy in the folder for the state.
const NEWEST: &str = "policy.json";

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
    let kept = state.join(NEWEST);
    // What is kept may be damaged, or of other keys: then there is none.
    match open(base, &kept, 0) {
        Ok(newest) if newest.serial() > configured.serial() => {
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
    let bounded = |path: &Path, limit: usize| {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        File::open(path)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
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

fn signatures(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Keeps the newest policy. The signatures first: a policy without its
/// signatures counts for nothing, and the old pair is still good without.
fn keep(state: &Path, policy: &InForce) -> Result<(), PolicyError> {
    let path = state.join(NEWEST);
    let put = |path: &Path, bytes: &[u8]| {
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let beside = signatures(&path);
    put(&beside, policy.file.signatures.as_bytes())
        .and_then(|()| put(&path, &policy.file.policy))
        .map_err(|source| PolicyError::Keep { path, source })
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
        if let Some(state) = &self.settings.state
            && let Err(error) = keep(state, &policy)
        {
            tracing::warn!(because = %crate::report::chain(&error), "attestation: a policy could not be kept");
        }
        let newer = self.put_in_force(policy);
        if newer {
            tracing::info!(serial, "attestation: a new policy is in force");
        }
        newer
    }
}
