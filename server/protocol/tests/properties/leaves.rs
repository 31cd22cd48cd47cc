//! Leaves and the aggregator above them: what comes of a round is what one aggregator
//! alone would have made of it, whoever is at fault is the one who is found, and nobody
//! who is honest can be framed.

mod tree;

use proptest::{prelude::*, sample::Index};
use zipnet_protocol::{
    AggregateError, Fault, Finding, Fold, Part, PartError, Proof, ProofError, SigningSecret,
    honours,
};

use crate::common::signing;
use tree::{CLIENTS, LEAVES, Tree, tree};

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
