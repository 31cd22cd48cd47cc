//! Invites for clients: `zipnet-server invite` makes them, a client shows one.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Parser};
use zipnet_node::entropy;
use zipnet_protocol::{InstanceName, Invite, InviteError};

use crate::{
    process::Failure,
    secrets::{self, CommitteeArgs, SecretText},
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

/// How a client's invite is given.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Invite, where the committee admits nobody without: what `zipnet-server invite`
    /// printed for this client. A secret
    #[arg(
        long,
        env = "ZIPNET_INVITE",
        value_name = "HEX",
        hide_env_values = true
    )]
    invite: Option<SecretText>,
    /// File that holds the invite
    #[arg(long, env = "ZIPNET_INVITE_FILE", value_name = "FILE")]
    invite_file: Option<PathBuf>,
}

impl InviteArgs {
    /// The invite, if there is one.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn invite(&self) -> Result<Option<Invite>, Failure> {
        let file = self.invite_file.as_deref();
        let text = secrets::resolve("ZIPNET_INVITE", self.invite.as_ref(), file)
            .map_err(Failure::usage)?;
        text.map(|text| text.expose().parse())
            .transpose()
            .map_err(|source| Failure::usage(NoInvite(source)))
    }
}

/// Text that is no invite.
#[derive(Debug, thiserror::Error)]
#[error("ZIPNET_INVITE cannot be used")]
struct NoInvite(#[source] InviteError);
