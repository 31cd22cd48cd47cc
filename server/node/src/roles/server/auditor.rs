//! Looks into what aggregators did, and brings what it finds before the
//! committee.
//!
//! Audited is each round that is noise as a whole, since an aggregator that
//! adds some is why authors would repeat themselves (A2), and one in
//! sixteen of the others. The dice are this process's own and fall after the
//! round is final: no aggregator knows which rounds it will have to show. What is
//! fetched is ciphertext that the aggregator, whom nobody trusts, has seen
//! anyway: nobody's anonymity is the less for it.

use core::time::Duration;
use std::sync::Arc;

use tokio::task::JoinSet;
use zipnet_protocol::{
    Aggregate, Audit, ClientId, EnvelopeReceipt, Epoch, Fault, FinalizedRound, Finding, Part,
    PartReceipt, PeerKey, Proof, RoundContext, RoundHeader, SealedEnvelope, SlotOpening, adds_up,
    first_difference, honours,
};

use super::context::Context;
use crate::{
    committee::{
        command::Order,
        state::{Final, InFlight},
        strikes::Strike,
    },
    entropy,
    ground::Ground as _,
    metrics,
    pace::Occupancy,
    peers::Peers,
    roles::common::peer_id,
    wire::{AuditCall, AuditRequest, PartOfCall, Refused},
};

/// How often strikes are brought forward again.
const TICK: Duration = Duration::from_secs(2);
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a page is asked for.
const TRIES: u32 = 3;
/// How long to wait before it is asked for again.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause before an audit begins, so that not all servers fetch at once.
const SPREAD: Duration = Duration::from_millis(500);
/// Most audits at once.
const AT_ONCE: usize = 2;
/// Most finalized rounds that are looked at in one turn.
const MOST: usize = 64;
/// One round in so many is audited without a reason.
const ONE_IN: u8 = 16;
/// Longest proof that goes into the log; what is longer is voted on.
const MAX_PROOF: usize = 1 << 20;

pub(super) async fn run(context: Arc<Context>) {
    let mut views = context.shared.watch();
    let mut position: Option<(Epoch, u64)> = None;
    let mut audits = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let pulse = context.pulse("auditor");
    loop {
        pulse.beat();
        tokio::select! {
            () = context.stop().cancelled() => return,
            _ = views.changed() => {}
            Some(_) = audits.join_next() => {}
            () = context.faults().changed() => bring_forward(&context).await,
            _ = tick.tick() => bring_forward(&context).await,
        }
        views.borrow_and_update();
        for done in news(&context, &mut position) {
            let reason = match is_noise(&done.checked) {
                true => "noise",
                false if dice() => "random",
                false => continue,
            };
            if audits.len() < AT_ONCE {
                audits.spawn(look_into(context.clone(), done, reason));
            } else {
                metrics::audit("skipped");
            }
        }
    }
}

/// Rounds that were finalized since the last time; none when it is the first
/// time that this is asked.
fn news(context: &Context, position: &mut Option<(Epoch, u64)>) -> Vec<Arc<Final>> {
    let view = context.view();
    let Some(head) = view.state.head() else {
        return Vec::new();
    };
    let from = match position {
        Some((epoch, number)) if *epoch == head.epoch() => number.saturating_add(1),
        _ => head.rank().0,
    };
    let first = position.is_none();
    *position = Some((head.epoch(), head.rank().0));
    if first && !is_noise(&head.checked) {
        return Vec::new();
    }
    let broadcasts = context.shared.broadcasts();
    broadcasts.range(&head.epoch(), from, MOST)
}

/// Whether nothing of a round can be read though something was said: as when
/// somebody has added what only he can take away again.
fn is_noise(done: &FinalizedRound) -> bool {
    Occupancy::of(done).is_noise()
}

fn dice() -> bool {
    entropy::fresh().is_ok_and(|bytes| bytes.first().is_some_and(|byte| byte % ONE_IN == 0))
}

async fn look_into(context: Arc<Context>, done: Arc<Final>, reason: &'static str) {
    let spread = entropy::fresh().map_or(0, |bytes| bytes.first().copied().unwrap_or(0));
    tokio::time::sleep(SPREAD * u32::from(spread) / 256).await;
    let number = done.checked.round().header().number;
    let shown = Shown::of(&context, &done);
    let faults = context.faults();
    let mut sums = Vec::new();
    // Leaves first: what they handed on is theirs to answer for.
    for whose in shown.all() {
        let peer = shown.peer(whose);
        match shown.sum(whose).await {
            None => {
                metrics::audit("silent");
                tracing::warn!(
                    round = number,
                    aggregator = %peer.short(),
                    "an aggregator did not show the envelopes of a round"
                );
                faults.silent(peer);
            }
            Some((sum, Ok(()))) => {
                if shown.count(whose) > 0 {
                    faults.answered(&peer);
                }
                sums.push(sum);
                continue;
            }
            Some((sum, Err(finding))) => {
                let proof = match (finding, whose) {
                    (Finding::Part, Some(leaf)) => shown.part_noise(leaf, &sum).await,
                    _ => None,
                };
                condemn(&context, number, peer, finding, proof);
            }
        }
        // What a leaf handed on, the aggregator has: whatever the leaf did, that one is
        // looked at as well.
        if whose.is_none() {
            return;
        }
        let Some(part) = shown.part(whose).await else {
            faults.silent(shown.peer(None));
            return;
        };
        sums.push(part.vector.to_vec());
    }
    let (header, aggregate) = shown.handed_in();
    match adds_up(header, aggregate, &sums) {
        Ok(()) => {
            metrics::audit("clean");
            tracing::debug!(round = number, reason, "audited a round and found nothing");
        }
        Err(finding) => {
            let proof = match finding {
                Finding::Noise { slot } => shown.noise(slot, &sums).await,
                _ => None,
            };
            condemn(&context, number, header.aggregator, finding, proof);
        }
    }
}

/// Holds what an audit found against whose fault it is.
fn condemn(context: &Context, number: u64, peer: PeerKey, finding: Finding, proof: Option<Proof>) {
    metrics::audit(finding.reason());
    tracing::error!(
        round = number,
        aggregator = %peer.short(),
        because = %crate::report::chain(&finding),
        "audited a round"
    );
    let strike = proof.map_or(Strike::Vote, |proof| provable(context, proof));
    context.faults().found(peer, strike, finding.reason());
}

/// A proof, if it is one and fits into the log; else a vote.
fn provable(context: &Context, proof: Proof) -> Strike {
    let fits = postcard::to_stdvec(&proof).is_ok_and(|bytes| bytes.len() <= MAX_PROOF);
    if fits && proof.verify(&context.rules.instance).is_ok() {
        Strike::Proof(Box::new(proof))
    } else {
        Strike::Vote
    }
}

/// A round as its aggregator and leaves show it: `Some` leaf's number, or the aggregator.
struct Shown {
    envelopes: Peers<AuditRequest, Vec<SealedEnvelope>>,
    parts: Peers<(RoundContext, u8), Part>,
    done: Arc<Final>,
}

impl Shown {
    fn of(context: &Context, done: &Arc<Final>) -> Self {
        let (instance, ground) = (&context.rules.instance, &context.ground);
        let header = done.checked.round().header();
        let view = context.view();
        for peer in header.leaves.iter().chain([&header.aggregator]) {
            if let Some(bundle) = view.state.aggregators().bundle(peer) {
                ground.told(instance, bundle);
            }
        }
        Self {
            envelopes: Peers::on::<AuditCall>(ground, instance, None),
            parts: Peers::on::<PartOfCall>(ground, instance, None),
            done: done.clone(),
        }
    }

    fn handed_in(&self) -> (&RoundHeader, &Aggregate) {
        let header = self.done.checked.round().header();
        (header, &self.done.published.record.aggregate)
    }

    /// Whose envelopes are to be looked at: those of each leaf that has handed in a part,
    /// then the aggregator's own.
    fn all(&self) -> Vec<Option<u8>> {
        let parts = self.handed_in().1.parts.iter();
        parts.map(|part| Some(part.leaf)).chain([None]).collect()
    }

    fn peer(&self, whose: Option<u8>) -> PeerKey {
        let header = self.handed_in().0;
        let leaf = whose.and_then(|leaf| header.leaves.get(leaf));
        *leaf.unwrap_or(&header.aggregator)
    }

    /// How many envelopes one has to show.
    fn count(&self, whose: Option<u8>) -> usize {
        let aggregate = self.handed_in().1;
        match whose {
            Some(leaf) => aggregate
                .part(leaf)
                .map_or(0, |part| part.participants.count()),
            None => aggregate.own().count(),
        }
    }

    /// What a leaf handed in, if the aggregator shows it.
    async fn part(&self, whose: Option<u8>) -> Option<Part> {
        let (header, aggregate) = self.handed_in();
        let seal = aggregate.part(whose?)?;
        let root = peer_id(&header.aggregator)?;
        let request = (*self.done.checked.context(), seal.leaf);
        let part = self.parts.call_peer(root, &request, PATIENCE).await.ok()?;
        let checked = part
            .check(self.done.checked.context(), header, &self.done.registry)
            .ok()?;
        (checked.part().seal == *seal).then(|| checked.part().clone())
    }

    async fn page(&self, whose: Option<u8>, from: usize) -> Option<Vec<SealedEnvelope>> {
        let peer = peer_id(&self.peer(whose))?;
        let request = AuditRequest {
            context: *self.done.checked.context(),
            from: u32::try_from(from).unwrap_or(u32::MAX),
        };
        for _ in 0..TRIES {
            match self.envelopes.call_peer(peer, &request, PATIENCE).await {
                Ok(page) => return Some(page),
                Err(error) => tracing::debug!(
                    because = %crate::report::chain(&error),
                    "no envelopes to look into"
                ),
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Adds up the envelopes of one. `None` if they are not shown.
    async fn sum(&self, whose: Option<u8>) -> Option<(Vec<u8>, Result<(), Finding>)> {
        let (header, aggregate) = self.handed_in();
        let registry = self.done.registry.clone();
        let checked = aggregate
            .check(self.done.checked.context(), header, &registry)
            .ok()?;
        let mut audit = match whose {
            Some(leaf) => Audit::of_part(header, registry, &checked, leaf).ok()??,
            None => Audit::new(header, registry, &checked).ok()?,
        };
        let mut from = 0_usize;
        while audit.left() > 0 {
            let page = self.page(whose, from).await?;
            if page.is_empty() {
                break;
            }
            from = from.saturating_add(page.len());
            let adding = tokio::task::spawn_blocking(move || {
                let mut audit = audit;
                let added = page.iter().try_for_each(|one| audit.add(one));
                (audit, added)
            });
            let added;
            (audit, added) = adding.await.ok()?;
            if let Err(finding) = added {
                return Some((Vec::new(), Err(finding)));
            }
        }
        let sum = audit.sum().to_vec();
        Some((sum, audit.finish().map(|_| ())))
    }

    /// Fetches the envelopes of one again, and keeps of each the slot that does not add
    /// up: no more than that is shown to anybody, and no more is held in memory.
    async fn shares(&self, whose: Option<u8>, slot: u32) -> Option<Vec<(ClientId, SlotOpening)>> {
        let (header, _) = self.handed_in();
        let wanted = self.count(whose);
        let mut shares: Vec<(ClientId, SlotOpening)> = Vec::new();
        while shares.len() < wanted {
            let page = self.page(whose, shares.len()).await?;
            if page.is_empty() {
                return None;
            }
            for envelope in page {
                let share = SlotOpening::of(&envelope.vector, header.params, slot)?;
                shares.push((envelope.client, share));
            }
        }
        Some(shares)
    }

    fn proof(&self, fault: Fault) -> Proof {
        let (header, aggregate) = self.handed_in();
        Proof {
            header: header.clone(),
            aggregate: aggregate.clone(),
            fault,
        }
    }

    /// Proof against the aggregator. `sums` are those of the leaves, which were found to be
    /// what they handed in, and its own.
    async fn noise(&self, slot: u32, sums: &[Vec<u8>]) -> Option<Proof> {
        let (header, aggregate) = self.handed_in();
        let shares = self.shares(None, slot).await?;
        let of_parts = sums.iter().zip(&aggregate.parts);
        let parts = of_parts.map(|(sum, _)| SlotOpening::of(sum, header.params, slot));
        Some(self.proof(Fault::Noise {
            slot,
            shares,
            parts: parts.collect::<Option<_>>()?,
        }))
    }

    /// Proof against a leaf, if the aggregator shows what that handed in.
    async fn part_noise(&self, leaf: u8, sum: &[u8]) -> Option<Proof> {
        let (header, _) = self.handed_in();
        let part = self.part(Some(leaf)).await?;
        let slot = first_difference(sum, &part.vector, header.params)?;
        Some(self.proof(Fault::PartNoise {
            leaf,
            slot,
            shares: self.shares(Some(leaf), slot).await?,
            part: SlotOpening::of(&part.vector, header.params, slot)?,
        }))
    }
}

/// Takes what an aggregator promised a client, and holds it against what came
/// of it. Whose receipt it is tells nothing: that the client took part, the
/// aggregate says as well.
pub(super) fn complain(context: &Context, receipt: &EnvelopeReceipt) -> Result<(), Refused> {
    let broadcasts = context.shared.broadcasts();
    let done = broadcasts
        .best(|done| *done.checked.context() == receipt.context)
        .ok_or(Refused::NotOpen)?;
    let header = done.checked.round().header();
    let aggregate = &done.published.record.aggregate;
    let signer = receipt
        .signer(header)
        .map_err(|error| crate::wire::because(&error))?;
    let Err(finding) = honours(header, aggregate, receipt, &signer, Some(&done.registry)) else {
        return Ok(());
    };
    let misplaced = || {
        let (header, aggregate) = (header.clone(), aggregate.clone());
        Proof::misplaced(header, aggregate, *receipt, &done.registry)
    };
    let proof = match &finding {
        Finding::Misplaced { .. } => misplaced(),
        _ => None,
    };
    let proof = proof.unwrap_or_else(|| Proof {
        header: header.clone(),
        aggregate: aggregate.clone(),
        fault: Fault::Dropped { receipt: *receipt },
    });
    let strike = provable(context, proof);
    context.faults().found(signer, strike, finding.reason());
    Ok(())
}

/// Takes what the aggregator promised a leaf, and holds it against what came of it.
pub(super) fn omitted(context: &Context, receipt: &PartReceipt) -> Result<(), Refused> {
    let broadcasts = context.shared.broadcasts();
    let done = broadcasts
        .best(|done| *done.checked.context() == receipt.context)
        .ok_or(Refused::NotOpen)?;
    let header = done.checked.round().header();
    receipt
        .verify(&header.aggregator)
        .map_err(|error| crate::wire::because(&error))?;
    let proof = Proof {
        header: header.clone(),
        aggregate: done.published.record.aggregate.clone(),
        fault: Fault::Omitted { receipt: *receipt },
    };
    if let Ok(aggregator) = proof.verify(&context.rules.instance) {
        let strike = provable(context, proof);
        context.faults().found(aggregator, strike, "omitted");
    }
    Ok(())
}

/// Compares the aggregate that the committee has taken with one that the
/// aggregator hands to this server. It signs one for a round; of two, one could
/// be shown to those whom the other leaves out.
pub(super) fn compare(context: &Context, current: &InFlight, taken: &Aggregate, shown: &Aggregate) {
    if taken == shown {
        return;
    }
    let proof = Proof {
        header: current.round.header().clone(),
        aggregate: taken.clone(),
        fault: Fault::Forked {
            other: Box::new(shown.clone()),
        },
    };
    // Whatever somebody else may have signed is no fault of the aggregator.
    if let Ok(aggregator) = proof.verify(&context.rules.instance) {
        let strike = provable(context, proof);
        context.faults().found(aggregator, strike, "forked");
    }
}

/// Brings before the committee what it does not know yet.
async fn bring_forward(context: &Arc<Context>) {
    for (aggregator, strike) in context.faults().strikes() {
        let view = context.view();
        let strikes = view.state.strikes();
        let me = context.id();
        let voted = strike == Strike::Vote
            && strikes
                .voters(&aggregator, view.state.opened())
                .any(|server| *server == me);
        let listed = view.state.servers().contains_key(&me);
        if voted || !listed || strikes.is_struck(&aggregator) {
            continue;
        }
        let order = Order::StrikeAggregator { aggregator, strike };
        context.try_execute(&order, "strike").await;
    }
}
