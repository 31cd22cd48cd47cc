//! Reminds the committee of what this process knows and the log has lost.
//!
//! After a partition heals, the log of a minority may win, and with it an
//! older state. Records are signed by their whole roster, so any server can
//! bring the newest one back; and it tells up to which number it has signed,
//! so that no time is lost on rounds that it will not sign again.

use core::time::Duration;
use std::sync::Arc;

use zipnet_protocol::PeerKey;

use super::context::Context;
use crate::{
    committee::{
        View,
        command::{Order, Resume},
        state::Final,
    },
    metrics,
};

/// How often the memory is compared.
const TICK: Duration = Duration::from_millis(500);
/// How many misfitting commands of a leader in a row are too many. One may be a race:
/// a client registered between the leader's look at the state and its order.
const MAX_MISFITS: u64 = 2;

/// The newest record that this process holds and the committee has lost.
fn lost(context: &Context, view: &View) -> Option<Arc<Final>> {
    context
        .shared
        .broadcasts()
        .best(|record| view.state.is_behind(&record.checked))
}

/// Whether the committee has lost a record that this process holds.
pub(super) fn is_behind(context: &Context, view: &View) -> bool {
    lost(context, view).is_some()
}

pub(super) async fn run(context: Arc<Context>) {
    let pulse = context.pulse("memory");
    loop {
        pulse.beat();
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        rejoin_if_apart(&context).await;
        // The log may lag behind for a moment; only what stays behind counts.
        let view = context.view();
        if context.leader().is_none() || !view.state.servers().contains_key(&context.id()) {
            continue;
        }
        let Some(resume) = reminder(&context, &view) else {
            continue;
        };
        if resume.record.is_some() {
            metrics::diverged(metrics::RECORD);
        }
        tracing::warn!(
            round = resume
                .record
                .as_ref()
                .map(|record| record.record.header.header().number),
            floor = resume.floor,
            "reminding the committee of rounds that its log has lost"
        );
        context.try_execute(&Order::Resume(resume), "resume").await;
    }
}

/// mosaik does not notice when two members' states have parted under the same
/// log position. If the leader opens one round after the other that does not
/// fit the state here, or is not even registered here, this server starts again
/// from the leader's. What others send counts for nothing: one of them could make
/// everybody start again.
async fn rejoin_if_apart(context: &Context) {
    let Some(leader) = context.leader() else {
        return;
    };
    let leader = PeerKey::new(*leader.as_bytes());
    let leader = context.rules.instance.server_id(&leader);
    if leader == context.id() || context.shared.misfits(&leader) < MAX_MISFITS {
        return;
    }
    tracing::warn!(
        "the committee's state here has parted from the leader's; joining the group again"
    );
    metrics::diverged(metrics::STATE);
    context.shared.reset_misfits();
    context.leave_group();
    tokio::time::sleep(TICK).await;
    context.join_group();
}

fn reminder(context: &Context, view: &View) -> Option<Resume> {
    let lost = lost(context, view);
    let epoch = lost
        .as_ref()
        .map(|done| done.epoch())
        .or(view.state.epoch())?;
    // While the guard computes, there is no hurry.
    let floor = context.try_guard();
    let floor = floor.and_then(|guard| guard.floor(&epoch)).unwrap_or(0);
    let floor_counts = view.state.epoch() == Some(epoch) && floor > view.state.opened();
    if lost.is_none() && !floor_counts {
        return None;
    }
    Some(Resume {
        record: lost.as_ref().map(|done| done.published.clone()),
        registry: lost.map_or_else(Vec::new, |done| {
            let clients = done.registry.iter();
            clients.map(|client| client.bundle().clone()).collect()
        }),
        epoch,
        floor,
    })
}
