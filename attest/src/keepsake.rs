//! A seed sealed to a TD, to be kept there for its owner.
//!
//! HPKE (RFC 9180, base mode) in the suite of [`provision`](crate::provision). Whoever
//! seals has verified that the key is a TD's: by the signature of a key that the TD's
//! evidence names. A transport identity would not do: its seed is its operator's, who can
//! run a process of his own under it.

use hpke::{
    Deserializable as _, HpkeError, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256, single_shot_open, single_shot_seal,
};
use zeroize::Zeroizing;

use crate::{provision::key_pair, secret::SecretText};

type Kem = X25519HkdfSha256;
type Public = <Kem as hpke::Kem>::PublicKey;
type Encapsulated = <Kem as hpke::Kem>::EncappedKey;

/// What the sealing is for, so that no other protocol's messages open here.
const INFO: &[u8] = b"zipnet/keepsake/v1";
/// Longest seed, in bytes: 32 in hex.
const MAX_SEED: usize = 64;
/// Longest sealed seed, in bytes: encapsulated key, seed, tag.
pub const MAX_SEALED: usize = 32 + MAX_SEED + 16;

/// A seed cannot be sealed, or does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeepsakeError {
    /// The key, or a seed that is not sealed to it.
    #[error("The seed is not sealed to this key, by whoever says so")]
    Sealed(#[source] HpkeError),
    /// Not the form.
    #[error("The sealed seed is not of its form; at most {MAX_SEALED} bytes would be right")]
    Form,
}

/// A key of this process to which others seal what they leave with it; wiped when it is
/// dropped.
pub struct KeeperKey {
    secret: <Kem as hpke::Kem>::PrivateKey,
    public: [u8; 32],
}

impl core::fmt::Debug for KeeperKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "KeeperKey({})", hex::encode(self.public))
    }
}

impl KeeperKey {
    /// A fresh one.
    ///
    /// # Errors
    /// If this machine gives no randomness.
    pub fn new() -> Result<Self, getrandom::Error> {
        let (secret, public) = key_pair()?;
        Ok(Self { secret, public })
    }

    /// Its public half, 32 bytes.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Opens a seed that was sealed to this key for `of`.
    ///
    /// # Errors
    /// [`KeepsakeError`].
    pub fn open(&self, sealed: &[u8], of: &[u8]) -> Result<SecretText, KeepsakeError> {
        if sealed.len() > MAX_SEALED {
            return Err(KeepsakeError::Form);
        }
        let (encapsulated, ciphertext) = sealed
            .split_first_chunk::<32>()
            .ok_or(KeepsakeError::Form)?;
        let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(KeepsakeError::Sealed)?;
        let mode = OpModeR::Base;
        let opened = single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &mode,
            &self.secret,
            &encapsulated,
            INFO,
            ciphertext,
            of,
        );
        let opened = Zeroizing::new(opened.map_err(KeepsakeError::Sealed)?);
        let text = core::str::from_utf8(&opened).map_err(|_| KeepsakeError::Form)?;
        Ok(SecretText::from(text))
    }
}

/// Seals a seed to a keeper's key, for `of`: who it is of, and who keeps it.
///
/// # Errors
/// [`KeepsakeError`].
pub fn seal(to: &[u8; 32], seed: &SecretText, of: &[u8]) -> Result<Vec<u8>, KeepsakeError> {
    if seed.expose().len() > MAX_SEED {
        return Err(KeepsakeError::Form);
    }
    let to = Public::from_bytes(to).map_err(KeepsakeError::Sealed)?;
    let seed = seed.expose().as_bytes();
    let mode = OpModeS::Base;
    let (encapsulated, ciphertext) =
        single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem>(&mode, &to, INFO, seed, of)
            .map_err(KeepsakeError::Sealed)?;
    Ok([&encapsulated.to_bytes()[..], &ciphertext].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_opens_for_the_key_and_the_owner_that_it_is_sealed_for() {
        let (key, other) = (KeeperKey::new().unwrap(), KeeperKey::new().unwrap());
        let seed = SecretText::from("5eed".repeat(16).as_str());
        let sealed = seal(key.public(), &seed, b"of one").unwrap();
        assert_eq!(sealed.len(), MAX_SEALED);
        assert_eq!(key.open(&sealed, b"of one").unwrap(), seed);
        assert!(key.open(&sealed, b"of another").is_err());
        assert!(other.open(&sealed, b"of one").is_err());
        for cut in 0..sealed.len() {
            assert!(key.open(&sealed[..cut], b"of one").is_err(), "{cut}");
        }
        assert_eq!(key.open(&[0; 1000], b"of one"), Err(KeepsakeError::Form));
    }
}
