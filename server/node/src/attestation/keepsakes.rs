//! Identities that servers leave with a member, so that their guests come back as
//! who they were when no operator is there.
//!
//! A guest has no disk, and a TD has no key that outlives it: what is to survive a
//! restart has to be in another TD. So it is sealed to a key that a TD has, as its
//! evidence shows by way of its signing key; who has a member's transport key alone
//! gets nothing. A server leaves the seed of its transport
//! identity with members whose evidence it has verified, and only if the policy
//! names the machines that it may run on: nobody anywhere else can use the seed,
//! whoever has it. A member hands it to a guest of that name on one of these
//! machines, and to nobody else.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use zipnet_attest::{Policy, SecretText, keepsake::KeeperKey};
use zipnet_protocol::{MAX_ROSTER, PeerKey, SigningSecret};

use crate::settings::TransportSeed;

/// An identity is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// It could be used anywhere.
    #[error("the policy binds the caller to no machine, and nothing else is kept")]
    Unbound,
    /// It is somebody else's.
    #[error("the seed is of another peer than the caller")]
    Other,
    /// There are too many.
    #[error("as many identities are kept as a roster has servers")]
    Full,
}

/// There is no key to seal to.
#[derive(Debug, thiserror::Error)]
#[error("This machine gives no randomness for a key")]
pub struct NoKeyError(#[source] getrandom::Error);

/// Seeds of transport identities, by peer, and the key to which they are sealed. In
/// memory only; wiped when dropped.
#[derive(Debug)]
pub struct Keepsakes {
    key: KeeperKey,
    kept: Mutex<BTreeMap<PeerKey, SecretText>>,
}

impl Keepsakes {
    /// None yet, and a fresh key.
    ///
    /// # Errors
    /// [`NoKeyError`].
    pub fn new() -> Result<Self, NoKeyError> {
        Ok(Self {
            key: KeeperKey::new().map_err(NoKeyError)?,
            kept: Mutex::default(),
        })
    }

    /// The key to which seeds are sealed.
    #[must_use]
    pub const fn key(&self) -> &KeeperKey {
        &self.key
    }

    /// Keeps the seed of a server that the policy names.
    ///
    /// # Errors
    /// [`KeepError`].
    pub fn keep(
        &self,
        policy: &Policy,
        caller: &PeerKey,
        seed: SecretText,
    ) -> Result<(), KeepError> {
        if policy.server_of(caller.as_bytes()).is_none() {
            return Err(KeepError::Unbound);
        }
        let transport = TransportSeed::from_text(seed.expose());
        if SigningSecret::from_seed(transport.as_bytes()).peer_key() != *caller {
            return Err(KeepError::Other);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|peer, _| policy.server_of(peer.as_bytes()).is_some());
        if kept.len() >= MAX_ROSTER && !kept.contains_key(caller) {
            return Err(KeepError::Full);
        }
        kept.insert(*caller, seed);
        Ok(())
    }

    /// The seed of a peer, if it left one here.
    #[must_use]
    pub fn of(&self, peer: &[u8; 32]) -> Option<SecretText> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&PeerKey::new(*peer)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use zipnet_attest::{hexes::Hexes, policy::Server, simulation::Publisher};

    use super::*;

    fn policy(peer: Option<PeerKey>) -> Policy {
        let publisher = Publisher::new(b"keepsakes", 1_767_225_600).unwrap();
        let mut policy = publisher.policy(1).unwrap();
        policy.servers = peer.map(|peer| {
            vec![Server {
                name: "server-1".to_owned(),
                peer: Hexes(*peer.as_bytes()),
                platforms: vec![Hexes([7; 16])],
            }]
        });
        policy
    }

    fn peer_of(seed: &str) -> PeerKey {
        let seed = TransportSeed::from_text(seed);
        SigningSecret::from_seed(seed.as_bytes()).peer_key()
    }

    #[test]
    fn f1_only_identities_that_are_bound_to_machines_are_kept_and_only_ones_own() {
        let (one, other) = (peer_of("one"), peer_of("other"));
        let kept = Keepsakes::new().unwrap();
        let keep =
            |policy: &Policy, caller, seed: &str| kept.keep(policy, caller, SecretText::from(seed));
        let unbound = Err(KeepError::Unbound);
        assert_eq!(keep(&policy(None), &one, "one"), unbound);
        assert_eq!(keep(&policy(Some(one)), &other, "other"), unbound);
        assert_eq!(
            keep(&policy(Some(one)), &one, "other"),
            Err(KeepError::Other)
        );
        assert!(kept.of(one.as_bytes()).is_none());
        assert_eq!(keep(&policy(Some(one)), &one, "one"), Ok(()));
        assert_eq!(kept.of(one.as_bytes()).unwrap().expose(), "one");
        assert!(kept.of(other.as_bytes()).is_none());
        // Who is no longer named is forgotten when the next one comes.
        assert_eq!(keep(&policy(Some(other)), &other, "other"), Ok(()));
        assert!(kept.of(one.as_bytes()).is_none());
    }
}
