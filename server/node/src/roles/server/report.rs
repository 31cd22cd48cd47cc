//! How this server is, for its socket.

use zipnet_protocol::PeerKey;

use super::{
    context::{Attested, Context},
    desk::member_of,
    readiness::Readiness,
    watchdog,
};
use crate::{
    committee::{View, state::Final},
    health::Reason,
    pace::Occupancy,
    status::{EvidenceStatus, PolicyStatus, RoundStatus, ServerStatus, Status, Why},
};

/// How many of the last rounds are shown.
const ROUNDS: u64 = 8;

pub(super) fn of(context: &Context) -> Status {
    let view = context.view();
    let state = &view.state;
    let readiness = Readiness::look(context, &view);
    let health = &context.settings.health;
    let why = |Reason { code, text }| Why {
        reason: code.word().to_owned(),
        text,
    };
    let policy = context.attested().map(|Attested { own, .. }| {
        let policy = own.authority().policy();
        PolicyStatus {
            serial: policy.serial(),
            ends: policy.verifier.policy().ends(),
        }
    });
    let (turn, leaves) = state.next_aggregators().unzip();
    let leaves = leaves.unwrap_or_default();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: context.rules.instance.name().to_string(),
        committee: PeerKey::new(*context.rules.instance.committee().as_bytes()).to_string(),
        committee_size: state.committee_size(),
        min_servers: state.roster_minimum(),
        peer: context.me().peer().to_string(),
        leader: context.leader().map(|leader| {
            let key = PeerKey::new(*leader.as_bytes());
            let known = member_of(context, &key);
            known.map_or(key, |server| *server.peer()).to_string()
        }),
        unhealthy: health.illnesses(),
        not_ready: health.unready().into_iter().map(why).collect(),
        waiting_for: watchdog::waiting_for(&view, &readiness),
        policy,
        servers: servers(context, &view),
        aggregators: state
            .aggregators()
            .iter()
            .map(|(peer, _)| peer.to_string())
            .collect(),
        turn: turn.map(|peer| peer.to_string()),
        leaves: leaves.iter().map(PeerKey::to_string).collect(),
        struck: state
            .strikes()
            .struck()
            .iter()
            .map(PeerKey::to_string)
            .collect(),
        clients: state.clients().len(),
        rounds: rounds(context, &view),
    }
}

fn servers(context: &Context, view: &View) -> Vec<ServerStatus> {
    let bonded = context.bonded();
    let servers = view.state.servers().values();
    let shown = servers.map(|server| ServerStatus {
        peer: server.peer().to_string(),
        server: server.id().short(),
        here: context.is_bonded(server, &bonded),
        evidence: context.judge(view, server).map(|judged| match judged {
            Ok(standing) => EvidenceStatus::Holds {
                until: standing.not_after,
                image: standing.image,
                shape: standing.shape,
                tcb: standing.tcb,
            },
            Err(refusal) => EvidenceStatus::Refused {
                rule: refusal.rule().to_string(),
                because: crate::report::chain(&*refusal),
            },
        }),
    });
    shown.collect()
}

fn rounds(context: &Context, view: &View) -> Vec<RoundStatus> {
    let Some(head) = view.state.head() else {
        return Vec::new();
    };
    let (epoch, newest) = head.checked.round().position();
    let from = newest.saturating_sub(ROUNDS.saturating_sub(1));
    let most = usize::try_from(ROUNDS).unwrap_or(usize::MAX);
    let kept = context.shared.broadcasts().range(&epoch, from, most);
    kept.iter().rev().map(|done| round(done)).collect()
}

fn round(done: &Final) -> RoundStatus {
    let seen = Occupancy::of(&done.checked);
    let header = done.checked.round().header();
    RoundStatus {
        number: header.number,
        record: done.checked.digest().short(),
        servers: done.checked.servers(),
        participants: done.checked.participants(),
        floor: header.floor,
        messages: seen.messages,
        empty: seen.empty,
        garbled: seen.garbled(),
    }
}
