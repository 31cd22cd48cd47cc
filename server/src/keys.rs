//! `zipnet-server keys`: the public keys that follow from a server's secrets.

use std::{io::Write as _, path::PathBuf};

use clap::Parser;
use zipnet_attest::provision::{GiverKey, PROVISION_KEY};
use zipnet_node::settings::TransportSeed;
use zipnet_protocol::{InstanceName, SigningSecret};

use crate::{
    process::Failure,
    secrets::{self, CommitteeArgs, SecretText},
};

/// Prints the public keys of a deployment, and of a server.
///
/// The committee key is what clients take as `ZIPNET_COMMITTEE`; the provisioning key is what
/// settings of guests name as `GUEST_PROVISION_KEY`; the peer id is what a policy names. None is
/// a secret.
#[derive(Debug, Parser)]
#[command(name = "zipnet-server keys", version)]
pub struct Keys {
    /// Name of the deployment
    #[arg(long, env = "ZIPNET_INSTANCE", value_name = "NAME")]
    instance: InstanceName,
    #[command(flatten)]
    committee: CommitteeArgs,
    /// Seed of the transport identity, whose peer id is printed too
    #[arg(
        long,
        env = "ZIPNET_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    secret: Option<SecretText>,
    /// File that holds the seed
    #[arg(long, env = "ZIPNET_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Standard output is closed.
#[derive(Debug, thiserror::Error)]
#[error("Could not print the keys")]
struct PrintError(#[source] std::io::Error);

impl Keys {
    /// Prints the keys.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let secret = self.committee.secret()?;
        let committee = secrets::committee_secret(&secret).committee_key(&self.instance);
        let giver = GiverKey::new(&secret, self.instance.as_str());
        let file = self.secret_file.as_deref();
        let seed = secrets::resolve("ZIPNET_SECRET", self.secret.as_ref(), file);
        let seed = seed.map_err(Failure::usage)?;
        let peer = seed.map(|seed| {
            let seed = TransportSeed::from_text(seed.expose());
            SigningSecret::from_seed(seed.as_bytes()).peer_key()
        });
        let mut out = std::io::stdout().lock();
        let mut print = || {
            writeln!(
                out,
                "ZIPNET_COMMITTEE={}",
                hex::encode(committee.public().as_bytes())
            )?;
            writeln!(out, "{PROVISION_KEY}={}", hex::encode(giver.public()))?;
            peer.map_or(Ok(()), |peer| {
                writeln!(out, "# peer id: {}", hex::encode(peer.as_bytes()))
            })
        };
        print().map_err(|source| Failure::runtime(PrintError(source)))
    }
}
