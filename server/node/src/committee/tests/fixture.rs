//! A committee and its clients in memory, made of fixed seeds.

use std::sync::Arc;

use zeroize::Zeroizing;
use zipnet_protocol::{
    Admission, AdmittedServer, Aggregate, AggregatorBundle, Certification, Certifications,
    CertifiedRound, ClientBundle, ClientRegistry, CommitteeSecret, DhSecret, Digest, Epoch, Fold,
    Instance, LeastServers, Message, Partial, RosterEntry, Round, RoundHeader, RoundParams, Sealer,
    SignedPartial, SigningSecret, SlotKey, commitments_digest,
};

pub use super::server::{Server, agreeing, entropy, nonce};
use crate::{
    committee::{
        command::{Command, Order, PartialCommitment},
        state::{Applied, CommitteeState, Final, InFlight, Refusal},
    },
    settings::{AggregatorRules, ClientRules, CommitteeRules},
};

/// The epoch that honest leaders of these tests pick.
pub const EPOCH: Epoch = Epoch::new([0xee; 32]);

/// A deployment: servers (in their first boot) and clients, each ascending by
/// id, so that position `i` of the full registry is client `i`.
pub struct World {
    pub rules: Arc<CommitteeRules>,
    pub committee: SigningSecret,
    pub servers: Vec<Server>,
    clients: Vec<usize>,
    seeds: Vec<usize>,
}

impl World {
    /// A committee of a configured size; every round needs all servers, and
    /// two clients.
    pub fn new(servers: usize, clients: usize) -> Self {
        Self::with(servers, clients, |_| {})
    }

    pub fn with(servers: usize, clients: usize, adjust: impl Fn(&mut CommitteeRules)) -> Self {
        let name = "acme.mix.test".parse().unwrap();
        let secret = CommitteeSecret::new(Zeroizing::new(b"a secret for the tests".to_vec()));
        let committee = secret.committee_key(&name);
        let mut rules = CommitteeRules {
            instance: Instance::new(name, committee.public()),
            trust: None,
            params: RoundParams::new(4, 64).unwrap(),
            min_participants: 2,
            committee_size: Some(u32::try_from(servers).unwrap()),
            min_servers: None,
            clients_per_peer: 1,
            clients: ClientRules::Open,
            aggregators: AggregatorRules::default(),
        };
        adjust(&mut rules);
        let rules = Arc::new(rules);
        let mut seeds: Vec<_> = (0..servers).collect();
        seeds.sort_by_key(|seed| Server::new(&rules, &committee, *seed, 1).id());
        let servers = seeds
            .iter()
            .map(|seed| Server::new(&rules, &committee, *seed, 1))
            .collect();
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

    /// Another boot of a server, with fresh keys and an empty memory.
    pub fn reboot(&self, server: usize, boot: u64) -> Server {
        Server::new(&self.rules, &self.committee, self.seeds[server], boot)
    }

    /// A server that holds the committee secret and is none of the committee.
    pub fn newcomer(&self, seed: usize) -> Server {
        Server::new(&self.rules, &self.committee, 1000 + seed, 1)
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
    #[expect(clippy::unused_self, reason = "it is of a world, as the clients' are")]
    pub fn aggregator_transport(&self, seed: usize) -> SigningSecret {
        aggregator(seed)
    }

    /// The transport key of the aggregator that a round's header names.
    pub fn aggregator_of(&self, round: &Round) -> SigningSecret {
        let named = round.header().aggregator;
        let keys = (0..4).map(|seed| self.aggregator_transport(seed));
        let mut keys = keys.filter(|key| key.peer_key() == named);
        keys.next().unwrap_or_else(|| self.aggregator_transport(0))
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
            zipnet_protocol::Whereabouts::nowhere(),
        )
    }

    /// An order of a server in its first boot.
    pub fn say(&self, server: usize, order: &Order) -> Command {
        self.servers[server].say(&self.rules, order)
    }

    /// The state in which nothing has happened.
    pub fn cold(&self) -> CommitteeState {
        CommitteeState::new(self.rules.clone())
    }

    /// The state in which all servers and these clients are registered.
    pub fn founded_with(&self, clients: &[usize]) -> CommitteeState {
        let mut state = self.cold();
        for (at, server) in self.servers.iter().enumerate() {
            state.apply(&self.say(at, &server.registration())).unwrap();
        }
        let order = Order::RegisterAggregators(vec![self.aggregator(0)]);
        state.apply(&self.say(0, &order)).unwrap();
        if !clients.is_empty() {
            let order = Order::clients(self.client_bundles(clients));
            state.apply(&self.say(0, &order)).unwrap();
        }
        state
    }

    /// The state in which all servers and clients are registered.
    pub fn founded(&self) -> CommitteeState {
        let all: Vec<_> = (0..self.clients.len()).collect();
        self.founded_with(&all)
    }

    /// The header that an honest leader of this state would open with.
    pub fn header(&self, state: &CommitteeState) -> RoundHeader {
        let number = state.opened() + 1;
        RoundHeader {
            instance: *self.rules.instance.id(),
            epoch: state.epoch().unwrap_or(EPOCH),
            number,
            nonce: nonce(number),
            previous: state.previous(),
            params: self.rules.params,
            min_participants: self.rules.min_participants,
            floor: state.floor(),
            committee_size: state.committee_size(),
            roster: state.servers().values().map(entry).collect(),
            clients: u32::try_from(state.clients().len()).unwrap(),
            registry: state.clients().root(),
            aggregator: state
                .next_aggregator()
                .unwrap_or_else(|| self.aggregator_transport(0).peer_key()),
        }
    }

    /// A server's command to open a round.
    pub fn open_with(&self, server: usize, header: RoundHeader) -> Command {
        let opener = &self.servers[server];
        let signed = header.sign(opener.id(), &opener.signing);
        self.say(server, &Order::OpenRound(signed))
    }

    /// Opens the next round, led by the first server, without certifying it.
    pub fn open_only(&self, state: &mut CommitteeState) -> Arc<Round> {
        let command = self.open_with(0, self.header(state));
        match state.apply(&command).unwrap() {
            Applied::Opened { round, .. } => round,
            other => panic!("{other:?}"),
        }
    }

    /// Opens the next round, led by the first server, and has all certify it.
    pub fn open(&mut self, state: &mut CommitteeState) -> Arc<CertifiedRound> {
        self.open_only(state);
        self.certify(state)
    }

    /// Has every server of the open round's roster certify it.
    pub fn certify(&mut self, state: &mut CommitteeState) -> Arc<CertifiedRound> {
        for server in self.roster(state) {
            let command = self.certification(server, state);
            state.apply(&command).unwrap();
        }
        let current = state.current().unwrap();
        current.certified.clone().expect("certified")
    }

    /// The servers of the open round's roster.
    fn roster(&self, state: &CommitteeState) -> Vec<usize> {
        let round = &state.current().unwrap().round;
        (0..self.servers.len())
            .filter(|server| {
                let registered = round.server(&self.servers[*server].id());
                registered == Some(&self.servers[*server].admitted)
            })
            .collect()
    }

    /// A server's word for the open round.
    pub fn certification(&mut self, server: usize, state: &CommitteeState) -> Command {
        let certification = self.servers[server].certify(state).unwrap();
        self.say(server, &Order::Certify(certification))
    }

    /// The honest aggregate of these clients in a round; each says its number.
    pub fn fold(&self, current: &InFlight, clients: &[usize]) -> Aggregate {
        let mut fold = Fold::new(
            *current.round.context(),
            current.round.header(),
            current.registry.len(),
        );
        let round = current.certified.as_deref().cloned();
        let round = round.unwrap_or_else(|| certified_anyhow(&self.servers, &current.round));
        for client in clients {
            let text = format!("client {client}").into_bytes();
            let message = Message::new(text, &self.rules.params).unwrap();
            let (_, envelope) = self.client(*client).seal(&round, Some(&message)).unwrap();
            fold.add(&current.registry, &envelope).unwrap();
        }
        fold.finish(&self.aggregator_of(&current.round))
    }

    /// Gets the aggregate of these clients committed, by way of server 0.
    pub fn aggregate(&self, state: &mut CommitteeState, clients: &[usize]) {
        self.aggregate_by(0, state, clients);
    }

    /// The same by way of another server.
    pub fn aggregate_by(&self, server: usize, state: &mut CommitteeState, clients: &[usize]) {
        let aggregate = self.fold(state.current().unwrap(), clients);
        let command = self.say(server, &Order::SubmitAggregate(aggregate));
        assert!(matches!(
            state.apply(&command).unwrap(),
            Applied::Aggregated
        ));
    }

    /// A server's commitment to its partial of the committed aggregate.
    pub fn commitment(&mut self, server: usize, state: &CommitteeState) -> Command {
        let current = state.current().unwrap();
        let tally = current.tally.as_ref().unwrap();
        let partial = self.servers[server]
            .unblind(&current.round, &current.registry, tally.aggregate())
            .unwrap();
        self.say(server, &commitment(&partial))
    }

    /// Has every server of the roster commit to its partial.
    pub fn commit(&mut self, state: &mut CommitteeState) {
        for server in self.roster(state) {
            let tally = state.current().unwrap().tally.as_ref().unwrap();
            if tally.commitment(&self.servers[server].id()).is_none() {
                let command = self.commitment(server, state);
                state.apply(&command).unwrap();
            }
        }
    }

    /// A server's command with its partial of the committed aggregate.
    pub fn partial(&mut self, server: usize, state: &CommitteeState) -> Command {
        let current = state.current().unwrap();
        let tally = current.tally.as_ref().unwrap();
        let asked = &mut self.servers[server];
        let partial = asked
            .unblind(&current.round, &current.registry, tally.aggregate())
            .unwrap();
        let signed = asked.give(&partial, &current.round, tally);
        self.say(server, &Order::SubmitPartial(signed))
    }

    /// Gets the partials of these servers committed.
    pub fn partials(
        &mut self,
        state: &mut CommitteeState,
        servers: &[usize],
    ) -> Option<Arc<Final>> {
        self.commit(state);
        let mut last = None;
        for server in servers {
            let command = self.partial(*server, state);
            last = match state.apply(&command).unwrap() {
                Applied::Finalized(done) => Some(done),
                Applied::Unblinded => None,
                other => panic!("{other:?}"),
            };
        }
        last
    }

    /// Plays a whole round with these clients.
    pub fn play(&mut self, state: &mut CommitteeState, clients: &[usize]) -> Arc<Final> {
        self.open(state);
        self.aggregate(state, clients);
        let roster = self.roster(state);
        self.partials(state, &roster).unwrap()
    }
}

/// An open round in some state that says so.
pub fn in_flight(round: Round, registry: Arc<ClientRegistry>) -> InFlight {
    InFlight {
        round: Arc::new(round),
        registry,
        certifications: Certifications::default(),
        certified: None,
        tally: None,
    }
}

/// The clients that a record's participants refer to, as a reminder brings them.
pub fn registry_of(done: &Arc<Final>) -> Vec<ClientBundle> {
    let clients = done.registry.iter();
    clients.map(|client| client.bundle().clone()).collect()
}

/// Partials that their servers sign for the commitments to them, whatever they ought to.
pub fn give_all(servers: &[&Server], partials: &[Partial]) -> Vec<SignedPartial> {
    let Some(first) = partials.first() else {
        return Vec::new();
    };
    let all = partials.iter().map(|one| (one.server(), one.commitment()));
    let commitments = commitments_digest(first.context(), first.aggregate(), all);
    let signing = |partial: &Partial| {
        let server = servers
            .iter()
            .find(|server| server.id() == *partial.server());
        partial.sign(commitments, &server.unwrap().signing)
    };
    partials.iter().map(signing).collect()
}

/// A server's order that gives a partial, for what all have committed to.
pub fn giving(server: &Server, partial: &Partial, state: &CommitteeState) -> Order {
    let current = state.current().unwrap();
    let tally = current.tally.as_ref().unwrap();
    Order::SubmitPartial(server.give(partial, &current.round, tally))
}

/// A server's order that commits to a partial.
pub fn commitment(partial: &Partial) -> Order {
    Order::CommitPartial(PartialCommitment {
        context: *partial.context(),
        aggregate: *partial.aggregate(),
        commitment: partial.commitment(),
    })
}

/// A round that its roster certifies whatever the guards would say.
pub fn certified_anyhow(servers: &[Server], round: &Round) -> CertifiedRound {
    let mut all = Certifications::default();
    let mut certified = None;
    for server in servers {
        if round.server(&server.id()).is_some() {
            let word = Certification::sign(*round.context(), server.id(), &server.signing);
            certified = all.add(round, &word).unwrap();
        }
    }
    certified.unwrap()
}

/// The transport key of an aggregator of these tests.
pub fn aggregator(seed: usize) -> SigningSecret {
    SigningSecret::from_seed(&entropy("aggregator transport", seed, 0))
}

pub fn entry(server: &AdmittedServer) -> RosterEntry {
    RosterEntry {
        server: *server.id(),
        bundle: *server.digest(),
    }
}

/// The whole state, byte for byte.
pub fn bytes(state: &CommitteeState) -> Vec<u8> {
    postcard::to_stdvec(&state.snapshot()).unwrap()
}

/// Applies a command that must be refused, and change nothing by that.
pub fn refuse(state: &mut CommitteeState, command: &Command) -> Refusal {
    let before = bytes(state);
    let refusal = state.apply(command).expect_err("refused");
    assert!(
        bytes(state) == before,
        "a refused command changed the state"
    );
    refusal
}

/// Applies a command that must be accepted.
pub fn accept(state: &mut CommitteeState, command: &Command) -> Applied {
    state.apply(command).expect("accepted")
}

/// The messages of a finalized round, in the order of their text.
pub fn messages(done: &Final) -> Vec<String> {
    let mut texts: Vec<_> = done
        .checked
        .messages()
        .map(|(_, bytes)| String::from_utf8(bytes).unwrap())
        .collect();
    texts.sort();
    texts
}

/// Any digest that is none of ours.
pub const NOBODY: Digest = Digest::new([0x99; 32]);
