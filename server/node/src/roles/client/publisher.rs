//! The writing half of a client.

use tokio::sync::{mpsc, oneshot};
use zipnet_protocol::{Message, MessageError, RoundParams, SealError};

/// A message was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It does not fit.
    #[error("The message cannot be sent")]
    Message(#[source] MessageError),
    /// It was not sealed.
    #[error("The message cannot be sealed")]
    Seal(#[source] SealError),
    /// The client has left, or only covers or watches.
    #[error("This client does not publish (any more)")]
    Closed,
}

/// Where a message landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The round's number.
    pub round: u64,
    /// The slot.
    pub slot: u32,
    /// How often it was sealed until it landed.
    pub attempts: u32,
    /// How many clients took part in the round: the anonymity set, as far as
    /// they are different people.
    pub participants: usize,
}

/// A message on its way to the driver, who says what became of it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub message: Message,
    pub done: oneshot::Sender<Result<Receipt, PublishError>>,
}

/// Publishes messages, one for each round, in the order of the calls.
#[derive(Debug, Clone)]
pub struct Publisher {
    outbox: mpsc::Sender<Outgoing>,
    params: RoundParams,
}

impl Publisher {
    pub(super) const fn new(outbox: mpsc::Sender<Outgoing>, params: RoundParams) -> Self {
        Self { outbox, params }
    }

    /// Publishes a message and waits until it has landed; after a collision it
    /// is sealed again in the next round.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, message: Vec<u8>) -> Result<Receipt, PublishError> {
        let message = Message::new(message, &self.params).map_err(PublishError::Message)?;
        let (done, landed) = oneshot::channel();
        self.outbox
            .send(Outgoing { message, done })
            .await
            .map_err(|_| PublishError::Closed)?;
        landed.await.map_err(|_| PublishError::Closed)?
    }
}
