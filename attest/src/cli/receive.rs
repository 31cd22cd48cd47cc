//! `receive`: the guest's side, on a machine that runs no image of ours.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use crate::{
    provision::{
        COMMITTEE_SECRET_FILE, Guest, GuestError, Limits, ObtainError, POLICY_FILE, SECRET_FILE,
    },
    tsm::DEFAULT_ROOT,
};
use clap::Args;

use crate::cli::{
    Outcome,
    provision::{self, ProvisionError},
    say,
};

/// Arguments of `receive`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The file of public settings of this server, lines of `ZIPNET_...=...`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Address to wait on for somebody with the secrets
    #[arg(long, value_name = "IP:PORT", required_unless_present = "from")]
    listen: Option<SocketAddr>,
    /// Committee members to ask, where their `ZIPNET_PROVISION_LISTEN` is; repeated or
    /// comma separated
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    from: Vec<SocketAddr>,
    /// Folder to write, which is not there yet; on a file system in memory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// For how long to wait
    #[arg(long, value_name = "DURATION", default_value = "12h", value_parser = humantime::parse_duration)]
    within: Duration,
    /// For how many strangers to make a quote
    #[arg(long, value_name = "N", default_value_t = Limits::default().attempts, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// The kernel's configfs-tsm folder
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    tsm: PathBuf,
}

/// No secrets came.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The configuration's file.
    #[error(transparent)]
    File(#[from] ProvisionError),
    /// The configuration.
    #[error("Nobody can be asked for secrets with this configuration")]
    Guest(#[from] GuestError),
    /// The folder.
    #[error("{path} is there already; a new folder would be right", path = .0.display())]
    Out(PathBuf),
    /// The address.
    #[error("Could not wait on {address}; a free TCP address of this machine would be right")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody gave anything.
    #[error(transparent)]
    Obtain(#[from] ObtainError),
}

impl ReceiveError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::File(error) => error.is_usage(),
            Self::Guest(_) | Self::Out(_) => true,
            Self::Listen { .. } | Self::Obtain(_) => false,
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<Outcome, ReceiveError> {
    let config = provision::config(&arguments.config)?;
    let guest = Guest::new(config, &arguments.tsm)?;
    let out = &arguments.out;
    // Before anybody gives something that could not be kept.
    if out.exists() {
        return Err(ReceiveError::Out(out.clone()));
    }
    let listener = match arguments.listen {
        Some(address) => {
            let listener = TcpListener::bind(address)
                .and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (address, listener) =
                listener.map_err(|source| ReceiveError::Listen { address, source })?;
            say(&format!("provisioning: waiting on {address}"));
            Some(listener)
        }
        None => None,
    };
    let limits = Limits {
        within: arguments.within,
        attempts: arguments.attempts,
        ..Limits::default()
    };
    guest.obtain(
        listener.as_ref(),
        &arguments.from,
        &limits,
        |given| Ok(given.store(out)?),
        say,
    )?;
    for (variable, file) in [
        ("ZIPNET_COMMITTEE_SECRET_FILE", COMMITTEE_SECRET_FILE),
        ("ZIPNET_SECRET_FILE", SECRET_FILE),
        ("ZIPNET_POLICY", POLICY_FILE),
    ] {
        say(&format!("{variable}={}", out.join(file).display()));
    }
    Ok(Outcome::Verified)
}
