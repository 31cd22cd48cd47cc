//! The writing half of a client.

use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::sync::Arc;

use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, timeout_at},
};
use zipnet_protocol::{Digest, Epoch, Message, MessageError, RoundParams, SealError};

use super::sending::{Done, MessageId, Receipts, Sending, Told};

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// Too many wait.
    #[error(
        "Too many messages of this client wait to be sealed; to wait for some of them, or `publish`, which waits for its turn, would be right"
    )]
    Full,
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
    pub done: Done,
}

/// Publishes messages, one at a time, in the order of the calls. Clones share the queue
/// and the numbers of messages.
///
/// Nothing is sent to anybody because of a message: the client seals an envelope for each
/// round, with a message or with cover.
#[derive(Debug, Clone)]
pub struct Publisher {
    outbox: mpsc::Sender<Outgoing>,
    params: RoundParams,
    numbers: Arc<AtomicU64>,
    /// Whoever listens to what becomes of messages; gone with the client.
    told: broadcast::WeakSender<Told>,
}

impl Publisher {
    pub(super) fn new(
        outbox: mpsc::Sender<Outgoing>,
        params: RoundParams,
        told: &broadcast::Sender<Told>,
    ) -> Self {
        Self {
            outbox,
            params,
            numbers: Arc::default(),
            told: told.downgrade(),
        }
    }

    /// The most bytes that a message may have.
    #[must_use]
    pub const fn longest(&self) -> usize {
        self.params.message_bytes()
    }

    /// Sends a message as [`Publisher::send_with`] does, with the default options: 8
    /// attempts within 5 minutes.
    #[allow(
        clippy::must_use_candidate,
        reason = "what becomes of it may be heard from `receipts`, or be left alone"
    )]
    pub fn send(&self, message: impl Into<Vec<u8>>) -> Sending {
        self.send_with(message, PublishOptions::default())
    }

    /// Puts a message into the queue and returns at once. Whoever awaits what is returned
    /// is told what became of it; so is whoever reads [`Publisher::receipts`].
    ///
    /// Whoever drops it **does not** withdraw the message, unlike the future of
    /// [`Publisher::publish`].
    #[allow(
        clippy::must_use_candidate,
        reason = "what becomes of it may be heard from `receipts`, or be left alone"
    )]
    pub fn send_with(&self, message: impl Into<Vec<u8>>, options: PublishOptions) -> Sending {
        let (done, sending) = Done::open(self.number(), false, &self.told);
        let Some(outgoing) = self.outgoing(message.into(), options, done) else {
            return sending;
        };
        match self.outbox.try_send(outgoing) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(outgoing)) => {
                outgoing.done.send(Err(PublishError::Full));
            }
            Err(mpsc::error::TrySendError::Closed(outgoing)) => {
                outgoing.done.send(Err(PublishError::Closed));
            }
        }
        sending
    }

    /// Publishes a message as [`Publisher::publish_with`] does, with the default
    /// options: 8 attempts within 5 minutes.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, message: impl Into<Vec<u8>>) -> Result<Receipt, PublishError> {
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
        message: impl Into<Vec<u8>>,
        options: PublishOptions,
    ) -> Result<Receipt, PublishError> {
        let (done, sending) = Done::open(self.number(), true, &self.told);
        let Some(outgoing) = self.outgoing(message.into(), options, done) else {
            return sending.await;
        };
        match timeout_at(outgoing.until, self.outbox.reserve()).await {
            Ok(Ok(place)) => place.send(outgoing),
            Ok(Err(_)) => outgoing.done.send(Err(PublishError::Closed)),
            // Others were before it all the time.
            Err(_) => outgoing.done.send(Err(PublishError::NotLanded {
                attempts: 0,
                because: GivenUp::Deadline,
            })),
        }
        // The driver keeps the deadline: only it knows what was sealed.
        sending.await
    }

    /// What becomes of the messages of this client from now on, by whichever publisher
    /// they are sent. It ends once the client has left.
    #[must_use]
    pub fn receipts(&self) -> Receipts {
        Receipts::of(self.told.upgrade().map(|told| told.subscribe()))
    }

    /// A message on its way, unless it does not fit, which is told at once.
    fn outgoing(&self, message: Vec<u8>, options: PublishOptions, done: Done) -> Option<Outgoing> {
        match Message::new(message, &self.params) {
            Ok(message) => Some(Outgoing {
                message,
                options,
                until: Instant::now() + options.deadline.min(LONGEST),
                done,
            }),
            Err(error) => {
                done.send(Err(PublishError::Message(error)));
                None
            }
        }
    }

    fn number(&self) -> MessageId {
        MessageId::new(self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}
