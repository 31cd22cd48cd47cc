//! The reading half of a client.

use std::sync::Arc;

use tokio::sync::broadcast::{Receiver, error::RecvError};
use zipnet_protocol::FinalizedRound;

use crate::roles::follow::Event;

/// Yields finalized rounds, each verified: signed by every server of a roster
/// that this client trusts.
#[derive(Debug)]
pub struct Reader {
    events: Receiver<Event>,
}

impl Reader {
    pub(super) const fn new(events: Receiver<Event>) -> Self {
        Self { events }
    }

    /// The next finalized round; `None` once the client has left.
    pub async fn next(&mut self) -> Option<Arc<FinalizedRound>> {
        loop {
            match self.events.recv().await {
                Ok(Event::Finalized(round)) => return Some(round),
                Ok(Event::Opened(_)) => {}
                Err(RecvError::Lagged(events)) => {
                    tracing::warn!(events, "this reader was too slow and lost rounds");
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
