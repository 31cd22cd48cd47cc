//! A second implementation of every derivation and encoding, from the
//! documentation and by hand: nothing in this file uses the crate under test.

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

pub type Bytes32 = [u8; 32];

/// Canonical encodings are concatenations.
pub fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A digest: BLAKE3's key derivation mode, the domain its context string.
pub fn digest(domain: &str, bytes: &[u8]) -> Bytes32 {
    blake3::derive_key(domain, bytes)
}

/// Ed25519 over the digest of a canonical encoding.
pub fn sign(seed: &Bytes32, domain: &str, body: &[u8]) -> Vec<u8> {
    let key = ed25519_dalek::SigningKey::from_bytes(seed);
    key.sign(&digest(domain, body)).to_bytes().to_vec()
}

pub fn ed25519_public(seed: &Bytes32) -> Bytes32 {
    ed25519_dalek::SigningKey::from_bytes(seed)
        .verifying_key()
        .to_bytes()
}

pub fn x25519_public(secret: &Bytes32) -> Bytes32 {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

pub fn x25519(secret: &Bytes32, public: &Bytes32) -> Bytes32 {
    StaticSecret::from(*secret)
        .diffie_hellman(&PublicKey::from(*public))
        .to_bytes()
}

/// RFC 2104, for keys of one block at most.
fn hmac(key: &[u8], message: &[u8]) -> Bytes32 {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(to, from)| *to ^= from);
        block
    };
    let inner = Sha256::digest(cat(&[&pad(0x36), message]));
    Sha256::digest(cat(&[&pad(0x5c), &inner])).into()
}

/// All steps from a shared secret to a pad.
pub struct Pad {
    pub prk: Bytes32,
    pub info: Vec<u8>,
    pub key: Bytes32,
    pub bytes: Vec<u8>,
}

pub fn pad(
    shared: &Bytes32,
    context: &Bytes32,
    client: &Bytes32,
    server: &Bytes32,
    bytes: usize,
) -> Pad {
    let prk = hmac(context, shared);
    let info = cat(&[b"zipnet/pad/v1", client, server]);
    let key = hmac(&prk, &cat(&[&info, &[1]]));
    let mut stream = vec![0; bytes];
    ChaCha20::new(&key.into(), &[0; 12].into()).apply_keystream(&mut stream);
    Pad {
        prk,
        info,
        key,
        bytes: stream,
    }
}

pub fn xor(into: &mut [u8], from: &[u8]) {
    assert_eq!(into.len(), from.len());
    into.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
}

/// What a committee secret and a name grow into.
pub fn committee_derive(domain: &str, name: &str, secret: &[u8]) -> Bytes32 {
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    digest(domain, &cat(&[&length, name.as_bytes(), secret]))
}

pub fn instance_id(name: &str, committee_public: &Bytes32) -> Bytes32 {
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    let body = cat(&[&length, name.as_bytes(), committee_public]);
    digest("zipnet/instance/v1", &body)
}

pub fn attested_instance_id(name: &str, committee_public: &Bytes32, anchor: &Bytes32) -> Bytes32 {
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    let body = cat(&[&length, name.as_bytes(), committee_public, anchor]);
    digest("zipnet/instance/attested/v1", &body)
}

/// The slot that a client takes in a round.
pub fn slot(slot_key: &Bytes32, context: &Bytes32, slots: u64) -> u64 {
    let hash = blake3::keyed_hash(slot_key, context);
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % slots
}

/// The tag of a slot: `fill` is 0 for a padded body and 1 for a full one.
pub fn tag(context: &Bytes32, slot: u64, fill: u8, body: &[u8]) -> Vec<u8> {
    let key = digest("zipnet/slot-tag/v1", context);
    let slot = u32::try_from(slot).unwrap().to_be_bytes();
    blake3::keyed_hash(&key, &cat(&[&slot, &[fill], body])).as_bytes()[..16].to_vec()
}

/// A slot that carries a message.
pub fn slot_content(context: &Bytes32, slot: u64, slot_bytes: usize, message: &[u8]) -> Vec<u8> {
    let room = slot_bytes - 16;
    let mut body = message.to_vec();
    let fill = u8::from(body.len() == room);
    if body.len() < room {
        body.push(0x80);
    }
    body.resize(room, 0);
    let tag = tag(context, slot, fill, &body);
    cat(&[&body, &tag])
}

/// The domains of leaves, nodes and root of a tree.
pub type Domains = [&'static str; 3];

/// The domains of the tree of an envelope's slots.
const ENVELOPE: Domains = [
    "zipnet/envelope-slot/v1",
    "zipnet/envelope-node/v1",
    "zipnet/envelope-root/v1",
];
/// The domains of the tree of the client registry.
const REGISTRY: Domains = [
    "zipnet/registry-leaf/v1",
    "zipnet/registry-node/v1",
    "zipnet/client-registry/v3",
];

/// The top of a tree, from its level of leaves or any above.
fn top(node: &str, level: &[Bytes32]) -> Bytes32 {
    match level {
        [] => [0; 32],
        [one] => *one,
        _ => {
            let pairs = level.chunks(2);
            let above: Vec<_> = pairs
                .map(|pair| match pair {
                    [left, right] => digest(node, &cat(&[left, right])),
                    _ => pair[0],
                })
                .collect();
            top(node, &above)
        }
    }
}

fn tree_root([leaf, node, root]: Domains, contents: &[Vec<u8>]) -> Bytes32 {
    let count = u32::try_from(contents.len()).unwrap().to_be_bytes();
    let leaves: Vec<_> = contents.iter().map(|it| digest(leaf, it)).collect();
    digest(root, &cat(&[&count, &top(node, &leaves)]))
}

/// What a client signs of its envelope's vector: the root of a tree of its slots.
pub fn envelope_root(vector: &[u8], slot_bytes: usize) -> Bytes32 {
    let slots: Vec<_> = vector.chunks(slot_bytes).map(<[u8]>::to_vec).collect();
    tree_root(ENVELOPE, &slots)
}

/// What a header names of the registry with these entries.
pub fn registry_root(entries: &[Vec<u8>]) -> Bytes32 {
    tree_root(REGISTRY, entries)
}

/// What stands for a client in the registry's tree.
pub fn registry_leaf(entry: &[u8]) -> Bytes32 {
    digest(REGISTRY[0], entry)
}

/// The siblings on the way from a client to the top: of each level the top of
/// the leaves that its neighbour there stands on.
pub fn registry_path(entries: &[Vec<u8>], place: usize) -> Vec<Bytes32> {
    let leaves: Vec<_> = entries.iter().map(|entry| registry_leaf(entry)).collect();
    let mut path = Vec::new();
    let mut width = 1;
    while width < leaves.len() {
        let start = ((place / width) ^ 1) * width;
        if start < leaves.len() {
            let end = leaves.len().min(start + width);
            path.push(top(REGISTRY[1], &leaves[start..end]));
        }
        width *= 2;
    }
    path
}

/// The bitmap of the participants at `positions`.
pub fn bitmap(clients: usize, positions: &[usize]) -> Vec<u8> {
    let mut bits = vec![0; clients.div_ceil(8)];
    for position in positions {
        bits[position / 8] |= 1 << (position % 8);
    }
    bits
}

/// postcard's variable-length integers: seven bits a byte, lowest first.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// postcard's byte strings.
pub fn wire_bytes(bytes: &[u8]) -> Vec<u8> {
    cat(&[&varint(bytes.len() as u64), bytes])
}

/// The number of the leaf that takes a client's envelopes.
pub fn leaf(leaves: &[Bytes32], client: &Bytes32) -> usize {
    let weight = |leaf: &Bytes32| digest("zipnet/leaf/v1", &cat(&[client, leaf]));
    let weights: Vec<_> = leaves.iter().map(weight).collect();
    let heaviest = weights.iter().max().unwrap();
    weights
        .iter()
        .position(|weight| weight == heaviest)
        .unwrap()
}

/// A round header.
#[derive(Clone)]
pub struct Header {
    pub instance: Bytes32,
    pub epoch: Bytes32,
    pub number: u64,
    pub nonce: Bytes32,
    pub previous: Bytes32,
    pub slots: u32,
    pub slot_bytes: u32,
    pub min_participants: u32,
    pub floor: u32,
    pub committee_size: u32,
    pub roster: Vec<(Bytes32, Bytes32)>,
    pub clients: u32,
    pub registry: Bytes32,
    pub aggregator: Bytes32,
    pub leaves: Vec<Bytes32>,
}

impl Header {
    pub fn canonical(&self) -> Vec<u8> {
        self.encode(
            |number| number.to_be_bytes().to_vec(),
            |number| number.to_be_bytes().to_vec(),
        )
    }

    /// The same fields in the same order, integers as postcard writes them.
    pub fn wire(&self) -> Vec<u8> {
        self.encode(varint, |number| varint(number.into()))
    }

    pub fn context(&self) -> Bytes32 {
        digest("zipnet/header/v3", &self.canonical())
    }

    fn encode(&self, long: fn(u64) -> Vec<u8>, short: fn(u32) -> Vec<u8>) -> Vec<u8> {
        let roster: Vec<u8> = self
            .roster
            .iter()
            .flat_map(|(server, bundle)| cat(&[server, bundle]))
            .collect();
        cat(&[
            &self.instance,
            &self.epoch,
            &long(self.number),
            &self.nonce,
            &self.previous,
            &short(self.slots),
            &short(self.slot_bytes),
            &short(self.min_participants),
            &short(self.floor),
            &short(self.committee_size),
            &short(u32::try_from(self.roster.len()).unwrap()),
            &roster,
            &short(self.clients),
            &self.registry,
            &self.aggregator,
            &short(u32::try_from(self.leaves.len()).unwrap()),
            &self.leaves.concat(),
        ])
    }
}
