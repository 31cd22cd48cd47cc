//! Looks into the evidence of peers that want to bond, and asks those that do
//! not bond what they think of this server's.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mosaik::{Network, PeerId};
use tokio::{sync::mpsc, task::JoinSet};
use zipnet_attest::{Refusal, Rule};
use zipnet_protocol::ServerBundle;

use super::context::{Attested, Context};
use crate::{
    attestation::{
        Credential,
        ticket::{Claim, Verdict},
    },
    members, metrics,
    peers::Peers,
    roles::common::peer_id,
    wire::{Member, MemberCall, Opinion, OpinionCall},
};

/// How long a peer may take to show its evidence.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most peers that are looked into at once. Anybody may announce a ticket, and
/// not answer.
const AT_ONCE: usize = 32;
/// How long a refusal stands, and how often opinions are asked for.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How soon a peer that did not show its evidence is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the registry is looked at.
const TICK: Duration = Duration::from_secs(1);
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
    let this = Arc::new(Introductions {
        members: Arc::new(Peers::on::<MemberCall>(
            &members::Members(network.clone()),
            instance,
            None,
        )),
        opinions: Peers::on::<OpinionCall>(&members::Members(network), instance, None),
        said: Mutex::default(),
        with,
        context: context.clone(),
    });
    let mut looking = JoinSet::new();
    let mut asking = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    let mut again = tokio::time::interval(REFUSED_FOR);
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            Some(claim) = claims.recv(), if looking.len() < AT_ONCE => {
                let this = this.clone();
                looking.spawn(async move { this.look_into(claim).await });
            }
            Some(_) = looking.join_next(), if !looking.is_empty() => {}
            Some(_) = asking.join_next(), if !asking.is_empty() => {}
            _ = ticks.tick() => this.go_by_the_registry(),
            _ = again.tick() => {
                for claim in this.unregistered() {
                    let this = this.clone();
                    looking.spawn(async move { this.look_into(claim).await });
                }
                if asking.is_empty() {
                    let this = this.clone();
                    asking.spawn(async move { this.ask_opinions().await });
                }
            }
        }
    }
}

impl Introductions {
    /// Settles the tickets of registered servers by the evidence that the log
    /// has brought. So a renewed ticket is known before its peer is asked, and
    /// what a new policy or newer collateral refuses is refused here too.
    fn go_by_the_registry(&self) {
        let view = self.context.view();
        let instance = &self.context.rules.instance;
        for server in view.state.servers().values() {
            let admission = view.state.admissions().of(server.id());
            let (Some(peer), Some(admission)) = (peer_id(&server.member()), admission) else {
                continue;
            };
            let claim = (peer, admission.credential.digest());
            let judged = self
                .with
                .own
                .authority()
                .judge(instance, server, &admission.credential);
            let verdict = match judged {
                Ok(standing) => Verdict::Holds(standing.not_after),
                Err(refusal) => Verdict::Refused(refusal),
            };
            self.with.tickets.settle(claim, verdict);
        }
    }

    /// Believed claims of peers that are not registered: they may have been
    /// struck by a new policy.
    fn unregistered(&self) -> Vec<Claim> {
        let view = self.context.view();
        let servers = view.state.servers();
        let registered: Vec<_> = servers
            .values()
            .filter_map(|server| peer_id(&server.member()))
            .collect();
        let mut claims = self.with.tickets.believed();
        claims.retain(|(peer, _)| !registered.contains(peer));
        claims.truncate(AT_ONCE);
        claims
    }

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
            self.look_again(claim, AGAIN);
            return;
        };
        match self.verify(&peer, &bundle, credential) {
            Some(Ok(until)) => tickets.settle(claim, Verdict::Holds(until)),
            Some(Err(refusal)) => {
                tickets.settle(claim, Verdict::Refused(refusal));
                self.look_again(claim, REFUSED_FOR);
            }
            None => {
                tracing::debug!(peer = %peer.fmt_short(), "a peer shows a bundle that is not its own");
                self.look_again(claim, REFUSED_FOR);
            }
        }
        self.context.nudge();
    }

    /// Forgets a claim after a while, in the background: whoever is looked into
    /// meanwhile must not wait for it.
    fn look_again(&self, claim: Claim, pause: Duration) {
        let tickets = self.with.tickets.clone();
        let context = self.context.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = context.stop().cancelled() => {}
                () = tokio::time::sleep(pause) => {
                    tickets.forget(&claim);
                    context.nudge();
                }
            }
        });
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
        if peer_id(&server.member()) != Some(*peer) {
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
            let now = self.with.own.authority().now();
            let known = self.with.tickets.verdict(peer, now);
            !bonded.contains(peer) && known.is_some()
        });
        for peer in strangers.take(AT_ONCE) {
            let answer = self.opinions.call_peer(peer, &(), PATIENCE).await;
            let Ok(Opinion::Refused { rule, text }) = answer else {
                continue;
            };
            if !Rule::ALL.iter().any(|known| known.number() == rule) {
                continue;
            }
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
