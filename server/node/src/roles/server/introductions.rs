//! Looks into the evidence of peers that want to bond, and asks those that do
//! not bond what they think of this server's.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mosaik::{Network, PeerId};
use tokio::{sync::mpsc, task::JoinSet};
use zipnet_attest::Refusal;
use zipnet_protocol::ServerBundle;

use super::context::{Attested, Context};
use crate::{
    attestation::{
        Credential,
        ticket::{Claim, Verdict},
    },
    metrics,
    peers::Peers,
    roles::common::peer_id,
    wire::{Call as _, Member, MemberCall, Opinion, OpinionCall},
};

/// How long a peer may take to show its evidence.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most peers that are looked into at once.
const AT_ONCE: usize = 8;
/// How long a refusal stands.
const REFUSED_FOR: Duration = Duration::from_secs(15);
/// How soon a peer that did not show its evidence is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often verdicts are looked at again, and opinions are asked for.
const TICK: Duration = Duration::from_secs(5);
/// Longest opinion that is logged, in characters.
const MAX_TEXT: usize = 300;

struct Introductions {
    context: Arc<Context>,
    with: Attested,
    members: Arc<Peers<(), Member>>,
    opinions: Peers<(), Opinion>,
    /// Which rule this server breaks, by the word of others.
    said: Mutex<BTreeMap<PeerId, u16>>,
}

pub(super) async fn run(
    context: Arc<Context>,
    network: Arc<Network>,
    mut claims: mpsc::Receiver<Claim>,
) {
    let Some(with) = context.attested().cloned() else {
        return;
    };
    let instance = &context.rules.instance;
    let member = (MemberCall::id(instance), MemberCall::LABEL);
    let opinion = (OpinionCall::id(instance), OpinionCall::LABEL);
    let this = Arc::new(Introductions {
        members: Arc::new(Peers::new(network.clone(), member.0, member.1, None)),
        opinions: Peers::new(network, opinion.0, opinion.1, None),
        said: Mutex::default(),
        with,
        context: context.clone(),
    });
    let mut looking = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            Some(claim) = claims.recv(), if looking.len() < AT_ONCE => {
                let this = this.clone();
                looking.spawn(async move { this.look_into(claim).await });
            }
            Some(_) = looking.join_next(), if !looking.is_empty() => {}
            _ = ticks.tick(), if looking.len() < AT_ONCE => {
                let this = this.clone();
                looking.spawn(async move { this.ask_opinions().await });
            }
        }
    }
}

impl Introductions {
    /// Fetches and verifies what a ticket names.
    async fn look_into(&self, claim: Claim) {
        let (peer, digest) = claim;
        let tickets = &self.with.tickets;
        let answer = self.members.call_peer(peer, &(), PATIENCE).await;
        let shown = answer.ok().and_then(|member| {
            let credential = member.credential?;
            (credential.digest() == digest).then_some((member.bundle, credential))
        });
        let Some((bundle, credential)) = shown else {
            // It shows none, or has newer evidence by now.
            tokio::time::sleep(AGAIN).await;
            tickets.forget(&claim);
            self.context.nudge();
            return;
        };
        match self.verify(&peer, &bundle, credential) {
            Some(Ok(until)) => tickets.settle(claim, Verdict::Holds(until)),
            Some(Err(refusal)) => {
                tickets.settle(claim, Verdict::Refused(refusal));
                let tickets = tickets.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(REFUSED_FOR).await;
                    tickets.forget(&claim);
                });
            }
            None => {
                tracing::debug!(peer = %peer.fmt_short(), "a peer shows a bundle that is not its own");
                tokio::time::sleep(REFUSED_FOR).await;
                tickets.forget(&claim);
            }
        }
        self.context.nudge();
    }

    /// `None` if the bundle is not this peer's. A ticket that somebody else
    /// has copied is refused by the statement: it names another peer.
    fn verify(
        &self,
        peer: &PeerId,
        bundle: &ServerBundle,
        credential: Credential,
    ) -> Option<Result<u64, Arc<Refusal>>> {
        let instance = &self.context.rules.instance;
        let server = bundle.verify(instance).ok()?;
        if peer_id(server.peer()) != Some(*peer) {
            return None;
        }
        let authority = self.with.own.authority();
        let judged = authority.judge(instance, &server, &Arc::new(credential));
        Some(judged.map(|standing| standing.not_after))
    }

    /// Asks servers that are not bonded why, and tells of it once. Only those
    /// that have shown a bundle of this instance are asked: anybody may serve
    /// the call.
    async fn ask_opinions(&self) {
        let bonded = self.context.bonded();
        self.said().retain(|peer, _| !bonded.contains(peer));
        let strangers = self.opinions.serving().into_iter().filter(|peer| {
            let known = self.with.tickets.verdict(peer);
            !bonded.contains(peer) && known.is_some()
        });
        for peer in strangers.take(AT_ONCE) {
            let answer = self.opinions.call_peer(peer, &(), PATIENCE).await;
            let Ok(Opinion::Refused { rule, text }) = answer else {
                continue;
            };
            metrics::refused_by_peer(&peer.fmt_short().to_string(), rule);
            if self.said().insert(peer, rule) != Some(rule) {
                let text: String = text.escape_debug().take(MAX_TEXT).collect();
                tracing::warn!(
                    peer = %peer.fmt_short(),
                    rule = %format_args!("ZA-{rule}"),
                    "attestation: a server refuses this one's evidence: {text}"
                );
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<PeerId, u16>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
