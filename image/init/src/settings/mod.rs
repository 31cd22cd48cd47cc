//! The guest's configuration: [`Config`]'s lines, of which every key is known,
//! none is secret, and every value that concerns the guest itself is right.
//! The values of the server's own variables are for the server to judge.

mod address;
mod draft;
mod keys;

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

pub use address::{Address, Ipv4Net};
pub use draft::Contradiction;
use draft::Draft;
use zipnet_attest::{
    Mode,
    mode::ModeError,
    provision::{Config, ConfigError},
};
use zipnet_protocol::{InstanceName, InstanceNameError};

/// A configuration that a guest can run with.
#[derive(Debug)]
pub struct Settings {
    /// Name of the deployment.
    pub instance: InstanceName,
    /// What the server shows of itself; never [`Mode::None`].
    pub attestation: Mode,
    /// `GUEST_HOSTNAME`.
    pub hostname: String,
    /// `GUEST_ADDRESS` and `GUEST_GATEWAY`.
    pub address: Address,
    /// `GUEST_DNS`; empty: those of DHCP.
    pub dns: Vec<IpAddr>,
    /// `GUEST_PROVISION`: where to wait for whoever has the secrets.
    pub provision: SocketAddr,
    /// `GUEST_PROVISION_FROM`: members of the committee to ask for them.
    pub peers: Vec<SocketAddr>,
    /// `GUEST_PROVISION_TIMEOUT`.
    pub provision_timeout: Option<Duration>,
    /// `GUEST_INVENTORY`.
    pub inventory: bool,
    /// `GUEST_EVENT_LOG`.
    pub event_log: bool,
    /// Where the server's metrics are.
    pub metrics: SocketAddr,
    /// The server's variables, in the order of the file.
    pub server: Vec<(String, String)>,
}

/// What is wrong with a configuration: one thing, or several lines.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No lines of `KEY=VALUE`.
    #[error("The configuration cannot be read")]
    Form(#[source] ConfigError),
    /// A line.
    #[error("Line {line} of the configuration: {key}")]
    Line {
        /// From 1 on.
        line: usize,
        /// Its key; what is no key of ours is shown with escapes.
        key: String,
        /// Why. The value of a secret is not in it.
        #[source]
        source: SettingError,
    },
    /// Nothing.
    #[error("The configuration does not set {0}; {1} would be right")]
    Missing(&'static str, &'static str),
    /// Two settings.
    #[error(transparent)]
    Contradiction(Contradiction),
}

/// A setting that is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// No such key.
    #[error("There is no such key{}", .0.map(|key| format!("; did you mean {key}?")).unwrap_or_default())]
    Unknown(Option<&'static str>),
    /// A secret.
    #[error(
        "This is a secret, and the host reads the configuration: secrets reach a guest by provisioning only. Take it out, and consider it known"
    )]
    Secret,
    /// Set by the guest.
    #[error("The guest sets this by itself; no such line would be right")]
    Fixed,
    /// The instance.
    #[error(transparent)]
    Instance(InstanceNameError),
    /// Attestation.
    #[error(transparent)]
    Mode(ModeError),
    /// No attestation.
    #[error(
        "A guest gets its secrets by its evidence, and with `none` it shows none; `tdx` would be right"
    )]
    NoAttestation,
    /// Collateral.
    #[error("There is no such folder in a guest; the URL of a PCCS would be right")]
    Folder,
    /// A value of another form.
    #[error("It is {found:?}; {right} would be right")]
    Value {
        /// The value, cut.
        found: String,
        /// A sentence's end.
        right: &'static str,
    },
}

impl SettingError {
    fn value(found: &str, right: &'static str) -> Self {
        Self::Value {
            found: found.chars().take(64).collect(),
            right,
        }
    }
}

impl Settings {
    /// Judges a configuration.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Config), Vec<SettingsError>> {
        let config = Config::parse(bytes).map_err(|error| vec![SettingsError::Form(error)])?;
        let mut draft = Draft::default();
        let mut errors = Vec::new();
        for (line, key, value) in config.lines() {
            if let Err(source) = draft.set(key, value) {
                let key = match keys::meaning(key) {
                    Some(_) => key.to_owned(),
                    None => format!("{:?}", key.chars().take(64).collect::<String>()),
                };
                errors.push(SettingsError::Line { line, key, source });
            }
        }
        for (key, right) in draft::NEEDED {
            if config.get(key).is_none() {
                errors.push(SettingsError::Missing(key, right));
            }
        }
        if let Err(contradiction) = draft.check() {
            errors.push(SettingsError::Contradiction(contradiction));
        }
        match draft.finish() {
            Some(settings) if errors.is_empty() => Ok((settings, config)),
            _ => Err(errors),
        }
    }
}

#[cfg(test)]
mod tests;
