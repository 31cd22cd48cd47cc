//! Keeps this server listed, strikes those whose lease ran out, and mirrors
//! clients into the registry.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mosaik::PeerId;
use tokio::time::Instant;
use zipnet_protocol::{Digest, ServerId};

use super::context::Context;
use crate::{
    committee::{View, command::Order},
    settings::SERVER_LEASE,
};

/// How often the registries are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long an own registration may take to show before it is sent again.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a server that is listed here says so again while others are missing.
const REMIND: Duration = Duration::from_secs(3);

/// Since when servers are missing, as this one sees it.
#[derive(Default)]
struct Leases(BTreeMap<ServerId, Instant>);

pub(super) async fn run(context: Arc<Context>) {
    let mut leases = Leases::default();
    let mut rivals = BTreeSet::new();
    let mut sent_at: Option<Instant> = None;
    let pulse = context.pulse("registrar");
    loop {
        pulse.beat();
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let view = context.view();
        // Whoever is here only for a moment is missed all the same.
        context.attendance(&view, &context.bonded());
        let listed = check_own_entry(&context, &view, &mut rivals) && context.is_shown(&view);
        let patience = if !listed {
            Some(PATIENCE)
        } else if misses_others(&view) && !context.is_leader() {
            Some(REMIND)
        } else {
            None
        };
        if context.leader().is_some()
            && patience.is_some_and(|most| sent_at.is_none_or(|at| at.elapsed() >= most))
        {
            sent_at = Some(Instant::now());
            if let Some(registration) = context.registration(&view) {
                let order = Order::RegisterServer(registration);
                context.try_execute(&order, "own registration").await;
            }
        }
        if !context.view().state.servers().contains_key(&context.id()) {
            continue;
        }
        let clients = context.waiting().next_clients();
        if !clients.is_empty() {
            let order = Order::RegisterClients(clients);
            context.try_execute(&order, "client registration").await;
        }
        let aggregators = context.waiting().next_aggregators();
        if !aggregators.is_empty() {
            let order = Order::RegisterAggregators(aggregators);
            context.try_execute(&order, "aggregator registration").await;
        }
        let withdrawals = context.waiting().next_withdrawals();
        if !withdrawals.is_empty() {
            let order = Order::WithdrawClients(withdrawals);
            context.try_execute(&order, "client withdrawal").await;
        }
        if context.is_leader() {
            leases.enforce(&context, &view).await;
        } else {
            leases.0.clear();
        }
    }
}

/// Whether servers are missing, as far as the log here tells. Two groups that
/// had a leader of the same term each may be taken for one by mosaik: then this
/// server is listed in its own log only, and no round would ever tell, as none
/// is opened. Registered with the leader too, it meets rounds that do not fit,
/// and starts again from the leader's state.
fn misses_others(view: &View) -> bool {
    view.state.servers().len() < view.state.committee_size() as usize
}

/// Whether this server is listed with the keys of this boot. If it is listed
/// with others of a later boot, that is a remnant from before its clock was
/// set back, and it registers above; or a living twin, and it gives way.
fn check_own_entry(context: &Context, view: &View, rivals: &mut BTreeSet<Digest>) -> bool {
    let me = context.me();
    let Some(entry) = view.state.servers().get(me.id()) else {
        return false;
    };
    if entry.digest() == me.digest() {
        return true;
    }
    if entry.boot() >= me.boot() {
        rivals.insert(*entry.digest());
        if rivals.len() > 1 || context.try_guard().is_none_or(|guard| guard.has_signed()) {
            context.replaced();
        } else {
            tracing::warn!(
                registered = entry.boot(),
                ours = me.boot(),
                "this server is registered with a later boot; was the clock set back? registering above it"
            );
            context.raise_boot(entry.boot());
        }
    }
    false
}

impl Leases {
    /// Strikes servers that have not been bonded with the leader for the
    /// length of a lease. Only a majority may: a cut-off server must not
    /// strike the others.
    async fn enforce(&mut self, context: &Context, view: &View) {
        let bonded: Vec<PeerId> = context.bonded();
        let state = &view.state;
        let servers = state.servers();
        let present = servers
            .values()
            .filter(|server| context.is_bonded(server, &bonded))
            .count();
        if present.saturating_mul(2) <= state.committee_size() as usize {
            self.0.clear();
            return;
        }
        self.0.retain(|server, _| servers.contains_key(server));
        for (id, server) in servers {
            let stands = context.stands(view, server);
            if stands && context.is_bonded(server, &bonded) {
                self.0.remove(id);
                continue;
            }
            let since = *self.0.entry(*id).or_insert_with(Instant::now);
            if since.elapsed() >= SERVER_LEASE {
                tracing::warn!(
                    server = %id.short(),
                    peer = %server.peer().short(),
                    "striking a server {} for {} s",
                    if stands {
                        "that has not been reachable"
                    } else {
                        "whose evidence does not hold"
                    },
                    SERVER_LEASE.as_secs()
                );
                let order = Order::Lapse {
                    server: *id,
                    bundle: *server.digest(),
                };
                context.try_execute(&order, "lapse").await;
            }
        }
    }
}
