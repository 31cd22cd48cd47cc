//! Says what the server waits for, and keeps the gauges.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::Instant;

use super::{context::Context, readiness::Readiness, unready};
use crate::{
    committee::View,
    metrics::{self, ServerGauges},
};

/// How often the gauges are set.
const TICK: Duration = Duration::from_secs(1);
/// How long without a finalized round until the server says why, and how often
/// it says so again.
const SILENCE: Duration = Duration::from_mins(1);

pub(super) async fn run(context: Arc<Context>) {
    let mut head = None;
    let mut quiet_since = Instant::now();
    let mut last = None;
    let mut missing_before = Vec::new();
    let pulse = context.pulse("watchdog");
    loop {
        pulse.beat();
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let view = context.view();
        let readiness = Readiness::look(&context, &view);
        let age = quiet_since.elapsed();
        set_gauges(&context, &view, &readiness, age);
        let unready = unready::reasons(&context, &view, &readiness, age);
        context.settings.health.found(unready);
        if context.bonded().len().saturating_add(1) < view.state.committee_size() as usize {
            context.nudge();
        }
        if readiness.away != missing_before {
            if readiness.away.is_empty() {
                tracing::info!("all servers are back");
            } else {
                tracing::warn!(
                    servers = %readiness.away.join(", "),
                    "servers are missing; {}",
                    if readiness.obstacles.is_empty() {
                        "rounds go on without them".to_owned()
                    } else {
                        format!("rounds wait: {}", readiness.sentence())
                    }
                );
            }
            missing_before.clone_from(&readiness.away);
        }
        let newest = view.state.head().map(|done| *done.checked.digest());
        if newest != head {
            head = newest;
            quiet_since = Instant::now();
            last = None;
        }
        let due = quiet_since.elapsed() >= SILENCE
            && last.is_none_or(|at: Instant| at.elapsed() >= SILENCE);
        if due {
            last = Some(Instant::now());
            tracing::warn!(
                "nothing finalized for {} s; waiting for: {}",
                quiet_since.elapsed().as_secs(),
                waiting_for(&view, &readiness)
            );
        }
    }
}

pub(super) fn waiting_for(view: &View, readiness: &Readiness) -> String {
    if !readiness.obstacles.is_empty() {
        return readiness.sentence();
    }
    match view.state.current() {
        None => "the leader to open a round".to_owned(),
        Some(current) => match &current.tally {
            None if current.certified.is_none() => {
                let missing: Vec<_> = current
                    .round
                    .roster()
                    .iter()
                    .filter(|server| !current.certifications.contains(server.id()))
                    .map(|server| server.peer().short())
                    .collect();
                format!("{} to stand for the open round", missing.join(", "))
            }
            None => format!(
                "an aggregate of {} peers at least from aggregator {} (is it running?)",
                current.round.header().floor,
                current.round.header().aggregator.short()
            ),
            Some(tally) => {
                let missing: Vec<_> = current
                    .round
                    .roster()
                    .iter()
                    .filter(|server| !tally.contains(server.id()))
                    .map(|server| server.peer().short())
                    .collect();
                format!("partials of {}", missing.join(", "))
            }
        },
    }
}

fn set_gauges(context: &Context, view: &View, readiness: &Readiness, round_age: Duration) {
    let state = &view.state;
    let me = *context.me().peer();
    metrics::server(&ServerGauges {
        leader: context.is_leader(),
        committed: view.index,
        log_entries: context.shared.log_entries(),
        clients: state.clients().len(),
        servers: state.servers().len(),
        committee_size: state.committee_size(),
        struck: state.strikes().struck().len(),
        refused: readiness.refused,
        round_age,
        period: context.settings.period,
        deadline: context.settings.deadline,
        bonds: readiness
            .attendance
            .iter()
            .filter(|(peer, _)| *peer != me)
            .map(|(peer, here)| (peer.to_string(), *here))
            .collect(),
        missing: readiness
            .attendance
            .iter()
            .map(|(peer, here)| (peer.short(), !here))
            .collect(),
    });
}
