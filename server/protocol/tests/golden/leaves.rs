//! A round of two leaves: whose clients are whose, their parts, and the aggregate.

use serde_json::{Value, json};
use zipnet_protocol::{
    EnvelopeReceipt, Leaves, PartReceipt, PeerKey, RoundParams, SealedEnvelope, SigningSecret,
};

use super::{
    parties::{CLIENTS, Parties, SERVERS, hex, wire},
    spec::{self, Bytes32, cat},
};
use crate::common::{World, entropy};

/// The number of the round.
const ROUND: usize = 11;
const SLOTS: u32 = 4;
const SLOT_BYTES: u32 = 32;

/// `leaves.json`.
pub fn leaves() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let mut seeds: Vec<_> = (0..2).map(|leaf| *entropy("tree leaf", leaf)).collect();
    seeds.sort_by_key(spec::ed25519_public);
    let leaves: Vec<_> = seeds.iter().map(spec::ed25519_public).collect();
    let mut header = parties.header(SLOTS, SLOT_BYTES, ROUND);
    header.leaves.clone_from(&leaves);
    let context = header.context();

    let mut world = World::new(SERVERS, CLIENTS);
    let mut ours = world.header(RoundParams::new(SLOTS, SLOT_BYTES).unwrap(), ROUND);
    ours.leaves = Leaves::new(leaves.iter().copied().map(PeerKey::new));
    let round = world.open(ours);
    assert_eq!(round.header().canonical().as_bytes(), header.canonical());
    assert_eq!(round.context().as_bytes(), &context);
    let sealed = world.seal(&round, (0..CLIENTS).map(|client| (client, None)));
    let envelopes: Vec<_> = sealed.into_iter().map(|(_, envelope)| envelope).collect();

    let clients: Vec<_> = envelopes
        .iter()
        .map(|envelope| spec::leaf(&leaves, envelope.client.as_bytes()))
        .collect();
    let mut root = world.empty(&round);
    let mut all = vec![0; envelopes[0].vector.len()];
    let mut parts = Vec::new();
    let mut digests = Vec::new();
    for (number, seed) in seeds.iter().enumerate() {
        let taken = (0..CLIENTS).filter(|at| clients[*at] == number);
        let part = Part::new(
            &context,
            number,
            seed,
            &envelopes,
            &taken.collect::<Vec<_>>(),
        );
        let mut fold = world.empty(&round);
        for at in &part.positions {
            fold.add(&world.registry, &envelopes[*at]).unwrap();
        }
        let made = fold
            .finish_part(&SigningSecret::from_seed(&seed_of(seed)))
            .unwrap();
        assert_eq!(wire(&made), part.wire);
        let checked = made.check(round.context(), round.header(), &world.registry);
        let checked = checked.unwrap();
        let receipt = PartReceipt::sign(&checked, &world.aggregator);
        let receipt_body = cat(&[&context, &part.number(), &part.digest]);
        let receipt_signature = spec::sign(
            &parties.aggregator_seed,
            "zipnet/part-receipt/v1",
            &receipt_body,
        );
        let byte = [u8::try_from(number).unwrap()];
        let receipt_wire = cat(&[&context, &byte, &part.digest, &receipt_signature]);
        assert_eq!(wire(&receipt), receipt_wire);
        root.take_part(checked).unwrap();
        spec::xor(&mut all, &part.vector);
        digests.push(part.digest);
        let mut shown = part.shown;
        shown["receipt"] = json!(hex(receipt_wire));
        parts.push(shown);
    }
    let aggregate = root.finish(&world.aggregator);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let everybody = spec::bitmap(CLIENTS, &(0..CLIENTS).collect::<Vec<_>>());
    let nobody = spec::digest("zipnet/envelope-list/v1", &[0; 4]);
    let canonical = cat(&[
        &context,
        &length(&everybody),
        &everybody,
        &nobody,
        &length(&all),
        &all,
        &2_u32.to_be_bytes(),
        &digests.concat(),
    ]);
    let digest = spec::digest("zipnet/aggregate/v3", &canonical);
    assert_eq!(aggregate.digest().as_bytes(), &digest);
    aggregate
        .check(round.context(), round.header(), &world.registry)
        .unwrap();
    // A leaf's receipt is one.
    let checked = envelopes[0].check(round.context(), round.header(), &world.registry);
    let leaf = SigningSecret::from_seed(&seed_of(&seeds[clients[0]]));
    let receipt = EnvelopeReceipt::sign(&checked.unwrap(), &leaf);
    assert_eq!(receipt.answers(&envelopes[0], round.header()), Ok(()));
    json!({
        "inputs": {
            "leaf_seeds": seeds.iter().map(hex).collect::<Vec<_>>(),
            "leaves": leaves.iter().map(hex).collect::<Vec<_>>(),
            "clients": envelopes.iter().map(|one| hex(one.client.as_bytes())).collect::<Vec<_>>(),
            "vectors": envelopes.iter().map(|one| hex(&one.vector)).collect::<Vec<_>>(),
            "aggregator_seed": hex(parties.aggregator_seed),
        },
        "outputs": {
            "canonical_header": hex(header.canonical()),
            "context": hex(context),
            "leaf_of_each_client": clients,
            "parts": parts,
            "aggregate": { "vector": hex(&all), "envelopes": hex(nobody), "digest": hex(digest) },
        },
    })
}

fn seed_of(seed: &Bytes32) -> zeroize::Zeroizing<Bytes32> {
    zeroize::Zeroizing::new(*seed)
}

/// A leaf's part by the specification.
struct Part {
    number: usize,
    positions: Vec<usize>,
    vector: Vec<u8>,
    digest: Bytes32,
    wire: Vec<u8>,
    shown: Value,
}

impl Part {
    fn new(
        context: &Bytes32,
        number: usize,
        seed: &Bytes32,
        envelopes: &[SealedEnvelope],
        positions: &[usize],
    ) -> Self {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let mut vector = vec![0; envelopes[0].vector.len()];
        let mut list = u32::try_from(positions.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        for at in positions {
            let envelope = &envelopes[*at];
            spec::xor(&mut vector, &envelope.vector);
            let root = spec::envelope_root(&envelope.vector, SLOT_BYTES as usize);
            list.extend(cat(&[envelope.client.as_bytes(), &root]));
        }
        let participants = spec::bitmap(CLIENTS, positions);
        let list = spec::digest("zipnet/envelope-list/v1", &list);
        let root = spec::envelope_root(&vector, SLOT_BYTES as usize);
        let body = cat(&[
            context,
            &u32::try_from(number).unwrap().to_be_bytes(),
            &length(&participants),
            &participants,
            &list,
            &root,
        ]);
        let digest = spec::digest("zipnet/part/v1", &body);
        let signature = spec::sign(seed, "zipnet/signed-part/v1", &digest);
        let seal = cat(&[
            &[u8::try_from(number).unwrap()],
            &spec::wire_bytes(&participants),
            &list,
            &root,
            &signature,
        ]);
        let wire = cat(&[context, &seal, &spec::wire_bytes(&vector)]);
        let shown = json!({
            "participants": hex(&participants),
            "envelopes": hex(list),
            "vector": hex(&vector),
            "root": hex(root),
            "body": hex(&body),
            "digest": hex(digest),
            "signature": hex(signature),
            "wire": hex(&wire),
        });
        Self {
            number,
            positions: positions.to_vec(),
            vector,
            digest,
            wire,
            shown,
        }
    }

    fn number(&self) -> [u8; 4] {
        u32::try_from(self.number).unwrap().to_be_bytes()
    }
}
