//! Secret texts.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

/// Longest secret, in bytes: more than anyone needs, less than would hurt.
pub const MAX_SECRET: usize = 64 << 10;

/// A secret text. It does not print itself, and is wiped when it is dropped.
///
/// Written by serde as the hex of its bytes: hex needs no escapes, and what
/// has escapes is copied about by parsers.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

/// A text cannot be a secret that a file or a variable holds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "A secret has {length} bytes{end}; 1 to {MAX_SECRET} bytes without line ends at their end would be right",
    end = if *.ends { ", line ends at its end among them" } else { "" }
)]
pub struct SecretTextError {
    length: usize,
    ends: bool,
}

impl SecretText {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a process can be given it in a file: it is not empty, not too
    /// long, and has no line ends at its end, which would not count.
    ///
    /// # Errors
    /// [`SecretTextError`].
    pub fn check(&self) -> Result<(), SecretTextError> {
        let (length, ends) = (self.0.len(), self.0.ends_with(['\r', '\n']));
        if length == 0 || length > MAX_SECRET || ends {
            return Err(SecretTextError { length, ends });
        }
        Ok(())
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(hex::encode(self.0.as_bytes())))
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl de::Visitor<'_> for Hex {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret in hex")
            }

            fn visit_str<E: de::Error>(self, hex: &str) -> Result<SecretText, E> {
                let refuse = || E::custom("a secret is no UTF-8 in hex");
                let bytes = Zeroizing::new(hex::decode(hex).map_err(|_| refuse())?);
                let text = core::str::from_utf8(&bytes).map_err(|_| refuse())?;
                Ok(SecretText::from(text))
            }
        }
        deserializer.deserialize_str(Hex)
    }
}
