//! The parties of the vectors as the second implementation sees them, and the
//! vectors of their ids, bundles and registry.

use core::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use zipnet_protocol::{
    Admission, AggregatorBundle, CommitteeSecret, Digest, Instance, Invite, PeerKey, Withdrawal,
};

use super::spec::{self, Bytes32, cat};
use crate::common::{DOORS, NAME, SECRET, World, entropy, signing, whereabouts};

/// Servers of the vectors.
pub const SERVERS: usize = 2;
/// Clients of the vectors; in the whole round all but one take part.
pub const CLIENTS: usize = 4;

pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

pub fn wire(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

/// The deployment of all vectors.
pub struct Deployment {
    pub committee_seed: Bytes32,
    pub committee_public: Bytes32,
    pub id: Bytes32,
}

impl Deployment {
    pub fn new() -> Self {
        let committee_seed = spec::committee_derive("zipnet/committee-key/v1", NAME, SECRET);
        let committee_public = spec::ed25519_public(&committee_seed);
        Self {
            committee_seed,
            committee_public,
            id: spec::instance_id(NAME, &committee_public),
        }
    }
}

/// Where a party is found: the key in the committee's network, and addresses.
pub struct Door {
    member: Bytes32,
    addresses: Vec<SocketAddr>,
}

impl Door {
    fn new(index: usize) -> Self {
        let (key, addresses) = DOORS[index % DOORS.len()];
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        Self {
            member: [key; 32],
            addresses: addresses.collect(),
        }
    }

    /// What is signed of it.
    fn body(&self) -> Vec<u8> {
        let mut body = cat(&[&self.member, &count(self.addresses.len())]);
        for address in &self.addresses {
            let ip = match address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            body.extend(cat(&[&ip, &u32::from(address.port()).to_be_bytes()]));
        }
        body
    }

    fn wire(&self) -> Vec<u8> {
        let many = u64::try_from(self.addresses.len()).unwrap();
        let mut wire = cat(&[&self.member, &spec::varint(many)]);
        for address in &self.addresses {
            match address.ip() {
                IpAddr::V4(v4) => wire.extend(cat(&[&[0], &v4.octets()])),
                IpAddr::V6(v6) => wire.extend(cat(&[&[1], &v6.octets()])),
            }
            wire.extend(spec::varint(address.port().into()));
        }
        wire
    }

    fn vector(&self) -> Value {
        json!({ "member": hex(self.member), "addresses": self.addresses })
    }
}

fn count(many: usize) -> [u8; 4] {
    u32::try_from(many).unwrap().to_be_bytes()
}

/// A server: seeds, and what follows from them.
pub struct Server {
    pub dh_secret: Bytes32,
    pub dh_public: Bytes32,
    pub signing_seed: Bytes32,
    pub signing_public: Bytes32,
    pub transport_seed: Bytes32,
    pub peer: Bytes32,
    pub boot: u64,
    pub door: Door,
    pub id: Bytes32,
    pub body: Vec<u8>,
    pub digest: Bytes32,
    pub wire: Vec<u8>,
    signatures: [Vec<u8>; 3],
}

impl Server {
    pub fn new(deployment: &Deployment, index: usize) -> Self {
        let dh_secret = *entropy("server dh", index);
        let signing_seed = *entropy("server signing", index);
        let transport_seed = *entropy("server transport", index);
        let boot = index as u64 + 1;
        let door = Door::new(index);
        let dh_public = spec::x25519_public(&dh_secret);
        let signing_public = spec::ed25519_public(&signing_seed);
        let peer = spec::ed25519_public(&transport_seed);
        let id = spec::digest("zipnet/server-id/v1", &cat(&[&deployment.id, &peer]));
        let keys = cat(&[&id, &dh_public, &signing_public, &peer]);
        let body = cat(&[&deployment.id, &keys, &boot.to_be_bytes(), &door.body()]);
        let sign = |seed, by| {
            let domain = format!("zipnet/server-bundle/{by}/v2");
            spec::sign(seed, &domain, &body)
        };
        let signatures = [
            sign(&transport_seed, "transport"),
            sign(&signing_seed, "possession"),
            sign(&deployment.committee_seed, "admission"),
        ];
        Self {
            wire: cat(&[
                &keys,
                &spec::varint(boot),
                &door.wire(),
                &signatures.concat(),
            ]),
            digest: spec::digest("zipnet/server-bundle/v2", &body),
            dh_secret,
            dh_public,
            signing_seed,
            signing_public,
            transport_seed,
            peer,
            boot,
            door,
            id,
            body,
            signatures,
        }
    }

    fn vector(&self) -> Value {
        let [transport, possession, admission] = &self.signatures;
        json!({
            "inputs": {
                "dh_secret": hex(self.dh_secret),
                "signing_seed": hex(self.signing_seed),
                "transport_seed": hex(self.transport_seed),
                "boot": self.boot,
                "door": self.door.vector(),
            },
            "outputs": {
                "dh_public": hex(self.dh_public),
                "signing_public": hex(self.signing_public),
                "peer": hex(self.peer),
                "server_id": hex(self.id),
                "body": hex(&self.body),
                "digest": hex(self.digest),
                "transport_signature": hex(transport),
                "possession_signature": hex(possession),
                "admission_signature": hex(admission),
                "wire": hex(&self.wire),
            },
        })
    }
}

/// A client: seeds, and what follows from them.
pub struct Client {
    pub dh_secret: Bytes32,
    pub dh_public: Bytes32,
    pub slot_key: Bytes32,
    pub transport_seed: Bytes32,
    pub peer: Bytes32,
    pub id: Bytes32,
    least_servers: u8,
    body: Vec<u8>,
    signature: Vec<u8>,
    withdrawal_body: Vec<u8>,
    withdrawal_signature: Vec<u8>,
}

impl Client {
    pub fn new(deployment: &Deployment, index: usize) -> Self {
        let dh_secret = *entropy("client dh", index);
        let transport_seed = *entropy("client transport", index);
        let dh_public = spec::x25519_public(&dh_secret);
        let peer = spec::ed25519_public(&transport_seed);
        let keys = cat(&[&deployment.id, &dh_public, &peer]);
        let id = spec::digest("zipnet/client-id/v1", &keys);
        let least_servers = u8::from(index % 2 == 1);
        let least = u32::from(least_servers).to_be_bytes();
        let body = cat(&[&deployment.id, &id, &dh_public, &peer, &least]);
        let withdrawal_body = cat(&[&deployment.id, &id]);
        let sign = |domain, body: &[u8]| spec::sign(&transport_seed, domain, body);
        Self {
            signature: sign("zipnet/client-bundle/v2", &body),
            withdrawal_signature: sign("zipnet/client-withdrawal/v1", &withdrawal_body),
            slot_key: *entropy("client slot key", index),
            least_servers,
            dh_secret,
            dh_public,
            transport_seed,
            peer,
            id,
            body,
            withdrawal_body,
        }
    }

    /// What the registry's digest covers of a client.
    fn record(&self) -> Vec<u8> {
        let least = u32::from(self.least_servers).to_be_bytes();
        cat(&[&self.id, &self.dh_public, &self.peer, &least])
    }

    fn bundle_wire(&self) -> Vec<u8> {
        // A small number is its own varint.
        let keys = cat(&[&self.id, &self.dh_public, &self.peer]);
        cat(&[&keys, &[self.least_servers], &self.signature])
    }

    fn withdrawal_wire(&self) -> Vec<u8> {
        cat(&[&self.id, &self.withdrawal_signature])
    }

    fn vector(&self) -> Value {
        json!({
            "inputs": {
                "dh_secret": hex(self.dh_secret),
                "transport_seed": hex(self.transport_seed),
            },
            "outputs": {
                "dh_public": hex(self.dh_public),
                "peer": hex(self.peer),
                "least_servers": self.least_servers,
                "client_id": hex(self.id),
                "body": hex(&self.body),
                "signature": hex(&self.signature),
                "wire": hex(self.bundle_wire()),
                "withdrawal_body": hex(&self.withdrawal_body),
                "withdrawal_signature": hex(&self.withdrawal_signature),
                "withdrawal_wire": hex(self.withdrawal_wire()),
            },
        })
    }
}

/// All parties, ascending by id.
pub struct Parties {
    pub deployment: Deployment,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    /// Each client as the registry's tree has it.
    pub registry: Vec<Vec<u8>>,
    /// Seed of the aggregator's transport key.
    pub aggregator_seed: Bytes32,
}

impl Parties {
    pub fn new(servers: usize, clients: usize) -> Self {
        let deployment = Deployment::new();
        let mut servers: Vec<_> = (0..servers)
            .map(|index| Server::new(&deployment, index))
            .collect();
        let mut clients: Vec<_> = (0..clients)
            .map(|index| Client::new(&deployment, index))
            .collect();
        servers.sort_by_key(|server| server.id);
        clients.sort_by_key(|client| client.id);
        Self {
            registry: clients.iter().map(Client::record).collect(),
            aggregator_seed: *entropy("aggregator transport", 0),
            deployment,
            servers,
            clients,
        }
    }

    pub fn registry_root(&self) -> Bytes32 {
        spec::registry_root(&self.registry)
    }

    /// The header of the vectors' rounds, as [`World::header`] makes it.
    pub fn header(&self, slots: u32, slot_bytes: u32, number: usize) -> spec::Header {
        spec::Header {
            instance: self.deployment.id,
            epoch: *entropy("epoch", 0),
            number: number as u64,
            nonce: *entropy("nonce", number),
            previous: [0; 32],
            slots,
            slot_bytes,
            min_participants: 1,
            floor: 1,
            committee_size: u32::try_from(self.servers.len()).unwrap(),
            roster: self.servers.iter().map(|s| (s.id, s.digest)).collect(),
            clients: u32::try_from(self.clients.len()).unwrap(),
            registry: self.registry_root(),
            aggregator: spec::ed25519_public(&self.aggregator_seed),
            leaves: Vec::new(),
        }
    }
}

/// `instance.json`.
pub fn instance() -> Value {
    let deployment = Deployment::new();
    let group = spec::committee_derive("zipnet/committee-group/v1", NAME, SECRET);

    let name = NAME.parse().unwrap();
    let secret = CommitteeSecret::new(SECRET.to_vec().into());
    let committee = secret.committee_key(&name).public();
    assert_eq!(committee.as_bytes(), &deployment.committee_public);
    assert_eq!(*secret.group_secret(&name), group);
    assert_eq!(
        Instance::new(name, committee).id().as_bytes(),
        &deployment.id
    );
    let anchor = *entropy("anchor", 0);
    let attested = spec::attested_instance_id(NAME, &deployment.committee_public, &anchor);
    let name = NAME.parse().unwrap();
    assert_eq!(
        Instance::attested(name, committee, Digest::new(anchor))
            .id()
            .as_bytes(),
        &attested
    );

    json!({
        "inputs": { "name": NAME, "committee_secret": hex(SECRET), "anchor": hex(anchor) },
        "outputs": {
            "committee_seed": hex(deployment.committee_seed),
            "committee_public": hex(deployment.committee_public),
            "group_secret": hex(group),
            "instance_id": hex(deployment.id),
            "attested_instance_id": hex(attested),
        },
    })
}

/// `bundles.json`.
pub fn bundles() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let world = World::new(SERVERS, CLIENTS);
    for (server, api) in parties.servers.iter().zip(&world.servers) {
        assert_eq!(api.admitted.id().as_bytes(), &server.id);
        assert_eq!(api.admitted.digest().as_bytes(), &server.digest);
        assert_eq!(
            world.instance.server_id(&PeerKey::new(server.peer)),
            *api.admitted.id()
        );
        assert_eq!(wire(api.admitted.bundle()), server.wire);
    }
    for (client, api) in parties.clients.iter().zip(&world.clients) {
        assert_eq!(api.sealer.id().as_bytes(), &client.id);
        assert_eq!(wire(api.sealer.bundle()), client.bundle_wire());
        let transport = signing("client transport", api.index);
        let withdrawal = Withdrawal::sign(&world.instance, api.sealer.id(), &transport);
        assert_eq!(wire(&withdrawal), client.withdrawal_wire());
    }
    json!({
        "instance_id": hex(parties.deployment.id),
        "committee_seed": hex(parties.deployment.committee_seed),
        "servers": parties.servers.iter().map(Server::vector).collect::<Vec<_>>(),
        "clients": parties.clients.iter().map(Client::vector).collect::<Vec<_>>(),
    })
}

/// `aggregators.json`.
pub fn aggregators() -> Value {
    let deployment = Deployment::new();
    let seed = *entropy("aggregator transport", 0);
    let peer = spec::ed25519_public(&seed);
    let length = u32::try_from(NAME.len()).unwrap().to_be_bytes();
    let admission_body = cat(&[&length, NAME.as_bytes(), &peer]);
    let admission = spec::sign(
        &deployment.committee_seed,
        "zipnet/aggregator-admission/v1",
        &admission_body,
    );
    let door = Door::new(0);
    let body = cat(&[&deployment.id, &peer, &door.body()]);
    let signature = spec::sign(&seed, "zipnet/aggregator-bundle/v2", &body);
    let encoded = cat(&[&peer, &door.wire(), &[1], &admission, &signature]);

    let world = World::new(SERVERS, CLIENTS);
    let transport = signing("aggregator transport", 0);
    let ours = Admission::sign(
        world.instance.name(),
        &transport.peer_key(),
        &world.committee,
    );
    assert_eq!(ours.to_string(), hex(&admission));
    let bundle = AggregatorBundle::sign(&world.instance, Some(ours), &transport, whereabouts(0));
    assert_eq!(wire(&bundle), encoded);
    assert_eq!(
        bundle.verify(&world.instance, |_| false),
        Ok(transport.peer_key())
    );
    json!({
        "inputs": { "transport_seed": hex(seed), "peer": hex(peer), "door": door.vector() },
        "outputs": {
            "admission_body": hex(admission_body),
            "admission": hex(admission),
            "body": hex(body),
            "signature": hex(signature),
            "wire": hex(encoded),
        },
    })
}

/// `invites.json`.
pub fn invites() -> Value {
    let parties = Parties::new(SERVERS, CLIENTS);
    let deployment = &parties.deployment;
    let seed = *entropy("invite", 0);
    let key = spec::ed25519_public(&seed);
    let length = u32::try_from(NAME.len()).unwrap().to_be_bytes();
    let body = cat(&[&length, NAME.as_bytes(), &key]);
    let committee = spec::sign(&deployment.committee_seed, "zipnet/client-invite/v1", &body);
    let client = parties.clients[0].id;
    let holder_body = cat(&[&deployment.id, &key, &client]);
    let holder = spec::sign(&seed, "zipnet/client-invite-holder/v1", &holder_body);
    let text = hex(cat(&[&seed, &committee]));
    let shown = cat(&[&key, &committee, &holder]);

    let world = World::new(SERVERS, CLIENTS);
    let invite = Invite::sign(
        world.instance.name(),
        &entropy("invite", 0),
        &world.committee,
    );
    assert_eq!(*invite.text(), text);
    let id = world.clients[0].sealer.id();
    let ours = invite.show(&world.instance, &id);
    assert_eq!(wire(&ours), shown);
    assert_eq!(ours.verify(&world.instance, &id), Ok(()));
    json!({
        "inputs": { "seed": hex(seed), "client_id": hex(client) },
        "outputs": {
            "key": hex(key),
            "body": hex(body),
            "committee_signature": hex(committee),
            "text": text,
            "holder_body": hex(holder_body),
            "holder_signature": hex(holder),
            "wire": hex(shown),
        },
    })
}
