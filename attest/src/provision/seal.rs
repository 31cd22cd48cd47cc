//! HPKE (RFC 9180, base mode): X25519 with HKDF-SHA256, HKDF-SHA256,
//! ChaCha20-Poly1305. One key for one message.

use hpke::{
    Deserializable as _, HpkeError, Kem as _, OpModeR, OpModeS, Serializable as _,
    aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::X25519HkdfSha256, single_shot_open,
    single_shot_seal,
};
use zeroize::Zeroizing;

type Kem = X25519HkdfSha256;
type Public = <Kem as hpke::Kem>::PublicKey;
type Encapsulated = <Kem as hpke::Kem>::EncappedKey;

/// What the sealing is for, so that no other protocol's messages open here.
const INFO: &[u8] = b"zipnet/provisioning/v1";

/// Bytes by which a sealed message is longer than what is in it.
pub const TAG_BYTES: usize = 16;

/// A key to which one message can be sealed; wiped when it is dropped.
pub struct OneTimeKey {
    secret: <Kem as hpke::Kem>::PrivateKey,
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
        let mut material = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *material)?;
        let (secret, public) = Kem::derive_keypair(&*material);
        Ok(Self {
            secret,
            public: public.to_bytes().into(),
        })
    }

    /// Its public half, 32 bytes.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Opens what was sealed to this key under `aad`. A key opens once.
    pub fn open(self, sealed: &Sealed, aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        let encapsulated = Encapsulated::from_bytes(&sealed.encapsulated)?;
        single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.secret,
            &encapsulated,
            INFO,
            &sealed.ciphertext,
            aad,
        )
        .map(Zeroizing::new)
    }
}

/// Seals to a public key under `aad`.
pub fn seal(public: &[u8; 32], message: &[u8], aad: &[u8]) -> Result<Sealed, HpkeError> {
    let (encapsulated, ciphertext) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &Public::from_bytes(public)?,
        INFO,
        message,
        aad,
    )?;
    Ok(Sealed {
        encapsulated: encapsulated.to_bytes().into(),
        ciphertext,
    })
}
