//! Messages of an application's own types.
//!
//! A channel carries bytes, and whoever likes writes to it. A [`Tag`] in front of a message
//! tells those of one kind from all others; it proves nothing. What has another tag, or
//! does not decode, is passed by: it is somebody else's, or made up.

use core::{
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::collections::VecDeque;

use futures::{Stream, StreamExt as _};
use zipnet_protocol::{Epoch, FinalizedRound};

use crate::roles::client::{
    Lagged, PublishError, PublishOptions, Publisher, Reader, Receipt, Sending,
};

/// What stands in front of each message of a kind. Another version of an encoding is
/// another kind.
pub type Tag = [u8; 4];

/// A kind of message.
pub trait Message: Sized {
    /// What stands in front of it.
    const TAG: Tag;

    /// What decoding meets.
    type Error: core::error::Error;

    /// The message as bytes. What does not fit into a slot with the tag is refused when it
    /// is sent ([`PublishError::Message`]).
    fn encode(&self) -> Vec<u8>;

    /// The message out of bytes that anybody may have written.
    ///
    /// # Errors
    /// If they are none.
    fn decode(bytes: &[u8]) -> Result<Self, Self::Error>;
}

/// A message with its tag, as it is sent.
#[must_use]
pub fn encode<T: Message>(message: &T) -> Vec<u8> {
    let mut bytes = T::TAG.to_vec();
    bytes.extend(message.encode());
    bytes
}

/// A message of this kind; `None` if it is of another one.
#[must_use]
pub fn decode<T: Message>(bytes: &[u8]) -> Option<Result<T, T::Error>> {
    let (tag, bytes) = bytes.split_first_chunk::<4>()?;
    (*tag == T::TAG).then(|| T::decode(bytes))
}

/// A message that was published, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<T> {
    /// The epoch that the round's number counts in.
    pub epoch: Epoch,
    /// The round's number.
    pub round: u64,
    /// The slot.
    pub slot: u32,
    /// The message.
    pub message: T,
}

/// The messages of this kind in a round.
pub fn messages<T: Message>(done: &FinalizedRound) -> impl Iterator<Item = Received<T>> + '_ {
    let (epoch, round) = done.round().position();
    done.messages().filter_map(move |(slot, bytes)| {
        let message = match decode(&bytes)? {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(
                    round,
                    slot,
                    because = %crate::report::chain(&error),
                    "a message is not what its tag says"
                );
                return None;
            }
        };
        Some(Received {
            epoch,
            round,
            slot,
            message,
        })
    })
}

/// A [`Publisher`] of one kind of message, or a [`Reader`] of it.
#[derive(Debug)]
pub struct Typed<T, Of> {
    of: Of,
    ready: VecDeque<Received<T>>,
    kind: PhantomData<fn() -> T>,
}

// Nothing of it is pinned.
impl<T, Of> Unpin for Typed<T, Of> {}

impl<T, Of: Clone> Clone for Typed<T, Of> {
    fn clone(&self) -> Self {
        Self::new(self.of.clone())
    }
}

impl<T, Of> Typed<T, Of> {
    /// For messages of the kind `T`.
    #[must_use]
    pub const fn new(of: Of) -> Self {
        Self {
            of,
            ready: VecDeque::new(),
            kind: PhantomData,
        }
    }
}

impl<T: Message> Typed<T, Publisher> {
    /// As [`Publisher::send`].
    #[allow(
        clippy::must_use_candidate,
        reason = "what becomes of it may be heard from `receipts`, or be left alone"
    )]
    pub fn send(&self, message: &T) -> Sending {
        self.of.send(encode(message))
    }

    /// As [`Publisher::send_with`].
    #[allow(
        clippy::must_use_candidate,
        reason = "what becomes of it may be heard from `receipts`, or be left alone"
    )]
    pub fn send_with(&self, message: &T, options: PublishOptions) -> Sending {
        self.of.send_with(encode(message), options)
    }

    /// As [`Publisher::publish`].
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, message: &T) -> Result<Receipt, PublishError> {
        let bytes = encode(message);
        self.of.publish(bytes).await
    }
}

impl<T: Message> Typed<T, Reader> {
    /// The next message of the kind, or what is missing in front of it; `None` once the
    /// client has left.
    pub async fn next(&mut self) -> Option<Result<Received<T>, Lagged>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T: Message> Stream for Typed<T, Reader> {
    type Item = Result<Received<T>, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(received) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(received)));
            }
            match ready!(self.of.poll_next_unpin(context)) {
                Some(Ok(done)) => self.ready.extend(messages(&done)),
                Some(Err(lagged)) => return Poll::Ready(Some(Err(lagged))),
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::ParseIntError;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Bid(u32);

    impl Message for Bid {
        const TAG: Tag = *b"bid1";
        type Error = ParseIntError;

        fn encode(&self) -> Vec<u8> {
            self.0.to_string().into_bytes()
        }

        fn decode(bytes: &[u8]) -> Result<Self, ParseIntError> {
            String::from_utf8_lossy(bytes).parse().map(Self)
        }
    }

    #[test]
    fn a_tag_tells_messages_of_a_kind_from_what_others_write() {
        let bytes = encode(&Bid(17));
        assert_eq!(bytes, b"bid117");
        assert_eq!(decode(&bytes), Some(Ok(Bid(17))));
        for other in [&b""[..], b"bid", b"bid217", b"17"] {
            assert_eq!(decode::<Bid>(other), None);
        }
        assert!(decode::<Bid>(b"bid1").unwrap().is_err());
        assert!(decode::<Bid>(b"bid1x").unwrap().is_err());
    }
}
