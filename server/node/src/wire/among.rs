//! What only servers ask of each other.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};
use zipnet_protocol::{
    AdmittedServer, Canonical, Digest, Epoch, Instance, KeyError, PeerKey, ServerId, Signature,
    SigningSecret,
};

/// Longest words of an opinion, in characters.
const MAX_OPINION: usize = 900;

/// The key to which others seal what they leave with a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keeper {
    /// The key, 32 bytes ([`zipnet_attest::keepsake`]).
    pub key: [u8; 32],
    /// Of the member's committee signing key over instance, server and key: its
    /// evidence names that one.
    pub signature: Signature,
}

impl Keeper {
    /// Names a key as a member's.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        server: &ServerId,
        key: &[u8; 32],
        by: &SigningSecret,
    ) -> Self {
        Self {
            key: *key,
            signature: by.sign(KEEPER, &keeper_body(instance, server, key)),
        }
    }

    /// Whether it is the member's.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, instance: &Instance, member: &AdmittedServer) -> Result<(), KeyError> {
        let body = keeper_body(instance, member.id(), &self.key);
        member.signing().verify(KEEPER, &body, &self.signature)
    }
}

const KEEPER: &str = "zipnet/keeper-key/v1";

fn keeper_body(instance: &Instance, server: &ServerId, key: &[u8; 32]) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(server.as_bytes())
        .fixed(key)
}

/// The seed of the caller's transport identity, for a member to keep (see
/// `attestation::keepsakes`), sealed to its [`Keeper`] key. Whoever has the
/// member's transport key alone cannot open it: its operator has that one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keepsake {
    /// The sealed seed.
    pub sealed: Vec<u8>,
}

impl Keepsake {
    /// For whom a seed is sealed: the instance, its owner, and the boot of the
    /// member.
    #[must_use]
    pub fn of(instance: &Instance, owner: &PeerKey, member: &Digest) -> Digest {
        Canonical::new()
            .fixed(instance.id().as_bytes())
            .fixed(owner.as_bytes())
            .fixed(member.as_bytes())
            .digest("zipnet/keepsake-of/v1")
    }
}

/// Asks a server at its door where it is in the committee's own network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkRequest {
    /// Of the committee key, over the instance, the caller and whoever is asked: who has
    /// seen it can use it nowhere else.
    pub proof: Signature,
}

const LINK: &str = "zipnet/link/v1";

impl LinkRequest {
    /// Proves to `asked` that the peer `caller` knows the committee secret.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        caller: &PeerKey,
        asked: &PeerKey,
        committee: &SigningSecret,
    ) -> Self {
        Self {
            proof: committee.sign(LINK, &link_body(instance, caller, asked)),
        }
    }

    /// Checks it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(
        &self,
        instance: &Instance,
        caller: &PeerKey,
        asked: &PeerKey,
    ) -> Result<(), KeyError> {
        let body = link_body(instance, caller, asked);
        instance.committee().verify(LINK, &body, &self.proof)
    }
}

fn link_body(instance: &Instance, caller: &PeerKey, asked: &PeerKey) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(caller.as_bytes())
        .fixed(asked.as_bytes())
}

/// Where a server is in the committee's own network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Under which key.
    pub member: PeerKey,
    /// Addresses that may be tried.
    pub addresses: Vec<SocketAddr>,
}

/// What a server thinks of the caller's evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opinion {
    /// Nothing yet.
    None,
    /// It holds.
    Verified,
    /// It is refused.
    Refused {
        /// The number of the rule: 101 of ZA-101.
        rule: u16,
        /// What was found and what was expected. A stranger's words.
        text: String,
    },
}

impl Opinion {
    /// A refusal, its words cut to a length.
    #[must_use]
    pub fn refused(rule: u16, text: &str) -> Self {
        Self::Refused {
            rule,
            text: text.chars().take(MAX_OPINION).collect(),
        }
    }
}

/// Asks a server up to which round of an epoch it stands. A server that starts
/// over has forgotten what an earlier boot of it signed, and whoever signed with it
/// knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorRequest {
    /// The epoch.
    pub epoch: Epoch,
    /// The caller's bundle: what is answered holds for that boot.
    pub bundle: Digest,
    /// Fresh bytes: an answer from before cannot be shown again.
    pub nonce: [u8; 32],
}

/// Up to which round a server stands. Who has given it stands for no round with an
/// earlier boot of the caller any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Floor {
    /// The highest number; `None` if the server is new to the epoch itself.
    pub floor: Option<u64>,
    /// Of its committee signing key, over the request and that.
    pub signature: Signature,
}

const FLOOR: &str = "zipnet/floor/v1";

impl Floor {
    /// Answers a request.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        server: &ServerId,
        request: &FloorRequest,
        floor: Option<u64>,
        by: &SigningSecret,
    ) -> Self {
        Self {
            floor,
            signature: by.sign(FLOOR, &floor_body(instance, server, request, floor)),
        }
    }

    /// Checks that a server's boot has given this answer to this request.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(
        &self,
        instance: &Instance,
        server: &AdmittedServer,
        request: &FloorRequest,
    ) -> Result<(), KeyError> {
        let body = floor_body(instance, server.id(), request, self.floor);
        server.signing().verify(FLOOR, &body, &self.signature)
    }
}

fn floor_body(
    instance: &Instance,
    server: &ServerId,
    request: &FloorRequest,
    floor: Option<u64>,
) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(server.as_bytes())
        .fixed(request.epoch.as_bytes())
        .fixed(request.bundle.as_bytes())
        .fixed(&request.nonce)
        .u32(u32::from(floor.is_some()))
        .u64(floor.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::tests::fixture::{EPOCH, World};

    #[test]
    fn a_proof_of_the_secret_is_for_one_caller_at_one_door_of_one_committee() {
        let world = World::new(2, 1);
        let instance = &world.rules.instance;
        let (me, asked) = (
            *world.servers[0].admitted.peer(),
            *world.servers[1].admitted.peer(),
        );
        let request = LinkRequest::sign(instance, &me, &asked, &world.committee);
        assert!(request.verify(instance, &me, &asked).is_ok());
        assert!(request.verify(instance, &asked, &me).is_err());
        assert!(request.verify(instance, &me, &me).is_err());
        let other = &world.servers[0].signing;
        let guessed = LinkRequest::sign(instance, &me, &asked, other);
        assert!(guessed.verify(instance, &me, &asked).is_err());
    }

    #[test]
    fn i7_a_word_about_floors_is_for_one_request_of_one_boot() {
        let world = World::new(3, 3);
        let (instance, asked) = (&world.rules.instance, &world.servers[1]);
        let request = FloorRequest {
            epoch: EPOCH,
            bundle: *world.servers[0].admitted.digest(),
            nonce: [1; 32],
        };
        let said = |floor| Floor::sign(instance, &asked.id(), &request, floor, &asked.signing);
        for floor in [None, Some(0), Some(7)] {
            assert!(
                said(floor)
                    .verify(instance, &asked.admitted, &request)
                    .is_ok()
            );
        }
        let other = [
            FloorRequest {
                epoch: Epoch::new([9; 32]),
                ..request
            },
            FloorRequest {
                bundle: *asked.admitted.digest(),
                ..request
            },
            FloorRequest {
                nonce: [2; 32],
                ..request
            },
        ];
        for other in other {
            assert!(
                said(Some(7))
                    .verify(instance, &asked.admitted, &other)
                    .is_err()
            );
        }
        let mut changed = said(None);
        changed.floor = Some(0);
        assert!(changed.verify(instance, &asked.admitted, &request).is_err());
        let reboot = world.reboot(1, 2);
        assert!(
            said(Some(7))
                .verify(instance, &reboot.admitted, &request)
                .is_err()
        );
    }
}
