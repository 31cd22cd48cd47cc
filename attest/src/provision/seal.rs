//! HPKE (RFC 9180, mode `auth`): X25519 with HKDF-SHA256, HKDF-SHA256,
//! ChaCha20-Poly1305. One key for one message.
//!
//! The sender is authenticated by a key of its own, the [`GiverKey`], which
//! follows from the committee secret: whoever seals knows that secret, and a
//! guest's public configuration names the public half. What the receiver
//! answers is exported from the same context (section 5.3): only who opened the
//! message can compute it.

use core::fmt;

use hkdf::Hkdf;
use hpke::{
    Deserializable as _, HpkeError, Kem as _, OpModeR, OpModeS, Serializable as _,
    aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305},
    kdf::HkdfSha256,
    kem::X25519HkdfSha256,
    setup_receiver, setup_sender,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::SecretText;

type Kem = X25519HkdfSha256;
type Public = <Kem as hpke::Kem>::PublicKey;
type Private = <Kem as hpke::Kem>::PrivateKey;
type Encapsulated = <Kem as hpke::Kem>::EncappedKey;
type Sender = AeadCtxS<ChaCha20Poly1305, HkdfSha256, Kem>;
type Receiver = AeadCtxR<ChaCha20Poly1305, HkdfSha256, Kem>;

/// What the sealing is for, so that no other protocol's messages open here.
const INFO: &[u8] = b"zipnet/provisioning/v2";
/// What keys of givers are derived under.
const GIVER: &[u8] = b"zipnet/provisioning/giver/v1";
/// What acceptances are exported under.
const ACCEPTED: &[u8] = b"zipnet/provisioning/accepted/v1";

/// Bytes by which a sealed message is longer than what is in it.
pub const TAG_BYTES: usize = 16;

/// The key by which whoever gives secrets is known to guests. Everybody who has
/// the committee secret of an instance has the same one, and nobody else has.
/// Wiped when it is dropped.
pub struct GiverKey {
    secret: Private,
    public: Public,
}

impl fmt::Debug for GiverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GiverKey({})", hex::encode(self.public()))
    }
}

impl GiverKey {
    /// The key that follows from the committee secret of an instance, by its
    /// name. As strong as that secret: whoever guesses it can check the guess
    /// against the public half, as against the committee key.
    #[must_use]
    pub fn new(committee_secret: &SecretText, instance: &str) -> Self {
        let mut material = Zeroizing::new([0; 32]);
        let keys = Hkdf::<Sha256>::new(None, committee_secret.expose().as_bytes());
        // HKDF has enough for 255 times as much.
        let _ = keys.expand_multi_info(&[GIVER, instance.as_bytes()], &mut *material);
        let (secret, public) = Kem::derive_keypair(&*material);
        Self { secret, public }
    }

    /// Its public half, 32 bytes: the value of `GUEST_PROVISION_KEY`.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public.to_bytes().into()
    }

    /// Seals to a public key under `aad`; yields what the receiver has to show.
    ///
    /// # Errors
    /// The library's, for a key that is none.
    pub fn seal(
        &self,
        to: &[u8; 32],
        message: &[u8],
        aad: &[u8],
    ) -> Result<(Sealed, Proof), HpkeError> {
        let mode = OpModeS::Auth((self.secret.clone(), self.public.clone()));
        let to = Public::from_bytes(to)?;
        let (encapsulated, mut context): (_, Sender) = setup_sender(&mode, &to, INFO)?;
        let sealed = Sealed {
            encapsulated: encapsulated.to_bytes().into(),
            ciphertext: context.seal(message, aad)?,
        };
        Ok((sealed, Proof::new(|info, out| context.export(info, out))))
    }
}

/// A fresh private key, wiped when it is dropped, and its public half, 32 bytes.
pub(crate) fn key_pair() -> Result<(Private, [u8; 32]), getrandom::Error> {
    let mut material = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *material)?;
    let (secret, public) = Kem::derive_keypair(&*material);
    Ok((secret, public.to_bytes().into()))
}

/// A key to which one message can be sealed; wiped when it is dropped.
pub struct OneTimeKey {
    secret: Private,
    public: [u8; 32],
}

/// A sealed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Encapsulated key, 32 bytes.
    pub encapsulated: [u8; 32],
    /// Ciphertext with its tag of 16 bytes.
    pub ciphertext: Vec<u8>,
}

impl OneTimeKey {
    /// A fresh one.
    pub fn new() -> Result<Self, getrandom::Error> {
        let (secret, public) = key_pair()?;
        Ok(Self { secret, public })
    }

    /// Its public half, 32 bytes.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Opens what the giver of a public key sealed to this key under `aad`. A
    /// key opens once.
    pub fn open(
        self,
        from: &[u8; 32],
        sealed: &Sealed,
        aad: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, Proof), HpkeError> {
        let mode = OpModeR::Auth(Public::from_bytes(from)?);
        let encapsulated = Encapsulated::from_bytes(&sealed.encapsulated)?;
        let mut context: Receiver = setup_receiver(&mode, &self.secret, &encapsulated, INFO)?;
        let message = Zeroizing::new(context.open(&sealed.ciphertext, aad)?);
        Ok((message, Proof::new(|info, out| context.export(info, out))))
    }
}

/// What proves to the sender that the receiver opened what was sealed: a key
/// that only these two can export, for one transcript.
pub struct Proof(Zeroizing<[u8; 32]>);

impl Proof {
    fn new(export: impl FnOnce(&[u8], &mut [u8]) -> Result<(), HpkeError>) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        // HKDF has enough for 255 times as much.
        let _ = export(ACCEPTED, &mut *key);
        Self(key)
    }

    /// The proof over all messages of a connection so far, by their digest: 32
    /// bytes.
    pub fn over(&self, transcript: &[u8; 32]) -> [u8; 32] {
        let mut mac = [0; 32];
        let keys = Hkdf::<Sha256>::new(None, &*self.0);
        let _ = keys.expand_multi_info(&[ACCEPTED, transcript], &mut mac);
        mac
    }

    /// Whether that is what was shown. It takes the same time wherever they
    /// differ: digests are compared.
    pub fn is(&self, transcript: &[u8; 32], shown: &[u8; 32]) -> bool {
        Sha256::digest(self.over(transcript)) == Sha256::digest(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str, instance: &str) -> GiverKey {
        GiverKey::new(&SecretText::from(secret), instance)
    }

    #[test]
    fn a_givers_key_follows_from_committee_secret_and_instance_alone() {
        let one = key("a committee secret", "one");
        assert_eq!(one.public(), key("a committee secret", "one").public());
        for other in [
            key("another secret", "one"),
            key("a committee secret", "two"),
        ] {
            assert_ne!(one.public(), other.public());
        }
    }

    #[test]
    fn only_from_the_giver_that_is_named_and_only_once_opened_is_it_proven() {
        let (giver, stranger) = (key("a committee secret", "one"), key("a guess", "one"));
        let (to, aad) = (OneTimeKey::new().unwrap(), b"statement");
        let (sealed, expected) = giver.seal(to.public(), b"secrets", aad).unwrap();
        let (message, proof) = to.open(&giver.public(), &sealed, aad).unwrap();
        assert_eq!(message[..], b"secrets"[..]);
        let shown = proof.over(&[7; 32]);
        assert!(expected.is(&[7; 32], &shown));
        assert!(!expected.is(&[8; 32], &shown), "of another transcript");

        for (from, named) in [(&stranger, &giver), (&giver, &stranger)] {
            let to = OneTimeKey::new().unwrap();
            let (sealed, _) = from.seal(to.public(), b"secrets", aad).unwrap();
            assert!(to.open(&named.public(), &sealed, aad).is_err());
        }
        let to = OneTimeKey::new().unwrap();
        let (sealed, _) = giver.seal(to.public(), b"secrets", aad).unwrap();
        assert!(to.open(&giver.public(), &sealed, b"another").is_err());
    }
}
