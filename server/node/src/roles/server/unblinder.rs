//! Computes this server's partial of each round, commits to it, and gives it
//! once all servers have committed to theirs (I17).

use core::time::Duration;
use std::sync::Arc;

use tokio::time::Instant;
use zipnet_protocol::{ClientRegistry, Digest, PadTable, Round, RoundContext};

use super::context::Context;
use crate::{
    attestation::Vouched,
    committee::{
        command::{Order, PartialCommitment},
        state::{InFlight, Tally},
    },
    metrics,
};

/// How long a committed partial may take to show before it is sent again.
const PATIENCE: Duration = Duration::from_millis(500);

/// The shared secrets with the clients of one registry.
struct Prepared {
    registry: Digest,
    pads: Arc<PadTable>,
}

pub(super) async fn run(context: Arc<Context>) {
    let mut views = context.shared.watch();
    let mut prepared: Option<Prepared> = None;
    let mut refused: Option<RoundContext> = None;
    let mut complained: Option<RoundContext> = None;
    let mut announced: Option<RoundContext> = None;
    let pulse = context.pulse("unblinder");
    while let Some(view) = context.next_view(&mut views, PATIENCE).await {
        pulse.beat();
        let Some(current) = view.state.current() else {
            continue;
        };
        if current.round.server(&context.id()).is_none()
            || refused == Some(*current.round.context())
        {
            continue;
        }
        // While the aggregator collects, agree with new clients.
        if prepared
            .as_ref()
            .is_none_or(|done| done.registry != current.round.header().registry)
        {
            prepared = prepare(&context, current.registry.clone(), prepared).await;
        }
        let (Some(tally), Some(ready)) = (&current.tally, &prepared) else {
            continue;
        };
        if tally.contains(&context.id()) || ready.registry != current.round.header().registry {
            continue;
        }
        let aggregator = current.round.header().aggregator;
        let struck = view.state.strikes().is_struck(&aggregator);
        if struck || context.faults().is_struck(&aggregator) {
            // One honest server is enough to stop an aggregator that it has
            // caught, whatever the others say.
            refused = Some(*current.round.context());
            metrics::partial_refused("aggregator");
            tracing::warn!(
                round = current.round.header().number,
                aggregator = %aggregator.short(),
                "gave no partial for a round: its aggregator was found at fault"
            );
            continue;
        }
        let vouched = match context.vouch(&view, &current.round) {
            Ok(vouched) => vouched,
            Err(error) => {
                // What is missing may still come in time.
                if complained != Some(*current.round.context()) {
                    complained = Some(*current.round.context());
                    metrics::partial_refused("evidence");
                    tracing::warn!(
                        round = current.round.header().number,
                        because = %crate::report::chain(&error),
                        "gave no partial for a round (I3)"
                    );
                }
                continue;
            }
        };
        let commitment = unblind(&context, current, vouched, tally, ready.pads.clone());
        let Some(commitment) = commitment.await else {
            refused = Some(*current.round.context());
            continue;
        };
        if tally.commitment(&context.id()).is_none() {
            let order = Order::CommitPartial(PartialCommitment {
                context: *current.round.context(),
                aggregate: *tally.digest(),
                commitment,
            });
            context.try_execute(&order, "commitment").await;
            continue;
        }
        let signing = &context.keys().signing;
        let revealed = context.guard().reveal(&current.round, tally, signing);
        // Until all have committed, the state's next change is waited for.
        let Ok(partial) = revealed else {
            continue;
        };
        if let Some(index) = context
            .try_execute(&Order::SubmitPartial(partial), "partial")
            .await
            && announced != Some(*current.round.context())
        {
            announced = Some(*current.round.context());
            metrics::partial_submitted();
            tracing::info!(
                target: "zipnet_node::roles::server",
                "submitted partial unblind at I_{index}"
            );
        }
    }
}

async fn prepare(
    context: &Arc<Context>,
    registry: Arc<ClientRegistry>,
    known: Option<Prepared>,
) -> Option<Prepared> {
    let digest = registry.root();
    let task = {
        let context = context.clone();
        tokio::task::spawn_blocking(move || {
            let known = known.as_ref().map(|known| &*known.pads);
            PadTable::agree(&context.keys().dh, &registry, known)
        })
    };
    match task.await {
        Ok(Ok(pads)) => Some(Prepared {
            registry: digest,
            pads: Arc::new(pads),
        }),
        Ok(Err(error)) => {
            tracing::error!(
                because = %crate::report::chain(&error),
                "cannot agree with a registered client"
            );
            None
        }
        Err(_) => None,
    }
}

async fn unblind(
    context: &Arc<Context>,
    current: &InFlight,
    vouched: Vouched,
    tally: &Arc<Tally>,
    pads: Arc<PadTable>,
) -> Option<Digest> {
    let round: Arc<Round> = current.round.clone();
    let registry = current.registry.clone();
    let number = round.header().number;
    let task = {
        let context = context.clone();
        let tally = tally.clone();
        tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let commitment = context.guard().unblind(
                &round,
                &vouched,
                &registry,
                tally.aggregate(),
                &pads,
                &context.keys().signing,
            );
            metrics::partial_computed(started.elapsed());
            commitment
        })
    };
    match task.await {
        Ok(Ok(commitment)) => Some(commitment),
        Ok(Err(error)) => {
            metrics::partial_refused(error.reason());
            tracing::warn!(
                round = number,
                because = %crate::report::chain(&error),
                "gave no partial for a round"
            );
            None
        }
        Err(_) => None,
    }
}
