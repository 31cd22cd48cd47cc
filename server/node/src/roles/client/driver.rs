//! Seals one envelope for each round and follows each message until it lands.

use core::time::Duration;
use std::sync::Arc;

use mosaik::{Network, PeerId};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    task::JoinSet,
    time::Instant,
};
use zipnet_protocol::{
    CertifiedRound, EnvelopeReceipt, FinalizedRound, Instance, RoundContext, SealError,
    SealedEnvelope, Sealer,
};

use super::{
    publisher::{Outgoing, PublishError, Receipt},
    registration::Registrar,
    witness::Witness,
};
use crate::{
    peers::{Peers, only},
    roles::{common::peer_id, follow::Event},
    wire::{Call as _, EnvelopeCall, Refused},
};

/// How long one attempt to hand an envelope over may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an envelope is offered to an aggregator that does not collect for
/// its round (yet).
const OFFER: Duration = Duration::from_secs(10);
/// How soon it is offered again.
const AGAIN: Duration = Duration::from_millis(40);

struct Sealed {
    context: RoundContext,
    slot: u32,
}

/// The message that is being published; one at a time.
struct Current {
    outgoing: Outgoing,
    sealed: Option<Sealed>,
    attempts: u32,
}

pub(super) struct Driver {
    sealer: Sealer,
    registrar: Arc<Registrar>,
    aggregators: Arc<Peers<SealedEnvelope, EnvelopeReceipt>>,
    witness: Arc<Witness>,
    outbox: mpsc::Receiver<Outgoing>,
    current: Option<Current>,
    offers: JoinSet<()>,
}

impl Driver {
    pub fn new(
        network: &Arc<Network>,
        instance: &Instance,
        sealer: Sealer,
        registrar: Arc<Registrar>,
        aggregators: Vec<PeerId>,
        witness: Witness,
        outbox: mpsc::Receiver<Outgoing>,
    ) -> Self {
        let allowed = (!aggregators.is_empty()).then(|| only(aggregators));
        let aggregators = Peers::new(
            network.clone(),
            EnvelopeCall::id(instance),
            EnvelopeCall::LABEL,
            allowed,
        );
        Self {
            sealer,
            registrar,
            aggregators: Arc::new(aggregators),
            witness: Arc::new(witness),
            outbox,
            current: None,
            offers: JoinSet::new(),
        }
    }

    pub async fn run(mut self, mut events: broadcast::Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(Event::Opened(round)) => self.seal(&round),
                Ok(Event::Finalized(done)) => {
                    self.witness.finalized(&done);
                    self.finalized(&done);
                }
                // Whatever was sealed then is sealed again.
                Err(RecvError::Lagged(events)) => {
                    tracing::warn!(events, "this client was too slow and lost rounds");
                    if let Some(current) = &mut self.current {
                        current.sealed = None;
                    }
                }
                Err(RecvError::Closed) => return,
            }
            while self.offers.try_join_next().is_some() {}
        }
    }

    /// Seals the message at hand, or cover: both look alike.
    fn seal(&mut self, round: &Arc<CertifiedRound>) {
        if self.current.is_none() {
            self.current = self.outbox.try_recv().ok().map(|outgoing| Current {
                outgoing,
                sealed: None,
                attempts: 0,
            });
        }
        let message = self
            .current
            .as_ref()
            .map(|current| &current.outgoing.message);
        match self.sealer.seal(round, message) {
            Ok((slot, envelope)) => {
                // Talk and cover must not differ in the log either.
                tracing::debug!(round = round.header().number, "sealed an envelope");
                if let Some(current) = &mut self.current {
                    current.attempts = current.attempts.saturating_add(1);
                    current.sealed = Some(Sealed {
                        context: *round.context(),
                        slot,
                    });
                }
                // The round before is over, one way or another.
                self.offers.abort_all();
                let Some(aggregator) = peer_id(&round.header().aggregator) else {
                    return;
                };
                self.offers.spawn(offer(
                    self.aggregators.clone(),
                    self.registrar.clone(),
                    self.witness.clone(),
                    aggregator,
                    envelope,
                    round.clone(),
                ));
            }
            Err(error @ SealError::Message { .. }) => {
                if let Some(current) = self.current.take() {
                    let _ = current.outgoing.done.send(Err(PublishError::Seal(error)));
                }
            }
            Err(error) => {
                tracing::warn!(
                    round = round.header().number,
                    because = %crate::report::chain(&error),
                    "sealed nothing for a round"
                );
            }
        }
    }

    fn finalized(&mut self, done: &FinalizedRound) {
        if let Some(mut current) = self.current.take() {
            let header = done.round().header();
            match current.sealed.take() {
                Some(sealed) if sealed.context == *done.context() => {
                    let landed = done.messages().any(|(slot, bytes)| {
                        slot == sealed.slot && bytes == current.outgoing.message.as_bytes()
                    });
                    if landed {
                        let receipt = Receipt {
                            round: header.number,
                            slot: sealed.slot,
                            attempts: current.attempts,
                            participants: done.participants(),
                        };
                        let _ = current.outgoing.done.send(Ok(receipt));
                    } else {
                        tracing::info!(
                            round = header.number,
                            "the message did not land (collision, or left out); sealing it again"
                        );
                        self.current = Some(current);
                    }
                }
                sealed => {
                    current.sealed = sealed;
                    self.current = Some(current);
                }
            }
        }
    }
}

/// Hands an envelope to an aggregator, again and again until it is taken,
/// refused for good, or the round is likely over.
async fn offer(
    aggregators: Arc<Peers<SealedEnvelope, EnvelopeReceipt>>,
    registrar: Arc<Registrar>,
    witness: Arc<Witness>,
    aggregator: PeerId,
    envelope: SealedEnvelope,
    round: Arc<CertifiedRound>,
) {
    let header = round.header();
    let round = header.number;
    let until = Instant::now() + OFFER;
    while Instant::now() < until {
        // The one that the header names, and nobody else.
        match aggregators.call_peer(aggregator, &envelope, PATIENCE).await {
            Ok(receipt) => match receipt.answers(&envelope, header) {
                Ok(()) => {
                    tracing::debug!(round, "handed the envelope over");
                    witness.hold(receipt);
                    return;
                }
                // Without a receipt nothing is promised: it is asked for again.
                Err(error) => {
                    tracing::warn!(
                        round,
                        because = %crate::report::chain(&error),
                        "the aggregator gave no receipt"
                    );
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Err(error) => match error.refusal() {
                // A call that timed out may have arrived all the same.
                Some(Refused::Repeated) => return,
                Some(Refused::Unregistered) => {
                    tracing::debug!(round, "the aggregator does not know this client");
                    registrar.lost();
                    return;
                }
                Some(Refused::Text(_)) => {
                    tracing::warn!(
                        round,
                        because = %crate::report::chain(&error),
                        "an envelope was refused"
                    );
                    return;
                }
                Some(Refused::NotOpen | Refused::Busy) | None => tokio::time::sleep(AGAIN).await,
            },
        }
    }
    tracing::debug!(round, "no aggregator took the envelope");
}
