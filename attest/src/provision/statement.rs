//! What the quote of a guest that wants its secrets says.

use sha2::{Digest as _, Sha256, Sha512};

use crate::{
    rules::Refusal,
    statement::{Fields, joined},
};

/// Bytes of an encoded statement.
pub const STATEMENT_BYTES: usize = 32 * 6 + 8;

/// First 32 bytes of every statement: the tag, filled up with zeros.
const TAG: [u8; 32] = *b"zipnet/provisioning/v2\0\0\0\0\0\0\0\0\0\0";

/// What a guest states about itself before it has secrets. Fixed width,
/// integers big endian, no optional field; a change of this makes another tag.
/// The tag is not that of a [`Statement`](crate::Statement), so that neither
/// can be taken for the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestStatement {
    /// Trust root and policy keys, 32 bytes: [`TrustBase::anchor`].
    ///
    /// [`TrustBase::anchor`]: crate::TrustBase::anchor
    pub anchor: [u8; 32],
    /// SHA-256 of the instance's name, 32 bytes.
    pub instance: [u8; 32],
    /// SHA-256 of the configuration file, 32 bytes.
    pub config: [u8; 32],
    /// One-time HPKE public key, 32 bytes (X25519).
    pub key: [u8; 32],
    /// The nonce of whoever has the secrets, 32 bytes.
    pub nonce: [u8; 32],
    /// The guest's clock, seconds since 1970; nothing rests on it.
    pub time: u64,
}

impl GuestStatement {
    /// The digest by which a statement names an instance.
    #[must_use]
    pub fn instance(name: &str) -> [u8; 32] {
        Sha256::digest(name).into()
    }

    /// The bytes of the statement.
    #[must_use]
    pub fn encode(&self) -> [u8; STATEMENT_BYTES] {
        let time = self.time.to_be_bytes();
        joined(&[
            &TAG,
            &self.anchor,
            &self.instance,
            &self.config,
            &self.key,
            &self.nonce,
            &time,
        ])
    }

    /// Reads a statement back.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-701.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut fields = Fields::of::<STATEMENT_BYTES>(bytes, &TAG)?;
        Ok(Self {
            anchor: fields.take(),
            instance: fields.take(),
            config: fields.take(),
            key: fields.take(),
            nonce: fields.take(),
            time: u64::from_be_bytes(fields.take()),
        })
    }

    /// What REPORTDATA of the TD has to be: SHA-512 of the statement, 64 bytes.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        Sha512::digest(self.encode()).into()
    }
}
