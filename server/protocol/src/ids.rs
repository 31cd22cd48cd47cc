//! Thirty-two-byte identifiers. Each is its own type, so that none can stand
//! in for another.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an identifier of 64 hexadecimal digits")]
pub struct ParseIdError {
    text: String,
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes.
            #[must_use]
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first ten hexadecimal digits, as log lines show it.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take(10).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

id! {
    /// A server's name: a digest of the instance and its transport key, so it
    /// survives restarts under the same `ZIPNET_SECRET`.
    ServerId
}
id! {
    /// A client's name: a digest of the instance, its X25519 key and its
    /// transport key, so it is fresh in every process (I1).
    ClientId
}
id! {
    /// A deployment: its name and its committee key.
    InstanceId
}
id! {
    /// An Ed25519 transport key, mosaik's and iroh's `PeerId`.
    PeerKey
}
id! {
    /// A BLAKE3 digest of something canonical.
    Digest
}
id! {
    /// The life of a committee between two cold starts of all its servers,
    /// random.
    Epoch
}
id! {
    /// Thirty-two fresh bytes from the operating system, one for each header
    /// (I4).
    Nonce
}
id! {
    /// The digest of a canonical round header; every pad key and signature of
    /// the round is bound to it.
    RoundContext
}

impl Digest {
    /// What the first record of an epoch names as its predecessor.
    pub const ZERO: Self = Self([0; 32]);
}

fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let refuse = || ParseIdError {
        text: text.chars().take(80).collect(),
    };
    if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = core::str::from_utf8(pair).map_err(|_| refuse())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_rejects_everything_else() {
        let id = ServerId::new([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.short(), "ababababab");
        for bad in ["", "ab", &"+1".repeat(32), &"é".repeat(32), &"0".repeat(65)] {
            assert!(bad.parse::<ServerId>().is_err(), "{bad}");
        }
    }
}
