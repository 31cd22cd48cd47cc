//! What a restarted server has forgotten, and the others know: up to which round an
//! earlier boot of it can have stood for any (I7).
//!
//! A server's word counts once for each number, in all of its boots together, or two
//! records of one number may come about: of an old boot with one half of a partition,
//! and of the new one with the other. A round of the whole committee holds whoever
//! knows. For smaller ones, a server that is new to the epoch asks the others; each
//! tells it, signed, the highest number that it stands for, and stands for none with
//! the earlier boot from then on. What is told is public: numbers of rounds.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use mosaik::Network;
use zipnet_protocol::{AdmittedServer, Epoch, PeerKey, ServerId};

use super::{context::Context, desk::member_of};
use crate::{
    committee::{MAX_FLOOR, View},
    entropy, members,
    peers::Peers,
    roles::common::peer_id,
    wire::{Floor, FloorCall, FloorRequest, Refused},
};

/// How often it is looked whether something is to be asked.
const TICK: Duration = Duration::from_millis(250);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers another server that is registered with the boot that it names.
pub(super) fn tell(
    context: &Context,
    request: &FloorRequest,
    caller: &PeerKey,
) -> Result<Floor, Refused> {
    let instance = &context.rules.instance;
    let asker = member_of(context, caller);
    let asker = asker.filter(|asker| *asker.digest() == request.bundle);
    let asker = asker.ok_or(Refused::NotOpen)?;
    // It computes, and is asked again.
    let mut guard = context.try_guard().ok_or(Refused::Busy)?;
    let floor = guard.tell(*asker.id(), asker.boot(), &request.epoch);
    drop(guard);
    let signing = &context.keys().signing;
    Ok(Floor::sign(
        instance,
        &context.id(),
        request,
        floor,
        signing,
    ))
}

/// The others, as they are asked.
pub(super) struct Others {
    peers: Peers<FloorRequest, Floor>,
}

impl Others {
    pub fn new(context: &Context, network: Arc<Network>) -> Self {
        Self {
            peers: Peers::on::<FloorCall>(
                &members::Members(network),
                &context.rules.instance,
                None,
            ),
        }
    }

    /// What a server answers that is asked for an epoch now: `None` if it does not, or
    /// is new to the epoch itself.
    pub async fn ask(
        &self,
        context: &Context,
        server: &AdmittedServer,
        epoch: Epoch,
    ) -> Option<u64> {
        let request = FloorRequest {
            epoch,
            bundle: *context.me().digest(),
            nonce: *entropy::fresh().ok()?,
        };
        let peer = peer_id(&server.member())?;
        let answer = self.peers.call_peer(peer, &request, PATIENCE).await.ok()?;
        let verified = answer.verify(&context.rules.instance, server, &request);
        answer.floor.filter(|_| verified.is_ok())
    }
}

/// Asks the others as long as this server is new to the committee's epoch.
pub(super) async fn run(context: Arc<Context>, network: Arc<Network>) {
    // Without it, every round is one of the whole committee.
    if context.rules.min_servers.is_none() || context.rules.committee_size.is_none() {
        return;
    }
    let others = Others::new(&context, network);
    let mut heard = Heard::default();
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let view = context.view();
        let Some(epoch) = view.state.epoch() else {
            continue;
        };
        // While the guard is at work, it knows.
        let knows = context
            .try_guard()
            .is_none_or(|guard| guard.floor(&epoch).is_some());
        // Nobody tells a server that is not listed yet.
        let listed = view.state.servers().get(&context.id());
        if knows || listed.is_none_or(|listed| listed.digest() != context.me().digest()) {
            continue;
        }
        heard.begin(epoch);
        let wanted = heard.missing(&context, &view);
        let asked = wanted.iter().map(async |server| {
            let floor = others.ask(&context, server, epoch).await?;
            Some((*server.id(), floor))
        });
        let answers = futures::future::join_all(asked).await;
        heard.words.extend(answers.into_iter().flatten());
        if let Some(floor) = heard.floor(&context, &context.view()) {
            context.guard().learn(epoch, floor);
            tracing::info!(
                epoch = %epoch.short(),
                round = floor,
                heard_from = heard.words.len(),
                "the others have told up to which round an earlier boot of this server can have stood for any"
            );
        }
    }
}

/// What was heard of one epoch.
#[derive(Default)]
struct Heard {
    epoch: Option<Epoch>,
    words: BTreeMap<ServerId, u64>,
}

impl Heard {
    fn begin(&mut self, epoch: Epoch) {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.words.clear();
        }
    }

    /// Registered servers whose evidence holds and who have not answered.
    fn missing(&self, context: &Context, view: &View) -> Vec<AdmittedServer> {
        let servers = view.state.servers().values();
        servers
            .filter(|server| *server.id() != context.id())
            .filter(|server| !self.words.contains_key(server.id()))
            .filter(|server| context.stands(view, server))
            .cloned()
            .collect()
    }

    /// The highest number, once enough were heard. Nobody is believed who would push
    /// the numbers farther than reminders may.
    fn floor(&self, context: &Context, view: &View) -> Option<u64> {
        let head = view.state.head().map_or(0, |head| head.rank().0);
        let words = self.words.values().copied();
        let believed: Vec<u64> = words
            .filter(|floor| floor.saturating_sub(head) <= MAX_FLOOR)
            .collect();
        let needed = context.rules.words_needed(view.state.committee_size());
        (believed.len() >= needed).then(|| believed.into_iter().max().unwrap_or(0))
    }
}
