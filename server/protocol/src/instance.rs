//! What a deployment is: a name, a committee key, and whose word counts for
//! its servers' evidence.

use core::{fmt, str::FromStr};

use zeroize::Zeroizing;

use crate::{
    canonical::Canonical,
    ids::{Digest, InstanceId, PeerKey, ServerId},
    keys::{SigningPublic, SigningSecret},
};

/// A refused instance name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceNameError {
    /// Empty, or more than 128 characters.
    #[error("The instance name has {length} characters; 1 to 128 would be right")]
    Length {
        /// What was given.
        length: usize,
    },
    /// A character outside of the alphabet.
    #[error("The instance name contains {character:?}; only a-z 0-9 . _ - are allowed")]
    Character {
        /// The first one.
        character: char,
    },
}

/// An instance name: 1 to 128 of `a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceName(String);

impl InstanceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name says whose deployment it is: it has at least the two parts
    /// of `<org>.<env>`, and no empty one.
    #[must_use]
    pub fn is_namespaced(&self) -> bool {
        let mut parts = 0_usize;
        let whole = self.0.split('.').all(|part| {
            parts = parts.saturating_add(1);
            !part.is_empty()
        });
        whole && parts >= 2
    }
}

impl FromStr for InstanceName {
    type Err = InstanceNameError;

    fn from_str(text: &str) -> Result<Self, InstanceNameError> {
        let length = text.chars().count();
        if length == 0 || length > 128 {
            return Err(InstanceNameError::Length { length });
        }
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        match text.chars().find(|c| !allowed(*c)) {
            Some(character) => Err(InstanceNameError::Character { character }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The committee admission secret, of any length. Two things grow out of it:
/// the key of the committee's ordering group, and the *committee key* with
/// which every server countersigns its own bundle, so that clients, who do not
/// hold the secret, can still tell the committee's servers from strangers.
pub struct CommitteeSecret(Zeroizing<Vec<u8>>);

impl CommitteeSecret {
    /// Takes the secret's bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The signing half of the committee key for one instance.
    #[must_use]
    pub fn committee_key(&self, name: &InstanceName) -> SigningSecret {
        SigningSecret::from_seed(&self.derive("zipnet/committee-key/v1", name))
    }

    /// The secret of the ordering group for one instance.
    #[must_use]
    pub fn group_secret(&self, name: &InstanceName) -> Zeroizing<[u8; 32]> {
        self.derive("zipnet/committee-group/v1", name)
    }

    fn derive(&self, domain: &'static str, name: &InstanceName) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        hasher.update(Canonical::new().bytes(name.as_str().as_bytes()).as_bytes());
        hasher.update(&self.0);
        Zeroizing::new(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for CommitteeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitteeSecret(..)")
    }
}

/// A deployment, as every party knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    name: InstanceName,
    committee: SigningPublic,
    anchor: Option<Digest>,
    id: InstanceId,
}

impl Instance {
    /// Binds a name to a committee key. Two operators who pick the same name
    /// have different keys, hence different instances. Its servers show no
    /// evidence.
    #[must_use]
    pub fn new(name: InstanceName, committee: SigningPublic) -> Self {
        let id = body(&name, &committee).digest("zipnet/instance/v1");
        Self {
            name,
            committee,
            anchor: None,
            id: InstanceId::new(*id.as_bytes()),
        }
    }

    /// As [`Instance::new`], of servers that show evidence. The anchor is the
    /// digest of what that is judged by for good: the trust root and the keys
    /// that sign policies, not a policy. So whoever asks for evidence never
    /// meets who does not, nor a simulation a real committee.
    #[must_use]
    pub fn attested(name: InstanceName, committee: SigningPublic, anchor: Digest) -> Self {
        let id = body(&name, &committee)
            .fixed(anchor.as_bytes())
            .digest("zipnet/instance/attested/v1");
        Self {
            name,
            committee,
            anchor: Some(anchor),
            id: InstanceId::new(*id.as_bytes()),
        }
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &InstanceName {
        &self.name
    }

    /// The public half of the committee key.
    #[must_use]
    pub const fn committee(&self) -> &SigningPublic {
        &self.committee
    }

    /// What its servers' evidence is judged by; `None` if they show none.
    #[must_use]
    pub const fn anchor(&self) -> Option<&Digest> {
        self.anchor.as_ref()
    }

    /// The digest of all of it.
    #[must_use]
    pub const fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The server id that belongs to a transport key.
    #[must_use]
    pub fn server_id(&self, peer: &PeerKey) -> ServerId {
        let id = Canonical::new()
            .fixed(self.id.as_bytes())
            .fixed(peer.as_bytes())
            .digest("zipnet/server-id/v1");
        ServerId::new(*id.as_bytes())
    }
}

fn body(name: &InstanceName, committee: &SigningPublic) -> Canonical {
    Canonical::new()
        .bytes(name.as_str().as_bytes())
        .fixed(committee.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_an_alphabet_and_a_length() {
        for good in ["a", "acme.mainnet", "acme.mix.prod-1_x", &"z".repeat(128)] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["", "Acme", "a b", "a/b", "é", &"z".repeat(129)] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad}");
        }
        let namespaced = |name: &str| name.parse::<InstanceName>().unwrap().is_namespaced();
        assert!(namespaced("acme.mix.prod") && namespaced("acme.mainnet"));
        assert!(!namespaced("acme") && !namespaced("acme.") && !namespaced("acme..prod"));
    }

    #[test]
    fn same_name_other_secret_is_another_instance() {
        let name: InstanceName = "acme.mix.prod".parse().unwrap();
        let instance = |secret: &[u8]| {
            let secret = CommitteeSecret::new(Zeroizing::new(secret.to_vec()));
            Instance::new(name.clone(), secret.committee_key(&name).public())
        };
        assert_ne!(instance(b"one").id(), instance(b"two").id());
        assert_eq!(instance(b"one").id(), instance(b"one").id());
    }

    #[test]
    fn i9_another_anchor_or_none_is_another_instance() {
        let name: InstanceName = "acme.mix.prod".parse().unwrap();
        let secret = CommitteeSecret::new(Zeroizing::new(b"one".to_vec()));
        let key = secret.committee_key(&name).public();
        let attested = |anchor| Instance::attested(name.clone(), key, Digest::new([anchor; 32]));
        assert_ne!(attested(1).id(), attested(2).id());
        assert_ne!(attested(1).id(), Instance::new(name.clone(), key).id());
        assert_ne!(attested(0).id(), Instance::new(name.clone(), key).id());
    }
}
