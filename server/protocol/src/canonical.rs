//! The one byte encoding that digests and signatures are taken over.
//!
//! Fixed-width integers are big endian; anything of variable length is
//! preceded by its length as `u32`. There is no optional field. A digest is
//! BLAKE3 in key-derivation mode, its context string the domain.

use crate::ids::Digest;

/// Writes the canonical encoding of a value, field by field.
#[derive(Debug, Default)]
pub struct Canonical(Vec<u8>);

impl Canonical {
    /// An empty encoding.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a field of fixed width as it is.
    #[must_use]
    pub fn fixed<const N: usize>(mut self, bytes: &[u8; N]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a `u32`, big endian.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.fixed(&value.to_be_bytes())
    }

    /// Appends a `u64`, big endian.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.fixed(&value.to_be_bytes())
    }

    /// Appends the number of elements that follow. Saturates: no type of this
    /// crate that passed its check comes near `u32::MAX` elements.
    #[must_use]
    pub fn count(self, elements: usize) -> Self {
        self.u32(u32::try_from(elements).unwrap_or(u32::MAX))
    }

    /// Appends bytes of variable length behind their length.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self = self.count(bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    /// The encoding so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digest of the encoding in a domain.
    #[must_use]
    pub fn digest(&self, domain: &'static str) -> Digest {
        domain_digest(domain, &self.0)
    }
}

/// BLAKE3 in key-derivation mode over `bytes`, with `domain` as its context
/// string. Domains look like `zipnet/header/v1`.
#[must_use]
pub fn domain_digest(domain: &'static str, bytes: &[u8]) -> Digest {
    Digest::new(blake3::derive_key(domain, bytes))
}
