//! Keys derived from a public seed: anyone can compute them, so they protect nothing.

use super::SimulationError;
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use sha2::{Digest, Sha256};

/// Separates these digests from every other use of SHA-256, 20 bytes.
const DOMAIN: &[u8; 20] = b"zipnet/simulation/v1";

/// A P-256 key pair that everyone who knows the seed can compute.
#[derive(Debug, Clone)]
pub(super) struct Key {
    signing: SigningKey,
    public: [u8; 64],
}

impl Key {
    /// The key named `label` in the world `seed`.
    ///
    /// The scalar (32 bytes, big endian) is
    /// `SHA-256("zipnet/simulation/v1" || u64 BE length of seed || seed || label)`; the length keeps
    /// seed and label from running into each other.
    pub(super) fn derive(seed: &[u8], label: &'static str) -> Result<Self, SimulationError> {
        let seed_len = u64::try_from(seed.len())?;
        let scalar = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(seed_len.to_be_bytes())
            .chain_update(seed)
            .chain_update(label)
            .finalize();
        let signing = SigningKey::from_slice(&scalar)
            .map_err(|source| SimulationError::Key { label, source })?;
        let point = signing.verifying_key().to_sec1_point(false);
        // SEC 1 puts the tag 0x04 in front of x and y.
        let coordinates = point.as_bytes().get(1..).unwrap_or_default();
        let public = coordinates.try_into().map_err(SimulationError::PublicKey)?;
        Ok(Self { signing, public })
    }

    /// The key as the X.509 builder wants it.
    pub(super) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The public key, 64 bytes: x then y, each 32 bytes big endian, without the SEC 1 tag.
    ///
    /// Source: TDX DCAP Quoting Library API, appendix A.3, "ECDSA attestation key".
    pub(super) fn public(&self) -> &[u8; 64] {
        &self.public
    }

    /// ECDSA over SHA-256 of `message`, 64 bytes: r then s, each 32 bytes big endian.
    ///
    /// The nonce is that of RFC 6979, so equal messages have equal signatures. It fails only if
    /// that nonce or r or s is zero, which would take breaking HMAC-SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.signing.sign(message);
        signature.to_bytes().into()
    }
}

/// All keys of one world.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Signs the CA certificates, the TCB signing certificate and the root CA CRL.
    pub(super) root: Key,
    /// Signs the PCK leaf and the PCK CRL.
    pub(super) platform_ca: Key,
    /// Signs TCB info and QE identity.
    pub(super) tcb_signing: Key,
    /// The platform's provisioning certification key; signs the QE report.
    pub(super) pck: Key,
    /// The quoting enclave's attestation key; signs TD quotes.
    pub(super) attestation: Key,
}

impl Keys {
    /// The keys of the world `seed`.
    pub(super) fn derive(seed: &[u8]) -> Result<Self, SimulationError> {
        Ok(Self {
            root: Key::derive(seed, "root-ca")?,
            platform_ca: Key::derive(seed, "pck-platform-ca")?,
            tcb_signing: Key::derive(seed, "tcb-signing")?,
            pck: Key::derive(seed, "pck")?,
            attestation: Key::derive(seed, "attestation")?,
        })
    }
}
