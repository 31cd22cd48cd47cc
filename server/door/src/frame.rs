//! What is on a stream of a connection.
//!
//! Whoever calls opens a stream and writes one frame: the kind of call in a byte,
//! the length of the body in four (big endian), the body in postcard. The other side
//! writes one frame back, or any number of them where it pushes news: in the first
//! byte 0 for an answer and 1 for a refusal, then length and body as before.
//!
//! Nothing here touches a socket but [`read`], so that all of it can be fuzzed.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of a frame besides its body.
pub const HEAD: usize = 5;
/// Longest refusal, in bytes.
pub const REFUSAL: u32 = 1 << 10;
/// Bytes that are made room for before they have come.
const READ_AHEAD: usize = 64 << 10;

/// A frame that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A kind of call, or of answer, that is not known here.
    #[error("Kind {found} of a frame is not known here")]
    Kind {
        /// What it said.
        found: u8,
    },
    /// Longer than its kind allows.
    #[error("A frame of kind {kind} would have {found} bytes; at most {most} are taken")]
    Length {
        /// The kind.
        kind: u8,
        /// By its word.
        found: u32,
        /// The longest that its kind has.
        most: u32,
    },
    /// The stream broke, or ended within a frame.
    #[error("The stream ended within a frame")]
    Torn(#[source] std::io::Error),
    /// The body is not what its kind says.
    #[error("The body of a frame does not decode")]
    Body(#[source] postcard::Error),
}

/// The first bytes of a frame, and how long its body is: not yet bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The kind of call, or of answer.
    pub kind: u8,
    /// Bytes of the body.
    pub length: u32,
}

impl Head {
    /// As it travels.
    #[must_use]
    pub const fn encode(self) -> [u8; HEAD] {
        let [a, b, c, d] = self.length.to_be_bytes();
        [self.kind, a, b, c, d]
    }

    /// Reads it, and refuses a length above what `longest` says of its kind.
    ///
    /// # Errors
    /// [`FrameError::Kind`] and [`FrameError::Length`].
    pub fn decode(
        bytes: [u8; HEAD],
        longest: impl FnOnce(u8) -> Option<u32>,
    ) -> Result<Self, FrameError> {
        let [kind, a, b, c, d] = bytes;
        let length = u32::from_be_bytes([a, b, c, d]);
        let most = longest(kind).ok_or(FrameError::Kind { found: kind })?;
        if length > most {
            return Err(FrameError::Length {
                kind,
                found: length,
                most,
            });
        }
        Ok(Self { kind, length })
    }
}

/// A frame with its body, as it travels.
#[must_use]
pub fn frame(kind: u8, body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = BytesMut::with_capacity(HEAD.saturating_add(body.len()));
    frame.extend_from_slice(&Head { kind, length }.encode());
    frame.extend_from_slice(body);
    frame.freeze()
}

/// Longest answer of each kind, where an answer may have `longest` bytes.
pub fn answers(longest: u32) -> impl Fn(u8) -> Option<u32> {
    move |kind| match kind {
        ANSWER => Some(longest),
        REFUSED => Some(REFUSAL),
        _ => None,
    }
}

/// The kind of an answer.
pub const ANSWER: u8 = 0;
/// The kind of a refusal.
pub const REFUSED: u8 = 1;

/// Reads one frame; `None` at the end of the stream.
///
/// # Errors
/// [`FrameError`].
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    longest: impl FnOnce(u8) -> Option<u32>,
) -> Result<Option<(u8, Bytes)>, FrameError> {
    let mut head = [0; HEAD];
    let first = stream.read(&mut head).await.map_err(FrameError::Torn)?;
    if first == 0 {
        return Ok(None);
    }
    let rest = head.get_mut(first..).unwrap_or_default();
    stream.read_exact(rest).await.map_err(FrameError::Torn)?;
    let Head { kind, length } = Head::decode(head, longest)?;
    let length = length as usize;
    // It is not taken at its word for more than this.
    let mut body = BytesMut::with_capacity(length.min(READ_AHEAD));
    let mut limited = stream.take(u64::try_from(length).unwrap_or(u64::MAX));
    while body.len() < length {
        let read = limited.read_buf(&mut body).await;
        if read.map_err(FrameError::Torn)? == 0 {
            let torn = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(FrameError::Torn(torn));
        }
    }
    Ok(Some((kind, body.freeze())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read_all(mut bytes: &[u8], most: u32) -> Result<Option<(u8, Bytes)>, FrameError> {
        read(&mut bytes, |kind| (kind < 4).then_some(most)).await
    }

    #[tokio::test]
    async fn i19_a_frame_is_as_long_as_its_kind_allows_and_no_longer() {
        let bytes = frame(3, &[7; 100]);
        let read = read_all(&bytes, 100).await.unwrap();
        assert_eq!(read, Some((3, Bytes::from_static(&[7; 100]))));
        let error = read_all(&bytes, 99).await.unwrap_err();
        assert!(matches!(error, FrameError::Length { found: 100, .. }));
        let error = read_all(&frame(4, b""), 99).await.unwrap_err();
        assert!(matches!(error, FrameError::Kind { found: 4 }));
        // A promise of 4 GiB takes no memory.
        let head = Head {
            kind: 0,
            length: u32::MAX,
        };
        let error = read_all(&head.encode(), u32::MAX).await.unwrap_err();
        assert!(matches!(error, FrameError::Torn(_)));
    }

    proptest! {
        #[test]
        fn i19_a_torn_frame_is_an_error_and_nothing_is_none(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
        ) {
            let bytes = frame(1, &body);
            let at = at.index(bytes.len());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read_all(&bytes[..at], 1_000));
            if at == 0 {
                prop_assert!(matches!(read, Ok(None)));
            } else {
                prop_assert!(matches!(read, Err(FrameError::Torn(_))));
            }
        }
    }
}
