//! What an aggregator promises, it keeps.

use core::time::Duration;

use tokio::time::timeout;
use zipnet_protocol::{Audit, audit, honours};

use super::*;
use crate::committee::tests::fixture::World;

/// A round that is open at a desk, for all clients of a world.
struct Stage {
    world: World,
    round: Arc<CertifiedRound>,
    registry: Arc<ClientRegistry>,
    desk: Desk,
}

impl Stage {
    fn new(clients: usize) -> Self {
        let mut world = World::new(1, clients);
        let mut state = world.founded_with(&(0..clients).collect::<Vec<_>>());
        let round = world.open(&mut state);
        let registry = state.current().unwrap().registry.clone();
        let desk = Desk::new(world.aggregator_transport(0));
        assert!(desk.begins(&round));
        desk.open(round.clone(), registry.clone());
        Self {
            world,
            round,
            registry,
            desk,
        }
    }

    fn sealed(&self, client: usize) -> (SealedEnvelope, PeerKey) {
        let (_, envelope) = self.world.client(client).seal(&self.round, None).unwrap();
        (envelope, self.world.client_transport(client).peer_key())
    }

    fn hand_over(&self, client: usize) -> Result<EnvelopeReceipt, Refused> {
        let (envelope, caller) = self.sealed(client);
        self.desk.take(&envelope, &caller)
    }
}

async fn is_done(done: impl Future<Output = ()>) -> bool {
    timeout(Duration::ZERO, done).await.is_ok()
}

#[test]
fn i19_every_receipt_is_kept_by_the_aggregate_and_the_audit() {
    let stage = Stage::new(5);
    let receipts: Vec<_> = [4, 0, 2]
        .map(|at| (at, stage.hand_over(at).unwrap()))
        .into();
    let collected = stage.desk.close().unwrap();
    assert_eq!((collected.participants, collected.registered), (3, 5));
    let (context, header) = (stage.round.context(), stage.round.header());
    let checked = collected
        .aggregate
        .check(context, header, &stage.registry)
        .unwrap();
    for (client, receipt) in receipts {
        let (envelope, caller) = stage.sealed(client);
        assert_eq!(receipt.answers(&envelope, header), Ok(()));
        let registry = Some(&*stage.registry);
        let aggregator = header.aggregator;
        let kept = honours(
            header,
            &collected.aggregate,
            &receipt,
            &aggregator,
            registry,
        );
        assert_eq!(kept, Ok(()));
        // The answer may have got lost, and the round may have closed.
        assert_eq!(stage.desk.take(&envelope, &caller), Ok(receipt));
    }
    let mut shown = Vec::new();
    loop {
        let page = stage.desk.page(context, shown.len(), 300).unwrap();
        if page.is_empty() {
            break;
        }
        shown.extend(page);
    }
    let audited = Audit::new(header, stage.registry.clone(), &checked).unwrap();
    assert_eq!(audit(audited, &collected.aggregate, &shown), Ok(()));
    // Whoever was not in is in no more.
    assert_eq!(stage.hand_over(1), Err(Refused::NotOpen));
}

#[test]
fn a12_a_client_learns_for_64_bytes_whether_its_envelope_would_be_answered() {
    let stage = Stage::new(3);
    let context = stage.round.context();
    let [(one, caller), (other, other_caller)] = [0, 1].map(|at| {
        let (envelope, caller) = stage.sealed(at);
        (envelope.client, caller)
    });
    let asks = |context, client, caller| stage.desk.collects(context, client, caller);
    let later = zipnet_protocol::RoundContext::new([7; 32]);
    assert_eq!(asks(context, &one, &caller), Ok(()));
    assert_eq!(asks(&later, &one, &caller), Err(Refused::NotOpen));
    stage.hand_over(0).unwrap();
    stage.desk.close().unwrap();
    // The answer may have got lost; who was not in is in no more.
    assert_eq!(asks(context, &one, &caller), Ok(()));
    assert_eq!(asks(context, &other, &other_caller), Err(Refused::NotOpen));
    assert_eq!(asks(context, &one, &other_caller), Err(Refused::NotOpen));
}

#[test]
fn i19_an_envelope_is_taken_of_its_clients_peer_and_once() {
    let stage = Stage::new(3);
    let (envelope, caller) = stage.sealed(0);
    let (other, other_caller) = stage.sealed(1);
    let of_another = |answer| matches!(answer, Err(Refused::Text(_)));
    assert!(of_another(stage.desk.take(&envelope, &other_caller)));
    let receipt = stage.desk.take(&envelope, &caller).unwrap();
    assert_eq!(stage.desk.take(&envelope, &caller), Ok(receipt));
    let params = stage.round.header().params;
    let transport = stage.world.client_transport(0);
    let client = envelope.client;
    let again = SealedEnvelope::sign(
        envelope.context,
        client,
        other.vector.clone(),
        params,
        &transport,
    );
    assert_eq!(stage.desk.take(&again, &caller), Err(Refused::Repeated));
    // Under another client's name the signature is wrong.
    let mut forged = envelope;
    forged.client = other.client;
    assert!(of_another(stage.desk.take(&forged, &other_caller)));
    stage.desk.close().unwrap();
    assert_eq!(stage.desk.take(&again, &caller), Err(Refused::Repeated));
}

#[tokio::test]
async fn a4_a_round_is_closed_when_enough_are_in_or_all() {
    // The committee of these tests asks for two.
    let stage = Stage::new(4);
    for (client, enough, complete) in [
        (0, false, false),
        (1, true, false),
        (2, true, false),
        (3, true, true),
    ] {
        stage.hand_over(client).unwrap();
        assert_eq!(is_done(stage.desk.enough()).await, enough, "{client}");
        assert_eq!(is_done(stage.desk.complete()).await, complete, "{client}");
    }
}

#[test]
fn a2_a_round_is_begun_once_and_only_by_whom_its_header_names() {
    let mut stage = Stage::new(3);
    assert!(!stage.desk.begins(&stage.round));
    let other = Desk::new(stage.world.client_transport(0));
    assert!(!other.begins(&stage.round));
    // After a restart, what was open is set aside.
    let restarted = Desk::new(stage.world.aggregator_transport(0));
    restarted.set_aside(*stage.round.context());
    assert!(!restarted.begins(&stage.round));
    let mut founded = stage.world.founded_with(&[0, 1, 2]);
    stage.world.open(&mut founded);
    let next = stage.world.open(&mut founded);
    assert!(restarted.begins(&next));
    // And none that comes before one that was begun (A10).
    assert!(
        !Desk::new(stage.world.aggregator_transport(0)).begins(&next)
            || !restarted.begins(&stage.round)
    );
    assert!(!restarted.begins(&stage.round));
}
