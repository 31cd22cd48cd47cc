//! Seals one envelope for each certified round and follows each message until
//! its fate is known.
//!
//! What others see of a client must not depend on whether it has anything to
//! say: each certified round gets one envelope, handed over in the same way and
//! after the same kind of pause; dice fall in each round, and nothing is asked
//! of anybody for the sake of one message.

use std::sync::Arc;

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use zipnet_protocol::{CertifiedRound, FinalizedRound, SealError, SealedEnvelope, Sealer};

use super::{
    OUTBOX,
    offer::Offers,
    pending::{self, Pending},
    publisher::Outgoing,
};
use crate::{
    entropy::Dice,
    pace::{Occupancy, Pace},
    roles::follow::Event,
};

pub(super) struct Driver {
    sealer: Sealer,
    offers: Arc<Offers>,
    outbox: mpsc::Receiver<Outgoing>,
    pending: Pending,
    pace: Pace,
    dice: Dice,
    offered: JoinSet<()>,
}

impl Driver {
    pub fn new(sealer: Sealer, offers: Offers, outbox: mpsc::Receiver<Outgoing>) -> Self {
        Self {
            sealer,
            offers: Arc::new(offers),
            outbox,
            pending: Pending::default(),
            pace: Pace::new(),
            dice: Dice::fresh(),
            offered: JoinSet::new(),
        }
    }

    /// Runs until the follower ends. Events come through a queue that loses
    /// none: a record that was missed would leave a message's fate open.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut open = true;
        loop {
            let until = self.pending.until();
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Opened(round)) => self.seal(&round),
                    Some(Event::Finalized(done)) => self.finalized(&done),
                    None => return,
                },
                outgoing = self.outbox.recv(), if open && self.pending.waiting() < OUTBOX => {
                    match outgoing {
                        Some(outgoing) => self.pending.push(outgoing),
                        None => open = false,
                    }
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    self.pending.expire(Instant::now());
                }
            }
            while self.offered.try_join_next().is_some() {}
        }
    }

    /// Seals the message at hand, or cover: both look alike.
    fn seal(&mut self, round: &Arc<CertifiedRound>) {
        self.pending.expire(Instant::now());
        let facts = pending::facts(round);
        self.pending.opened(&facts);
        // The die falls for cover too.
        let talks = self.pace.talks(self.dice.below(u64::MAX));
        let chosen = if talks {
            self.pending.sealable(&facts)
        } else {
            None
        };
        let sealed = match chosen {
            Some((message, permit)) => match self.sealer.seal(round, Some(message)) {
                Ok((slot, envelope)) => {
                    permit.sealed(slot);
                    Ok(envelope)
                }
                Err(error @ SealError::Message { .. }) => {
                    self.pending.unfit(error);
                    self.cover(round)
                }
                Err(error) => Err(error),
            },
            None => self.cover(round),
        };
        // Talk and cover must not differ in the log either.
        match sealed {
            Ok(envelope) => {
                tracing::debug!(round = round.header().number, "sealed an envelope");
                // The round before is over, one way or another.
                self.offered.abort_all();
                let offers = self.offers.clone();
                let round = round.clone();
                self.offered
                    .spawn(async move { offers.hand_over(&round, &envelope).await });
            }
            Err(error) => tracing::warn!(
                round = round.header().number,
                because = %crate::report::chain(&error),
                "sealed nothing for a round"
            ),
        }
    }

    fn cover(&mut self, round: &CertifiedRound) -> Result<SealedEnvelope, SealError> {
        self.sealer.seal(round, None).map(|(_, envelope)| envelope)
    }

    fn finalized(&mut self, done: &FinalizedRound) {
        self.offers.finalized(done);
        self.pace.recorded(&Occupancy::of(done));
        tracing::debug!(
            round = done.round().header().number,
            backlog = self.pace.backlog(),
            "messages that wait in the whole committee, by estimate"
        );
        self.pending.recorded(done);
    }
}
