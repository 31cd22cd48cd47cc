//! Gives this server's word for each round that it finds right (I13).
//!
//! It goes into the log as one more order, and is all that clients and
//! aggregators wait for. It tells nobody anything but that this server is there
//! and holds what the header says.

use core::time::Duration;
use std::sync::Arc;

use zipnet_protocol::{Certification, RoundContext};

use super::context::Context;
use crate::{
    committee::{View, command::Order, state::InFlight},
    guard::{GuardError, Held},
    metrics,
};

/// How long a committed word may take to show before it is sent again.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) async fn run(context: Arc<Context>) {
    let mut views = context.shared.watch();
    let mut complained: Option<RoundContext> = None;
    let pulse = context.pulse("certifier");
    while let Some(view) = context.next_view(&mut views, PATIENCE).await {
        pulse.beat();
        let Some(current) = view.state.current() else {
            continue;
        };
        let me = context.id();
        if current.round.server(&me).is_none() || current.certifications.contains(&me) {
            continue;
        }
        if super::memory::is_behind(&context, &view) {
            // The committee has forgotten a record that this server holds; it is
            // reminded before anything is signed on top.
            continue;
        }
        match certify(&context, &view, current) {
            Ok(certification) => {
                context
                    .try_execute(&Order::Certify(certification), "certification")
                    .await;
            }
            Err(refusal) if complained != Some(*current.round.context()) => {
                complained = Some(*current.round.context());
                metrics::round_not_certified(refusal.reason);
                tracing::warn!(
                    round = current.round.header().number,
                    because = refusal.text,
                    "does not stand for a round"
                );
            }
            Err(_) => {}
        }
    }
}

/// Why this server does not stand for a round.
struct Refusal {
    reason: &'static str,
    text: String,
}

impl From<GuardError> for Refusal {
    fn from(error: GuardError) -> Self {
        if let GuardError::Differs(what) = &error {
            metrics::diverged(what);
        }
        Self {
            reason: error.reason(),
            text: crate::report::chain(&error),
        }
    }
}

fn certify(context: &Context, view: &View, current: &InFlight) -> Result<Certification, Refusal> {
    let vouched = context
        .vouch(view, &current.round)
        .map_err(|error| Refusal {
            reason: "evidence",
            text: crate::report::chain(&error),
        })?;
    // What this server computes by itself, from the state as it was when the
    // round opened: the registry may have changed since.
    let header = current.round.header();
    let held = Held {
        previous: view.state.previous(),
        registry: current.registry.root(),
        clients: u32::try_from(current.registry.len()).unwrap_or(u32::MAX),
        floor: view.state.floor_over(&current.registry),
        aggregator: Some(header.aggregator).filter(|peer| view.state.aggregators().contains(peer)),
        leaves: view.state.aggregators().listed_of(&header.leaves),
    };
    let signing = &context.keys().signing;
    Ok(context
        .guard()
        .certify(&current.round, &vouched, &held, signing)?)
}
