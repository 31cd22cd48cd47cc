//! What is missing in a stream, as a value in its place.

use futures::{Stream, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// What is missing in a stream. The stream goes on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lagged {
    /// It was read too slowly.
    #[error("This was read too slowly, and {missed} of its values are lost")]
    Slow {
        /// How many are lost.
        missed: u64,
    },
    /// Records of rounds are missing.
    #[error(
        "Records of rounds before round {before} are missing: no server that was asked has them any more"
    )]
    Gone {
        /// The number of the record before them, if one was yielded.
        after: Option<u64>,
        /// That of the record behind them.
        before: u64,
    },
}

/// What is sent to a receiver.
pub(super) fn values<T>(from: Receiver<T>) -> impl Stream<Item = Result<T, Lagged>> + Send
where
    T: Clone + Send + 'static,
{
    stream::unfold(from, |mut from| async move {
        match from.recv().await {
            Ok(value) => Some((Ok(value), from)),
            Err(RecvError::Lagged(missed)) => Some((Err(Lagged::Slow { missed }), from)),
            Err(RecvError::Closed) => None,
        }
    })
}
