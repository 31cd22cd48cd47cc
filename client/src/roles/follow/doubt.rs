//! Why a follower takes part in no round that it is told of, for whoever asks whether this
//! process is ready. Nothing here asks anybody.

use tokio::sync::watch;

use super::{Event, Follower, NewsError};
use crate::health::Reason;

/// The last reason, until a round opens that is believed.
#[derive(Debug, Default)]
pub(super) struct Doubt(watch::Sender<Option<Reason>>);

impl Doubt {
    /// News were refused.
    pub fn told(&self, error: &NewsError) {
        if let Some(code) = error.lacks() {
            let reason = Reason::new(code, crate::report::chain(error));
            self.0.send_replace(Some(reason));
        }
    }

    /// This is what comes out.
    pub fn heard(&self, events: &[Event]) {
        let opened = events.iter().any(|event| matches!(event, Event::Opened(_)));
        if opened {
            self.0.send_if_modified(|doubt| doubt.take().is_some());
        }
    }
}

impl Follower {
    /// Why no round is believed, as far as one was told of since the last that was.
    #[must_use]
    pub fn doubts(&self) -> watch::Receiver<Option<Reason>> {
        self.doubt.0.subscribe()
    }
}
