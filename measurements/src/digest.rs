//! Digests, and the registers that are made of them.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha384};

/// A digest of `N` bytes, `2 * N` lower-case hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest<const N: usize>(pub [u8; N]);

/// SHA-256: names files.
pub type Digest256 = Digest<32>;

/// SHA-384: what MRTD and RTMRs hold, 48 bytes.
pub type Digest384 = Digest<48>;

impl<const N: usize> Digest<N> {
    /// All zeros, a register that nothing was extended into.
    pub const ZERO: Self = Self([0; N]);

    /// Reads `2 * N` hex digits.
    ///
    /// # Errors
    /// [`hex::FromHexError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; N];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }

    /// Takes the digest from bytes of just its length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl<const N: usize> fmt::Display for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Digest<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Digest<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(|_| {
            serde::de::Error::custom(format_args!(
                "expected {} hex digits, found {} characters",
                N * 2,
                text.len()
            ))
        })
    }
}

/// SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest256 {
    Digest(Sha256::digest(bytes).into())
}

/// SHA-384 of bytes.
#[must_use]
pub fn sha384(bytes: &[u8]) -> Digest384 {
    Digest(Sha384::digest(bytes).into())
}

/// A register after one more digest: `SHA-384(register ‖ digest)`.
///
/// Intel, "TDX Module ABI Reference Specification", TDG.MR.RTMR.EXTEND.
#[must_use]
pub fn extend(register: &Digest384, digest: &Digest384) -> Digest384 {
    let mut hash = Sha384::new();
    hash.update(register.0);
    hash.update(digest.0);
    Digest(hash.finalize().into())
}

/// A register that began with zeros after all `digests` in their order.
#[must_use]
pub fn replay<'a>(digests: impl IntoIterator<Item = &'a Digest384>) -> Digest384 {
    digests
        .into_iter()
        .fold(Digest384::ZERO, |register, digest| {
            extend(&register, digest)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_digest_that_every_td_logs() {
        let expected = "394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0";
        assert_eq!(sha384(&[0; 4]).to_string(), expected);
    }

    #[test]
    fn replay_depends_on_order() {
        let (a, b) = (sha384(b"a"), sha384(b"b"));
        assert_ne!(replay([&a, &b]), replay([&b, &a]));
        assert_eq!(replay([&a]), extend(&Digest384::ZERO, &a));
        assert_eq!(replay([]), Digest384::ZERO);
    }

    #[test]
    fn hex_of_another_length_is_refused() {
        let text = format!("\"{}\"", "ab".repeat(47));
        let error = serde_json::from_str::<Digest384>(&text).unwrap_err();
        assert!(error.to_string().contains("expected 96 hex digits"));
    }
}
