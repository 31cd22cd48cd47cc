//! The committee secret.

use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;
pub use zipnet_cli::secrets::*;
use zipnet_protocol::CommitteeSecret;

use crate::Failure;

/// How the committee admission secret is given.
#[derive(Debug, Args)]
pub struct CommitteeArgs {
    /// Committee admission secret, the same on all servers; clients and aggregators
    /// must not have it
    #[arg(
        long,
        env = "ZIPNET_COMMITTEE_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    committee_secret: Option<SecretText>,
    /// File that holds the committee admission secret
    #[arg(long, env = "ZIPNET_COMMITTEE_SECRET_FILE", value_name = "FILE")]
    committee_secret_file: Option<PathBuf>,
}

impl CommitteeArgs {
    /// The committee admission secret, which has to be there.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn secret(&self) -> Result<SecretText, Failure> {
        const NAME: &str = "ZIPNET_COMMITTEE_SECRET";
        let file = self.committee_secret_file.as_deref();
        resolve(NAME, self.committee_secret.as_ref(), file)
            .and_then(|secret| secret.ok_or(SecretError::Missing { name: NAME }))
            .map_err(Failure::usage)
    }
}

/// The same as the protocol takes it.
#[must_use]
pub fn committee_secret(text: &SecretText) -> CommitteeSecret {
    CommitteeSecret::new(Zeroizing::new(text.expose().as_bytes().to_vec()))
}
