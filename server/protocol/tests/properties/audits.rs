//! An audit finds whatever an aggregator did; an honest one is never found
//! anything, and no proof can be made against it.

use std::sync::Arc;

use proptest::{prelude::*, sample::Index};
use rayon::prelude::*;
use zipnet_protocol::{
    Aggregate, Audit, CertifiedRound, ClientRegistry, EnvelopeReceipt, Fault, Finding, FoldError,
    Participants, Proof, ProofError, Round, RoundParams, SealedEnvelope, SigningSecret,
    SlotOpening, audit, honours,
};

use crate::common::{World, signing};

const CLIENTS: usize = 4;

/// A folded round: everybody but the last client takes part.
struct Folded {
    world: World,
    round: CertifiedRound,
    envelopes: Vec<SealedEnvelope>,
    receipts: Vec<EnvelopeReceipt>,
    aggregate: Aggregate,
}

fn folded() -> Folded {
    let mut world = World::new(2, CLIENTS);
    let round = world.open(world.header(RoundParams::new(3, 32).unwrap(), 1));
    let who = (0..CLIENTS - 1).map(|client| (client, Some(vec![7; client])));
    let envelopes: Vec<_> = world
        .seal(&round, who)
        .into_iter()
        .map(|(_, envelope)| envelope)
        .collect();
    let aggregate = world.fold(&round, &envelopes);
    let receipts = envelopes
        .iter()
        .map(|envelope| receipt(&world, &round, envelope, &world.aggregator))
        .collect();
    Folded {
        world,
        round,
        envelopes,
        receipts,
        aggregate,
    }
}

fn receipt(
    world: &World,
    round: &Round,
    envelope: &SealedEnvelope,
    by: &SigningSecret,
) -> EnvelopeReceipt {
    let checked = envelope.check(round.context(), round.header(), &world.registry);
    EnvelopeReceipt::sign(&checked.unwrap(), by)
}

impl Folded {
    /// Audits this aggregate, over these envelopes.
    fn audit(&self, aggregate: &Aggregate, envelopes: &[SealedEnvelope]) -> Result<(), Finding> {
        let header = self.round.header();
        let checked = aggregate
            .check(self.round.context(), header, &self.world.registry)
            .unwrap();
        let registry = Arc::new(self.world.registry.clone());
        let begun = Audit::new(header, registry, &checked).unwrap();
        audit(begun, aggregate, envelopes)
    }

    /// Another aggregate that the aggregator signs for the round.
    fn signed(&self, change: impl FnOnce(&mut Participants, &mut Vec<u8>)) -> Aggregate {
        let mut participants = self.aggregate.participants.clone();
        let mut vector = self.aggregate.vector.to_vec();
        change(&mut participants, &mut vector);
        Aggregate::sign(
            self.aggregate.context,
            participants,
            self.aggregate.envelopes,
            vector.into(),
            &self.world.aggregator,
        )
    }

    fn proof(&self, aggregate: &Aggregate, fault: Fault) -> Proof {
        Proof {
            header: self.round.header().clone(),
            aggregate: aggregate.clone(),
            fault,
        }
    }

    fn noise(&self, aggregate: &Aggregate, slot: u32) -> Proof {
        let params = self.round.header().params;
        let shares = self
            .envelopes
            .iter()
            .map(|envelope| {
                let share = SlotOpening::of(&envelope.vector, params, slot).unwrap();
                (envelope.client, share)
            })
            .collect();
        let parts = Vec::new();
        self.proof(
            aggregate,
            Fault::Noise {
                slot,
                shares,
                parts,
            },
        )
    }

    /// Whether an aggregate keeps what the aggregator promised.
    fn honours(
        &self,
        aggregate: &Aggregate,
        receipt: &EnvelopeReceipt,
        registry: Option<&ClientRegistry>,
    ) -> Result<(), Finding> {
        let aggregator = self.world.aggregator.peer_key();
        honours(
            self.round.header(),
            aggregate,
            receipt,
            &aggregator,
            registry,
        )
    }

    fn proves(&self, proof: &Proof) -> bool {
        let guilty = proof.verify(&self.world.instance);
        let aggregator = self.world.aggregator.peer_key();
        assert!(guilty.is_err() || guilty == Ok(aggregator));
        guilty.is_ok()
    }
}

fn flipped(vector: &[u8], bit: usize) -> Vec<u8> {
    let mut vector = vector.to_vec();
    vector[bit / 8] ^= 1 << (bit % 8);
    vector
}

#[test]
fn a2_an_honest_round_is_found_nothing() {
    let round = folded();
    assert_eq!(round.audit(&round.aggregate, &round.envelopes), Ok(()));
    for (receipt, envelope) in round.receipts.iter().zip(&round.envelopes) {
        let registry = Some(&round.world.registry);
        assert_eq!(receipt.answers(envelope, round.round.header()), Ok(()));
        assert_eq!(round.honours(&round.aggregate, receipt, registry), Ok(()));
    }
}

#[test]
fn a2_any_bit_of_noise_is_found_and_proved() {
    let round = folded();
    let bits = round.aggregate.vector.len() * 8;
    (0..bits).into_par_iter().for_each(|bit| {
        let noisy = round.signed(|_, vector| *vector = flipped(vector, bit));
        let slot = u32::try_from(bit / 256).unwrap();
        let found = round.audit(&noisy, &round.envelopes);
        assert_eq!(found, Err(Finding::Noise { slot }));
        assert!(round.proves(&round.noise(&noisy, slot)));
        // In the other slots there is nothing to prove.
        let other = round.noise(&noisy, (slot + 1) % 3);
        assert_eq!(
            other.verify(&round.world.instance),
            Err(ProofError::Consistent)
        );
    });
}

#[test]
fn a2_any_bit_of_any_envelope_is_found() {
    let round = folded();
    let wires: Vec<_> = round
        .envelopes
        .iter()
        .map(|envelope| postcard::to_stdvec(envelope).unwrap())
        .collect();
    for (at, wire) in wires.iter().enumerate() {
        (0..wire.len() * 8).into_par_iter().for_each(|bit| {
            let changed = postcard::from_bytes::<SealedEnvelope>(&flipped(wire, bit));
            // A few bits hold lengths, and do not decode.
            let Ok(changed) = changed else { return };
            let mut envelopes = round.envelopes.clone();
            envelopes[at] = changed;
            let found = round.audit(&round.aggregate, &envelopes);
            assert!(found.is_err(), "bit {bit} of envelope {at}");
        });
    }
}

#[test]
fn a2_envelopes_that_are_missing_repeated_or_exchanged_are_found() {
    let mut round = folded();
    let clients: Vec<_> = round.envelopes.iter().map(|one| one.client).collect();
    let (_, late) = round
        .world
        .seal(&round.round, [(CLIENTS - 1, None)])
        .remove(0);
    let pick = |which: &[usize]| -> Vec<SealedEnvelope> {
        let all: Vec<_> = round.envelopes.iter().chain([&late]).collect();
        which.iter().map(|at| all[*at].clone()).collect()
    };
    for (which, finding) in [
        (&[0, 1][..], Finding::Missing { client: clients[2] }),
        (&[], Finding::Missing { client: clients[0] }),
        (&[0, 2], Finding::Order { client: clients[2] }),
        (&[0, 0, 1, 2], Finding::Order { client: clients[0] }),
        (&[1, 0, 2], Finding::Order { client: clients[1] }),
        (
            &[0, 1, 2, 3],
            Finding::Order {
                client: late.client,
            },
        ),
        (
            &[0, 1, 3],
            Finding::Order {
                client: late.client,
            },
        ),
    ] {
        assert_eq!(round.audit(&round.aggregate, &pick(which)), Err(finding));
    }

    // A participant whom nobody heard of in the round.
    let padded = round.signed(|participants, _| {
        *participants = Participants::from_positions(CLIENTS, 0..CLIENTS);
    });
    assert_eq!(
        round.audit(&padded, &round.envelopes),
        Err(Finding::Missing {
            client: late.client
        })
    );
    assert_eq!(
        round.audit(&padded, &pick(&[0, 1, 2, 3])),
        Err(Finding::List)
    );
}

#[test]
fn a2_a_second_envelope_that_its_client_signed_is_not_the_one_in_the_list() {
    // A client and a server who are out to frame: the client signs again.
    let round = folded();
    let again = round
        .world
        .envelope(&round.round, 1, flipped(&round.envelopes[1].vector, 5));
    let mut envelopes = round.envelopes.clone();
    envelopes[1] = again.clone();
    let found = round.audit(&round.aggregate, &envelopes);
    assert_eq!(found, Err(Finding::List));
    // That much the aggregator could show itself; a proof is not to be had.
    let mut framed = round.noise(&round.aggregate, 0);
    if let Fault::Noise { shares, .. } = &mut framed.fault {
        let params = round.round.header().params;
        shares[1].1 = SlotOpening::of(&again.vector, params, 0).unwrap();
    }
    assert_eq!(framed.verify(&round.world.instance), Err(ProofError::List));
}

#[test]
fn a2_an_envelope_of_another_key_is_not_folded() {
    let round = folded();
    let envelope = &round.envelopes[0];
    let params = round.round.header().params;
    let forged = SealedEnvelope::sign(
        envelope.context,
        envelope.client,
        envelope.vector.clone(),
        params,
        &signing("stranger", 0),
    );
    let header = round.round.header();
    let checked = forged.check(round.round.context(), header, &round.world.registry);
    assert!(matches!(checked, Err(FoldError::Signature { .. })));
    let found = round.audit(&round.aggregate, &[forged]);
    assert!(matches!(found, Err(Finding::Envelope(_))), "{found:?}");
}

#[test]
fn a2_a_client_with_a_receipt_that_is_left_out_has_a_proof() {
    let round = folded();
    let left_out = round.receipts[1];
    let others = [round.envelopes[0].clone(), round.envelopes[2].clone()];
    let aggregate = round.world.fold(&round.round, &others);
    // The aggregate is all right by itself.
    assert_eq!(round.audit(&aggregate, &others), Ok(()));
    let client = left_out.client;
    assert_eq!(
        round.honours(&aggregate, &left_out, None),
        Err(Finding::Dropped { client })
    );
    let dropped = |receipt| Fault::Dropped { receipt };
    assert!(round.proves(&round.proof(&aggregate, dropped(left_out))));
    for kept in [round.receipts[0], round.receipts[2]] {
        let proof = round.proof(&aggregate, dropped(kept));
        assert_eq!(
            proof.verify(&round.world.instance),
            Err(ProofError::Consistent)
        );
    }
    // A receipt of somebody else is none.
    let forged = receipt(
        &round.world,
        &round.round,
        &round.envelopes[1],
        &signing("stranger", 0),
    );
    let proof = round.proof(&aggregate, dropped(forged));
    assert!(matches!(
        proof.verify(&round.world.instance),
        Err(ProofError::Signature(_))
    ));
}

#[test]
fn a2_a_receipt_for_somebody_elses_position_is_a_proof() {
    let round = folded();
    // As an aggregator signs that knows the registry in another order.
    let other = World::new(2, 3);
    let moved = round
        .envelopes
        .iter()
        .find_map(|envelope| {
            let checked = envelope
                .check(round.round.context(), round.round.header(), &other.registry)
                .ok()?;
            let ours = round.world.registry.position(&envelope.client)?;
            (checked.position() != ours)
                .then(|| EnvelopeReceipt::sign(&checked, &round.world.aggregator))
        })
        .unwrap();
    let registry = &round.world.registry;
    assert_eq!(
        round.honours(&round.aggregate, &moved, Some(registry)),
        Err(Finding::Misplaced {
            client: moved.client
        })
    );
    let proof = |receipt, registry| {
        let header = round.round.header().clone();
        Proof::misplaced(header, round.aggregate.clone(), receipt, registry).unwrap()
    };
    assert!(round.proves(&proof(moved, registry)));
    let instance = &round.world.instance;
    assert_eq!(
        proof(moved, &other.registry).verify(instance),
        Err(ProofError::Registry)
    );
    assert_eq!(
        proof(round.receipts[0], registry).verify(instance),
        Err(ProofError::Consistent)
    );
}

#[test]
fn a2_two_aggregates_of_a_round_are_a_proof() {
    let round = folded();
    let fork = |other: &Aggregate| {
        let other = Box::new(other.clone());
        round.proof(&round.aggregate, Fault::Forked { other })
    };
    assert!(round.proves(&fork(&round.signed(|_, vector| vector[0] ^= 1))));
    assert_eq!(
        fork(&round.aggregate).verify(&round.world.instance),
        Err(ProofError::Consistent)
    );
}

#[test]
fn a2_a_proof_is_of_one_instance_and_one_round() {
    let round = folded();
    let noisy = round.signed(|_, vector| vector[0] ^= 1);
    let proof = round.noise(&noisy, 0);
    assert!(round.proves(&proof));
    let secret = zipnet_protocol::CommitteeSecret::new(zeroize::Zeroizing::new(vec![1; 32]));
    let name: zipnet_protocol::InstanceName = "elsewhere".parse().unwrap();
    let committee = secret.committee_key(&name).public();
    let elsewhere = zipnet_protocol::Instance::new(name, committee);
    assert_eq!(proof.verify(&elsewhere), Err(ProofError::Instance));
    let mut moved = proof.clone();
    moved.header.number += 1;
    assert_eq!(
        moved.verify(&round.world.instance),
        Err(ProofError::Context)
    );
    // Nor is it of an aggregator that the header is changed to name.
    let mut renamed = proof;
    renamed.header.aggregator = signing("stranger", 0).peer_key();
    assert_eq!(
        renamed.verify(&round.world.instance),
        Err(ProofError::Context)
    );
}

#[test]
fn a2_a_client_takes_the_receipt_of_its_own_envelope_only() {
    let round = folded();
    let header = round.round.header();
    let wire = postcard::to_stdvec(&round.receipts[0]).unwrap();
    let answers = |receipt: &EnvelopeReceipt| receipt.answers(&round.envelopes[0], header).is_ok();
    assert!(answers(&round.receipts[0]));
    assert!(!answers(&round.receipts[1]));
    for bit in 0..wire.len() * 8 {
        let changed = postcard::from_bytes::<EnvelopeReceipt>(&flipped(&wire, bit));
        assert!(!changed.is_ok_and(|changed| answers(&changed)), "bit {bit}");
    }
}

/// What an accuser can put together who has every envelope and receipt of an
/// honest round, and the keys of one client.
fn accusations(round: &Folded) -> Vec<Proof> {
    let own = round
        .world
        .envelope(&round.round, 2, flipped(&round.envelopes[2].vector, 3));
    let mut proofs = vec![round.proof(
        &round.aggregate,
        Fault::Forked {
            other: Box::new(round.aggregate.clone()),
        },
    )];
    for receipt in &round.receipts {
        proofs.push(round.proof(&round.aggregate, Fault::Dropped { receipt: *receipt }));
        proofs.extend(Proof::misplaced(
            round.round.header().clone(),
            round.aggregate.clone(),
            *receipt,
            &round.world.registry,
        ));
    }
    for slot in 0..3 {
        let honest = round.noise(&round.aggregate, slot);
        let mut framed = honest.clone();
        if let Fault::Noise { shares, .. } = &mut framed.fault {
            let params = round.round.header().params;
            shares[2].1 = SlotOpening::of(&own.vector, params, slot).unwrap();
        }
        proofs.extend([honest, framed]);
    }
    proofs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a2_an_honest_aggregator_cannot_be_framed(
        which in any::<Index>(),
        edits in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        static ROUND: std::sync::LazyLock<(Folded, Vec<Vec<u8>>)> =
            std::sync::LazyLock::new(|| {
                let round = folded();
                let accusations = accusations(&round);
                let wires = accusations.iter().map(|one| postcard::to_stdvec(one).unwrap());
                let wires = wires.collect();
                (round, wires)
            });
        let (round, wires) = &*ROUND;
        let mut wire = which.get(wires).clone();
        for (at, byte) in edits {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        if let Ok(proof) = postcard::from_bytes::<Proof>(&wire) {
            prop_assert!(!round.proves(&proof));
        }
    }
}
