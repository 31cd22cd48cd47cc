//! Keeps what the aggregator promised, and sees whether it keeps it.
//!
//! A client whose bit is missing although it holds a receipt shows that to a
//! server. Besides it shows one receipt in sixteen whatever came of it: it may be for
//! somebody else's position, which only a server can see, and the record may
//! be withheld from this client.
//!
//! A receipt is verified when it is shown, and not while all clients are busy with
//! their envelopes: one that does not hold promises nothing, as none would, and
//! nobody can make an aggregator give a better one.
//!
//! What a malicious server learns from a complaint is that this client took
//! part and was left out, which the aggregator knows, and that it took part,
//! which the record says. Nothing here knows whether the client talked or
//! covered; the dice, the delay and the server are random. The delay keeps the time
//! of a complaint from telling how long the record took to reach this client.

use core::time::Duration;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::JoinSet;
use zipnet_protocol::{
    CertifiedRound, EnvelopeReceipt, FinalizedRound, Instance, RoundContext, SealedEnvelope,
};

use crate::{
    entropy,
    ground::Ground,
    peers::{Allowed, Peers},
    wire::ComplainCall,
};

/// Most receipts that are kept, each with its envelope.
const RECEIPTS: usize = 8;
/// One receipt in so many is shown without a reason.
const ONE_IN: u8 = 16;
/// Shortest time until a receipt is shown.
const DELAY: Duration = Duration::from_secs(2);
/// How much longer it may take.
const SPREAD: Duration = Duration::from_secs(18);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many servers are tried.
const TRIES: usize = 3;
/// Most complaints on their way.
const AT_ONCE: usize = 64;

/// A receipt as it came, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    receipt: EnvelopeReceipt,
    envelope: SealedEnvelope,
    round: Arc<CertifiedRound>,
}

impl Held {
    fn context(&self) -> &RoundContext {
        self.round.context()
    }

    /// The receipt, if it is one for the envelope.
    fn verified(&self) -> Option<EnvelopeReceipt> {
        let header = self.round.header();
        match self.receipt.answers(&self.envelope, header) {
            Ok(()) => Some(self.receipt),
            Err(error) => {
                tracing::warn!(
                    round = header.number,
                    aggregator = %header.aggregator.short(),
                    because = %crate::report::chain(&error),
                    "the aggregator gave no receipt"
                );
                None
            }
        }
    }
}

/// The receipts of one client.
pub(super) struct Witness {
    servers: Arc<Peers<EnvelopeReceipt, ()>>,
    held: Mutex<VecDeque<Held>>,
    complaints: Mutex<JoinSet<()>>,
}

impl Witness {
    pub fn new(ground: &Arc<dyn Ground>, instance: &Instance, servers: Allowed) -> Self {
        let servers = Peers::on::<ComplainCall>(&**ground, instance, Some(servers));
        Self {
            servers: Arc::new(servers),
            held: Mutex::default(),
            complaints: Mutex::default(),
        }
    }

    /// Keeps what the aggregator of a round answered to this client's envelope.
    pub fn hold(
        &self,
        receipt: EnvelopeReceipt,
        envelope: &SealedEnvelope,
        round: &Arc<CertifiedRound>,
    ) {
        let held = Held {
            receipt,
            envelope: envelope.clone(),
            round: round.clone(),
        };
        if dice()
            && let Some(receipt) = held.verified()
        {
            self.show(receipt);
        }
        keep(&mut lock(&self.held), held);
    }

    /// Holds the receipt of a round against its record.
    pub fn finalized(&self, done: &FinalizedRound) {
        let broken = broken(&mut lock(&self.held), done);
        if let Some(receipt) = broken.and_then(|held| held.verified()) {
            tracing::warn!(
                round = done.round().header().number,
                aggregator = %done.round().header().aggregator.short(),
                "an aggregator left this client out though it gave a receipt; telling a server"
            );
            self.show(receipt);
        }
    }

    /// Shows a receipt to a random server, after a random time.
    fn show(&self, receipt: EnvelopeReceipt) {
        let mut complaints = lock(&self.complaints);
        while complaints.try_join_next().is_some() {}
        if complaints.len() < AT_ONCE {
            complaints.spawn(show(self.servers.clone(), receipt));
        }
    }
}

fn keep(held: &mut VecDeque<Held>, new: Held) {
    held.retain(|other| other.context() != new.context());
    held.push_back(new);
    if held.len() > RECEIPTS {
        held.pop_front();
    }
}

/// The receipt of a round, no longer held, if its record lacks what it promises.
fn broken(held: &mut VecDeque<Held>, done: &FinalizedRound) -> Option<Held> {
    let at = held
        .iter()
        .position(|one| one.context() == done.context())?;
    let found = held.remove(at)?;
    (!done.includes(found.receipt.position)).then_some(found)
}

async fn show(servers: Arc<Peers<EnvelopeReceipt, ()>>, receipt: EnvelopeReceipt) {
    tokio::time::sleep(DELAY + SPREAD * u32::from(random()) / 65_536).await;
    let mut peers = servers.serving();
    for _ in 0..TRIES {
        if peers.is_empty() {
            return;
        }
        let at = usize::from(random()).checked_rem(peers.len()).unwrap_or(0);
        let peer = peers.swap_remove(at);
        match servers.call_peer(peer, &receipt, PATIENCE).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(
                because = %crate::report::chain(&error),
                "a server did not look at a receipt"
            ),
        }
    }
}

fn dice() -> bool {
    random().is_multiple_of(u16::from(ONE_IN))
}

fn random() -> u16 {
    entropy::fresh().map_or(0, |bytes| {
        let [one, other, ..] = *bytes;
        u16::from_be_bytes([one, other])
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a2_a_receipt_is_held_against_the_record_of_its_round() {
        let mut world = World::new(3, 4);
        let mut state = world.founded();
        let round = world.open(&mut state);
        let registry = state.current().unwrap().registry.clone();
        let receipt = |client: usize| {
            let (_, envelope) = world.client(client).seal(&round, None).unwrap();
            let checked = envelope.check(round.context(), round.header(), &registry);
            let transport = world.aggregator_transport(0);
            Held {
                receipt: EnvelopeReceipt::sign(&checked.unwrap(), &transport),
                envelope,
                round: round.clone(),
            }
        };
        let [kept, left_out] = [receipt(1), receipt(3)];
        world.aggregate(&mut state, &[0, 1, 2]);
        let done = world.partials(&mut state, &[0, 1, 2]).unwrap();
        let mut held = VecDeque::new();
        assert_eq!(broken(&mut held, &done.checked), None);
        keep(&mut held, kept.clone());
        assert_eq!(broken(&mut held, &done.checked), None);
        keep(&mut held, left_out.clone());
        let shown = broken(&mut held, &done.checked).unwrap();
        assert_eq!(shown.verified(), Some(left_out.receipt));
        assert!(held.is_empty(), "each is held against one record, once");
        // What is for another envelope is nothing to show.
        let mut junk = left_out.clone();
        junk.receipt = kept.receipt;
        assert_eq!(junk.verified(), None);
        // Of another round, nothing can be said.
        for _ in 0..2 * RECEIPTS {
            let mut client = world.client(3);
            let round = world.open(&mut state);
            let (_, envelope) = client.seal(&round, None).unwrap();
            let other = Held {
                envelope,
                round,
                ..left_out.clone()
            };
            keep(&mut held, other);
            assert_eq!(broken(&mut held, &done.checked), None);
        }
        assert_eq!(held.len(), RECEIPTS);
    }
}
