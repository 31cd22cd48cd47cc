//! `provision`: gives a guest its secrets, from a file or from a peer.

mod collateral;
mod secrets;
mod state;

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    PolicyFile, PolicyKeys, TrustBase,
    hexes::Hexes,
    policy::MAX_POLICY,
    provision::{
        Config, ConfigError, GiveError, Giver, GiverKey, Known, MAX_CONFIG, Machines, NAME, Parcel,
        RelayError, Welcome, relay,
    },
    signed::{MAX_SIGNATURES, SignedPolicyError},
    trust::TrustError,
};
use clap::Args;

use crate::cli::{FileError, Outcome, answer, files, now, say};
use collateral::CollateralError;
use secrets::{Secrets, SecretsError};
use state::StateError;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Arguments of `provision`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the guest waits for its secrets
    #[arg(value_name = "HOST:PORT")]
    guest: String,
    /// Have this committee member give the committee secret; where its
    /// `ZIPNET_PROVISION_LISTEN` is. Messages are passed on only
    #[arg(
        long,
        value_name = "HOST:PORT",
        conflicts_with_all = ["config", "policy", "key", "threshold", "collateral", "secrets"]
    )]
    from_peer: Option<String>,
    /// The file of public settings that the guest was launched with
    #[arg(long, value_name = "FILE", required_unless_present = "from_peer")]
    config: Option<PathBuf>,
    /// The policy to judge the guest by and to give to it; its signatures are in
    /// FILE.minisig
    #[arg(long, value_name = "FILE", required_unless_present = "from_peer")]
    policy: Option<PathBuf>,
    /// Minisign public keys that may sign it, `RW...`, repeated or comma separated
    #[arg(
        long,
        value_name = "KEY",
        value_delimiter = ',',
        required_unless_present = "from_peer"
    )]
    key: Vec<String>,
    /// How many of them have to [default: all]
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    /// Who ends every certificate chain: `intel`, or a file with a certificate
    #[arg(long, value_name = "intel|FILE", default_value = "intel")]
    root: String,
    /// Collateral for the guest's platform: a file, a folder as `collateral fetch --store`
    /// writes it, or the URL of a PCCS or of Intel's PCS
    #[arg(
        long,
        value_name = "FILE|DIR|URL",
        required_unless_present = "from_peer"
    )]
    collateral: Option<String>,
    /// File with `ZIPNET_COMMITTEE_SECRET=...` and, if the server is to keep its identity,
    /// `ZIPNET_SECRET=...`; readable by nobody else. `-` for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "from_peer")]
    secrets: Option<PathBuf>,
    /// Platform instance id of the machine that the guest has to run on, 16 bytes as hex;
    /// repeated or comma separated [default: those that the policy names for it]
    #[arg(
        long,
        value_name = "HEX",
        value_delimiter = ',',
        conflicts_with_all = ["any_platform", "from_peer"]
    )]
    platform: Vec<Hexes<16>>,
    /// Give them to any machine: whoever sits on the path can then have them given to
    /// his own guest of the same image
    #[arg(long, conflicts_with = "from_peer")]
    any_platform: bool,
    /// Folder that remembers the newest collateral and policy serial, so that neither
    /// goes back [default: `zipnet-attest` in `XDG_STATE_HOME`]
    #[arg(long, value_name = "DIR", conflicts_with = "from_peer")]
    state: Option<PathBuf>,
}

/// A guest was not given its secrets.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The configuration.
    #[error("{path} is no configuration of a guest", path = .path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// The keys that were named.
    #[error("The keys of the policy cannot be used")]
    Keys(#[source] SignedPolicyError),
    /// The policy.
    #[error("{path} is not to be given", path = .path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: TrustError,
    },
    /// The secrets.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The collateral.
    #[error("--collateral cannot be used")]
    Collateral(#[source] CollateralError),
    /// What was seen before.
    #[error("What was seen before cannot be used")]
    State(#[from] StateError),
    /// Nobody says where the guest runs.
    #[error(
        "Neither the policy nor --platform says on which machine the guest runs; --platform with its platform instance id would be right, or --any-platform"
    )]
    Machine,
    /// The policy names the server, and its seed is missing.
    #[error(
        "The policy names the server {0:?} by its peer id, and the secrets have no ZIPNET_SECRET; with a fresh identity all others would refuse it"
    )]
    Seed(String),
    /// Somebody is not there.
    #[error("Could not connect to {address}; HOST:PORT of somebody who waits there would be right")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The guest.
    #[error(transparent)]
    Give(#[from] GiveError),
    /// The guest and the peer.
    #[error("The peer and the guest did not come to terms")]
    Relay(#[from] RelayError),
}

impl ProvisionError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::File(error) => error.is_usage(),
            Self::Secrets(error) => error.is_usage(),
            Self::Keys(_)
            | Self::Collateral(_)
            | Self::Config { .. }
            | Self::State(StateError::Nowhere | StateError::Serial { .. })
            | Self::Machine
            | Self::Seed(_) => true,
            _ => false,
        }
    }

    /// Whether nothing is decided by it.
    pub const fn is_undecided(&self) -> bool {
        matches!(self, Self::Give(GiveError::Collateral(_)))
    }
}

pub fn run(arguments: &Arguments) -> Result<Outcome, ProvisionError> {
    let outcome = match &arguments.from_peer {
        Some(peer) => pass_on(peer, &arguments.guest),
        None => give(arguments),
    };
    match outcome {
        // A refusal is an answer, as of `verify`.
        Err(ProvisionError::Give(GiveError::Refused(refusal))) => {
            answer::say_refusal(&refusal, false);
            say("nothing was given");
            Ok(Outcome::Refused)
        }
        other => other,
    }
}

/// Passes messages on between a peer and a guest.
fn pass_on(peer: &str, guest: &str) -> Result<Outcome, ProvisionError> {
    let (giver, taker) = (connect(peer)?, connect(guest)?);
    relay(giver, taker)?;
    say(&format!(
        "passed on: the guest at {guest} answered the peer at {peer}, which alone can tell whether it has its secrets, and logs it"
    ));
    Ok(Outcome::Verified)
}

fn give(arguments: &Arguments) -> Result<Outcome, ProvisionError> {
    let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
    let config = config(&path(&arguments.config))?;
    let (base, file) = trust(arguments, &path(&arguments.policy))?;
    let instance = config.get("ZIPNET_INSTANCE").unwrap_or_default();
    let state = state::open(arguments.state.as_deref(), &base, instance)?;
    let refused = |source| ProvisionError::Policy {
        path: path(&arguments.policy),
        source,
    };
    let verifier = base.open(&file, state.newest).map_err(refused)?;
    let policy = verifier.policy();
    state.saw(policy.serial)?;
    let machines = match arguments.platform.as_slice() {
        _ if arguments.any_platform => Machines::Any,
        [] if policy.platforms.is_none() && policy.servers.is_none() => {
            return Err(ProvisionError::Machine);
        }
        [] => Machines::OfPolicy,
        platforms => Machines::These(platforms),
    };
    let named = arguments.collateral.as_deref().unwrap_or_default();
    let collateral = collateral::open(named).map_err(ProvisionError::Collateral)?;
    let Secrets {
        committee_secret,
        secret,
    } = secrets::read(&path(&arguments.secrets))?;
    let name = config.get(NAME).unwrap_or_default();
    if secret.is_none() && policy.server(name).is_some() {
        return Err(ProvisionError::Seed(name.to_owned()));
    }
    let at = now();
    let key = GiverKey::new(&committee_secret, instance);
    let parcel = Parcel {
        committee_secret,
        time: at,
        secret,
        policy: file,
    };
    // What cannot be given costs the guest no quote.
    parcel.pack().map_err(GiveError::Parcel)?;
    let giver = Giver {
        key: &key,
        base: &base,
        verifier: &verifier,
        known: Known::Config(&config),
        machines,
    };
    let stream = connect(&arguments.guest)?;
    giver.give(
        stream,
        at,
        |platforms| collateral.get(platforms, &base, &state.shelf, &policy.wanted(), at),
        |guest| {
            say_accepted(guest, at);
            Ok(parcel)
        },
    )?;
    say("given: the guest has its secrets");
    Ok(Outcome::Verified)
}

/// Reads the file that a guest is launched with.
pub fn config(path: &Path) -> Result<Config, ProvisionError> {
    let bytes = files::read(path, MAX_CONFIG)?;
    Config::parse(&bytes).map_err(|source| ProvisionError::Config {
        path: path.to_owned(),
        source,
    })
}

fn trust(arguments: &Arguments, path: &Path) -> Result<(TrustBase, PolicyFile), ProvisionError> {
    let threshold = arguments.threshold.unwrap_or(arguments.key.len());
    let keys = PolicyKeys::new(&arguments.key, threshold).map_err(ProvisionError::Keys)?;
    let base = TrustBase::new(files::root(&arguments.root)?, keys);
    let signatures = files::read(&files::signatures_of(path), MAX_SIGNATURES)?;
    let file = PolicyFile {
        policy: files::read(path, MAX_POLICY)?,
        signatures: String::from_utf8_lossy(&signatures).into_owned(),
    };
    Ok((base, file))
}

fn connect(address: &str) -> Result<TcpStream, ProvisionError> {
    let connect = || {
        let mut last = std::io::Error::other("no such host");
        for found in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&found, CONNECT_WITHIN) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    connect().map_err(|source| ProvisionError::Connect {
        address: address.to_owned(),
        source,
    })
}

fn say_accepted(guest: &Welcome, at: u64) {
    let (td, statement) = (guest.td(), guest.statement());
    say("accepted: the guest's evidence holds under the policy");
    say(&format!("       image  {}", td.image()));
    say(&format!("       shape  {}", td.shape()));
    let machine = td.genuine().platform_instance();
    say(&format!("    platform  {}", answer::machine(machine)));
    say(&format!("  tcb status  {:?}", td.genuine().status()));
    say(&format!("      config  {}", hex::encode(statement.config)));
    let off = statement.time.abs_diff(at);
    say(&format!("       clock  {off} s from this machine's"));
}
