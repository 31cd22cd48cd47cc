//! Opens rounds while this server leads the group.
//!
//! Clocks are read here and only here: the period from opening to opening, and
//! the deadline after which an unfinished round is given up. Each server
//! counts its own time, so a clock that is off does no harm.

use core::time::Duration;
use std::sync::Arc;

use mosaik::Network;
use tokio::{task::JoinSet, time::Instant};
use zipnet_protocol::{
    AdmittedServer, Epoch, Nonce, RosterEntry, RoundContext, RoundHeader, ServerId,
};

use super::{
    context::Context,
    floors::Others,
    readiness::Readiness,
    silence::{self, Silence},
};
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
    /// Since when its aggregate is there.
    aggregated: Option<Instant>,
    /// Whether it was said that the round is given up.
    told: bool,
    /// Whether rounds go on without somebody who is silent in it.
    given_up: bool,
}

pub(super) async fn run(context: Arc<Context>, network: Arc<Network>) {
    let mut views = context.shared.watch();
    let mut watched: Option<Watched> = None;
    let others = Arc::new(Others::new(&context, network));
    let mut silence = Silence::default();
    let mut asked: JoinSet<(ServerId, bool)> = JoinSet::new();
    // When the next round may open.
    let mut due: Option<Instant> = None;
    let pulse = context.pulse("leader");
    loop {
        pulse.beat();
        let now = Instant::now();
        let tick = now + TICK;
        // In time for the period, and not only at the next tick behind it.
        let wake = due
            .filter(|due| *due > now)
            .map_or(tick, |due| due.min(tick));
        tokio::select! {
            () = context.stop().cancelled() => return,
            _ = views.changed() => {}
            Some(Ok((server, there))) = asked.join_next() => {
                silence.answered(&server, there, Instant::now());
            }
            () = tokio::time::sleep_until(wake) => {}
        }
        let view = views.borrow_and_update().clone();
        watched = watch(&view, watched);
        if !context.is_leader() || context.is_leaving() {
            continue;
        }
        ask_silent(&context, &view, &others, &mut silence, &mut asked);
        if let (Some(current), Some(watched)) = (view.state.current(), &mut watched)
            && go_on_without(&context, &view, current, watched, &mut silence)
        {
            // Everybody waits for this one.
            due = None;
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
        let Some(header) = next_header(&context, &view, &silence) else {
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
    let mut watched = match watched {
        Some(watched) if watched.context == *current.round.context() => watched,
        _ => Watched {
            context: *current.round.context(),
            since: Instant::now(),
            aggregated: None,
            given_up: false,
            told: false,
        },
    };
    if current.tally.is_some() {
        watched.aggregated.get_or_insert_with(Instant::now);
    }
    Some(watched)
}

/// Asks servers that were silent whether they are there again.
fn ask_silent(
    context: &Arc<Context>,
    view: &View,
    others: &Arc<Others>,
    silence: &mut Silence,
    asked: &mut JoinSet<(ServerId, bool)>,
) {
    if let Some(head) = view.state.head() {
        for server in head.checked.round().roster() {
            silence.forgive(server);
        }
    }
    let Some(epoch) = view.state.epoch() else {
        return;
    };
    let servers = view.state.servers().values();
    if let Some(server) = silence.ask_next(servers, Instant::now()) {
        let (context, others, server) = (context.clone(), others.clone(), server.clone());
        asked.spawn(async move {
            let answer = others.ask(&context, &server, epoch).await;
            (*server.id(), answer.is_some())
        });
    }
}

/// Gives up a round in which servers are silent that rounds can do without.
fn go_on_without(
    context: &Context,
    view: &View,
    current: &InFlight,
    watched: &mut Watched,
    silence: &mut Silence,
) -> bool {
    if context.rules.min_servers.is_none() || watched.given_up {
        return watched.given_up;
    }
    let patience = silence::patience(context.settings.period);
    // A partial takes longer than a signature.
    let partials = patience.saturating_mul(2);
    let is_silent = |server: &&AdmittedServer| match (&current.certified, &current.tally) {
        (None, _) => {
            watched.since.elapsed() >= patience && !current.certifications.contains(server.id())
        }
        (Some(_), None) => false,
        (Some(_), Some(tally)) => {
            let late = watched
                .aggregated
                .is_some_and(|at| at.elapsed() >= partials);
            late && !tally.contains(server.id())
        }
    };
    let silent: Vec<&AdmittedServer> = current.round.roster().iter().filter(is_silent).collect();
    let me = context.id();
    if silent.is_empty() || silent.iter().any(|server| *server.id() == me) {
        return false;
    }
    let is_left = |server: &AdmittedServer| {
        !silence.is_out(server) && !silent.iter().any(|silent| silent.id() == server.id())
    };
    if !is_enough(
        view,
        candidates(context, view)
            .filter(|server| is_left(server))
            .count(),
    ) {
        return false;
    }
    for server in silent {
        tracing::warn!(
            round = %format_args!("r{}", current.round.header().number),
            server = %server.peer().short(),
            "a server is silent in a round; going on without it (ZIPNET_MIN_SERVERS)"
        );
        silence.note(server, Instant::now());
    }
    watched.given_up = true;
    true
}

/// Servers that rounds may be opened with.
fn candidates<'a>(
    context: &'a Context,
    view: &'a View,
) -> impl Iterator<Item = &'a AdmittedServer> {
    let bonded = context.bonded();
    let complete = context.rules.min_servers.is_none();
    let servers = view.state.servers().values();
    servers
        .filter(move |server| complete || context.is_bonded(server, &bonded))
        .filter(|server| context.stands(view, server))
}

/// Whether a round of so many servers can be opened and finished.
fn is_enough(view: &View, servers: usize) -> bool {
    servers >= view.state.roster_minimum() && view.state.is_taken(servers)
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
    if watched.as_ref().is_some_and(|watched| watched.given_up) {
        return true;
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

fn next_header(context: &Context, view: &View, silence: &Silence) -> Option<RoundHeader> {
    let state = &view.state;
    let there: Vec<&AdmittedServer> = candidates(context, view).collect();
    let heard = there.iter().filter(|server| !silence.is_out(server));
    let without = is_enough(view, heard.count());
    let roster: Vec<RosterEntry> = there
        .into_iter()
        .filter(|server| !without || !silence.is_out(server))
        .map(|server| RosterEntry {
            server: *server.id(),
            bundle: *server.digest(),
        })
        .collect();
    let (aggregator, leaves) = state.next_aggregators()?;
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
        registry: state.clients().root(),
        aggregator,
        leaves,
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
