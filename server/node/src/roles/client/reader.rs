//! The reading half of a client.

use std::sync::Arc;

use tokio::sync::broadcast::{Receiver, error::RecvError};
use zipnet_protocol::FinalizedRound;

/// Yields finalized rounds, each verified: signed by every server of a roster
/// that this client trusts.
#[derive(Debug)]
pub struct Reader {
    rounds: Receiver<Arc<FinalizedRound>>,
}

impl Reader {
    pub(super) const fn new(rounds: Receiver<Arc<FinalizedRound>>) -> Self {
        Self { rounds }
    }

    /// The next finalized round; `None` once the client has left.
    pub async fn next(&mut self) -> Option<Arc<FinalizedRound>> {
        loop {
            match self.rounds.recv().await {
                Ok(round) => return Some(round),
                Err(RecvError::Lagged(rounds)) => {
                    tracing::warn!(rounds, "this reader was too slow and lost rounds");
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
