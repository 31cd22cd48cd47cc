//! Whether a policy is one: its form, and that it does not contradict itself.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{MAX_POLICY, Policy, Track, VERSION};
use crate::tcb::TcbStatus;

/// A policy could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Too long.
    #[error("The policy has {found} bytes; at most {MAX_POLICY} are read")]
    Length {
        /// Its length.
        found: usize,
    },
    /// Not the format.
    #[error("The policy is not of the format; every field has to be there, and no other")]
    Json(#[source] serde_json::Error),
    /// Another format.
    #[error(
        "The policy is of version {found}; {VERSION} is known here, and `zipnet-attest policy new` writes it"
    )]
    Version {
        /// By its word.
        found: u32,
    },
    /// It accepts what nobody may.
    #[error("The policy accepts the TCB status Revoked, which is never accepted")]
    Revoked,
    /// Numbers and track do not go together.
    #[error(
        "The policy takes TCB evaluations from {min} to {max}; on the track `standard` a max_evaluation not below min_evaluation would be right, on `early` null",
        max = .max.map_or_else(|| "any".to_owned(), |max| max.to_string())
    )]
    Evaluations {
        /// The lowest.
        min: u32,
        /// The highest.
        max: Option<u32>,
    },
    /// A server that cannot be told from another, or may run nowhere.
    #[error("Server {name:?} of the policy {what}")]
    Server {
        /// Its name.
        name: String,
        /// What is wrong, and what would be right.
        what: &'static str,
    },
}

/// All that is read of a policy that is not of the format, to say why.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl PolicyError {
    /// Why bytes are no policy: another version of it, or else what the parser says.
    pub(super) fn json(bytes: &[u8]) -> impl FnOnce(serde_json::Error) -> Self {
        move |error| match serde_json::from_slice::<Versioned>(bytes) {
            Ok(Versioned { version }) if version != VERSION => Self::Version { found: version },
            _ => Self::Json(error),
        }
    }
}

impl Policy {
    /// Whether the fields go together.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn sound(&self) -> Result<(), PolicyError> {
        if self.version != VERSION {
            return Err(PolicyError::Version {
                found: self.version,
            });
        }
        let tcb = &self.tcb;
        if tcb.accept.contains(&TcbStatus::Revoked) {
            return Err(PolicyError::Revoked);
        }
        let fits = match (tcb.track, tcb.max_evaluation) {
            (Track::Standard, Some(max)) => tcb.min_evaluation <= max,
            (Track::Early, None) => true,
            _ => false,
        };
        if !fits {
            return Err(PolicyError::Evaluations {
                min: tcb.min_evaluation,
                max: tcb.max_evaluation,
            });
        }
        self.sound_servers()
    }

    fn sound_servers(&self) -> Result<(), PolicyError> {
        let (mut names, mut peers) = (BTreeSet::new(), BTreeSet::new());
        for server in self.servers.iter().flatten() {
            let listed = |id| {
                let platforms = self.platforms.as_ref();
                platforms.is_none_or(|platforms| platforms.contains(id))
            };
            let what = if server.name.is_empty() {
                "has no name; its GUEST_HOSTNAME would be right"
            } else if !names.insert(&server.name) {
                "is there twice; one entry for each name would be right"
            } else if !peers.insert(server.peer) {
                "has the peer id of another; one of its own would be right"
            } else if server.platforms.is_empty() {
                "may run on no platform; at least one would be right"
            } else if !server.platforms.iter().all(listed) {
                "may run on a platform that `platforms` does not list; one of the list would be right"
            } else {
                continue;
            };
            return Err(PolicyError::Server {
                name: server.name.escape_debug().take(64).collect(),
                what,
            });
        }
        Ok(())
    }
}
