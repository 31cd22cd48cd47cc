//! The writing half of a client.

use core::{fmt, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use zipnet_protocol::{Digest, Epoch, Message, MessageError, RoundParams, SealError};

/// How often a message is sealed, unless the caller says otherwise.
const ATTEMPTS: u32 = 8;
/// How long a message may take, unless the caller says otherwise.
const DEADLINE: Duration = Duration::from_mins(5);
/// Longest that a message may take.
const LONGEST: Duration = Duration::from_hours(24);

/// How hard to try (I16). A message that is seen in several rounds narrows its
/// author down to those who took part in all of them, so no message is repeated
/// for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOptions {
    /// In how many rounds it may be sealed; at least once.
    pub attempts: u32,
    /// How long it may take from the call on; a day at most.
    pub deadline: Duration,
    /// Seal it for one round only, whatever becomes of that. Otherwise a round
    /// that a server unblinded for itself and gave up for the others is
    /// followed by another attempt, and that server sees the message twice.
    pub at_most_once: bool,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            attempts: ATTEMPTS,
            deadline: DEADLINE,
            at_most_once: false,
        }
    }
}

impl PublishOptions {
    /// In how many rounds it may be sealed.
    pub(super) const fn budget(&self) -> u32 {
        if self.at_most_once { 1 } else { self.attempts }
    }
}

/// Why a message that is in no record was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Each attempt collided or was left out.
    Attempts,
    /// It was to be sealed at most once.
    AtMostOnce,
    /// Its time is over.
    Deadline,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "no attempt is left",
            Self::AtMostOnce => "it was to be sealed at most once",
            Self::Deadline => "its time is over",
        })
    }
}

/// A message was not published, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It does not fit.
    #[error("The message cannot be sent")]
    Message(#[source] MessageError),
    /// It was not sealed.
    #[error("The message cannot be sealed")]
    Seal(#[source] SealError),
    /// It is in no record of the committee's chain.
    #[error(
        "The message has not landed: it was sealed for {attempts} round(s) and is in no record of them; {because}"
    )]
    NotLanded {
        /// How often it was sealed.
        attempts: u32,
        /// Why not again.
        because: GivenUp,
    },
    /// It was sealed, and its fate did not become known in time (I14).
    #[error(
        "Whether the message has landed is not known: it was sealed for {attempts} round(s), and the records that would tell did not come within its time. To look for it in later records before publishing it again would be right: whoever sees it twice learns more of its author"
    )]
    Unknown {
        /// How often it was sealed.
        attempts: u32,
    },
    /// The client has left, or only covers or watches. What was sealed by then
    /// may land all the same.
    #[error("This client does not publish (any more)")]
    Closed,
}

/// Where a message landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The epoch that the round's number counts in.
    pub epoch: Epoch,
    /// The round's number.
    pub round: u64,
    /// The slot.
    pub slot: u32,
    /// Digest of the record that holds it: with it anybody can be shown.
    pub record: Digest,
    /// How often it was sealed until it landed.
    pub attempts: u32,
    /// How many clients took part in the round: the anonymity set, as far as
    /// they are different people.
    pub participants: usize,
    /// How many servers unblinded it; one honest one among them is enough.
    pub servers: usize,
}

/// A message on its way to the driver, who says what became of it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub message: Message,
    pub options: PublishOptions,
    pub until: Instant,
    pub done: oneshot::Sender<Result<Receipt, PublishError>>,
}

/// Publishes messages, one at a time, in the order of the calls.
#[derive(Debug, Clone)]
pub struct Publisher {
    outbox: mpsc::Sender<Outgoing>,
    params: RoundParams,
}

impl Publisher {
    pub(super) const fn new(outbox: mpsc::Sender<Outgoing>, params: RoundParams) -> Self {
        Self { outbox, params }
    }

    /// Publishes a message as [`Publisher::publish_with`] does, with the default
    /// options: 8 attempts within 5 minutes.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, message: Vec<u8>) -> Result<Receipt, PublishError> {
        self.publish_with(message, PublishOptions::default()).await
    }

    /// Publishes a message and waits until its fate is known. It is sealed again
    /// only once it is known that no record holds it, and not in each round: how
    /// often depends on how many messages seem to wait.
    ///
    /// Whoever drops the future withdraws the message: it is not sealed any
    /// more. An envelope that is out already may land all the same.
    ///
    /// # Errors
    /// [`PublishError`], which says what is known.
    pub async fn publish_with(
        &self,
        message: Vec<u8>,
        options: PublishOptions,
    ) -> Result<Receipt, PublishError> {
        let message = Message::new(message, &self.params).map_err(PublishError::Message)?;
        let until = Instant::now() + options.deadline.min(LONGEST);
        let (done, landed) = oneshot::channel();
        let outgoing = Outgoing {
            message,
            options,
            until,
            done,
        };
        match timeout_at(until, self.outbox.send(outgoing)).await {
            Ok(sent) => sent.map_err(|_| PublishError::Closed)?,
            // Others were before it all the time.
            Err(_) => {
                return Err(PublishError::NotLanded {
                    attempts: 0,
                    because: GivenUp::Deadline,
                });
            }
        }
        // The driver keeps the deadline: only it knows what was sealed.
        landed.await.map_err(|_| PublishError::Closed)?
    }
}
