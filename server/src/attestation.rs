//! Arguments about a server's own evidence.

use core::time::Duration;
use std::{
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use sha2::{Digest as _, Sha256};
use zipnet_attest::{
    Mode, SecretText, provision::MAX_CONFIG, secret::SecretTextError, tsm::DEFAULT_ROOT,
};
pub use zipnet_cli::attestation::*;
use zipnet_node::attestation::{
    CollateralSource, Giving, Keepsakes, ServerAttestation, keepsakes::NoKeyError,
};
use zipnet_protocol::Digest;

use crate::{Failure, args::duration};

/// Where a server's own evidence comes from.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// How long one statement of this server is in force; it is renewed at half time
    #[arg(long, env = "ZIPNET_EVIDENCE_LIFETIME", value_name = "DURATION", default_value = "24h", value_parser = lifetime)]
    evidence_lifetime: Duration,
    /// The kernel's configfs-tsm folder
    #[arg(long, env = "ZIPNET_TSM", value_name = "DIR", default_value = DEFAULT_ROOT)]
    tsm: PathBuf,
    /// File of this server's public settings; its SHA-256 is then in the statements
    /// [default: the digest of the committee's rules is]
    #[arg(long, env = "ZIPNET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address where guests that the policy accepts are given the committee secret and
    /// the policy [default: none]
    #[arg(long, env = "ZIPNET_PROVISION_LISTEN", value_name = "IP:PORT")]
    provision_listen: Option<SocketAddr>,
}

/// Parses a lifetime of evidence.
fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration(text)?;
    if lifetime < Duration::from_secs(10) {
        return Err("it is shorter than 10 s; a duration such as 24h would be right".to_owned());
    }
    Ok(lifetime)
}

/// Settings about a server's own evidence that do not go together.
#[derive(Debug, thiserror::Error)]
enum EvidenceError {
    #[error(transparent)]
    Judging(#[from] AttestationError),
    #[error("Could not read {path}, named by ZIPNET_CONFIG; a readable file of at most {MAX_CONFIG} bytes would be right", path = .path.display())]
    Config {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "ZIPNET_PROVISION_LISTEN is set, but servers show no evidence; ZIPNET_ATTESTATION=tdx, or no such address, would be right"
    )]
    GivingToAnybody,
    #[error("ZIPNET_PROVISION_LISTEN is set, but the committee secret cannot be given")]
    Giving(#[source] SecretTextError),
    #[error(transparent)]
    Keeper(NoKeyError),
}

impl EvidenceArgs {
    /// What a server judges evidence by, and where its own comes from. It may
    /// give the committee secret to guests.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn server(
        &self,
        shown: &AttestationArgs,
        committee_secret: &SecretText,
    ) -> Result<Option<Arc<ServerAttestation>>, Failure> {
        if shown.is_on() {
            let serve = self.serve(shown, committee_secret);
            serve.map(Some).map_err(Failure::usage)
        } else if self.provision_listen.is_some() {
            Err(Failure::usage(EvidenceError::GivingToAnybody))
        } else {
            Ok(None)
        }
    }

    fn serve(
        &self,
        shown: &AttestationArgs,
        committee_secret: &SecretText,
    ) -> Result<Arc<ServerAttestation>, EvidenceError> {
        let ground = shown.ground()?;
        let collateral = shown.collateral(&ground)?;
        if matches!(collateral, CollateralSource::Shown) {
            let missing = "ZIPNET_COLLATERAL";
            return Err(AttestationError::Missing { missing }.into());
        }
        let root = ground.root.clone();
        let source = ground.source(&self.tsm).map_err(AttestationError::Mode)?;
        Ok(Arc::new(ServerAttestation {
            authority: shown.open(root, collateral)?,
            source,
            lifetime: self.evidence_lifetime,
            config: self.config.as_deref().map(digest).transpose()?,
            giving: self.giving(shown.mode(), committee_secret)?,
        }))
    }

    fn giving(
        &self,
        mode: Mode,
        committee_secret: &SecretText,
    ) -> Result<Option<Arc<Giving>>, EvidenceError> {
        let Some(listen) = self.provision_listen else {
            return Ok(None);
        };
        committee_secret.check().map_err(EvidenceError::Giving)?;
        Ok(Some(Arc::new(Giving {
            listen,
            mode,
            committee_secret: committee_secret.clone(),
            keepsakes: Keepsakes::new().map_err(EvidenceError::Keeper)?,
        })))
    }
}

/// SHA-256 of a file of settings.
fn digest(path: &Path) -> Result<Digest, EvidenceError> {
    let failed = |source| EvidenceError::Config {
        path: path.to_owned(),
        source,
    };
    let limit = u64::try_from(MAX_CONFIG).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_CONFIG {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Digest::new(Sha256::digest(&bytes).into()))
}
