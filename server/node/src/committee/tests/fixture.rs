//! A committee and its clients in memory, made of fixed seeds.

use std::{ops::Deref, sync::Arc};

use zipnet::testing;
pub use zipnet::testing::{EPOCH, NOBODY, World as Plain, aggregator, entropy, entry, nonce};
use zipnet_protocol::{
    Aggregate, Certifications, CertifiedRound, ClientBundle, ClientRegistry, Partial, Round,
    RoundHeader,
};

pub use super::server::{Server, agreeing};
use crate::{
    committee::{
        command::{Command, Order, PartialCommitment},
        state::{Applied, CommitteeState, Final, InFlight, Refusal},
    },
    settings::{AggregatorRules, ClientRules, CommitteeRules},
};

/// A deployment whose servers replicate a state and guard themselves: what the protocol
/// alone knows of it, and these servers (in their first boot).
pub struct World {
    plain: Plain,
    pub rules: Arc<CommitteeRules>,
    pub servers: Vec<Server>,
}

impl Deref for World {
    type Target = Plain;

    fn deref(&self) -> &Plain {
        &self.plain
    }
}

impl World {
    /// A committee of a configured size; every round needs all servers, and
    /// two clients.
    pub fn new(servers: usize, clients: usize) -> Self {
        Self::with(servers, clients, |_| {})
    }

    pub fn with(servers: usize, clients: usize, adjust: impl Fn(&mut CommitteeRules)) -> Self {
        let (_, shape) = Plain::shape();
        let mut rules = CommitteeRules {
            instance: shape.instance,
            trust: None,
            params: shape.params,
            min_participants: shape.min_participants,
            committee_size: Some(u32::try_from(servers).unwrap()),
            min_servers: None,
            clients_per_peer: shape.clients_per_peer,
            clients: ClientRules::Open,
            aggregators: AggregatorRules::default(),
            leaves: 0,
        };
        adjust(&mut rules);
        let plain = Plain::with(servers, clients, |shape| {
            shape.instance = rules.instance.clone();
            shape.params = rules.params;
            shape.min_participants = rules.min_participants;
            shape.clients_per_peer = rules.clients_per_peer;
        });
        let rules = Arc::new(rules);
        let servers = (0..servers)
            .map(|at| Server::new(&rules, &plain.committee, plain.seed(at), 1))
            .collect();
        Self {
            plain,
            rules,
            servers,
        }
    }

    /// Another boot of a server, with fresh keys and an empty memory.
    pub fn reboot(&self, server: usize, boot: u64) -> Server {
        Server::new(&self.rules, &self.committee, self.seed(server), boot)
    }

    /// A server that holds the committee secret and is none of the committee.
    pub fn newcomer(&self, seed: usize) -> Server {
        Server::new(&self.rules, &self.committee, 1000 + seed, 1)
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
        let all: Vec<_> = (0..self.clients()).collect();
        self.founded_with(&all)
    }

    /// The header that an honest leader of this state would open with.
    pub fn header(&self, state: &CommitteeState) -> RoundHeader {
        let number = state.opened() + 1;
        let (aggregator, leaves) = state.next_aggregators().unzip();
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
            aggregator: aggregator.unwrap_or_else(|| self.aggregator_transport(0).peer_key()),
            leaves: leaves.unwrap_or_default(),
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
        let round = current.certified.as_deref().cloned();
        let round = round.unwrap_or_else(|| certified_anyhow(&self.servers, &current.round));
        self.fold_of(&round, &current.registry, clients)
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
    testing::certified_anyhow(servers.iter().map(|server| &server.keys), round)
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
