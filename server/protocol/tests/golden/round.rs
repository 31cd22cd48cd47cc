//! The vectors of registry, header, pads, and of a whole small round.

use serde_json::{Value, json};
use zipnet_protocol::{
    ClientId, ClientRegistry, DhPublic, DhSecret, EnvelopeReceipt, LightRecord, RoundContext,
    RoundPads, RoundParams, ServerId,
};

use super::{
    parties::{CLIENTS, Client, Parties, SERVERS, Server, hex, wire},
    spec::{self, Bytes32, Header, cat},
};
use crate::common::World;

/// `registry.json`.
pub fn registry() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let empty = spec::registry_root(&[]);
    let root = parties.registry_root();

    let world = World::new(SERVERS, CLIENTS);
    let mut clients: Vec<_> = world.registry.iter().cloned().collect();
    clients.reverse();
    let shuffled = ClientRegistry::from_clients(clients);
    assert_eq!(shuffled.root().as_bytes(), &root);
    assert_eq!(ClientRegistry::default().root().as_bytes(), &empty);

    let entries = parties.clients.iter().zip(&parties.registry).enumerate();
    let entries: Vec<_> = entries
        .map(|(position, (client, entry))| {
            let path = spec::registry_path(&parties.registry, position);
            let wire = cat(&[&spec::varint(path.len() as u64), &path.concat()]);
            let proof = world.registry.proof(position).unwrap();
            assert_eq!(self::wire(&proof), wire);
            json!({
                "client_id": hex(client.id),
                "position": position,
                "entry": hex(entry),
                "leaf": hex(spec::registry_leaf(entry)),
                "path": path.iter().map(hex).collect::<Vec<_>>(),
                "proof_wire": hex(wire),
            })
        })
        .collect();
    json!({
        "empty_root": hex(empty),
        "clients": entries,
        "root": hex(root),
    })
}

/// A header of the vectors, signed by the first server of its roster.
pub struct Opened {
    pub header: Header,
    pub context: Bytes32,
    pub signature: Vec<u8>,
    pub wire: Vec<u8>,
    /// Each roster server's signature under the certificate, and what it signs.
    pub certifications: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Opened {
    pub fn new(parties: &Parties, slots: u32, slot_bytes: u32, number: usize) -> Self {
        let header = parties.header(slots, slot_bytes, number);
        let opener = &parties.servers[0];
        let canonical = header.canonical();
        let signature = spec::sign(&opener.signing_seed, "zipnet/open-round/v3", &canonical);
        let context = header.context();
        let certify = |server: &Server| {
            let body = cat(&[&context, &server.id]);
            let signature = spec::sign(&server.signing_seed, "zipnet/certificate/v1", &body);
            (body, signature)
        };
        Self {
            context,
            wire: cat(&[&header.wire(), &opener.id, &signature]),
            certifications: parties.servers.iter().map(certify).collect(),
            signature,
            header,
        }
    }
}

/// `header.json`.
pub fn header() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let opened = Opened::new(&parties, 64, 256, 300);
    let first = &parties.servers[0];

    let world = World::new(SERVERS, CLIENTS);
    let round = world.open(world.header(RoundParams::default(), 300));
    let header = &opened.header;
    assert_eq!(round.header().canonical().as_bytes(), header.canonical());
    assert_eq!(round.context().as_bytes(), &opened.context);
    assert_eq!(wire(round.signed()), opened.wire);
    let signatures: Vec<_> = opened
        .certifications
        .iter()
        .flat_map(|(_, signature)| signature.clone())
        .collect();
    let certificate = cat(&[&opened.wire, &spec::varint(SERVERS as u64), &signatures]);
    assert_eq!(wire(round.certificate()), certificate);

    let roster: Vec<_> = header
        .roster
        .iter()
        .map(|(server, bundle)| json!({ "server_id": hex(server), "bundle": hex(bundle) }))
        .collect();
    json!({
        "inputs": {
            "instance_id": hex(header.instance),
            "epoch": hex(header.epoch),
            "number": header.number,
            "nonce": hex(header.nonce),
            "previous": hex(header.previous),
            "slots": header.slots,
            "slot_bytes": header.slot_bytes,
            "min_participants": header.min_participants,
            "floor": header.floor,
            "committee_size": header.committee_size,
            "roster": roster,
            "clients": header.clients,
            "registry": hex(header.registry),
            "aggregator": hex(header.aggregator),
            "leaves": [],
            "opener": hex(first.id),
            "opener_signing_seed": hex(first.signing_seed),
        },
        "outputs": {
            "canonical": hex(header.canonical()),
            "context": hex(opened.context),
            "signature": hex(&opened.signature),
            "wire": hex(&opened.wire),
            "certificate": {
                "signatures": parties.servers.iter().zip(&opened.certifications).map(
                    |(server, (body, signature))| json!({
                        "server_id": hex(server.id),
                        "body": hex(body),
                        "signature": hex(signature),
                    }),
                ).collect::<Vec<_>>(),
                "wire": hex(certificate),
            },
        },
    })
}

/// The pad of a pair as the crate makes it, out of the client's secret.
fn api_pad(client: &Client, server: &Server, context: &Bytes32, bytes: usize) -> Vec<u8> {
    let secret = DhSecret::from_entropy(&client.dh_secret.into())
        .agree(&DhPublic::new(server.dh_public))
        .unwrap();
    let mut pad = vec![0; bytes];
    RoundPads::new(&RoundContext::new(*context)).xor_into(
        &mut pad,
        &secret,
        &ClientId::new(client.id),
        &ServerId::new(server.id),
    );
    pad
}

/// `pads.json`.
pub fn pads() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let context = Opened::new(&parties, 64, 256, 300).context;
    let pairs = parties
        .clients
        .iter()
        .flat_map(|client| parties.servers.iter().map(move |server| (client, server)));
    let cases: Vec<_> = pairs
        .map(|(client, server)| {
            let shared = spec::x25519(&client.dh_secret, &server.dh_public);
            assert_eq!(shared, spec::x25519(&server.dh_secret, &client.dh_public));
            let pad = spec::pad(&shared, &context, &client.id, &server.id, 16384);
            assert_eq!(api_pad(client, server, &context, 16384), pad.bytes);
            json!({
                "inputs": {
                    "client_id": hex(client.id),
                    "client_dh_secret": hex(client.dh_secret),
                    "server_id": hex(server.id),
                    "server_dh_secret": hex(server.dh_secret),
                    "context": hex(context),
                },
                "outputs": {
                    "shared": hex(shared),
                    "prk": hex(pad.prk),
                    "info": hex(&pad.info),
                    "key": hex(pad.key),
                    "first_64_bytes": hex(&pad.bytes[..64]),
                    "blake3_of_16384_bytes": hex(blake3::hash(&pad.bytes).as_bytes()),
                },
            })
        })
        .collect();
    json!({ "cases": cases })
}

/// Who takes part in the whole round, and what they say.
const SPEECH: [(usize, Option<&[u8]>); 3] = [
    (0, Some(b"hello")),
    (1, None),
    (3, Some(b"a slot full to the last byte: 32")),
];

/// `round.json`.
pub fn round() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let opened = Opened::new(&parties, 4, 48, 9);
    let context = opened.context;
    let mut aggregate = vec![0; 4 * 48];
    let mut partials = vec![aggregate.clone(); SERVERS];
    let mut envelopes = Vec::new();
    let mut clients = Vec::new();
    let mut list = u32::try_from(SPEECH.len()).unwrap().to_be_bytes().to_vec();
    for (at, message) in SPEECH {
        let client = &parties.clients[at];
        let slot = spec::slot(&client.slot_key, &context, 4);
        let mut vector = vec![0; aggregate.len()];
        if let Some(message) = message {
            let start = usize::try_from(slot).unwrap() * 48;
            vector[start..start + 48]
                .copy_from_slice(&spec::slot_content(&context, slot, 48, message));
        }
        let plain = hex(&vector);
        let mut pads = Vec::new();
        for (server, partial) in parties.servers.iter().zip(&mut partials) {
            let shared = spec::x25519(&client.dh_secret, &server.dh_public);
            let pad = spec::pad(&shared, &context, &client.id, &server.id, vector.len());
            spec::xor(&mut vector, &pad.bytes);
            spec::xor(partial, &pad.bytes);
            pads.push(json!({ "server_id": hex(server.id), "pad": hex(&pad.bytes) }));
        }
        spec::xor(&mut aggregate, &vector);
        let root = spec::envelope_root(&vector, 48);
        let body = cat(&[&context, &client.id, &root]);
        let signature = spec::sign(&client.transport_seed, "zipnet/envelope/v1", &body);
        let vector_wire = spec::wire_bytes(&vector);
        let envelope = cat(&[&context, &client.id, &vector_wire, &signature]);
        list.extend(cat(&[&client.id, &root]));
        let place = u32::try_from(at).unwrap();
        let receipt = cat(&[&context, &client.id, &place.to_be_bytes(), &root]);
        let receipt_signature = spec::sign(
            &parties.aggregator_seed,
            "zipnet/envelope-receipt/v1",
            &receipt,
        );
        let receipt_wire = cat(&[
            &context,
            &client.id,
            &spec::varint(at as u64),
            &root,
            &receipt_signature,
        ]);
        clients.push(json!({
            "inputs": {
                "client_id": hex(client.id),
                "slot_key": hex(client.slot_key),
                "message": message.map(hex),
            },
            "outputs": {
                "slot": slot,
                "plain": plain,
                "pads": pads,
                "vector": hex(&vector),
                "root": hex(root),
                "body": hex(body),
                "signature": hex(signature),
                "wire": hex(&envelope),
            },
            "receipt": {
                "position": at,
                "body": hex(&receipt),
                "signature": hex(receipt_signature),
                "wire": hex(&receipt_wire),
            },
        }));
        envelopes.push((envelope, receipt_wire));
    }
    let closed = Closed::new(&parties, &opened, &list, aggregate, partials);
    let slots = closed.check_against_the_crate(&envelopes);
    json!({
        "aggregator_seed": hex(parties.aggregator_seed),
        "header": {
            "canonical": hex(opened.header.canonical()),
            "context": hex(context),
            "wire": hex(&opened.wire),
        },
        "clients": clients,
        "aggregate": closed.aggregate,
        "partials": closed.partials,
        "record": {
            "digest": hex(closed.digest),
            "broadcast": hex(&closed.broadcast),
            "slots": slots,
            "vectors": hex(closed.vectors),
            "wire": hex(&closed.wire),
            "light_wire": hex(&closed.light),
        },
    })
}

/// What follows from the envelopes of the whole round.
struct Closed {
    aggregate: Value,
    partials: Vec<Value>,
    broadcast: Vec<u8>,
    digest: Bytes32,
    vectors: Bytes32,
    wire: Vec<u8>,
    light: Vec<u8>,
}

impl Closed {
    fn new(
        parties: &Parties,
        opened: &Opened,
        list: &[u8],
        vector: Vec<u8>,
        partials: Vec<Vec<u8>>,
    ) -> Self {
        let context = &opened.context;
        let participants = spec::bitmap(CLIENTS, &SPEECH.map(|(at, _)| at));
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let sized = |bytes: &[u8]| cat(&[&length(bytes), bytes]);
        let envelopes = spec::digest("zipnet/envelope-list/v1", list);
        let no_parts = [0; 4];
        let canonical = cat(&[
            context,
            &sized(&participants),
            &envelopes,
            &sized(&vector),
            &no_parts,
        ]);
        let digest = spec::digest("zipnet/aggregate/v3", &canonical);
        let signed = cat(&[context, &digest]);
        let signature = spec::sign(
            &parties.aggregator_seed,
            "zipnet/signed-aggregate/v2",
            &signed,
        );
        let aggregate_wire = cat(&[
            context,
            &spec::wire_bytes(&participants),
            &envelopes,
            &spec::wire_bytes(&vector),
            &spec::varint(0),
            &signature,
        ]);
        let mut closed = Self {
            aggregate: json!({
                "participants": hex(&participants),
                "envelope_list": hex(list),
                "envelopes": hex(envelopes),
                "vector": hex(&vector),
                "digest": hex(digest),
                "body": hex(signed),
                "signature": hex(signature),
                "wire": hex(&aggregate_wire),
            }),
            partials: Vec::new(),
            broadcast: vector,
            digest: [0; 32],
            vectors: [0; 32],
            light: Vec::new(),
            wire: cat(&[&opened.wire, &aggregate_wire, &spec::varint(SERVERS as u64)]),
        };
        let mut vectors = cat(&[&digest, &length(&[0; SERVERS])]);
        let mut commitments = cat(&[context, &vectors]);
        let mut committed = Vec::new();
        for (server, vector) in parties.servers.iter().zip(&partials) {
            let vector_digest = spec::digest("zipnet/partial-vector/v1", vector);
            let body = cat(&[context, &digest, &server.id, &vector_digest]);
            let secret = spec::sign(&server.signing_seed, "zipnet/partial-opening/v1", &body);
            let opening = spec::digest("zipnet/partial-opening/v1", &secret);
            let commitment = spec::digest("zipnet/partial-commitment/v1", &cat(&[&body, &opening]));
            commitments.extend(cat(&[&server.id, &commitment]));
            committed.push((opening, commitment));
        }
        let commitments = spec::digest("zipnet/partial-commitments/v1", &commitments);
        let servers = parties.servers.iter().zip(committed);
        for ((server, (opening, commitment)), vector) in servers.zip(partials) {
            let vector_digest = spec::digest("zipnet/partial-vector/v1", &vector);
            let head = cat(&[context, &digest, &server.id]);
            let inner = cat(&[&head, &vector_digest]);
            let body = cat(&[&sized(&inner), &opening, &commitments]);
            let signature = spec::sign(&server.signing_seed, "zipnet/partial/v2", &body);
            spec::xor(&mut closed.broadcast, &vector);
            closed.wire.extend(cat(&[
                &head,
                &spec::wire_bytes(&vector),
                &opening,
                &commitments,
                &signature,
            ]));
            vectors.extend(cat(&[&server.id, &vector_digest]));
            closed.partials.push(json!({
                "server_id": hex(server.id),
                "vector": hex(&vector),
                "vector_digest": hex(vector_digest),
                "body": hex(body),
                "signature": hex(signature),
                "opening": hex(opening),
                "commitment": hex(commitment),
                "commitments": hex(commitments),
            }));
        }
        closed.vectors = spec::digest("zipnet/record-vectors/v1", &vectors);
        let record = cat(&[
            context,
            &sized(&participants),
            &closed.vectors,
            &spec::digest("zipnet/broadcast/v1", &closed.broadcast),
        ]);
        closed.digest = spec::digest("zipnet/record/v2", &record);
        closed.light = cat(&[
            &spec::wire_bytes(&participants),
            &closed.vectors,
            &spec::wire_bytes(&closed.broadcast),
        ]);
        closed
    }

    /// Plays the same round with the crate; what a reader finds in the slots.
    fn check_against_the_crate(&self, envelopes: &[(Vec<u8>, Vec<u8>)]) -> Vec<Value> {
        let mut world = World::new(SERVERS, CLIENTS);
        let round = world.open(world.header(RoundParams::new(4, 48).unwrap(), 9));
        let speech = SPEECH.map(|(at, message)| (at, message.map(<[u8]>::to_vec)));
        let sealed = world.seal(&round, speech);
        for ((_, envelope), (spec, receipt)) in sealed.iter().zip(envelopes) {
            assert_eq!(&wire(envelope), spec);
            let checked = envelope.check(round.context(), round.header(), &world.registry);
            let given = EnvelopeReceipt::sign(&checked.unwrap(), &world.aggregator);
            assert_eq!(&wire(&given), receipt);
            assert_eq!(given.answers(envelope, round.header()), Ok(()));
        }
        let aggregate = world.fold(&round, sealed.iter().map(|(_, envelope)| envelope));
        let record = world.unblind(&round, &aggregate);
        assert_eq!(wire(&record), self.wire);
        for (partial, spec) in record.partials.iter().zip(&self.partials) {
            assert_eq!(spec["commitment"], hex(partial.commitment().as_bytes()));
        }
        let read = record.verify(&world.instance, &world.bundles()).unwrap();
        assert_eq!(read.broadcast(), self.broadcast);
        assert_eq!(read.digest().as_bytes(), &self.digest);
        let light = LightRecord::of(&read);
        assert_eq!(wire(&light), self.light);
        assert_eq!(
            light.claim(round.round().clone()).unwrap().digest(),
            read.digest()
        );
        let said: Vec<_> = read.messages().map(|(_, message)| message).collect();
        for (_, message) in SPEECH {
            assert!(message.is_none_or(|message| said.contains(&message.to_vec())));
        }
        super::slots::readings(&read)
    }
}
