//! Hands an envelope to its leaf, or to the aggregator of its round (A12).

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, sleep};
use zipnet_protocol::{
    CertifiedRound, ClientId, EnvelopeReceipt, FinalizedRound, Instance, RoundContext,
    SealedEnvelope,
};

use super::{registration::Registrar, witness::Witness};
use crate::{
    backoff::Backoff,
    entropy::Dice,
    ground::Ground,
    peers::Peers,
    roles::common::peer_id,
    wire::{CollectsCall, EnvelopeCall, Refused},
};

/// How long one attempt to hand an envelope over may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// All clients of a round begin within so much time for each of them, each after
/// a time of its own choice, but within the longest at most.
const WINDOW: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(250));
/// First and longest pause before it is offered again to an aggregator that does
/// not collect for its round yet.
const PAUSES: (Duration, Duration) = (Duration::from_millis(60), Duration::from_secs(2));
/// How long a leaf may take until the envelope goes to the aggregator above, which
/// collects for two seconds if nobody sets anything else. One that has taken longer, and
/// served this client all the same, may take twice that: a long envelope on a slow line. One
/// that fails then has cost a round, and begins anew.
const LEAF: Duration = Duration::from_millis(750);
/// How long it is offered at most; the next round ends it before, as a rule.
const OFFER: Duration = Duration::from_secs(30);

/// How a client hands its envelopes over. Nothing here knows whether one is
/// cover, so neither pauses nor retries can tell.
pub(super) struct Offers {
    aggregators: Peers<SealedEnvelope, EnvelopeReceipt>,
    ready: Peers<(RoundContext, ClientId), ()>,
    registrar: Arc<Registrar>,
    witness: Witness,
    dice: Mutex<Dice>,
    /// How long the leaf may take now.
    leaf: Mutex<Duration>,
}

impl Offers {
    pub fn new(
        ground: &Arc<dyn Ground>,
        instance: &Instance,
        registrar: Arc<Registrar>,
        witness: Witness,
    ) -> Self {
        Self {
            aggregators: Peers::on::<EnvelopeCall>(&**ground, instance, None),
            ready: Peers::on::<CollectsCall>(&**ground, instance, None),
            registrar,
            witness,
            dice: Mutex::new(Dice::fresh()),
            leaf: Mutex::new(LEAF),
        }
    }

    /// Offers an envelope until it is taken, or refused for good. Whoever calls
    /// drops this once the next round opens.
    pub async fn hand_over(&self, round: &Arc<CertifiedRound>, envelope: &SealedEnvelope) {
        let number = round.header().number;
        // Those that the header names, and nobody else: every server of the
        // roster signed that, so no stranger can split the participants (A3).
        let [leaf, root] = round.header().takers(&envelope.client);
        let (Some(leaf), Some(root)) = (peer_id(leaf), peer_id(root)) else {
            return;
        };
        let mut aggregator = leaf;
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let until = Instant::now() + OFFER;
        let window = WINDOW
            .0
            .saturating_mul(round.header().clients)
            .min(WINDOW.1);
        sleep(self.roll(|dice| dice.time(window))).await;
        let (mut asks, begun) = (false, Instant::now());
        // A leaf that does not give a receipt in time, for whatever reason, is passed over to
        // the aggregator, which leaves out what came both ways. All that anybody learns by
        // that is that the leaf did not serve this client.
        let passes = |refusal: Option<&Refused>| {
            let waits = matches!(refusal, Some(Refused::NotOpen | Refused::Busy));
            !waits || begun.elapsed() > LEAF
        };
        // However it failed, what it had gained is gone: a leaf that was waited for once
        // must not be in the next round.
        let pass_on = || {
            self.of_leaf(Some(LEAF));
            (root, false)
        };
        while Instant::now() < until {
            let is_root = aggregator == root;
            let patience = if is_root {
                PATIENCE
            } else {
                self.of_leaf(None)
            };
            // Once it was not taken, there is nothing to gain from sending it again
            // and again.
            let question = (envelope.context, envelope.client);
            if asks && let Err(error) = self.ready.call_one(aggregator, &question, patience).await {
                tracing::debug!(
                    round = number,
                    because = %crate::report::chain(&error),
                    "the aggregator does not take the envelope yet"
                );
                if !is_root && passes(error.refusal()) {
                    (aggregator, asks) = pass_on();
                    continue;
                }
                sleep(self.roll(|dice| backoff.next(dice))).await;
                continue;
            }
            let called = Instant::now();
            match self
                .aggregators
                .call_one(aggregator, envelope, patience)
                .await
            {
                Ok(receipt) if !is_root && receipt.answers(envelope, round.header()).is_err() => {
                    (aggregator, asks) = pass_on();
                }
                Ok(receipt) => {
                    tracing::debug!(round = number, "handed the envelope over");
                    if !is_root {
                        self.of_leaf(Some(called.elapsed().saturating_mul(2)));
                    }
                    self.witness.hold(receipt, envelope, round);
                    return;
                }
                Err(error) if !is_root && passes(error.refusal()) => {
                    tracing::debug!(
                        round = number,
                        because = %crate::report::chain(&error),
                        "a leaf did not take the envelope; the aggregator is asked"
                    );
                    (aggregator, asks) = pass_on();
                }
                Err(error) => match error.refusal() {
                    // A call that timed out may have arrived all the same.
                    Some(Refused::Repeated) => return,
                    Some(Refused::Unregistered) => {
                        tracing::debug!(round = number, "the aggregator does not know this client");
                        self.registrar.lost();
                        return;
                    }
                    Some(Refused::Text(_)) => {
                        tracing::warn!(
                            round = number,
                            because = %crate::report::chain(&error),
                            "an envelope was refused"
                        );
                        return;
                    }
                    Some(Refused::NotOpen | Refused::Busy) | None => {
                        asks = true;
                        sleep(self.roll(|dice| backoff.next(dice))).await;
                    }
                },
            }
        }
        tracing::debug!(round = number, "the aggregator did not take the envelope");
    }

    /// Holds the receipt of a round against its record.
    pub fn finalized(&self, done: &FinalizedRound) {
        self.witness.finalized(done);
    }

    /// How long the leaf may take, after that was set if it is to be.
    fn of_leaf(&self, set: Option<Duration>) -> Duration {
        let mut patience = self.leaf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = set {
            *patience = set.clamp(LEAF, OFFER);
        }
        *patience
    }

    fn roll<T>(&self, roll: impl FnOnce(&mut Dice) -> T) -> T {
        roll(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl core::fmt::Debug for Offers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Offers(..)")
    }
}
