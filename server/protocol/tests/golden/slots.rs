//! The vectors of slots: where a message goes, what its slot holds, and what a
//! reader makes of any content.

use serde_json::{Value, json};
use zipnet_protocol::{
    Aggregate, BroadcastRecord, Digest, FinalizedRound, Partial, Participants, RoundContext,
    RoundParams, SlotContent, SlotKey, commitments_digest,
};

use super::{
    parties::{CLIENTS, Parties, SERVERS, hex},
    round::Opened,
    spec::{self, Bytes32, cat},
};
use crate::common::World;

/// A round in which no two clients have the same slot.
const ROUND: usize = 301;

/// What a reader finds in each slot.
pub fn readings(read: &FinalizedRound) -> Vec<Value> {
    read.slots()
        .map(|(_, content)| match content {
            SlotContent::Empty => json!("empty"),
            SlotContent::Garbled => json!("garbled"),
            SlotContent::Message(message) => json!({ "message": hex(message) }),
        })
        .collect()
}

/// `slots.json`.
pub fn slots() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let context = Opened::new(&parties, 64, 256, ROUND).context;
    json!({
        "context": hex(context),
        "slots": 64,
        "slot_bytes": 256,
        "writings": writings(&parties, &context),
        "readings": read_back(&context),
    })
}

/// Messages of four lengths in the slots of four clients.
fn writings(parties: &Parties, context: &Bytes32) -> Vec<Value> {
    let mut world = World::new(SERVERS, CLIENTS);
    let round = world.open(world.header(RoundParams::default(), ROUND));
    let messages = [0, 1, 239, 240].map(|length| vec![0x61_u8; length]);
    let record = world.record(&round, &messages.each_ref().map(|m| Some(m.as_slice())));
    let read = record.verify(&world.instance, &world.bundles()).unwrap();

    let clients = parties.clients.iter().zip(messages);
    clients
        .map(|(client, message)| {
            let slot = spec::slot(&client.slot_key, context, 64);
            let bytes = spec::slot_content(context, slot, 256, &message);

            let api = SlotKey::from_entropy(client.slot_key.into());
            let params = RoundParams::default();
            let api = api.slot(&RoundContext::new(*context), &params);
            assert_eq!(u64::from(api), slot);
            let start = usize::try_from(slot).unwrap() * 256;
            assert_eq!(hex(&read.broadcast()[start..start + 256]), hex(&bytes));
            let said = read.messages().find(|(at, _)| *at == api);
            assert_eq!(said, Some((api, message.clone())));

            json!({
                "inputs": { "slot_key": hex(client.slot_key), "message": hex(message) },
                "outputs": { "slot": slot, "content": hex(bytes) },
            })
        })
        .collect()
}

/// Contents that no honest client writes, beside some that one does.
fn contents(context: &Bytes32) -> Vec<(&'static str, Vec<u8>)> {
    let written = |slot, message: &[u8]| spec::slot_content(context, slot, 256, message);
    let tagged = |slot, fill, start: &[u8]| {
        let mut body = start.to_vec();
        body.resize(240, 0);
        cat(&[&body, &spec::tag(context, slot, fill, &body)])
    };
    let mut collision = written(4, b"one");
    spec::xor(&mut collision, &written(4, b"other"));
    let mut flipped = written(5, b"one");
    flipped[255] ^= 0x80;
    vec![
        ("nothing", vec![0; 256]),
        ("a message", written(1, b"one")),
        ("no tag", vec![0xff; 256]),
        ("a message of another slot", written(1, b"one")),
        ("two messages", collision),
        ("a wrong tag", flipped),
        ("a padded body without its end mark", tagged(6, 0, b"")),
        (
            "a padded body with another end mark",
            tagged(7, 0, b"one\x81"),
        ),
        (
            "a padded body that ends at its mark",
            tagged(8, 0, &[0x80; 240]),
        ),
        (
            "a full body that ends like a padded one",
            tagged(9, 1, b"one\x80"),
        ),
        ("a full body of zeros", tagged(10, 1, b"")),
    ]
}

/// Reads the contents out of a record whose partials add up to them.
fn read_back(context: &Bytes32) -> Vec<Value> {
    let contents = contents(context);
    let mut broadcast = contents
        .iter()
        .flat_map(|(_, c)| c.clone())
        .collect::<Vec<_>>();
    broadcast.resize(64 * 256, 0);
    let mut reads = readings(&forged(&broadcast));
    let rest = reads.split_off(contents.len());
    assert!(rest.iter().all(|read| *read == json!("empty")));
    (0..)
        .zip(contents.into_iter().zip(reads))
        .map(|(slot, ((name, content), reads)): (u32, _)| {
            json!({ "name": name, "slot": slot, "content": hex(content), "reads": reads })
        })
        .collect()
}

/// A record in which all servers together lie about the broadcast.
fn forged(broadcast: &[u8]) -> FinalizedRound {
    let world = World::new(SERVERS, CLIENTS);
    let round = world.open(world.header(RoundParams::default(), ROUND));
    let aggregate = Aggregate::sign(
        *round.context(),
        Participants::from_positions(CLIENTS, 0..CLIENTS),
        Digest::ZERO,
        broadcast.to_vec().into(),
        &world.aggregator,
    );
    let digest = aggregate.digest();
    let partials: Vec<_> = world
        .servers
        .iter()
        .map(|server| {
            let (id, vector) = (*server.admitted.id(), vec![0; broadcast.len()]);
            Partial::new(*round.context(), digest, id, vector.into(), &server.signing)
        })
        .collect();
    let all = partials.iter().map(|one| (one.server(), one.commitment()));
    let commitments = commitments_digest(round.context(), &digest, all);
    let partials = partials
        .iter()
        .map(|partial| world.give(partial, commitments))
        .collect();
    let record = BroadcastRecord {
        header: round.signed().clone(),
        aggregate,
        partials,
    };
    record.verify_in(round.round().clone()).unwrap()
}
