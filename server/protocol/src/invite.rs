//! Invites: what an operator gives to whom clients of an instance are admitted by.
//!
//! An invite is a signing key that the committee key has signed. Whoever has it
//! shows the key's public half with the committee's signature, and signs the client
//! that is to be registered: so who sees an invite shown, every server for one, can
//! register nobody else with it.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    canonical::Canonical,
    ids::ClientId,
    instance::{Instance, InstanceName},
    keys::{KeyError, Signature, SigningPublic, SigningSecret},
};

const INVITE: &str = "zipnet/client-invite/v1";
const HOLDER: &str = "zipnet/client-invite-holder/v1";

/// An invite that is not taken. No text shows one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// None is shown.
    #[error(
        "The client shows no invite; one that `zipnet-server invite` printed, in ZIPNET_INVITE, would be right"
    )]
    Missing,
    /// The committee key of the instance did not sign.
    #[error("The invite is not signed by the committee key of this instance")]
    Committee(#[source] KeyError),
    /// Who holds it did not sign.
    #[error("The invite is not shown for this client by whoever holds it")]
    Holder(#[source] KeyError),
    /// No invite.
    #[error("The text is no invite; 192 hexadecimal digits would be right")]
    Parse,
}

/// An invite: a secret. It is good for every instance of this name and committee
/// secret, attested or not. Never printed but by [`Invite::text`].
#[derive(Clone)]
pub struct Invite {
    seed: Zeroizing<[u8; 32]>,
    committee: Signature,
}

impl Invite {
    /// Makes an invite of 32 fresh random bytes.
    #[must_use]
    pub fn sign(
        name: &InstanceName,
        entropy: &Zeroizing<[u8; 32]>,
        committee: &SigningSecret,
    ) -> Self {
        let key = SigningSecret::from_seed(entropy).public();
        Self {
            seed: entropy.clone(),
            committee: committee.sign(INVITE, &invite_body(name, &key)),
        }
    }

    /// The invite as text, for whoever is invited.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 96]);
        let (seed, signature) = bytes.split_at_mut(32);
        seed.copy_from_slice(&*self.seed);
        signature.copy_from_slice(&self.committee.to_bytes());
        Zeroizing::new(hex::encode(bytes.as_slice()))
    }

    /// Shows the invite for a client.
    #[must_use]
    pub fn show(&self, instance: &Instance, client: &ClientId) -> ShownInvite {
        let secret = SigningSecret::from_seed(&self.seed);
        let key = secret.public();
        ShownInvite {
            key,
            committee: self.committee,
            holder: secret.sign(HOLDER, &holder_body(instance, &key, client)),
        }
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invite(..)")
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let mut bytes = Zeroizing::new([0; 96]);
        hex::decode_to_slice(text.trim(), &mut *bytes).map_err(|_| InviteError::Parse)?;
        let (seed, signature) = bytes.split_at(32);
        let mut invite = Self {
            seed: Zeroizing::new([0; 32]),
            committee: Signature::from_bytes(signature.try_into().map_err(|_| InviteError::Parse)?),
        };
        invite.seed.copy_from_slice(seed);
        Ok(invite)
    }
}

fn invite_body(name: &InstanceName, key: &SigningPublic) -> Canonical {
    Canonical::new()
        .bytes(name.as_str().as_bytes())
        .fixed(key.as_bytes())
}

fn holder_body(instance: &Instance, key: &SigningPublic, client: &ClientId) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(key.as_bytes())
        .fixed(client.as_bytes())
}

/// An invite as it is shown for one client: no secret, and of use to nobody else.
/// Not trusted before [`ShownInvite::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownInvite {
    key: SigningPublic,
    committee: Signature,
    holder: Signature,
}

impl ShownInvite {
    /// What tells the invite from others: its public key.
    #[must_use]
    pub const fn key(&self) -> &SigningPublic {
        &self.key
    }

    /// Checks that the committee made the invite, and that whoever holds it
    /// shows it for this client.
    ///
    /// # Errors
    /// [`InviteError`], naming the first check that failed.
    pub fn verify(&self, instance: &Instance, client: &ClientId) -> Result<(), InviteError> {
        instance
            .committee()
            .verify(
                INVITE,
                &invite_body(instance.name(), &self.key),
                &self.committee,
            )
            .map_err(InviteError::Committee)?;
        self.key
            .verify(
                HOLDER,
                &holder_body(instance, &self.key, client),
                &self.holder,
            )
            .map_err(InviteError::Holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::CommitteeSecret;

    fn committee(secret: &str) -> (Instance, SigningSecret) {
        let name: InstanceName = "acme.mix.test".parse().unwrap();
        let secret = CommitteeSecret::new(Zeroizing::new(secret.as_bytes().to_vec()));
        let key = secret.committee_key(&name);
        (Instance::new(name, key.public()), key)
    }

    #[test]
    fn i19_an_invite_is_shown_for_one_client_by_who_holds_it() {
        let (instance, key) = committee("a secret for the tests");
        let (_, other_key) = committee("another secret");
        let (client, other) = (ClientId::new([1; 32]), ClientId::new([2; 32]));
        let seed = Zeroizing::new([7; 32]);
        let invite = Invite::sign(instance.name(), &seed, &key);
        let shown = invite.show(&instance, &client);
        assert_eq!(shown.verify(&instance, &client), Ok(()));
        // Whoever sees it shown has nothing to show for another client.
        let refused = |shown: &ShownInvite, client| shown.verify(&instance, client).unwrap_err();
        assert!(matches!(refused(&shown, &other), InviteError::Holder(_)));
        let foreign = Invite::sign(instance.name(), &seed, &other_key);
        assert!(matches!(
            refused(&foreign.show(&instance, &client), &client),
            InviteError::Committee(_)
        ));
        let wire = postcard::to_stdvec(&shown).unwrap();
        assert_eq!(wire.len(), 160);
        for bit in 0..wire.len() * 8 {
            let mut changed = wire.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed: ShownInvite = postcard::from_bytes(&changed).unwrap();
            assert!(changed.verify(&instance, &client).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn i10_an_invite_is_text_and_is_not_printed() {
        let (instance, key) = committee("a secret for the tests");
        let invite = Invite::sign(instance.name(), &Zeroizing::new([7; 32]), &key);
        let again: Invite = format!("{}\n", *invite.text()).parse().unwrap();
        let client = ClientId::new([1; 32]);
        assert_eq!(
            again.show(&instance, &client),
            invite.show(&instance, &client)
        );
        assert_eq!(format!("{invite:?}"), "Invite(..)");
        for bad in ["", "00", &"x".repeat(192), &"0".repeat(194)] {
            let error = bad.parse::<Invite>().unwrap_err();
            assert_eq!(error, InviteError::Parse);
            assert!(bad.len() < 9 || !error.to_string().contains(bad));
        }
    }
}
