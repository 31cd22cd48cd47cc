//! The invite of a client, as `zipnet-server invite` makes it.

use std::path::PathBuf;

use clap::Args;
use zipnet_protocol::{Invite, InviteError};

use crate::{
    process::Failure,
    secrets::{self, SecretText},
};

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
