//! Opens rounds while this server leads the group.
//!
//! Clocks are read here and only here: the period from opening to opening, and
//! the deadline after which an unfinished round is given up. Each server
//! counts its own time, so a clock that is off does no harm.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::Instant;
use zipnet_protocol::{AdmittedServer, Epoch, Nonce, RosterEntry, RoundContext, RoundHeader};

use super::{context::Context, readiness::Readiness};
use crate::{
    committee::{View, command::Order, state::InFlight},
    entropy, metrics,
};

/// How often the leader looks, if nothing changes.
const TICK: Duration = Duration::from_millis(100);

/// The round that the leader waits for.
struct Watched {
    context: RoundContext,
    since: Instant,
    /// Whether it was said that the round is given up.
    told: bool,
}

pub(super) async fn run(context: Arc<Context>) {
    let mut views = context.shared.watch();
    let mut watched: Option<Watched> = None;
    // When the next round may open.
    let mut due: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let tick = now + TICK;
        // In time for the period, and not only at the next tick behind it.
        let wake = due
            .filter(|due| *due > now)
            .map_or(tick, |due| due.min(tick));
        tokio::select! {
            () = context.stop().cancelled() => return,
            _ = views.changed() => {}
            () = tokio::time::sleep_until(wake) => {}
        }
        let view = views.borrow_and_update().clone();
        watched = watch(&view, watched);
        if !context.is_leader() || context.is_leaving() {
            continue;
        }
        if due.is_some_and(|due| Instant::now() < due) {
            continue;
        }
        if let Some(current) = view.state.current()
            && !given_up(&context, &view, current, watched.as_mut())
        {
            continue;
        }
        if !Readiness::look(&context, &view).obstacles.is_empty() {
            continue;
        }
        let Some(header) = next_header(&context, &view) else {
            continue;
        };
        let round = header.context();
        let order = Order::OpenRound(header.sign(context.id(), &context.keys().signing));
        let sent = Instant::now();
        if context.try_execute(&order, "open round").await.is_some() {
            let took = context
                .view()
                .state
                .current()
                .is_some_and(|current| *current.round.context() == round)
                || context
                    .view()
                    .state
                    .head()
                    .is_some_and(|head| *head.checked.context() == round);
            if took {
                due = Some(sent + context.settings.period);
            }
        }
    }
}

fn watch(view: &View, watched: Option<Watched>) -> Option<Watched> {
    let current = view.state.current()?;
    match watched {
        Some(watched) if watched.context == *current.round.context() => Some(watched),
        _ => Some(Watched {
            context: *current.round.context(),
            since: Instant::now(),
            told: false,
        }),
    }
}

/// Whether the open round is past its deadline, or can never finish because a
/// server of its roster has left or has other keys by now.
fn given_up(
    context: &Context,
    view: &View,
    current: &InFlight,
    watched: Option<&mut Watched>,
) -> bool {
    let registered = view.state.servers();
    let (mut gone, mut silent, mut wordless) = (Vec::new(), Vec::new(), Vec::new());
    for server in current.round.roster() {
        if !current.certifications.contains(server.id()) {
            wordless.push(server.peer().short());
        }
        let same = registered
            .get(server.id())
            .is_some_and(|now| now.digest() == server.digest());
        let unblinded = current
            .tally
            .as_ref()
            .is_some_and(|tally| tally.contains(server.id()));
        if !same && !unblinded {
            gone.push(server.peer().short());
        }
        if !unblinded {
            silent.push(server.peer().short());
        }
    }
    // Nothing of a struck aggregator is unblinded: the next one's turn has come.
    let aggregator = current.round.header().aggregator;
    if view.state.strikes().is_struck(&aggregator) {
        return true;
    }
    let Some(watched) = watched else {
        return false;
    };
    let late = watched.since.elapsed() >= context.settings.deadline;
    if (late || !gone.is_empty()) && !watched.told {
        watched.told = true;
        for server in &wordless {
            metrics::certificate_late(server);
        }
        tracing::warn!(
            round = %format_args!("r{}", current.round.header().number),
            aggregated = current.tally.is_some(),
            not_certified_by = %wordless.join(", "),
            left_or_restarted = %gone.join(", "),
            no_partial_of = %silent.join(", "),
            "giving up a round{}",
            if late { ": its deadline has passed" } else { "" }
        );
    }
    late || !gone.is_empty()
}

fn next_header(context: &Context, view: &View) -> Option<RoundHeader> {
    let state = &view.state;
    let bonded = context.bonded();
    let complete = context.rules.min_servers.is_none();
    let roster: Vec<RosterEntry> = state
        .servers()
        .values()
        .filter(|server| complete || context.is_bonded(server, &bonded))
        .filter(|server| context.stands(view, server))
        .map(|server: &AdmittedServer| RosterEntry {
            server: *server.id(),
            bundle: *server.digest(),
        })
        .collect();
    let nonce = random()?;
    let epoch = match state.epoch() {
        Some(epoch) => epoch,
        None => Epoch::new(random()?),
    };
    Some(RoundHeader {
        instance: *context.rules.instance.id(),
        epoch,
        number: state.opened().checked_add(1)?,
        nonce: Nonce::new(nonce),
        previous: state.previous(),
        params: context.rules.params,
        min_participants: context.rules.min_participants,
        floor: state.floor(),
        committee_size: state.committee_size(),
        roster,
        clients: u32::try_from(state.clients().len()).ok()?,
        registry: state.clients().digest(),
        aggregator: state.next_aggregator()?,
    })
}

fn random() -> Option<[u8; 32]> {
    match entropy::fresh() {
        Ok(bytes) => Some(*bytes),
        Err(error) => {
            tracing::error!(
                because = %crate::report::chain(&error),
                "cannot open a round"
            );
            None
        }
    }
}
