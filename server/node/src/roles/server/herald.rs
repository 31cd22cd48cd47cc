//! Pushes news to whoever follows this server.
//!
//! A follower's stream wakes when the head or the open round changes, not with each
//! command of the group, and what all of them are told is encoded once: a thousand
//! followers cost a thousand writes of the same bytes.

use core::time::Duration;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::{sync::watch, time::timeout};
use zipnet_door::Pushes;
use zipnet_protocol::{Digest, RoundContext};

use super::{
    context::Context,
    tidings::{Fresh, Telling},
};
use crate::{
    committee::View,
    metrics,
    wire::{Follow, Refused},
};

/// Longest time for which a follower hears nothing.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Answers that are kept for others who stand where the first one stood.
const KEPT: usize = 16;

/// What followers are told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Now {
    head: Option<Digest>,
    open: Option<RoundContext>,
}

impl Now {
    fn of(view: &View) -> Self {
        let current = view.state.current();
        let taking = current.filter(|current| current.tally.is_none());
        let certified = taking.and_then(|current| current.certified.as_ref());
        Self {
            head: view.state.head().map(|head| *head.checked.digest()),
            open: certified.map(|round| *round.context()),
        }
    }
}

/// An answer as it travels, and what its reader asks for next.
#[derive(Debug, Clone)]
struct Told {
    frame: Bytes,
    vectors: usize,
    next: Follow,
    /// Whether there is anything in it.
    news: bool,
}

/// What followers were told last.
#[derive(Debug, Default)]
pub(super) struct Herald {
    now: watch::Sender<Now>,
    /// By the number of the call.
    told: Mutex<VecDeque<(u8, Now, Follow, Told)>>,
}

impl Herald {
    /// What is told to one who stands there.
    fn tell<C: Telling>(&self, context: &Context, now: Now, request: &Follow) -> Option<Told> {
        let mut kept = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(kind, at, asked, _): &&(u8, Now, Follow, Told)| {
            *kind == C::KIND && *at == now && asked.stands_as(request)
        };
        if let Some((.., told)) = kept.iter().find(same) {
            return Some(told.clone());
        }
        // Under the lock: others who stand there wait for this one.
        // The state first: a record that it no longer mentions is among the
        // broadcasts by then.
        let view = context.view();
        let fresh = Fresh::of(&view.state, context.shared.broadcasts(), request);
        let (next, news) = (fresh.behind(request), fresh.is_news(request));
        let reply = C::reply(fresh, request);
        let told = Told {
            frame: Pushes::<C>::encode(&reply).ok()?,
            vectors: C::weight(&reply),
            next,
            news,
        };
        // What is told of a state that is over by now is told to nobody else.
        if Now::of(&context.view()) == now {
            kept.retain(|(_, at, ..)| *at == now);
            if kept.len() >= KEPT {
                kept.pop_front();
            }
            kept.push_back((C::KIND, now, request.clone(), told.clone()));
        }
        Some(told)
    }
}

/// Sees what followers are to be told, for ever.
pub(super) async fn run(context: Arc<Context>) {
    let mut views = context.shared.watch();
    loop {
        let now = Now::of(&views.borrow_and_update());
        context.herald().now.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
        tokio::select! {
            () = context.stop().cancelled() => return,
            changed = views.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Tells a follower what is new, as long as it listens. One that does not wait is
/// answered once.
pub(super) async fn follow<C: Telling>(
    context: Arc<Context>,
    mut request: Follow,
    mut pushes: Pushes<C>,
) where
    C::Reply: Default,
{
    let wait = Duration::from_millis(u64::from(request.wait)).min(MAX_WAIT);
    let mut told_of = context.herald().now.subscribe();
    loop {
        let now = *told_of.borrow_and_update();
        let Some(told) = context.herald().tell::<C>(&context, now, &request) else {
            return pushes.refuse(&Refused::Busy).await;
        };
        if told.news || wait.is_zero() {
            metrics::payload(C::LINK, told.frame.len());
            if !pushes.push(told.frame).await || wait.is_zero() {
                return pushes.end();
            }
            request = told.next;
            // There may be more than fits on a page.
            if told.vectors > 0 {
                continue;
            }
        }
        tokio::select! {
            () = context.stop().cancelled() => return pushes.end(),
            () = pushes.stopped() => return,
            changed = timeout(wait, told_of.changed()) => match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return pushes.end(),
                // So that it is seen that this server lives.
                Err(_) => {
                    let Ok(nothing) = Pushes::<C>::encode(&C::Reply::default()) else {
                        return pushes.end();
                    };
                    if !pushes.push(nothing).await {
                        return;
                    }
                }
            }
        }
    }
}
