//! What becomes of messages, for whoever sent them.

use core::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use tokio::sync::{broadcast, oneshot};

use super::{
    lag::{self, Lagged},
    publisher::{PublishError, Receipt},
};

/// Fates that a slow listener may lag behind before it loses some.
pub(super) const BACKLOG: usize = 256;

/// A message of this client, in the order in which they were sent. It never leaves the
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    pub(super) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// How many messages this client had sent before.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of which.
    pub message: MessageId,
    /// Where it landed, or what is known instead.
    pub outcome: Result<Receipt, PublishError>,
}

/// A message that was sent. Awaiting it yields what became of it; dropping it changes
/// nothing: the message is sealed all the same.
#[derive(Debug)]
pub struct Sending {
    message: MessageId,
    told: oneshot::Receiver<Result<Receipt, PublishError>>,
}

impl Sending {
    /// Which message it is, as [`Told`] names it.
    #[must_use]
    pub const fn message(&self) -> MessageId {
        self.message
    }
}

impl Future for Sending {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let told = Pin::new(&mut self.told).poll(context);
        // Nobody tells any more once the client has left.
        told.map(|told| told.unwrap_or(Err(PublishError::Closed)))
    }
}

/// Whom to tell what became of a message.
#[derive(Debug)]
pub(super) struct Done {
    message: MessageId,
    told: oneshot::Sender<Result<Receipt, PublishError>>,
    /// Whether it is withdrawn once nobody waits for it.
    withdraws: bool,
    all: Option<broadcast::Sender<Told>>,
}

impl Done {
    /// Somebody to tell, and the ear of whoever waits.
    pub fn open(
        message: MessageId,
        withdraws: bool,
        all: &broadcast::WeakSender<Told>,
    ) -> (Self, Sending) {
        let (told, heard) = oneshot::channel();
        let done = Self {
            message,
            told,
            withdraws,
            all: all.upgrade(),
        };
        let sending = Sending {
            message,
            told: heard,
        };
        (done, sending)
    }

    /// Whether whoever sent it wants it sealed no more.
    pub fn is_withdrawn(&self) -> bool {
        self.withdraws && self.told.is_closed()
    }

    /// Tells what became of it. Of what was withdrawn nothing is told: what is out may
    /// land, and nobody looks for it.
    pub fn send(self, outcome: Result<Receipt, PublishError>) {
        if self.is_withdrawn() {
            return;
        }
        if let Some(all) = &self.all {
            let message = self.message;
            // Nobody may be listening.
            let _ = all.send(Told {
                message,
                outcome: outcome.clone(),
            });
        }
        let _ = self.told.send(outcome);
    }
}

#[cfg(test)]
impl From<oneshot::Sender<Result<Receipt, PublishError>>> for Done {
    fn from(told: oneshot::Sender<Result<Receipt, PublishError>>) -> Self {
        Self {
            message: MessageId::new(0),
            told,
            withdraws: true,
            all: None,
        }
    }
}

/// What becomes of the messages of a client, in the order in which it becomes known.
///
/// A stream of [`Told`]. Where it was read too slowly, [`Lagged`] stands in place of what
/// is lost; the [`Sending`] of a message loses nothing.
pub struct Receipts(BoxStream<'static, Result<Told, Lagged>>);

impl Receipts {
    pub(super) fn of(told: Option<broadcast::Receiver<Told>>) -> Self {
        Self(match told {
            Some(told) => lag::values(told).boxed(),
            None => futures::stream::empty().boxed(),
        })
    }

    /// The next one; `None` once the client has left.
    pub async fn next(&mut self) -> Option<Result<Told, Lagged>> {
        self.0.next().await
    }
}

impl Stream for Receipts {
    type Item = Result<Told, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipts(..)")
    }
}

#[cfg(test)]
#[path = "sending_tests.rs"]
mod tests;
