//! What is asked of whoever keeps a door.

use serde::{Serialize, de::DeserializeOwned};

/// Longest refusal in words, in characters.
const MAX_TEXT: usize = 200;

/// Longest body of a call that says little or nothing, in bytes.
pub const SHORT: u32 = 1 << 10;

/// A call: its number at the door, its types, and how long they may be.
pub trait Call: 'static {
    /// What is asked.
    type Request: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Its number in a frame.
    const KIND: u8;
    /// Its name, in logs and metrics.
    const LABEL: &'static str;
    /// Longest request, in bytes.
    const MAX_REQUEST: u32 = SHORT;
    /// Longest answer, in bytes. Nothing longer is read: who is asked is often
    /// a stranger, and many are asked at once (A17).
    const MAX_REPLY: u32 = SHORT;
}

/// Why a call was refused by the node that was asked. It travels, so it is
/// data; [`Refused::Text`] is cut to a length.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
pub enum Refused {
    /// The client is not in the registry of the open round.
    #[error("the client is not registered for this round")]
    Unregistered,
    /// There is no open round with this context, or no longer.
    #[error("no round with this context is open")]
    NotOpen,
    /// It has come before.
    #[error("it has come before")]
    Repeated,
    /// The node cannot serve this now; another one may.
    #[error("the node cannot serve this now")]
    Busy,
    /// Anything else, in words.
    #[error("{}", .0.chars().take(MAX_TEXT).collect::<String>())]
    Text(String),
}

impl Refused {
    /// A refusal in words, cut to a length.
    #[must_use]
    pub fn text(words: &str) -> Self {
        Self::Text(words.chars().take(MAX_TEXT).collect())
    }
}
