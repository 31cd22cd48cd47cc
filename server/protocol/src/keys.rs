//! X25519 and Ed25519 keys in the shape that the protocol needs them.

use core::fmt;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{canonical::Canonical, ids::PeerKey, pad::PadSecret};

/// A key or signature that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The X25519 point has small order: a shared secret with it is the same
    /// for everybody.
    #[error("The X25519 key is a point of small order; a fresh key pair would be right")]
    NonContributory,
    /// The 32 bytes are no Ed25519 point, or one of small order.
    #[error("The Ed25519 key is not a usable curve point")]
    SigningKey,
    /// The signature does not verify under the key.
    #[error("The signature does not verify")]
    Signature,
}

/// An X25519 public key of 32 bytes. Not checked until used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DhPublic([u8; 32]);

impl DhPublic {
    /// Wraps the 32 bytes of a u-coordinate.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Refuses the points of small order, whose product with any clamped
    /// scalar is zero (RFC 7748, section 6.1).
    ///
    /// # Errors
    /// [`KeyError::NonContributory`].
    pub fn check_contributory(&self) -> Result<(), KeyError> {
        // Any clamped scalar is a multiple of the cofactor, so this one tells.
        let product = x25519_dalek::x25519([8; 32], self.0);
        if product == [0; 32] {
            Err(KeyError::NonContributory)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for DhPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DhPublic({})", PeerKey::new(self.0).short())
    }
}

/// An X25519 secret (I1). Zeroized on drop, never serialized, never printed.
pub struct DhSecret(x25519_dalek::StaticSecret);

impl DhSecret {
    /// Makes a secret of 32 fresh random bytes.
    #[must_use]
    pub fn from_entropy(entropy: &Zeroizing<[u8; 32]>) -> Self {
        Self(x25519_dalek::StaticSecret::from(**entropy))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> DhPublic {
        DhPublic(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The shared secret with another party, from which pads are derived.
    ///
    /// # Errors
    /// [`KeyError::NonContributory`] for a point of small order.
    pub fn agree(&self, theirs: &DhPublic) -> Result<PadSecret, KeyError> {
        let shared = self
            .0
            .diffie_hellman(&x25519_dalek::PublicKey::from(theirs.0));
        if shared.was_contributory() {
            Ok(PadSecret::new(shared.to_bytes()))
        } else {
            Err(KeyError::NonContributory)
        }
    }
}

impl fmt::Debug for DhSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DhSecret(..)")
    }
}

/// An Ed25519 signature of 64 bytes, as its two halves.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    r: [u8; 32],
    s: [u8; 32],
}

impl Signature {
    /// Splits 64 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut halves = Self {
            r: [0; 32],
            s: [0; 32],
        };
        let (r, s) = bytes.split_at(32);
        halves.r.copy_from_slice(r);
        halves.s.copy_from_slice(s);
        halves
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (r, s) = bytes.split_at_mut(32);
        r.copy_from_slice(&self.r);
        s.copy_from_slice(&self.s);
        bytes
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// An Ed25519 public key of 32 bytes. Not checked until used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SigningPublic([u8; 32]);

impl SigningPublic {
    /// Wraps the 32 bytes of a compressed point.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks a signature over the digest of `message` in `domain`, by the
    /// strict rules (no small-order keys, no malleable encodings).
    ///
    /// # Errors
    /// [`KeyError::SigningKey`] or [`KeyError::Signature`].
    pub fn verify(
        &self,
        domain: &'static str,
        message: &Canonical,
        signature: &Signature,
    ) -> Result<(), KeyError> {
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| KeyError::SigningKey)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
        key.verify_strict(message.digest(domain).as_bytes(), &signature)
            .map_err(|_| KeyError::Signature)
    }
}

impl From<PeerKey> for SigningPublic {
    fn from(peer: PeerKey) -> Self {
        Self(*peer.as_bytes())
    }
}

impl fmt::Debug for SigningPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningPublic({})", PeerKey::new(self.0).short())
    }
}

/// An Ed25519 secret. Zeroized on drop, as each copy of it; never serialized,
/// never printed.
#[derive(Clone)]
pub struct SigningSecret(ed25519_dalek::SigningKey);

impl SigningSecret {
    /// Makes a secret of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SigningPublic {
        SigningPublic(self.0.verifying_key().to_bytes())
    }

    /// The public half as a transport key.
    #[must_use]
    pub fn peer_key(&self) -> PeerKey {
        PeerKey::new(self.0.verifying_key().to_bytes())
    }

    /// Signs the digest of `message` in `domain`.
    #[must_use]
    pub fn sign(&self, domain: &'static str, message: &Canonical) -> Signature {
        Signature::from_bytes(&self.0.sign(message.digest(domain).as_bytes()).to_bytes())
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The u-coordinates of small order, from <https://cr.yp.to/ecdh.html>.
    const SMALL_ORDER: [[u8; 32]; 5] = [
        [0; 32],
        {
            let mut one = [0; 32];
            one[0] = 1;
            one
        },
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83,
            0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd,
            0xd0, 0x9f, 0x11, 0x57,
        ],
        {
            let mut minus_one = [0xff; 32];
            minus_one[0] = 0xec;
            minus_one[31] = 0x7f;
            minus_one
        },
    ];

    #[test]
    fn small_order_points_are_refused_by_both_checks() {
        let secret = DhSecret::from_entropy(&Zeroizing::new([7; 32]));
        for point in SMALL_ORDER {
            let point = DhPublic::new(point);
            assert_eq!(point.check_contributory(), Err(KeyError::NonContributory));
            assert_eq!(secret.agree(&point).unwrap_err(), KeyError::NonContributory);
        }
        let other = DhSecret::from_entropy(&Zeroizing::new([9; 32]));
        assert_eq!(other.public().check_contributory(), Ok(()));
        assert_eq!(
            secret.agree(&other.public()).unwrap(),
            other.agree(&secret.public()).unwrap()
        );
    }

    #[test]
    fn a_signature_is_bound_to_its_domain_and_message() {
        let secret = SigningSecret::from_seed(&Zeroizing::new([1; 32]));
        let message = Canonical::new().u64(5);
        let signature = secret.sign("zipnet/test/a", &message);
        let key = secret.public();
        assert_eq!(key.verify("zipnet/test/a", &message, &signature), Ok(()));
        assert!(key.verify("zipnet/test/b", &message, &signature).is_err());
        assert!(
            key.verify("zipnet/test/a", &Canonical::new().u64(6), &signature)
                .is_err()
        );
        assert!(
            SigningPublic::new([0xff; 32])
                .verify("zipnet/test/a", &message, &signature)
                .is_err()
        );
    }

    #[test]
    fn secrets_do_not_print_themselves() {
        let text = format!(
            "{:?} {:?}",
            DhSecret::from_entropy(&Zeroizing::new([0x5a; 32])),
            SigningSecret::from_seed(&Zeroizing::new([0x5a; 32]))
        );
        assert_eq!(text, "DhSecret(..) SigningSecret(..)");
    }
}
