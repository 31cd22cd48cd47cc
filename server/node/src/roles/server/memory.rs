//! Reminds the committee of what this process knows and the log has lost.
//!
//! After a partition heals, the log of a minority may win, and with it an
//! older state. Records are signed by their whole roster, so any server can
//! bring the newest one back; and it tells up to which number it has signed,
//! so that no time is lost on rounds that it will not sign again.

use core::time::Duration;
use std::sync::Arc;

use super::context::Context;
use crate::committee::{
    View,
    command::{Order, Resume},
};

/// How often the memory is compared.
const TICK: Duration = Duration::from_millis(500);

/// Whether the replicated state is behind a record that this process holds.
pub(super) fn is_behind(context: &Context, view: &View) -> bool {
    let Some(best) = context.shared.broadcasts().best() else {
        return false;
    };
    view.state
        .head()
        .is_none_or(|head| best.rank() > head.rank())
}

pub(super) async fn run(context: Arc<Context>) {
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        // The log may lag behind for a moment; only what stays behind counts.
        let view = context.view();
        if context.leader().is_none() || !view.state.servers().contains_key(&context.id()) {
            continue;
        }
        let Some(resume) = reminder(&context, &view) else {
            continue;
        };
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

fn reminder(context: &Context, view: &View) -> Option<Resume> {
    let best = context.shared.broadcasts().best();
    let ahead = best.filter(|best| {
        view.state
            .head()
            .is_none_or(|head| best.rank() > head.rank())
    });
    let epoch = ahead
        .as_ref()
        .map(|done| done.epoch())
        .or(view.state.epoch())?;
    let floor = context.guard().floor(&epoch);
    let floor_counts = view.state.epoch() == Some(epoch) && floor > view.state.opened();
    if ahead.is_none() && !floor_counts {
        return None;
    }
    Some(Resume {
        record: ahead.map(|done| done.published.clone()),
        epoch,
        floor,
    })
}
