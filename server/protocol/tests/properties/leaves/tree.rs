//! A round over three leaves, what its parties sign, and what they might have signed instead.

use std::{collections::BTreeMap, sync::Arc};

use zipnet_protocol::{
    Aggregate, AggregateError, Audit, BroadcastRecord, CertifiedRound, ClientId, EnvelopeReceipt,
    Fault, Finding, Leaves, Part, PartReceipt, PeerKey, Proof, ProofError, RoundParams,
    SealedEnvelope, SigningSecret, SlotOpening, adds_up,
};

use crate::common::{World, signing};

pub const CLIENTS: usize = 12;
pub const LEAVES: usize = 3;

fn leaf_key(leaf: usize) -> SigningSecret {
    signing("leaf", leaf)
}

/// A round of twelve clients over three leaves. The last client comes to the aggregator
/// alone, one of each leaf's comes to both.
pub struct Tree {
    pub world: World,
    pub round: CertifiedRound,
    pub envelopes: Vec<SealedEnvelope>,
    /// The keys of the leaves, in the header's order.
    pub keys: Vec<SigningSecret>,
    pub parts: Vec<Part>,
    pub aggregate: Aggregate,
    pub twice: Vec<ClientId>,
}

pub fn tree() -> Tree {
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
    pub fn check(&self, aggregate: &Aggregate) -> Result<(), AggregateError> {
        let registry = &self.world.registry;
        aggregate
            .check(self.round.context(), self.round.header(), registry)
            .map(|_| ())
    }

    /// The envelopes that somebody shows: a leaf by its number, or the aggregator.
    pub fn shown(&self, aggregate: &Aggregate, whose: Option<u8>) -> Vec<SealedEnvelope> {
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
    pub fn sum(&self, aggregate: &Aggregate, whose: Option<u8>) -> Result<Vec<u8>, Finding> {
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
    pub fn audit(&self, aggregate: &Aggregate) -> Result<(), Finding> {
        let leaves = aggregate.parts.iter().map(|part| Some(part.leaf));
        let sums: Vec<_> = leaves
            .chain([None])
            .map(|whose| self.sum(aggregate, whose))
            .collect::<Result<_, _>>()?;
        adds_up(self.round.header(), aggregate, &sums)
    }

    /// Another aggregate of the aggregator, with other parts.
    pub fn with(&self, parts: &[Part], change: impl FnOnce(&mut Vec<u8>)) -> Aggregate {
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
    pub fn part(&self, leaf: u8, skip: usize, change: impl FnOnce(&mut Vec<u8>)) -> Part {
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
    pub fn parts_with(&self, part: Part) -> Vec<Part> {
        let mut parts = self.parts.clone();
        let at = usize::from(part.seal.leaf);
        parts[at] = part;
        parts
    }

    pub fn proof(&self, aggregate: &Aggregate, fault: Fault) -> Proof {
        Proof {
            header: self.round.header().clone(),
            aggregate: aggregate.clone(),
            fault,
        }
    }

    pub fn shares(
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
    pub fn noise(&self, aggregate: &Aggregate, parts: &[Part], slot: u32) -> Proof {
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
    pub fn part_noise(&self, aggregate: &Aggregate, part: &Part, slot: u32) -> Proof {
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

    pub fn verify(&self, proof: &Proof) -> Result<PeerKey, ProofError> {
        proof.verify(&self.world.instance)
    }

    pub fn leaf(&self, leaf: u8) -> PeerKey {
        self.keys[usize::from(leaf)].peer_key()
    }

    pub fn root(&self) -> PeerKey {
        self.world.aggregator.peer_key()
    }

    pub fn receipt(&self, position: usize, by: &SigningSecret) -> EnvelopeReceipt {
        let (context, header) = (self.round.context(), self.round.header());
        let checked = self.envelopes[position].check(context, header, &self.world.registry);
        EnvelopeReceipt::sign(&checked.unwrap(), by)
    }

    pub fn record(&self, aggregate: &Aggregate) -> BroadcastRecord {
        self.world.unblind(&self.round, aggregate)
    }

    pub fn part_receipt(&self, leaf: u8) -> PartReceipt {
        let part = self.parts[usize::from(leaf)].clone();
        let (context, header) = (self.round.context(), self.round.header());
        let checked = part.check(context, header, &self.world.registry);
        PartReceipt::sign(&checked.unwrap(), &self.world.aggregator)
    }
}
