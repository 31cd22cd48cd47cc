//! That somebody has verified the evidence of a round's whole roster.

use std::sync::Arc;

use zipnet_attest::Refusal;
use zipnet_protocol::{Instance, PeerKey, Round, RoundContext};

use super::{Authority, Credential};

/// A roster that is not vouched for (I3, I5, I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VouchError {
    /// The instance is attested and this process verifies nothing.
    #[error(
        "The servers of this instance show evidence, and this process has no policy to judge it by"
    )]
    NoAuthority,
    /// No evidence.
    #[error("There is no evidence of server {server} yet")]
    Unknown {
        /// Whose is missing.
        server: PeerKey,
    },
    /// Bad evidence.
    #[error("The evidence of server {server} is refused")]
    Refused {
        /// Whose.
        server: PeerKey,
        /// By which rule.
        #[source]
        source: Arc<Refusal>,
    },
}

/// The evidence of every server of a round's roster was verified by this
/// process, by its own clock and policy; or the instance has none. Only
/// [`vouch`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    context: RoundContext,
}

impl Vouched {
    /// The round.
    #[must_use]
    pub const fn context(&self) -> &RoundContext {
        &self.context
    }
}

/// Verifies the evidence of a round's whole roster, now. `shown` yields the
/// credential of a server by the digest of its bundle, if the process does not
/// go by those that it knows itself.
///
/// # Errors
/// [`VouchError`] of the first server that fails.
pub fn vouch(
    instance: &Instance,
    authority: Option<&Authority>,
    round: &Round,
    shown: impl Fn(&zipnet_protocol::AdmittedServer) -> Option<Arc<Credential>>,
) -> Result<Vouched, VouchError> {
    let context = *round.context();
    if instance.anchor().is_none() {
        return Ok(Vouched { context });
    }
    let authority = authority.ok_or(VouchError::NoAuthority)?;
    for server in round.roster() {
        let unknown = VouchError::Unknown {
            server: *server.peer(),
        };
        let credential = shown(server).ok_or(unknown)?;
        authority
            .judge(instance, server, &credential)
            .map_err(|source| VouchError::Refused {
                server: *server.peer(),
                source,
            })?;
    }
    Ok(Vouched { context })
}
