//! A deployment in memory.

use std::sync::Arc;

use zeroize::Zeroizing;
use zipnet_protocol::{
    Admission, Aggregate, AggregatorBundle, BroadcastRecord, CertifiedRound, ClientBundle,
    ClientRegistry, CommitteeSecret, DhSecret, Instance, LeastServers, Leaves, Message, Nonce,
    PadTable, Partial, PeerKey, Round, RoundHeader, RoundParams, Sealer, SigningSecret, SlotKey,
    Tally, Whereabouts,
};

use super::{
    Current, EPOCH, Final, Server, State, aggregator, certified_anyhow, entropy, entry, give_all,
    nonce, tree,
};
use crate::{settings::TrustSettings, wire::Published};

/// What the rounds of a deployment are like.
#[derive(Debug, Clone)]
pub struct Shape {
    pub instance: Instance,
    pub params: RoundParams,
    pub min_participants: u32,
    pub clients_per_peer: u32,
}

/// A deployment: servers (in their first boot) and clients, each ascending by
/// id, so that position `i` of the full registry is client `i`.
pub struct World {
    pub rules: Shape,
    pub committee: SigningSecret,
    pub servers: Vec<Server>,
    clients: Vec<usize>,
    seeds: Vec<usize>,
}

impl World {
    /// The committee key of these tests, and the shape of its rounds.
    pub fn shape() -> (SigningSecret, Shape) {
        let name = "acme.mix.test".parse().unwrap();
        let secret = CommitteeSecret::new(Zeroizing::new(b"a secret for the tests".to_vec()));
        let committee = secret.committee_key(&name);
        let shape = Shape {
            instance: Instance::new(name, committee.public()),
            params: RoundParams::new(4, 64).unwrap(),
            min_participants: 2,
            clients_per_peer: 1,
        };
        (committee, shape)
    }

    /// A committee of which every round needs two clients.
    pub fn new(servers: usize, clients: usize) -> Self {
        Self::with(servers, clients, |_| {})
    }

    pub fn with(servers: usize, clients: usize, adjust: impl FnOnce(&mut Shape)) -> Self {
        let (committee, mut rules) = Self::shape();
        adjust(&mut rules);
        let server = |seed: &usize| Server::new(&rules.instance, &committee, *seed, 1);
        let mut seeds: Vec<_> = (0..servers).collect();
        seeds.sort_by_key(|seed| server(seed).id());
        let servers = seeds.iter().map(server).collect();
        let mut world = Self {
            rules,
            committee,
            servers,
            clients: (0..clients).collect(),
            seeds,
        };
        let ids: Vec<_> = (0..clients).map(|at| world.client(at).id()).collect();
        world.clients.sort_by_key(|seed| ids[*seed]);
        world
    }

    /// What whoever trusts this committee sets, and no more.
    pub fn trust(&self) -> TrustSettings {
        let instance = &self.rules.instance;
        TrustSettings {
            name: instance.name().clone(),
            committee: Some(*instance.committee()),
            required: Vec::new(),
            committee_size: None,
            min_servers: None,
            min_participants: 1,
            aggregators: Vec::new(),
            authority: None,
        }
    }

    /// From what a server's keys are made.
    pub fn seed(&self, server: usize) -> usize {
        self.seeds[server]
    }

    /// How many clients there are.
    pub const fn clients(&self) -> usize {
        self.clients.len()
    }

    /// A client's sealer, as if it had sealed nothing yet.
    pub fn client(&self, client: usize) -> Sealer {
        let seed = self.clients[client];
        Sealer::new(
            &self.rules.instance,
            DhSecret::from_entropy(&entropy("client dh", seed, 0)),
            SlotKey::from_entropy(entropy("client slot key", seed, 0)),
            LeastServers::new(1),
            &self.client_transport(client),
        )
    }

    /// A client's bundle, if it asked for so many servers.
    pub fn client_asking(&self, client: usize, least: u32) -> ClientBundle {
        let seed = self.clients[client];
        ClientBundle::sign(
            &self.rules.instance,
            &DhSecret::from_entropy(&entropy("client dh", seed, 0)).public(),
            LeastServers::new(least),
            &self.client_transport(client),
        )
    }

    /// A client's transport key. A peer has as many clients as the rules let it.
    pub fn client_transport(&self, client: usize) -> SigningSecret {
        let peer = self.clients[client] / self.rules.clients_per_peer.max(1) as usize;
        SigningSecret::from_seed(&entropy("client transport", peer, 0))
    }

    /// An aggregate that was changed, signed again by the aggregator.
    pub fn resigned(&self, aggregate: Aggregate) -> Aggregate {
        Aggregate::sign(
            aggregate.context,
            aggregate.participants,
            aggregate.envelopes,
            aggregate.vector,
            &self.aggregator_transport(0),
        )
    }

    pub fn client_bundles(&self, clients: &[usize]) -> Vec<ClientBundle> {
        clients
            .iter()
            .map(|client| self.client(*client).bundle().clone())
            .collect()
    }

    /// The transport key of an aggregator.
    pub fn aggregator_transport(&self, seed: usize) -> SigningSecret {
        aggregator(seed)
    }

    /// The transport key of the aggregator that a round's header names.
    pub fn aggregator_of(&self, round: &Round) -> SigningSecret {
        let named = self.transport_of(&round.header().aggregator);
        named.unwrap_or_else(|| self.aggregator_transport(0))
    }

    /// The transport key of an aggregator.
    fn transport_of(&self, peer: &PeerKey) -> Option<SigningSecret> {
        let mut keys = (0..4).map(|seed| self.aggregator_transport(seed));
        keys.find(|key| key.peer_key() == *peer)
    }

    /// The bundle of an admitted aggregator.
    pub fn aggregator(&self, seed: usize) -> AggregatorBundle {
        let transport = self.aggregator_transport(seed);
        let instance = &self.rules.instance;
        let admission = Admission::sign(instance.name(), &transport.peer_key(), &self.committee);
        AggregatorBundle::sign(
            instance,
            Some(admission),
            &transport,
            Whereabouts::nowhere(),
        )
    }

    /// The honest aggregate of these clients in a round; each says its number.
    pub fn fold_of(
        &self,
        round: &CertifiedRound,
        registry: &ClientRegistry,
        clients: &[usize],
    ) -> Aggregate {
        self.fold_without(round, registry, clients, &[])
    }

    /// As [`World::fold_of`], where some leaves are silent: their clients go to the aggregator.
    pub fn fold_without(
        &self,
        round: &CertifiedRound,
        registry: &ClientRegistry,
        clients: &[usize],
        silent: &[PeerKey],
    ) -> Aggregate {
        let envelopes = clients.iter().map(|client| {
            let text = format!("client {client}").into_bytes();
            let message = Message::new(text, &self.rules.params).unwrap();
            let (_, envelope) = self.client(*client).seal(round, Some(&message)).unwrap();
            let checked = envelope.check(round.context(), round.header(), registry);
            checked.unwrap()
        });
        let envelopes: Vec<_> = envelopes.collect();
        let root = self.aggregator_of(round);
        tree::aggregate(round.header(), registry, &envelopes, &root, |leaf| {
            self.transport_of(leaf)
                .filter(|key| !silent.contains(&key.peer_key()))
        })
    }
}

/// Rounds, of which all servers are. They take a world that may be changed, as those of a
/// world whose servers remember do: tests of either read alike.
impl World {
    /// The state in which these clients are registered.
    pub fn founded_with(&self, clients: &[usize]) -> State {
        let bundles = self.client_bundles(clients);
        let clients = ClientRegistry::verify(&self.rules.instance, &bundles).unwrap();
        State {
            clients: Arc::new(clients),
            min_participants: self.rules.min_participants,
            epoch: None,
            opened: 0,
            head: None,
            current: None,
        }
    }

    /// The state in which all clients are registered.
    pub fn founded(&self) -> State {
        let all: Vec<_> = (0..self.clients.len()).collect();
        self.founded_with(&all)
    }

    /// The header that an honest leader of this state would open with.
    pub fn header(&self, state: &State) -> RoundHeader {
        let number = state.opened + 1;
        RoundHeader {
            instance: *self.rules.instance.id(),
            epoch: state.epoch.unwrap_or(EPOCH),
            number,
            nonce: nonce(number),
            previous: state.previous(),
            params: self.rules.params,
            min_participants: self.rules.min_participants,
            floor: state.floor(),
            committee_size: u32::try_from(self.servers.len()).unwrap(),
            roster: self
                .servers
                .iter()
                .map(|server| entry(&server.admitted))
                .collect(),
            clients: u32::try_from(state.clients.len()).unwrap(),
            registry: state.clients.root(),
            aggregator: self.aggregator_transport(0).peer_key(),
            leaves: Leaves::default(),
        }
    }

    /// Opens a round with a header, by the first server, and has its roster certify it.
    pub fn open_with(&mut self, state: &mut State, header: RoundHeader) -> Arc<CertifiedRound> {
        self.opened(state, header)
    }

    fn opened(&self, state: &mut State, header: RoundHeader) -> Arc<CertifiedRound> {
        let opener = &self.servers[0];
        state.epoch = Some(header.epoch);
        state.opened = header.number;
        let signed = header.sign(opener.id(), &opener.signing);
        let servers = self.servers.iter().map(|server| server.admitted.clone());
        let round = signed.verify_with(&self.rules.instance, servers).unwrap();
        let certified = Arc::new(certified_anyhow(&self.servers, &round));
        state.current = Some(Current {
            round: Arc::new(round),
            registry: state.clients.clone(),
            certified: Some(certified.clone()),
            tally: None,
        });
        certified
    }

    /// Opens the next round and has all certify it.
    pub fn open(&mut self, state: &mut State) -> Arc<CertifiedRound> {
        let header = self.header(state);
        self.open_with(state, header)
    }

    /// The honest aggregate of these clients in the open round.
    pub fn fold(&self, current: &Current, clients: &[usize]) -> Aggregate {
        let round = current.certified.as_ref().unwrap();
        self.fold_of(round, &current.registry, clients)
    }

    /// Aggregates these clients.
    pub fn aggregate(&self, state: &mut State, clients: &[usize]) {
        let aggregate = self.fold(state.current().unwrap(), clients);
        self.submit(state, &aggregate);
    }

    /// Takes an aggregate for the open round.
    pub fn submit(&self, state: &mut State, aggregate: &Aggregate) {
        let current = state.current.as_mut().unwrap();
        let (round, registry) = (&current.round, &current.registry);
        let checked = aggregate.check(round.context(), round.header(), registry);
        current.tally = Some(Tally::new(&checked.unwrap()));
    }

    /// Has these servers unblind, who are the roster, and yields what comes of it.
    pub fn partials(&mut self, state: &mut State, servers: &[usize]) -> Option<Arc<Final>> {
        let current = state.current.take().unwrap();
        let (round, registry) = (&current.round, current.registry);
        let mut tally = current.tally.unwrap();
        let aggregate = tally.aggregate().clone();
        let checked = aggregate.check(round.context(), round.header(), &registry);
        let checked = checked.unwrap();
        let roster: Vec<_> = servers.iter().map(|at| &self.servers[*at]).collect();
        let mut partials = Vec::new();
        for server in &roster {
            let pads = PadTable::agree(&server.dh, &registry, None).unwrap();
            let partial = Partial::compute(round, &checked, &pads, server.id(), &server.signing);
            tally
                .commit(round, server.id(), partial.commitment())
                .unwrap();
            partials.push(partial);
        }
        let given = give_all(&roster, &partials);
        let records = given
            .into_iter()
            .filter_map(|partial| tally.add(round, partial).unwrap());
        let record = records.last()?;
        let done = Arc::new(Final {
            checked: record.verify_in((**round).clone()).unwrap(),
            published: Published {
                bundles: round.bundles(),
                record,
            },
            registry,
        });
        state.head = Some(done.clone());
        Some(done)
    }

    /// Plays a whole round with these clients.
    pub fn play(&mut self, state: &mut State, clients: &[usize]) -> Arc<Final> {
        self.open(state);
        self.aggregate(state, clients);
        let all: Vec<_> = (0..self.servers.len()).collect();
        self.partials(state, &all).unwrap()
    }

    /// A record that `signers` make up among themselves.
    pub fn made_up(
        &self,
        state: &State,
        signers: &[&Server],
        change: impl FnOnce(&mut RoundHeader),
    ) -> Published {
        let mut current = state.clone();
        self.opened(&mut current, self.header(state));
        let aggregate = self.fold(current.current().unwrap(), &[0, 1]);
        let header = self.header(state);
        made_up(self, &header, &state.clients, aggregate, signers, change)
    }
}

/// A record that `signers` make up among themselves, of a header and an aggregate that are
/// changed for that.
pub fn made_up(
    world: &World,
    honest: &RoundHeader,
    registry: &ClientRegistry,
    mut aggregate: Aggregate,
    signers: &[&Server],
    change: impl FnOnce(&mut RoundHeader),
) -> Published {
    let mut roster: Vec<_> = signers.iter().map(|server| server.entry()).collect();
    roster.sort_by_key(|entry| entry.server);
    let mut header = RoundHeader {
        nonce: Nonce::new([7; 32]),
        roster,
        ..honest.clone()
    };
    header.number = 9;
    change(&mut header);
    let header = header.sign(signers[0].id(), &signers[0].signing);
    let servers = signers.iter().map(|server| server.admitted.clone());
    let round = header.verify_with(&world.rules.instance, servers).unwrap();
    aggregate.context = *round.context();
    let aggregate = world.resigned(aggregate);
    let mut partials: Vec<_> = signers
        .iter()
        .map(|server| server.unblind_anything(&round, registry, &aggregate))
        .collect();
    partials.sort_by_key(|partial| *partial.server());
    let partials = give_all(signers, &partials);
    let record = BroadcastRecord {
        header,
        aggregate,
        partials,
    };
    record
        .verify_in(round.clone())
        .expect("it verifies by itself");
    Published {
        record,
        bundles: round.bundles(),
    }
}
