//! `zipnet-server invite`: makes invites for clients.

use std::io::Write as _;

use clap::Parser;
use zipnet_node::entropy;
use zipnet_protocol::{InstanceName, Invite};

use crate::{
    Failure,
    secrets::{self, CommitteeArgs},
};

/// Makes invites for clients, where the servers ask for them (`ZIPNET_CLIENTS=invite`).
///
/// Prints one a line. Each is a secret that its holder takes as `ZIPNET_INVITE`, and admits one
/// client at a time for as long as the committee secret is the same. Nothing remembers them: who gets
/// which, whoever runs this knows.
#[derive(Debug, Parser)]
#[command(name = "zipnet-server invite", version)]
pub struct Invites {
    /// Name of the deployment
    #[arg(long, env = "ZIPNET_INSTANCE", value_name = "NAME")]
    instance: InstanceName,
    #[command(flatten)]
    committee: CommitteeArgs,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    count: u32,
}

/// Standard output is closed.
#[derive(Debug, thiserror::Error)]
#[error("Could not print the invites")]
struct PrintError(#[source] std::io::Error);

impl Invites {
    /// Prints the invites.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let secret = self.committee.secret()?;
        let committee = secrets::committee_secret(&secret).committee_key(&self.instance);
        let mut out = std::io::stdout().lock();
        for _ in 0..self.count {
            let fresh = entropy::fresh().map_err(Failure::runtime)?;
            let invite = Invite::sign(&self.instance, &fresh, &committee);
            writeln!(out, "{}", *invite.text())
                .map_err(|source| Failure::runtime(PrintError(source)))?;
        }
        Ok(())
    }
}
