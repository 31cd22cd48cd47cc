//! Leaves and the aggregator above them: what comes of a round is what one aggregator
//! alone would have made of it, whoever is at fault is the one who is found, and nobody
//! who is honest can be framed.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{prelude::*, sample::Index};
use zipnet_protocol::{
    Aggregate, AggregateError, Audit, BroadcastRecord, CertifiedRound, ClientId, EnvelopeReceipt,
    Fault, Finding, Fold, Leaves, Part, PartError, PartReceipt, PeerKey, Proof, ProofError,
    RoundParams, SealedEnvelope, SigningSecret, SlotOpening, adds_up, honours,
};

use crate::common::{World, signing};

const CLIENTS: usize = 12;
const LEAVES: usize = 3;

fn leaf_key(leaf: usize) -> SigningSecret {
    signing("leaf", leaf)
}

/// A round of twelve clients over three leaves. The last client comes to the aggregator
/// alone, one of each leaf's comes to both.
struct Tree {
    world: World,
    round: CertifiedRound,
    envelopes: Vec<SealedEnvelope>,
    /// The keys of the leaves, in the header's order.
    keys: Vec<SigningSecret>,
    parts: Vec<Part>,
    aggregate: Aggregate,
    twice: Vec<ClientId>,
}

fn tree() -> Tree {
    let mut world = World::new(2, CLIENTS);
    let keys: BTreeMap<PeerKey, SigningSecret> = (0..LEAVES)
        .map(|leaf| (leaf_key(leaf).peer_key(), leaf_key(leaf)))
        .collect();
    let keys: Vec<_> = keys.into_values().collect();
    let mut header = world.header(RoundParams::new(16, 32).unwrap(), 1);
    header.leaves = Leaves::new(keys.iter().map(SigningSecret::peer_key));
    let round = world.open(header);
    let who = (0..CLIENTS).map(|client| (client, Some(vec![7; client])));
    let envelopes: Vec<_> = world
        .seal(&round, who)
        .into_iter()
        .map(|(_, envelope)| envelope)
        .collect();
    let mut twice = Vec::new();
    let mut root = world.empty(&round);
    let parts: Vec<_> = (0_u8..)
        .zip(&keys)
        .map(|(number, key)| {
            let mut fold = world.empty(&round);
            let of_leaf = envelopes.iter().take(CLIENTS - 1).filter(|envelope| {
                round.header().leaves.number_of(&envelope.client) == Some(number)
            });
            for (at, envelope) in of_leaf.enumerate() {
                fold.add(&world.registry, envelope).unwrap();
                if at == 0 {
                    root.add(&world.registry, envelope).unwrap();
                    twice.push(envelope.client);
                }
            }
            assert!(fold.count() > 1, "the seeds leave a leaf without clients");
            fold.finish_part(key).unwrap()
        })
        .collect();
    root.add(&world.registry, &envelopes[CLIENTS - 1]).unwrap();
    for part in &parts {
        let checked = part
            .clone()
            .check(round.context(), round.header(), &world.registry);
        root.take_part(checked.unwrap()).unwrap();
    }
    assert_eq!((root.count(), root.peers()), (CLIENTS, CLIENTS));
    let aggregate = root.finish(&world.aggregator);
    Tree {
        world,
        round,
        envelopes,
        keys,
        parts,
        aggregate,
        twice,
    }
}

impl Tree {
    fn check(&self, aggregate: &Aggregate) -> Result<(), AggregateError> {
        let registry = &self.world.registry;
        aggregate
            .check(self.round.context(), self.round.header(), registry)
            .map(|_| ())
    }

    /// The envelopes that somebody shows: a leaf by its number, or the aggregator.
    fn shown(&self, aggregate: &Aggregate, whose: Option<u8>) -> Vec<SealedEnvelope> {
        let positions: Vec<_> = match whose {
            Some(leaf) => aggregate
                .part(leaf)
                .unwrap()
                .participants
                .positions()
                .collect(),
            None => aggregate.own().collect(),
        };
        let at = |position: usize| self.envelopes[position].clone();
        positions.into_iter().map(at).collect()
    }

    /// Audits a leaf, or what the aggregator took itself.
    fn sum(&self, aggregate: &Aggregate, whose: Option<u8>) -> Result<Vec<u8>, Finding> {
        let header = self.round.header();
        let checked = aggregate
            .check(self.round.context(), header, &self.world.registry)
            .unwrap();
        let registry = Arc::new(self.world.registry.clone());
        let mut audit = match whose {
            Some(leaf) => Audit::of_part(header, registry, &checked, leaf)
                .unwrap()
                .unwrap(),
            None => Audit::new(header, registry, &checked).unwrap(),
        };
        for envelope in self.shown(aggregate, whose) {
            audit.add(&envelope)?;
        }
        audit.finish()
    }

    /// Audits all of a round.
    fn audit(&self, aggregate: &Aggregate) -> Result<(), Finding> {
        let leaves = aggregate.parts.iter().map(|part| Some(part.leaf));
        let sums: Vec<_> = leaves
            .chain([None])
            .map(|whose| self.sum(aggregate, whose))
            .collect::<Result<_, _>>()?;
        adds_up(self.round.header(), aggregate, &sums)
    }

    /// Another aggregate of the aggregator, with other parts.
    fn with(&self, parts: &[Part], change: impl FnOnce(&mut Vec<u8>)) -> Aggregate {
        let mut vector = vec![0; self.aggregate.vector.len()];
        let own = self.shown(&self.aggregate, None);
        let vectors = parts.iter().map(|part| &part.vector);
        for one in vectors.chain(own.iter().map(|one| &one.vector)) {
            vector
                .iter_mut()
                .zip(one)
                .for_each(|(to, from)| *to ^= from);
        }
        change(&mut vector);
        let in_parts = parts
            .iter()
            .flat_map(|part| part.seal.participants.positions());
        let all = in_parts.chain(self.aggregate.own());
        Aggregate::sign_with(
            self.aggregate.context,
            zipnet_protocol::Participants::from_positions(CLIENTS, all),
            self.aggregate.envelopes,
            vector.into(),
            parts.iter().map(|part| part.seal.clone()).collect(),
            &self.world.aggregator,
        )
    }

    /// Another part of a leaf: over some of its clients, with another vector.
    fn part(&self, leaf: u8, skip: usize, change: impl FnOnce(&mut Vec<u8>)) -> Part {
        let mut fold = self.world.empty(&self.round);
        for envelope in self.shown(&self.aggregate, Some(leaf)).iter().skip(skip) {
            fold.add(&self.world.registry, envelope).unwrap();
        }
        let key = &self.keys[usize::from(leaf)];
        let part = fold.finish_part(key).unwrap();
        let mut vector = part.vector.to_vec();
        change(&mut vector);
        let seal = part.seal;
        Part::sign(
            part.context,
            self.round.header(),
            leaf,
            seal.participants,
            seal.envelopes,
            vector.into(),
            key,
        )
    }

    /// The parts, one of them replaced.
    fn parts_with(&self, part: Part) -> Vec<Part> {
        let mut parts = self.parts.clone();
        let at = usize::from(part.seal.leaf);
        parts[at] = part;
        parts
    }

    fn proof(&self, aggregate: &Aggregate, fault: Fault) -> Proof {
        Proof {
            header: self.round.header().clone(),
            aggregate: aggregate.clone(),
            fault,
        }
    }

    fn shares(
        &self,
        aggregate: &Aggregate,
        whose: Option<u8>,
        slot: u32,
    ) -> Vec<(ClientId, SlotOpening)> {
        let params = self.round.header().params;
        let open = |one: &SealedEnvelope| SlotOpening::of(&one.vector, params, slot).unwrap();
        let shown = self.shown(aggregate, whose);
        shown.iter().map(|one| (one.client, open(one))).collect()
    }

    /// The accusation that an aggregate is noise in a slot.
    fn noise(&self, aggregate: &Aggregate, parts: &[Part], slot: u32) -> Proof {
        let params = self.round.header().params;
        let open = |part: &Part| SlotOpening::of(&part.vector, params, slot).unwrap();
        let fault = Fault::Noise {
            slot,
            shares: self.shares(aggregate, None, slot),
            parts: parts.iter().map(open).collect(),
        };
        self.proof(aggregate, fault)
    }

    /// The accusation that a part is noise in a slot.
    fn part_noise(&self, aggregate: &Aggregate, part: &Part, slot: u32) -> Proof {
        let params = self.round.header().params;
        let leaf = part.seal.leaf;
        let fault = Fault::PartNoise {
            leaf,
            slot,
            shares: self.shares(aggregate, Some(leaf), slot),
            part: SlotOpening::of(&part.vector, params, slot).unwrap(),
        };
        self.proof(aggregate, fault)
    }

    fn verify(&self, proof: &Proof) -> Result<PeerKey, ProofError> {
        proof.verify(&self.world.instance)
    }

    fn leaf(&self, leaf: u8) -> PeerKey {
        self.keys[usize::from(leaf)].peer_key()
    }

    fn root(&self) -> PeerKey {
        self.world.aggregator.peer_key()
    }

    fn receipt(&self, position: usize, by: &SigningSecret) -> EnvelopeReceipt {
        let (context, header) = (self.round.context(), self.round.header());
        let checked = self.envelopes[position].check(context, header, &self.world.registry);
        EnvelopeReceipt::sign(&checked.unwrap(), by)
    }

    fn record(&self, aggregate: &Aggregate) -> BroadcastRecord {
        self.world.unblind(&self.round, aggregate)
    }

    fn part_receipt(&self, leaf: u8) -> PartReceipt {
        let part = self.parts[usize::from(leaf)].clone();
        let (context, header) = (self.round.context(), self.round.header());
        let checked = part.check(context, header, &self.world.registry);
        PartReceipt::sign(&checked.unwrap(), &self.world.aggregator)
    }
}

#[test]
fn what_comes_of_a_tree_is_what_one_aggregator_makes_of_it() {
    let tree = tree();
    let alone = tree.world.fold(&tree.round, &tree.envelopes);
    assert_eq!(tree.aggregate.vector, alone.vector);
    assert_eq!(tree.aggregate.participants, alone.participants);
    assert_eq!(tree.check(&tree.aggregate), Ok(()));
    let broadcast = |aggregate| {
        let record = tree.record(aggregate);
        let done = record.verify_in((*tree.round).clone()).unwrap();
        done.broadcast().to_vec()
    };
    assert_eq!(broadcast(&tree.aggregate), broadcast(&alone));
}

#[test]
fn a2_an_honest_tree_is_found_nothing_and_keeps_its_word() {
    let tree = tree();
    assert_eq!(tree.audit(&tree.aggregate), Ok(()));
    assert_eq!(tree.aggregate.own().collect::<Vec<_>>(), [CLIENTS - 1]);
    let header = tree.round.header();
    for (position, envelope) in tree.envelopes.iter().enumerate() {
        let leaf = usize::from(header.leaves.number_of(&envelope.client).unwrap());
        let twice = tree.twice.contains(&envelope.client);
        let root = twice || position == CLIENTS - 1;
        let by = [
            root.then_some(&tree.world.aggregator),
            (position != CLIENTS - 1).then(|| &tree.keys[leaf]),
        ];
        for key in by.into_iter().flatten() {
            let receipt = tree.receipt(position, key);
            assert_eq!(receipt.answers(envelope, header), Ok(()));
            assert_eq!(receipt.signer(header), Ok(key.peer_key()));
            let registry = Some(&tree.world.registry);
            let signer = key.peer_key();
            assert_eq!(
                honours(header, &tree.aggregate, &receipt, &signer, registry),
                Ok(())
            );
        }
        // Another leaf's word is none.
        let other = tree.receipt(position, &tree.keys[(leaf + 1) % LEAVES]);
        assert!(other.answers(envelope, header).is_err());
    }
}

#[test]
fn a2_noise_of_a_leaf_is_its_own_fault() {
    let tree = tree();
    for (leaf, bit) in [(0, 0), (1, 700), (2, 16 * 256 - 1)] {
        let part = tree.part(leaf, 0, |vector| vector[bit / 8] ^= 1 << (bit % 8));
        let slot = u32::try_from(bit / 256).unwrap();
        let parts = tree.parts_with(part.clone());
        let aggregate = tree.with(&parts, |_| ());
        assert_eq!(tree.sum(&aggregate, Some(leaf)), Err(Finding::Part));
        let proof = tree.part_noise(&aggregate, &part, slot);
        assert_eq!(tree.verify(&proof), Ok(tree.leaf(leaf)));
        // Elsewhere there is nothing to prove, and nothing of others.
        let elsewhere = tree.part_noise(&aggregate, &part, (slot + 1) % 16);
        assert_eq!(tree.verify(&elsewhere), Err(ProofError::Consistent));
        let root = tree.noise(&aggregate, &parts, slot);
        assert_eq!(tree.verify(&root), Err(ProofError::Consistent));
    }
}

#[test]
fn a2_the_aggregators_noise_is_its_own_fault() {
    let tree = tree();
    for bit in [0, 700, 16 * 256 - 1] {
        let noisy = tree.with(&tree.parts, |vector| vector[bit / 8] ^= 1 << (bit % 8));
        let slot = u32::try_from(bit / 256).unwrap();
        assert_eq!(tree.audit(&noisy), Err(Finding::Noise { slot }));
        let proof = tree.noise(&noisy, &tree.parts, slot);
        assert_eq!(tree.verify(&proof), Ok(tree.root()));
        for part in &tree.parts {
            let leaf = tree.part_noise(&noisy, part, slot);
            assert_eq!(tree.verify(&leaf), Err(ProofError::Consistent));
        }
        let few = tree.noise(&noisy, &tree.parts[1..], slot);
        assert_eq!(tree.verify(&few), Err(ProofError::List));
    }
}

#[test]
fn a2_a_client_whom_its_leaf_leaves_out_has_a_proof_against_the_leaf() {
    let tree = tree();
    let header = tree.round.header();
    let part = tree.part(1, 1, |_| ());
    let aggregate = tree.with(&tree.parts_with(part), |_| ());
    let mut clients = tree.parts[1].seal.participants.positions();
    let left_out = clients.next().unwrap();
    let receipt = tree.receipt(left_out, &tree.keys[1]);
    let client = receipt.client;
    let leaf = tree.leaf(1);
    assert_eq!(
        honours(header, &aggregate, &receipt, &leaf, None),
        Err(Finding::Dropped { client })
    );
    let dropped = |aggregate, receipt| tree.proof(aggregate, Fault::Dropped { receipt });
    assert_eq!(tree.verify(&dropped(&aggregate, receipt)), Ok(leaf));
    let kept = tree.receipt(clients.next().unwrap(), &tree.keys[1]);
    assert_eq!(
        tree.verify(&dropped(&aggregate, kept)),
        Err(ProofError::Consistent)
    );
}

#[test]
fn a2_a_part_that_the_aggregator_leaves_out_is_no_fault_of_the_leaf() {
    let tree = tree();
    let header = tree.round.header();
    let without = tree.with(&[tree.parts[0].clone(), tree.parts[2].clone()], |_| ());
    assert_eq!(tree.audit(&without), Ok(()));
    let left_out = tree.parts[1].seal.participants.positions().next().unwrap();
    let receipt = tree.receipt(left_out, &tree.keys[1]);
    assert_eq!(
        honours(header, &without, &receipt, &tree.leaf(1), None),
        Ok(())
    );
    let accused = tree.proof(&without, Fault::Dropped { receipt });
    assert_eq!(tree.verify(&accused), Err(ProofError::Consistent));
    // The leaf has a receipt, and with it a proof.
    let omitted = |aggregate, leaf| {
        let receipt = tree.part_receipt(leaf);
        tree.proof(aggregate, Fault::Omitted { receipt })
    };
    assert_eq!(tree.verify(&omitted(&without, 1)), Ok(tree.root()));
    for leaf in [0, 2] {
        assert_eq!(
            tree.verify(&omitted(&without, leaf)),
            Err(ProofError::Consistent)
        );
    }
    // What the aggregator itself has promised is held against it.
    let own = tree.receipt(left_out, &tree.world.aggregator);
    let proof = tree.proof(&without, Fault::Dropped { receipt: own });
    assert_eq!(tree.verify(&proof), Ok(tree.root()));
}

#[test]
fn a2_two_parts_of_a_leaf_are_a_proof() {
    let tree = tree();
    let fork = |part: Part| {
        let other = Box::new(part.seal);
        tree.proof(&tree.aggregate, Fault::PartForked { other })
    };
    assert_eq!(
        tree.verify(&fork(tree.part(2, 1, |_| ()))),
        Ok(tree.leaf(2))
    );
    assert_eq!(
        tree.verify(&fork(tree.parts[2].clone())),
        Err(ProofError::Consistent)
    );
}

#[test]
fn i2_parts_of_somebody_else_or_that_overlap_are_refused() {
    let tree = tree();
    let header = tree.round.header();
    let part_error = |parts: &[Part]| match tree.check(&tree.with(parts, |_| ())) {
        Err(AggregateError::Part(error)) => error,
        other => panic!("{other:?}"),
    };
    let [a, b, c] = <[Part; 3]>::try_from(tree.parts.clone()).unwrap();
    let of = |leaf: u8, participants, key: &SigningSecret| {
        let (context, envelopes) = (a.context, a.seal.envelopes);
        Part::sign(
            context,
            header,
            leaf,
            participants,
            envelopes,
            a.vector.clone(),
            key,
        )
    };
    assert_eq!(
        part_error(&[b.clone(), a.clone(), c.clone()]),
        PartError::Overlap
    );
    assert_eq!(part_error(&[a.clone(), a.clone()]), PartError::Overlap);
    let stolen = of(1, b.seal.participants.clone(), &tree.keys[0]);
    assert!(matches!(part_error(&[stolen]), PartError::Signature(_)));
    let nobody = of(3, a.seal.participants.clone(), &tree.keys[0]);
    assert_eq!(
        part_error(&[nobody]),
        PartError::Leaf { leaf: 3, leaves: 3 }
    );
    // A leaf that takes the clients of another one.
    let foreign = of(1, a.seal.participants.clone(), &tree.keys[1]);
    assert!(matches!(
        part_error(core::slice::from_ref(&foreign)),
        PartError::Foreign { .. }
    ));
    assert_eq!(
        part_error(&[a.clone(), foreign.clone()]),
        PartError::Overlap
    );
    let registry = &tree.world.registry;
    let checked = foreign.check(tree.round.context(), header, registry);
    assert!(matches!(checked, Err(PartError::Foreign { .. })));
    // Another vector than the one that was signed for.
    let mut other = a.clone();
    other.vector = b.vector.clone();
    let checked = other.check(tree.round.context(), header, registry);
    assert_eq!(checked, Err(PartError::Vector));
    // A leaf hands in one part.
    let mut fold = tree.world.empty(&tree.round);
    let checked = |part: Part| part.check(tree.round.context(), header, registry).unwrap();
    assert_eq!(fold.take_part(checked(a.clone())), Ok(()));
    assert_eq!(fold.take_part(checked(a)), Ok(()));
    let another = tree.part(0, 1, |_| ());
    assert_eq!(fold.take_part(checked(another)), Err(PartError::Overlap));
    assert_eq!(fold.finish_part(&signing("stranger", 0)), None);
}

/// What an accuser can put together who has all that an honest tree signs.
fn accusations(tree: &Tree) -> Vec<Proof> {
    let aggregate = &tree.aggregate;
    let mut proofs = Vec::new();
    for position in 0..CLIENTS {
        let client = &tree.envelopes[position].client;
        let leaf = tree.round.header().leaves.number_of(client).unwrap();
        let key = match position {
            11 => &tree.world.aggregator,
            _ => &tree.keys[usize::from(leaf)],
        };
        let receipt = tree.receipt(position, key);
        proofs.push(tree.proof(aggregate, Fault::Dropped { receipt }));
    }
    for (leaf, part) in (0..).zip(&tree.parts) {
        let receipt = tree.part_receipt(leaf);
        proofs.push(tree.proof(aggregate, Fault::Omitted { receipt }));
        let other = Box::new(part.seal.clone());
        proofs.push(tree.proof(aggregate, Fault::PartForked { other }));
        for slot in [0, 15] {
            proofs.push(tree.part_noise(aggregate, part, slot));
            proofs.push(tree.noise(aggregate, &tree.parts, slot));
        }
    }
    proofs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a2_nobody_honest_in_a_tree_can_be_framed(
        which in any::<Index>(),
        edits in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        static TREE: std::sync::LazyLock<(Tree, Vec<Vec<u8>>)> = std::sync::LazyLock::new(|| {
            let tree = tree();
            let accusations = accusations(&tree);
            let wires = accusations.iter().map(|one| postcard::to_stdvec(one).unwrap());
            let wires = wires.collect();
            (tree, wires)
        });
        let (tree, wires) = &*TREE;
        let mut wire = which.get(wires).clone();
        for (at, byte) in edits {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        if let Ok(proof) = postcard::from_bytes::<Proof>(&wire) {
            prop_assert!(tree.verify(&proof).is_err());
        }
    }

    #[test]
    fn what_reaches_leaf_and_aggregator_counts_once(
        ways in proptest::collection::vec(0_u8..4, CLIENTS),
        absent in 0..=LEAVES,
    ) {
        // Each client comes to nobody, to its leaf, to the aggregator, or to both; the part
        // of one leaf may be missing.
        let tree = tree();
        let header = tree.round.header();
        let mut leaves: Vec<Fold> = (0..LEAVES).map(|_| tree.world.empty(&tree.round)).collect();
        let mut root = tree.world.empty(&tree.round);
        let mut expected = tree.world.empty(&tree.round);
        for (envelope, way) in tree.envelopes.iter().zip(ways) {
            let leaf = usize::from(header.leaves.number_of(&envelope.client).unwrap());
            if way & 1 != 0 {
                leaves[leaf].add(&tree.world.registry, envelope).unwrap();
            }
            if way & 2 != 0 {
                root.add(&tree.world.registry, envelope).unwrap();
            }
            if way & 2 != 0 || (way & 1 != 0 && leaf != absent) {
                expected.add(&tree.world.registry, envelope).unwrap();
            }
        }
        for (number, (fold, key)) in leaves.into_iter().zip(&tree.keys).enumerate() {
            let part = fold.finish_part(key).unwrap();
            if number != absent {
                let checked = part.check(tree.round.context(), header, &tree.world.registry);
                root.take_part(checked.unwrap()).unwrap();
            }
        }
        prop_assert_eq!(root.count(), expected.count());
        prop_assert_eq!(root.peers(), expected.peers());
        let root = root.finish(&tree.world.aggregator);
        let expected = expected.finish(&tree.world.aggregator);
        prop_assert_eq!(&root.vector, &expected.vector);
        prop_assert_eq!(&root.participants, &expected.participants);
        if root.participants.count() > 0 {
            prop_assert_eq!(tree.check(&root), Ok(()));
            prop_assert_eq!(tree.audit(&root), Ok(()));
        }
    }
}
