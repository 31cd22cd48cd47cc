//! A committee in lockstep, for attacks that take many rounds: the real state, guards,
//! sealers, folds and records, and no network. Who hears what, who aggregates whom, and
//! what the last server submits, is the attack's choice.

use std::sync::Arc;

use zipnet_node::committee::{
    command::{Order, PartialCommitment},
    state::{Applied, CommitteeState, Final, Refusal},
};
use zipnet_protocol::{
    Aggregate, CertifiedRound, ClientRegistry, Epoch, Fold, Message, Nonce, RosterEntry, Round,
    SealedEnvelope, SignedPartial,
};

use crate::sim::{
    cast::{Cast, Shape, aggregator_of},
    client::Client,
    held::Memo,
    rng::Rng,
    rule::Rule,
    server::{Node, header_of},
};

/// The committee and its clients.
pub struct Stage {
    /// Chance.
    pub rng: Rng,
    /// The servers, whose guards remember.
    pub servers: Vec<Node>,
    /// The state that all of them have.
    pub state: CommitteeState,
    /// The clients, in the order of the registry.
    pub clients: Vec<Client>,
}

impl Stage {
    /// Everybody is registered.
    #[must_use]
    pub fn new(shape: &Shape, seed: u64, rule: impl Fn(u64) -> Box<dyn Rule>) -> Self {
        let mut rng = Rng::new(seed);
        let cast = Cast::new(shape);
        let mut memo = Memo::default();
        let mut state = CommitteeState::new(cast.rules.clone());
        let servers: Vec<_> = (0..shape.servers)
            .map(|index| {
                let held = memo.cold(state.clone());
                Node::new(&cast, cast.server(index, 1), 1, held)
            })
            .collect();
        for server in &servers {
            let registration = server.keys.registration();
            state
                .apply(&server.keys.say(&registration))
                .expect("a server");
        }
        let order = cast.aggregators();
        state
            .apply(&servers[0].keys.say(&order))
            .expect("aggregators");
        let process = rng.word();
        let mut clients: Vec<_> = (0..shape.clients)
            .map(|index| {
                let rule = rule(rng.word());
                Client::new(cast.client(index, process), rule, Vec::new())
            })
            .collect();
        clients.sort_by_key(Client::id);
        let bundles = Cast::bundles(clients.iter().map(|client| &client.sealer));
        let order = Order::clients(bundles);
        state.apply(&servers[0].keys.say(&order)).expect("clients");
        Self {
            rng,
            servers,
            state,
            clients,
        }
    }

    /// Opens the next round, and has all servers certify it.
    pub fn open(&mut self) -> Arc<CertifiedRound> {
        let roster = self.state.servers().values().map(|server| RosterEntry {
            server: *server.id(),
            bundle: *server.digest(),
        });
        let epoch = self
            .state
            .epoch()
            .unwrap_or(Epoch::new(*self.rng.entropy()));
        let nonce = Nonce::new(*self.rng.entropy());
        let header = header_of(&self.state, epoch, roster.collect(), nonce);
        let opener = &self.servers[0].keys;
        let signed = header.sign(opener.id(), &opener.signing);
        match self.state.apply(&opener.say(&Order::OpenRound(signed))) {
            Ok(Applied::Opened { .. }) => {}
            other => panic!("no round: {other:?}"),
        }
        for server in 0..self.servers.len() {
            let current = self.state.current().expect("an open round").clone();
            let node = &mut self.servers[server];
            node.held.state = self.state.clone();
            let word = node.stand_for(&current).expect("an honest round");
            let command = node.keys.say(&Order::Certify(word));
            self.state.apply(&command).expect("a certification");
        }
        let current = self.state.current().expect("an open round");
        current.certified.clone().expect("a certified round")
    }

    /// The registry of the open round.
    #[must_use]
    pub fn registry(&self) -> Arc<ClientRegistry> {
        let current = self.state.current().expect("an open round");
        current.registry.clone()
    }

    /// A client hears of a round, and seals.
    pub fn seal(&mut self, client: usize, round: &Arc<CertifiedRound>) -> Option<SealedEnvelope> {
        self.clients[client]
            .opened(round)
            .map(|sealed| sealed.envelope)
    }

    /// The aggregate of envelopes.
    #[must_use]
    pub fn fold(&self, round: &Round, envelopes: &[SealedEnvelope]) -> Aggregate {
        let registry = self.registry();
        let mut fold = Fold::new(*round.context(), round.header(), registry.len());
        for envelope in envelopes {
            fold.add(&registry, envelope).expect("an honest envelope");
        }
        fold.finish(aggregator_of(round.header()))
    }

    /// Hands an aggregate to the committee.
    ///
    /// # Errors
    /// What the state says to it.
    pub fn aggregate(&mut self, aggregate: Aggregate) -> Result<(), Refusal> {
        let order = Order::SubmitAggregate(aggregate);
        let command = self.servers[0].keys.say(&order);
        self.state.apply(&command).map(|_| ())
    }

    /// An honest server commits to its partial.
    pub fn commit(&mut self, server: usize) -> Option<()> {
        let current = self.state.current()?.clone();
        let tally = current.tally?;
        let node = &mut self.servers[server];
        let commitment = node
            .unblind(&current.round, &current.registry, tally.aggregate())
            .ok()?;
        let order = Order::CommitPartial(PartialCommitment {
            context: *current.round.context(),
            aggregate: *tally.digest(),
            commitment,
        });
        let command = node.keys.say(&order);
        self.state.apply(&command).ok().map(|_| ())
    }

    /// The partial of an honest server, if all have committed to theirs.
    #[must_use]
    pub fn partial(&mut self, server: usize) -> Option<SignedPartial> {
        let current = self.state.current()?.clone();
        self.servers[server].reveal(&current).ok()
    }

    /// All servers unblind, honestly.
    pub fn finalize(&mut self) -> Option<Arc<Final>> {
        for server in 0..self.servers.len() {
            self.commit(server)?;
        }
        let mut last = None;
        for server in 0..self.servers.len() {
            let partial = self.partial(server)?;
            last = self.submit(server, partial).or(last);
        }
        last
    }

    /// A server submits a partial; the record, if it was the last one.
    pub fn submit(&mut self, server: usize, partial: SignedPartial) -> Option<Arc<Final>> {
        let command = self.servers[server]
            .keys
            .say(&Order::SubmitPartial(partial));
        match self.state.apply(&command) {
            Ok(Applied::Finalized(done)) => Some(done),
            _ => None,
        }
    }

    /// Gives a client something to say.
    pub fn say(&mut self, client: usize, text: Message) {
        self.clients[client].rule.queue(text);
    }
}

/// The messages of a record.
#[must_use]
pub fn texts(done: &Final) -> Vec<Vec<u8>> {
    done.checked.messages().map(|(_, text)| text).collect()
}
