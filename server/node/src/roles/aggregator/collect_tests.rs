//! What an aggregator promises, it keeps.

use core::time::Duration;

use tokio::time::timeout;
use zipnet_protocol::{Audit, adds_up, audit, honours};

use super::*;
use crate::committee::{
    command::Order,
    tests::fixture::{World, accept},
};

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
    let aggregate = collected.aggregate();
    let checked = aggregate.check(context, header, &stage.registry).unwrap();
    for (client, receipt) in receipts {
        let (envelope, caller) = stage.sealed(client);
        assert_eq!(receipt.answers(&envelope, header), Ok(()));
        let registry = Some(&*stage.registry);
        let aggregator = header.aggregator;
        let kept = honours(header, aggregate, &receipt, &aggregator, registry);
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
    assert_eq!(audit(audited, aggregate, &shown), Ok(()));
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

impl Collected {
    fn aggregate(&self) -> &Aggregate {
        match &self.yields {
            Yield::Aggregate(aggregate) => aggregate,
            Yield::Part(_) => panic!("it is a leaf's"),
        }
    }
}

/// A round of two leaves, one of which is its aggregator: the desks of both, in this order.
struct Tree {
    world: World,
    round: Arc<CertifiedRound>,
    registry: Arc<ClientRegistry>,
    leaf: Desk,
    root: Desk,
}

impl Tree {
    fn new(clients: usize) -> Self {
        let mut world = World::with(1, clients, |rules| rules.leaves = 2);
        let mut state = world.founded();
        let order = Order::RegisterAggregators(vec![world.aggregator(1)]);
        accept(&mut state, &world.say(0, &order));
        let round = world.open(&mut state);
        let registry = state.current().unwrap().registry.clone();
        let named = round.header().aggregator;
        let keys = [0, 1].map(|seed| world.aggregator_transport(seed));
        let (root, leaf): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| key.peer_key() == named);
        let desk = |mut keys: Vec<SigningSecret>| {
            let desk = Desk::new(keys.remove(0));
            desk.heard(&round);
            assert!(desk.begins(&round));
            desk.open(round.clone(), registry.clone());
            desk
        };
        let (leaf, root) = (desk(leaf), desk(root));
        Self {
            world,
            round,
            registry,
            leaf,
            root,
        }
    }

    /// The clients of the leaf, and those of the aggregator.
    fn clients(&self) -> (Vec<usize>, Vec<usize>) {
        let header = self.round.header();
        let of_leaf = |at: &usize| {
            let (envelope, _) = self.sealed(*at);
            header.leaves.of(&envelope.client) == Some(&self.leaf.peer())
        };
        (0..self.registry.len()).partition(of_leaf)
    }

    fn sealed(&self, client: usize) -> (SealedEnvelope, PeerKey) {
        let (_, envelope) = self.world.client(client).seal(&self.round, None).unwrap();
        (envelope, self.world.client_transport(client).peer_key())
    }

    fn hand_over(&self, desk: &Desk, client: usize) -> Result<EnvelopeReceipt, Refused> {
        let (envelope, caller) = self.sealed(client);
        desk.take(&envelope, &caller)
    }

    fn close_leaf(&self) -> Part {
        match self.leaf.close().unwrap().yields {
            Yield::Part(part) => part,
            Yield::Aggregate(_) => panic!("it is the aggregator's"),
        }
    }
}

#[tokio::test]
async fn a_leaf_waits_for_its_own_clients_and_takes_no_others() {
    let tree = Tree::new(8);
    let (of_leaf, of_root) = tree.clients();
    assert!(
        of_leaf.len() > 1 && of_root.len() > 1,
        "the seeds of the test"
    );
    let foreign = tree.hand_over(&tree.leaf, of_root[0]);
    assert!(matches!(foreign, Err(Refused::Text(_))), "{foreign:?}");
    for client in &of_leaf {
        assert!(!is_done(tree.leaf.complete()).await);
        tree.hand_over(&tree.leaf, *client).unwrap();
    }
    assert!(is_done(tree.leaf.complete()).await);
    // The aggregator waits for everybody, whichever way they come.
    for client in &of_root {
        tree.hand_over(&tree.root, *client).unwrap();
    }
    assert!(!is_done(tree.root.complete()).await);
    let part = tree.close_leaf();
    tree.root.take_part(part, &tree.leaf.peer()).unwrap();
    assert!(is_done(tree.root.complete()).await);
}

#[test]
fn i19_a_part_is_taken_of_its_leaf_and_once() {
    let tree = Tree::new(8);
    let (of_leaf, _) = tree.clients();
    for client in &of_leaf {
        tree.hand_over(&tree.leaf, *client).unwrap();
    }
    let part = tree.close_leaf();
    let leaf = tree.leaf.peer();
    // It may come before the aggregator has opened the round, or after it.
    let later = Desk::new(tree.world.aggregator_of(&tree.round));
    later.heard(&tree.round);
    assert!(later.is_leaf(&leaf) && tree.root.is_leaf(&leaf));
    assert_eq!(later.take_part(part.clone(), &leaf), Err(Refused::NotOpen));
    let stranger = tree.world.client_transport(0).peer_key();
    assert!(!tree.root.is_leaf(&stranger));
    for wrong in [stranger, tree.root.peer()] {
        let refused = tree.root.take_part(part.clone(), &wrong);
        assert!(matches!(refused, Err(Refused::Text(_))), "{refused:?}");
    }
    // A leaf takes no parts.
    assert_eq!(
        tree.leaf.take_part(part.clone(), &leaf),
        Err(Refused::NotOpen)
    );
    let receipt = tree.root.take_part(part.clone(), &leaf).unwrap();
    assert_eq!(receipt.verify(&tree.root.peer()), Ok(()));
    assert_eq!(receipt.part, part.seal.digest(&part.context));
    assert_eq!(tree.root.take_part(part.clone(), &leaf), Ok(receipt));
    let mut other = part.clone();
    other.context = RoundContext::new([7; 32]);
    assert_eq!(tree.root.take_part(other, &leaf), Err(Refused::NotOpen));
    tree.root.close().unwrap();
    // The answer may have got lost; auditors are shown it.
    assert_eq!(tree.root.take_part(part.clone(), &leaf), Ok(receipt));
    assert_eq!(tree.root.part(&part.context, part.seal.leaf), Ok(part));
}

#[test]
fn what_came_both_ways_the_leaf_has_to_show_and_has_both_receipts() {
    let tree = Tree::new(8);
    let (of_leaf, of_root) = tree.clients();
    let header = tree.round.header();
    let mut receipts = Vec::new();
    for client in &of_leaf {
        receipts.push((*client, tree.hand_over(&tree.leaf, *client).unwrap()));
    }
    for client in [of_leaf[0], of_root[0]] {
        receipts.push((client, tree.hand_over(&tree.root, client).unwrap()));
    }
    let part = tree.close_leaf();
    tree.root.take_part(part, &tree.leaf.peer()).unwrap();
    let collected = tree.root.close().unwrap();
    assert_eq!(collected.participants, of_leaf.len() + 1);
    let aggregate = collected.aggregate();
    let (context, registry) = (tree.round.context(), &tree.registry);
    let checked = aggregate.check(context, header, registry).unwrap();
    for (client, receipt) in receipts {
        let (envelope, _) = tree.sealed(client);
        assert_eq!(receipt.answers(&envelope, header), Ok(()));
        let signer = receipt.signer(header).unwrap();
        let kept = honours(header, aggregate, &receipt, &signer, Some(registry));
        assert_eq!(kept, Ok(()));
    }
    let number = header.leaves.number(&tree.leaf.peer()).unwrap();
    let mut of_leaf_shown = Audit::of_part(header, registry.clone(), &checked, number)
        .unwrap()
        .unwrap();
    for envelope in tree.leaf.page(context, 0, 1 << 20).unwrap() {
        of_leaf_shown.add(&envelope).unwrap();
    }
    let mut own = Audit::new(header, registry.clone(), &checked).unwrap();
    for envelope in tree.root.page(context, 0, 1 << 20).unwrap() {
        own.add(&envelope).unwrap();
    }
    let sums = [of_leaf_shown.finish().unwrap(), own.finish().unwrap()];
    assert_eq!(adds_up(header, aggregate, &sums), Ok(()));
}
