//! A committee and its clients, made of fixed seeds.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::error::Error;

use zeroize::Zeroizing;
use zipnet_protocol::{
    AdmittedServer, Aggregate, BroadcastRecord, Certification, Certifications, CertifiedRound,
    ClientBundle, ClientRegistry, CommitteeSecret, DhPublic, DhSecret, Digest, Epoch, Fold,
    Instance, LeastServers, Leaves, Message, Nonce, PadTable, Partial, PeerKey, RegisteredClient,
    RosterEntry, Round, RoundHeader, RoundParams, SealedEnvelope, Sealer, ServerBundle,
    SignedPartial, SigningSecret, SlotKey, Tally, Whereabouts,
};

/// The name of the deployment.
pub const NAME: &str = "acme.mix.test";
/// Its committee secret.
pub const SECRET: &[u8] = b"a committee secret for the tests";

/// Thirty-two bytes that belong to a label and a number.
pub fn entropy(label: &str, index: usize) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(*blake3::hash(format!("{label} {index}").as_bytes()).as_bytes())
}

/// An X25519 secret of fixed entropy.
pub fn dh(label: &str, index: usize) -> DhSecret {
    DhSecret::from_entropy(&entropy(label, index))
}

/// An Ed25519 secret of a fixed seed.
pub fn signing(label: &str, index: usize) -> SigningSecret {
    SigningSecret::from_seed(&entropy(label, index))
}

/// An error with all its causes, as a log line shows it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A server with all its secrets.
pub struct Server {
    pub index: usize,
    pub dh: DhSecret,
    pub signing: SigningSecret,
    pub admitted: AdmittedServer,
}

impl Server {
    pub fn new(instance: &Instance, committee: &SigningSecret, index: usize) -> Self {
        let dh = dh("server dh", index);
        let signing = signing("server signing", index);
        let boot = index as u64 + 1;
        let bundle = ServerBundle::sign(
            instance,
            &dh,
            &signing,
            &self::signing("server transport", index),
            committee,
            boot,
            whereabouts(index),
        );
        Self {
            index,
            dh,
            signing,
            admitted: bundle.verify(instance).unwrap(),
        }
    }

    pub fn entry(&self) -> RosterEntry {
        RosterEntry {
            server: *self.admitted.id(),
            bundle: *self.admitted.digest(),
        }
    }
}

/// Every other client takes part with any roster.
pub fn least_servers(index: usize) -> LeastServers {
    LeastServers::new(u32::from(index % 2 == 1))
}

/// A client with its sealer.
pub struct Client {
    pub index: usize,
    pub sealer: Sealer,
}

impl Client {
    pub fn new(instance: &Instance, index: usize) -> Self {
        let sealer = Sealer::new(
            instance,
            dh("client dh", index),
            SlotKey::from_entropy(entropy("client slot key", index)),
            least_servers(index),
            &signing("client transport", index),
        );
        Self { index, sealer }
    }
}

/// A deployment: servers and clients, each ascending by id, so that position
/// `i` of the registry is client `i`.
pub struct World {
    pub instance: Instance,
    pub committee: SigningSecret,
    /// The transport key of the aggregator.
    pub aggregator: SigningSecret,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    pub registry: ClientRegistry,
}

impl World {
    pub fn new(servers: usize, clients: usize) -> Self {
        let name = NAME.parse().unwrap();
        let secret = CommitteeSecret::new(Zeroizing::new(SECRET.to_vec()));
        let committee = secret.committee_key(&name);
        let instance = Instance::new(name, committee.public());
        let mut servers: Vec<_> = (0..servers)
            .map(|index| Server::new(&instance, &committee, index))
            .collect();
        servers.sort_by_key(|server| *server.admitted.id());
        let mut clients: Vec<_> = (0..clients)
            .map(|index| Client::new(&instance, index))
            .collect();
        clients.sort_by_key(|client| client.sealer.id());
        let registered = clients
            .iter()
            .map(|client| client.sealer.bundle().verify(&instance).unwrap())
            .collect();
        Self {
            instance,
            committee,
            aggregator: signing("aggregator transport", 0),
            servers,
            clients,
            registry: ClientRegistry::from_clients(registered),
        }
    }

    /// A bundle for another X25519 key than a sealer's, rightly signed.
    pub fn client_bundle(&self, dh: &DhPublic, transport: &SigningSecret) -> ClientBundle {
        ClientBundle::sign(&self.instance, dh, LeastServers::ALL, transport)
    }

    /// A registered client that has no sealer.
    pub fn registered(&self, index: usize) -> RegisteredClient {
        self.client_bundle(
            &dh("client dh", index).public(),
            &signing("client transport", index),
        )
        .verify(&self.instance)
        .unwrap()
    }

    pub fn admitted(&self) -> Vec<AdmittedServer> {
        self.servers
            .iter()
            .map(|server| server.admitted.clone())
            .collect()
    }

    pub fn bundles(&self) -> Vec<ServerBundle> {
        self.servers
            .iter()
            .map(|server| server.admitted.bundle().clone())
            .collect()
    }

    /// A right header of round `number`.
    pub fn header(&self, params: RoundParams, number: usize) -> RoundHeader {
        RoundHeader {
            instance: *self.instance.id(),
            epoch: Epoch::new(*entropy("epoch", 0)),
            number: number as u64,
            nonce: Nonce::new(*entropy("nonce", number)),
            previous: Digest::ZERO,
            params,
            min_participants: 1,
            floor: 1,
            committee_size: u32::try_from(self.servers.len()).unwrap(),
            roster: self.servers.iter().map(Server::entry).collect(),
            clients: u32::try_from(self.registry.len()).unwrap(),
            registry: self.registry.root(),
            aggregator: self.aggregator.peer_key(),
            leaves: Leaves::default(),
        }
    }

    /// Signs as the first server of the committee, and has all certify it.
    pub fn open(&self, header: RoundHeader) -> CertifiedRound {
        let opener = &self.servers[0];
        let round = header
            .sign(*opener.admitted.id(), &opener.signing)
            .verify_with(&self.instance, self.admitted())
            .unwrap();
        self.certify(&round)
    }

    /// Has every server of the roster certify a round.
    pub fn certify(&self, round: &Round) -> CertifiedRound {
        let mut all = Certifications::default();
        let mut certified = None;
        for server in self.servers.iter().filter(|server| {
            let id = server.admitted.id();
            round.server(id).is_some()
        }) {
            let id = *server.admitted.id();
            let signed = Certification::sign(*round.context(), id, &server.signing);
            assert!(certified.is_none(), "certified without every server");
            certified = all.add(round, &signed).unwrap();
        }
        certified.unwrap()
    }

    /// An envelope of a client with a vector of one's choice.
    pub fn envelope(&self, round: &Round, client: usize, vector: Vec<u8>) -> SealedEnvelope {
        let client = &self.clients[client];
        SealedEnvelope::sign(
            *round.context(),
            client.sealer.id(),
            vector.into(),
            round.header().params,
            &signing("client transport", client.index),
        )
    }

    /// Seals for some clients: position, and message or cover.
    pub fn seal(
        &mut self,
        round: &CertifiedRound,
        who: impl IntoIterator<Item = (usize, Option<Vec<u8>>)>,
    ) -> Vec<(u32, SealedEnvelope)> {
        let params = round.header().params;
        who.into_iter()
            .map(|(client, message)| {
                let message = message.map(|bytes| Message::new(bytes, &params).unwrap());
                self.clients[client]
                    .sealer
                    .seal(round, message.as_ref())
                    .unwrap()
            })
            .collect()
    }

    /// A fold with nothing in it.
    pub fn empty(&self, round: &Round) -> Fold {
        Fold::new(*round.context(), round.header(), self.registry.len())
    }

    pub fn fold<'a>(
        &self,
        round: &Round,
        envelopes: impl IntoIterator<Item = &'a SealedEnvelope>,
    ) -> Aggregate {
        let mut fold = self.empty(round);
        for envelope in envelopes {
            fold.add(&self.registry, envelope).unwrap();
        }
        fold.finish(&self.aggregator)
    }

    pub fn partial(&self, round: &Round, aggregate: &Aggregate, server: usize) -> Partial {
        let server = &self.servers[server];
        Partial::compute(
            round,
            &aggregate
                .check(round.context(), round.header(), &self.registry)
                .unwrap(),
            &PadTable::agree(&server.dh, &self.registry, None).unwrap(),
            *server.admitted.id(),
            &server.signing,
        )
    }

    /// A server's partial, signed for the commitments of all.
    pub fn give(&self, partial: &Partial, commitments: Digest) -> SignedPartial {
        let server = self
            .servers
            .iter()
            .find(|server| server.admitted.id() == partial.server())
            .unwrap();
        partial.sign(commitments, &server.signing)
    }

    /// All partials of an aggregate, tallied.
    pub fn unblind(&self, round: &Round, aggregate: &Aggregate) -> BroadcastRecord {
        let checked = aggregate
            .check(round.context(), round.header(), &self.registry)
            .unwrap();
        let mut tally = Tally::new(&checked);
        let partials: Vec<_> = (0..self.servers.len())
            .map(|server| self.partial(round, aggregate, server))
            .collect();
        for partial in &partials {
            tally
                .commit(round, *partial.server(), partial.commitment())
                .unwrap();
        }
        let commitments = tally.committed(round).unwrap();
        let mut record = None;
        for partial in partials {
            assert!(record.is_none(), "finalized without every server");
            let signed = self.give(&partial, commitments);
            record = tally.add(round, signed).unwrap();
        }
        record.unwrap()
    }

    /// A record of a whole round in which every client takes part, those with
    /// a message speaking.
    pub fn record(
        &mut self,
        round: &CertifiedRound,
        messages: &[Option<&[u8]>],
    ) -> BroadcastRecord {
        let who: Vec<_> = (0..self.clients.len())
            .map(|client| {
                let message = messages.get(client).copied().flatten();
                (client, message.map(<[u8]>::to_vec))
            })
            .collect();
        let sealed = self.seal(round, who);
        let aggregate = self.fold(round, sealed.iter().map(|(_, envelope)| envelope));
        self.unblind(round, &aggregate)
    }
}

/// Where the first servers are: each byte of the member's key, and addresses.
pub const DOORS: [(u8, &[&str]); 2] =
    [(0x5a, &["192.0.2.7:4410", "[2001:db8::7]:65535"]), (0, &[])];

/// Where a server is, as [`DOORS`] says.
pub fn whereabouts(index: usize) -> Whereabouts {
    let (key, addresses) = DOORS[index % DOORS.len()];
    let addresses = addresses.iter().map(|text| text.parse().unwrap());
    Whereabouts::new(PeerKey::new([key; 32]), addresses)
}
