//! A leaf hands its part to the aggregator of the round, and sees whether that keeps its word.
//!
//! What the aggregator learns by it is what the record will say. A leaf that is left out
//! though it has a receipt shows that to all servers, as soon as it has read the record: what
//! it shows is what the aggregator signed, and nothing of any client.

use core::time::Duration;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mosaik::PeerId;
use tokio::time::Instant;
use zipnet_protocol::{
    FinalizedRound, Instance, Part, PartReceipt, Participants, PeerKey, RoundContext,
};

use super::deliver::{PAUSE, PAUSE_MAX, jittered};
use crate::{
    ground::Ground,
    peers::{Allowed, Peers},
    roles::common::peer_id,
    wire::{OmittedCall, PartCall, Refused},
};

/// How long the aggregator may take to answer, and a server to look at a receipt.
const PATIENCE: Duration = Duration::from_secs(2);
/// For how long a part is offered: no window of an aggregator is as long.
const OFFER: Duration = Duration::from_secs(30);
/// How often a receipt is shown to a server that does not have the record yet.
const TRIES: u32 = 5;
/// Most receipts that are held against records.
const RECEIPTS: usize = 64;

struct Promised {
    context: RoundContext,
    participants: Participants,
    receipt: PartReceipt,
}

/// How a leaf hands on what it has.
pub(super) struct Above {
    aggregators: Peers<Part, PartReceipt>,
    servers: Peers<PartReceipt, ()>,
    promised: Mutex<VecDeque<Promised>>,
}

impl Above {
    pub fn new(ground: &dyn Ground, instance: &Instance, servers: Allowed) -> Self {
        Self {
            aggregators: Peers::on::<PartCall>(ground, instance, None),
            servers: Peers::on::<OmittedCall>(ground, instance, Some(servers)),
            promised: Mutex::default(),
        }
    }

    /// Hands a part on until it is taken, for as long as this is polled: the caller drops
    /// it when the round is over. An aggregator that has not heard of the round yet does not
    /// know its leaf, so whatever it says, it is asked again.
    pub async fn hand_on(&self, part: &Part, aggregator: &PeerKey, number: u64) {
        let Some(peer) = peer_id(aggregator) else {
            return;
        };
        let mut pause = PAUSE;
        let until = Instant::now() + OFFER;
        while Instant::now() < until {
            match self.aggregators.call_one(peer, part, PATIENCE).await {
                Ok(receipt) => {
                    tracing::info!(
                        round = %format_args!("r{number}"),
                        participants = part.seal.participants.count(),
                        aggregator = %aggregator.short(),
                        "leaf: handed its part on"
                    );
                    self.hold(part, receipt, aggregator);
                    return;
                }
                Err(error) => {
                    tracing::debug!(
                        round = number,
                        because = %crate::report::chain(&error),
                        "the aggregator did not take a part"
                    );
                    if error.refusal() == Some(&Refused::Repeated) {
                        return;
                    }
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Keeps a receipt, if it is one for the part.
    fn hold(&self, part: &Part, receipt: PartReceipt, aggregator: &PeerKey) {
        let digest = part.seal.digest(&part.context);
        let answers =
            (receipt.context, receipt.leaf, receipt.part) == (part.context, part.seal.leaf, digest);
        if !answers || receipt.verify(aggregator).is_err() {
            tracing::warn!(
                aggregator = %aggregator.short(),
                "the aggregator gave no receipt for a part"
            );
            return;
        }
        let mut promised = self.promised();
        promised.push_back(Promised {
            context: part.context,
            participants: part.seal.participants.clone(),
            receipt,
        });
        if promised.len() > RECEIPTS {
            promised.pop_front();
        }
    }

    /// Shows all servers a receipt that was not honoured.
    pub async fn tell(&self, receipt: PartReceipt) {
        let all = self.servers.serving().into_iter();
        futures::future::join_all(all.map(|peer| self.show(peer, &receipt))).await;
    }

    async fn show(&self, server: PeerId, receipt: &PartReceipt) {
        for _ in 0..TRIES {
            let Err(error) = self.servers.call_peer(server, receipt, PATIENCE).await else {
                return;
            };
            tracing::debug!(
                because = %crate::report::chain(&error),
                "a server did not look at a leaf's receipt"
            );
            tokio::time::sleep(jittered(PAUSE_MAX)).await;
        }
    }

    /// Holds what was promised against a record. Returns the receipt if that was not kept.
    pub fn broken(&self, done: &FinalizedRound) -> Option<PartReceipt> {
        let mut promised = self.promised();
        let at = promised
            .iter()
            .position(|one| one.context == *done.context())?;
        let found = promised.remove(at)?;
        let included = |position| u32::try_from(position).is_ok_and(|at| done.includes(at));
        let kept = found.participants.positions().all(included);
        if kept {
            return None;
        }
        let header = done.round().header();
        tracing::warn!(
            round = header.number,
            aggregator = %header.aggregator.short(),
            "an aggregator left this leaf's part out though it gave a receipt; telling the servers"
        );
        Some(found.receipt)
    }

    fn promised(&self) -> MutexGuard<'_, VecDeque<Promised>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
