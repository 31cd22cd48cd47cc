//! Bytes of a fixed length that are written as hex.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `N` bytes, as `2 * N` hex digits in files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hexes<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hexes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for Hexes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Hexes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text is not `2 * N` hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hex digits, found {found} characters")]
pub struct HexesError {
    /// Digits.
    pub expected: usize,
    /// Bytes of the text.
    pub found: usize,
}

impl<const N: usize> FromStr for Hexes<N> {
    type Err = HexesError;

    fn from_str(text: &str) -> Result<Self, HexesError> {
        let mut bytes = [0; N];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HexesError {
            expected: N * 2,
            found: text.len(),
        })?;
        Ok(Self(bytes))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hexes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
