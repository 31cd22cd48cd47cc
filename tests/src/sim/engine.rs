//! The event loop: servers, their log, clients, the aggregator, and what befalls them.

use std::sync::Arc;

use zipnet::testing::tree;
use zipnet_node::committee::{
    command::Order,
    state::{Applied, CommitteeState, InFlight},
};
use zipnet_protocol::{
    Aggregate, CertifiedRound, ClientRegistry, Fold, RoundContext, SealedEnvelope, ServerId,
};

use super::{
    Plan, byzantine,
    cast::{AGGREGATORS, Cast, aggregator, aggregator_of, key_of},
    client::Client,
    held::{Held, Memo, Numbered},
    queue::{Micros, Queue},
    rng::Rng,
    server::{Act, Node},
    watch::{Seen, Violation, Watch},
};

/// How often a server looks about, if nothing happens.
const TICK: Micros = 20_000;
/// How often a client asks a server again.
const POLL: Micros = 60_000;
/// How soon the aggregator turns to another server.
const AGAIN: Micros = 12_000;
/// How long the aggregator collects.
const FOLD: Micros = 15_000;
/// How long things stay as they are, at least and at most.
const CALM: (Micros, Micros) = (40_000, 500_000);

#[derive(Debug)]
enum Event {
    Tick(usize),
    /// A command reaches the leader of a log.
    Arrive(usize, usize, Numbered),
    /// The log hands a command to a server.
    Deliver(usize, usize, bool, Numbered),
    /// A client hears from a server.
    Look(usize, usize),
    Poll(usize),
    /// An envelope reaches the aggregator.
    Offer(SealedEnvelope, u32),
    /// The aggregator hears of a round.
    Collect(Arc<CertifiedRound>, Arc<ClientRegistry>),
    Fold(RoundContext),
    /// An aggregate reaches a server.
    Aggregate(usize, Aggregate),
    Trouble,
}

/// A log, as its leader has it.
#[derive(Debug, Clone)]
struct Log {
    leader: usize,
    /// When each server got its last entry.
    last: Vec<Micros>,
    /// Whether the leader shows different servers different logs.
    lies: bool,
}

struct Collecting {
    round: Arc<CertifiedRound>,
    registry: Arc<ClientRegistry>,
    fold: Fold,
}

/// A committee with its clients, in one thread.
pub struct Engine {
    plan: Plan,
    rng: Rng,
    queue: Queue<Event>,
    cast: Cast,
    memo: Memo,
    nodes: Vec<Node>,
    /// Which log each server follows.
    follows: Vec<usize>,
    logs: Vec<Log>,
    clients: Vec<Client>,
    processes: u64,
    /// Messages that anybody thought of.
    said: u64,
    collecting: Option<Collecting>,
    /// Of a thousand messages so many get lost.
    loss: u32,
    watch: Watch,
}

impl Engine {
    /// Everything that belongs to a seed.
    #[must_use]
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let shape = plan.shape;
        let cast = Cast::new(&shape);
        let mut memo = Memo::default();
        let cold = memo.cold(CommitteeState::new(cast.rules.clone()));
        let mut nodes: Vec<_> = (0..shape.servers)
            .map(|index| Node::new(&cast, cast.server(index, 1), 1, cold.clone()))
            .collect();
        for _ in 0..plan.byzantine {
            let chosen = rng.below(shape.servers);
            if let Some(node) = nodes.get_mut(chosen) {
                node.byzantine = true;
            }
        }
        let mut engine = Self {
            follows: vec![0; shape.servers],
            logs: vec![Log {
                leader: rng.below(shape.servers),
                last: vec![0; shape.servers],
                lies: false,
            }],
            plan: plan.clone(),
            rng,
            queue: Queue::default(),
            cast,
            memo,
            nodes,
            clients: Vec::new(),
            processes: 0,
            said: 0,
            collecting: None,
            loss: 0,
            watch: Watch::new(seed),
        };
        for index in 0..shape.clients {
            let client = engine.start_client(index);
            engine.clients.push(client);
            engine.queue.after(POLL, Event::Poll(index));
        }
        for server in 0..shape.servers {
            engine.queue.after(1, Event::Tick(server));
        }
        engine.queue.after(CALM.1, Event::Trouble);
        engine
    }

    /// Runs until so many rounds are finalized, or were opened three times as often.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn run(mut self) -> Result<Seen, Violation> {
        let wanted = self.plan.rounds;
        while self.watch.seen.finalized < wanted && self.watch.seen.opened < wanted * 3 {
            let Some(event) = self.queue.pop() else {
                break;
            };
            self.handle(event)?;
        }
        Ok(self.watch.seen)
    }

    fn start_client(&mut self, index: usize) -> Client {
        self.processes += 1;
        let sealer = self.cast.client(index, self.processes);
        // Half of them pin one server each; the roster has to hold it.
        let pinned = self.rng.below(self.nodes.len());
        let required = self
            .rng
            .per_mille(500)
            .then(|| self.nodes[pinned].keys.id());
        Client::new(
            sealer,
            (self.plan.rule)(self.rng.word()),
            required.into_iter().collect(),
        )
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick(server) => self.tick(server),
            Event::Arrive(log, from, command) => {
                self.arrive(log, from, &command);
                Ok(())
            }
            Event::Deliver(log, to, by_leader, command) => {
                self.deliver(log, to, by_leader, &command)
            }
            Event::Look(client, server) => self.look(client, server),
            Event::Poll(client) => {
                if self.rng.per_mille(250) && self.clients[client].rule.pending() < 2 {
                    self.said += 1;
                    self.clients[client].say(self.said);
                }
                let server = self.rng.below(self.nodes.len());
                self.queue.after(POLL, Event::Poll(client));
                self.look(client, server)
            }
            Event::Offer(envelope, tries) => {
                self.offer(envelope, tries);
                Ok(())
            }
            Event::Collect(round, registry) => {
                self.collect(round, registry);
                Ok(())
            }
            Event::Fold(context) => {
                self.close(&context, false);
                Ok(())
            }
            Event::Aggregate(server, aggregate) => {
                self.relay(server, aggregate);
                Ok(())
            }
            Event::Trouble => {
                let (low, high) = CALM;
                let calm = self.rng.between(low, high);
                self.queue.after(calm, Event::Trouble);
                self.watch.seen.troubles += 1;
                self.trouble();
                Ok(())
            }
        }
    }

    /// How long something is on its way; `None` if it gets lost.
    fn travels(&mut self) -> Option<Micros> {
        (!self.rng.per_mille(self.loss)).then(|| self.rng.between(300, 3_000))
    }

    fn tick(&mut self, server: usize) -> Result<(), Violation> {
        let jitter = self.rng.between(0, TICK);
        self.queue.after(TICK + jitter, Event::Tick(server));
        self.drive(server)
    }

    /// Lets a server do what it does now.
    fn drive(&mut self, server: usize) -> Result<(), Violation> {
        let log = self.follows[server];
        let leads = self.logs[log].leader == server;
        let reachable = self.reachable(server);
        self.ask(server);
        let now = self.queue.now();
        let node = &mut self.nodes[server];
        if node.byzantine && self.rng.per_mille(self.plan.lies) {
            if let Some(order) = byzantine::lie(node, &mut self.rng) {
                self.say(server, &order);
            }
            return Ok(());
        }
        let acts = node.drive(now, leads, &reachable, &mut self.rng);
        for act in acts {
            match act {
                Act::Say(order) => self.say(server, &order),
                Act::Certified(word, round) => {
                    let node = &self.nodes[server];
                    if !node.byzantine {
                        self.watch.certified(&word, node.boot, &round)?;
                    }
                }
                Act::Unblinded(aggregate, round) => {
                    let node = &self.nodes[server];
                    let who = (node.keys.id(), node.boot);
                    self.watch.unblinded(who, &round, aggregate)?;
                }
                Act::Gave(partial, current) => {
                    let boot = self.nodes[server].boot;
                    self.watch.gave(&partial, boot, &current)?;
                }
                Act::Rejoin => {
                    let leader = self.logs[log].leader;
                    let held = self.nodes[leader].held.clone();
                    self.nodes[server].install(held);
                }
            }
        }
        if leads {
            self.register_missing(server);
            self.register_aggregators(server);
        }
        Ok(())
    }

    /// A server that is new to the epoch asks those on its side; now and then one does
    /// not answer.
    fn ask(&mut self, server: usize) {
        let Some(question) = self.nodes[server].question() else {
            return;
        };
        for other in 0..self.nodes.len() {
            let there = other != server && self.follows[other] == self.follows[server];
            if there
                && self.rng.per_mille(500)
                && let Some(answer) = self.nodes[other].answer(&question)
            {
                self.nodes[server].hear(&question, answer);
            }
        }
    }

    /// Of the servers that a server's state lists, in its order, whether each is on
    /// the same side as this one.
    fn reachable(&self, server: usize) -> Vec<bool> {
        let side = self.follows[server];
        let listed = self.nodes[server].state().servers().keys();
        listed
            .map(|id| {
                let mut sides = self.nodes.iter().zip(&self.follows);
                sides.any(|(node, at)| node.keys.id() == *id && *at == side)
            })
            .collect()
    }

    /// Clients whom the committee does not list register again.
    fn register_missing(&mut self, server: usize) {
        let state = self.nodes[server].state();
        let missing: Vec<_> = self
            .clients
            .iter()
            .filter(|client| {
                let id = client.id();
                state.clients().get(&id).is_none() || state.is_idle(&id)
            })
            .map(|client| client.sealer.bundle().clone())
            .collect();
        let now = self.queue.now();
        if !missing.is_empty()
            && !state.servers().is_empty()
            && self.nodes[server].may_say("clients", now, TICK)
        {
            self.say(server, &Order::clients(missing));
        }
    }

    /// Aggregators say that they are there.
    fn register_aggregators(&mut self, server: usize) {
        let state = self.nodes[server].state();
        let opened = state.opened();
        let missing = (0..AGGREGATORS).any(|index| {
            let peer = aggregator(index).peer_key();
            !state.aggregators().is_fresh(&peer, opened)
        });
        let now = self.queue.now();
        if missing
            && !state.servers().is_empty()
            && self.nodes[server].may_say("aggregators", now, TICK)
        {
            let order = self.cast.aggregators();
            self.say(server, &order);
        }
    }

    /// A server says something to the committee.
    fn say(&mut self, server: usize, order: &Order) {
        let command = self.nodes[server].keys.say(order);
        let command = self.memo.number(command);
        let log = self.follows[server];
        if let Some(delay) = self.travels() {
            self.queue.after(delay, Event::Arrive(log, server, command));
        }
    }

    fn arrive(&mut self, log: usize, from: usize, command: &Numbered) {
        // What was on its way when a log ended is lost with it.
        if log >= self.logs.len() {
            return;
        }
        let by_leader = self.logs[log].leader == from;
        for to in 0..self.nodes.len() {
            if self.follows[to] != log {
                continue;
            }
            let lies = self.logs[log].lies && to != self.logs[log].leader;
            if lies && self.rng.per_mille(100) {
                continue;
            }
            let now = self.queue.now();
            let delay = self.rng.between(200, 2_000);
            let last = &mut self.logs[log].last[to];
            // In order, unless the leader wants it otherwise.
            let at = if lies {
                now + delay
            } else {
                (now + delay).max(*last + 1)
            };
            *last = at;
            self.queue
                .at(at, Event::Deliver(log, to, by_leader, command.clone()));
        }
    }

    fn deliver(
        &mut self,
        log: usize,
        to: usize,
        by_leader: bool,
        command: &Numbered,
    ) -> Result<(), Violation> {
        if self.follows[to] != log {
            return Ok(());
        }
        let node = &mut self.nodes[to];
        let Ok(said) = self.memo.apply(&mut node.held, command) else {
            let what = "one command had two outcomes on states with one past".to_owned();
            return Err(self.watch.violated("I8", what));
        };
        node.observe(by_leader, &said);
        match &said {
            Ok(Applied::Opened { round, .. }) => self.watch.opened(round)?,
            Ok(Applied::Certified(round)) => {
                let honest = |id: &ServerId| {
                    let mut nodes = self.nodes.iter();
                    nodes.any(|node| node.keys.id() == *id && !node.byzantine)
                };
                self.watch.complete(round, honest)?;
                if let Some(InFlight { registry, .. }) = self.nodes[to].current() {
                    let registry = registry.clone();
                    if let Some(delay) = self.travels() {
                        self.queue
                            .after(delay, Event::Collect(round.clone(), registry));
                    }
                }
                self.tell(to);
            }
            Ok(Applied::Finalized(done) | Applied::Resumed(Some(done))) => {
                self.watch.finalized(done, self.plan.fate_first)?;
                self.tell(to);
            }
            Ok(_) => {}
            Err(_) => self.watch.seen.refused += 1,
        }
        self.drive(to)
    }

    /// Clients that wait at a server hear of it.
    fn tell(&mut self, server: usize) {
        for client in 0..self.clients.len() {
            // Each waits at one server or two.
            if self.rng.per_mille(600)
                && let Some(delay) = self.travels()
            {
                self.queue.after(delay, Event::Look(client, server));
            }
        }
    }

    fn look(&mut self, client: usize, server: usize) -> Result<(), Violation> {
        let node = &self.nodes[server];
        let lies = node.byzantine;
        let records = !(lies && self.rng.per_mille(500));
        let open = !(lies && self.rng.per_mille(200));
        let Some(sealed) = self.clients[client].look(node, records, open) else {
            return Ok(());
        };
        let id = self.clients[client].id();
        let acceptable = self.clients[client].accepts(&sealed.round);
        let budget = self.plan.budget;
        self.watch.sealed(id, acceptable, &sealed, budget)?;
        if let Some(delay) = self.travels() {
            self.queue.after(delay, Event::Offer(sealed.envelope, 0));
        }
        Ok(())
    }

    fn offer(&mut self, envelope: SealedEnvelope, tries: u32) {
        let folded = self
            .collecting
            .as_mut()
            .is_some_and(|collecting| collecting.fold.add(&collecting.registry, &envelope).is_ok());
        if folded {
            let context = envelope.context;
            let collecting = self.collecting.as_ref();
            if collecting.is_some_and(|collecting| collecting.fold.is_complete()) {
                self.close(&context, true);
            }
        } else if tries < 4 {
            self.queue.after(4_000, Event::Offer(envelope, tries + 1));
        }
    }

    fn collect(&mut self, round: Arc<CertifiedRound>, registry: Arc<ClientRegistry>) {
        let context = *round.context();
        if let Some(collecting) = &self.collecting {
            let (epoch, number) = collecting.round.position();
            let (new_epoch, new_number) = round.position();
            if *collecting.round.context() == context || (epoch == new_epoch && number > new_number)
            {
                return;
            }
        }
        let fold = Fold::new(context, round.header(), registry.len());
        self.collecting = Some(Collecting {
            round,
            registry,
            fold,
        });
        self.queue.after(FOLD, Event::Fold(context));
    }

    /// The aggregator closes its fold.
    fn close(&mut self, context: &RoundContext, complete: bool) {
        let open = self.collecting.as_ref();
        let Some(collecting) = open.filter(|open| open.round.context() == context) else {
            return;
        };
        let need = collecting.round.header().floor as usize;
        if !complete && collecting.fold.count() < need {
            self.queue.after(FOLD, Event::Fold(*context));
            return;
        }
        let Some(collecting) = self.collecting.take() else {
            return;
        };
        let by = aggregator_of(collecting.round.header());
        // A leaf may hand nothing on.
        let silent = self.rng.per_mille(50);
        let aggregate = tree::aggregate(
            collecting.round.header(),
            &collecting.registry,
            collecting.fold.own().values(),
            by,
            |leaf| key_of(leaf).filter(|_| !silent).cloned(),
        );
        let lies = self.plan.aggregator_lies && self.rng.per_mille(100);
        // One server after the other, as long as none has got it committed.
        let mut servers: Vec<_> = (0..self.nodes.len()).collect();
        self.rng.shuffle(&mut servers);
        for (turn, server) in (0..).zip(servers) {
            let Some(delay) = self.travels() else {
                continue;
            };
            if lies {
                // At once, and another one for each, so that they may unblind differences.
                let aggregate = if self.rng.per_mille(700) {
                    byzantine::noisy(&aggregate, by, &mut self.rng)
                } else {
                    aggregate.clone()
                };
                self.queue.after(delay, Event::Aggregate(server, aggregate));
            } else {
                let delay = delay + turn * AGAIN;
                self.queue
                    .after(delay, Event::Aggregate(server, aggregate.clone()));
            }
        }
    }

    fn relay(&mut self, server: usize, aggregate: Aggregate) {
        let waits = self.nodes[server].current().is_some_and(|current| {
            current.tally.is_none() && *current.round.context() == aggregate.context
        });
        if waits {
            self.say(server, &Order::SubmitAggregate(aggregate));
        }
    }

    fn trouble(&mut self) {
        match self.rng.below(12) {
            0..=2 if self.logs.len() == 1 && self.nodes.len() > 1 => self.part(),
            0..=3 if self.logs.len() > 1 => self.heal(),
            4 | 5 => self.restart(),
            6 => {
                let log = self.rng.below(self.logs.len());
                self.elect(log);
            }
            7 => {
                let log = self.rng.below(self.logs.len());
                let lies = self.plan.log_lies && !self.logs[log].lies;
                self.logs[log].lies = lies;
            }
            8 => self.loss = *self.rng.pick(&[0, 0, 20, 100, 300]).unwrap_or(&0),
            9 => {
                let index = self.rng.below(self.clients.len());
                let client = self.start_client(index);
                self.clients[index] = client;
            }
            10 if self.rng.per_mille(100) => {
                for server in 0..self.nodes.len() {
                    self.boot(server, None);
                }
            }
            // A quiet time.
            _ => {
                self.loss = 0;
                for log in &mut self.logs {
                    log.lies = false;
                }
                if self.logs.len() > 1 {
                    self.heal();
                }
            }
        }
    }

    /// Cuts the committee in two; each half goes on with a log of its own.
    fn part(&mut self) {
        let mut order: Vec<_> = (0..self.nodes.len()).collect();
        self.rng.shuffle(&mut order);
        let cut = 1 + self.rng.below(order.len() - 1);
        let other = order.split_off(cut);
        let mut log = self.logs[0].clone();
        log.lies = false;
        self.logs.push(log);
        for server in other {
            self.follows[server] = 1;
        }
        self.elect(0);
        self.elect(1);
    }

    /// One half's log wins; servers of the other either start again from its leader's
    /// state or go on with the state that they have, as mosaik's do.
    fn heal(&mut self) {
        let winner = self.rng.below(2);
        let mut log = self.logs[winner].clone();
        log.lies = false;
        let leader = log.leader;
        for server in 0..self.nodes.len() {
            if self.follows[server] != winner && self.rng.per_mille(500) {
                let held = self.nodes[leader].held.clone();
                self.nodes[server].install(held);
            }
            self.follows[server] = 0;
        }
        self.logs = vec![log];
    }

    fn elect(&mut self, log: usize) {
        let members: Vec<_> = (0..self.nodes.len())
            .filter(|server| self.follows[*server] == log)
            .collect();
        if let Some(leader) = self.rng.pick(&members) {
            self.logs[log].leader = *leader;
        }
    }

    /// A server's process ends and another one begins: fresh keys, and no memory.
    fn restart(&mut self) {
        let server = self.rng.below(self.nodes.len());
        let log = self.follows[server];
        if self.logs[log].leader == server {
            self.elect(log);
        }
        let leader = self.logs[log].leader;
        let held = (leader != server).then(|| self.nodes[leader].held.clone());
        self.boot(server, held);
    }

    fn boot(&mut self, server: usize, held: Option<Held>) {
        let boot = self.nodes[server].boot + 1;
        let keys = self.cast.server(server, boot);
        let held = held.unwrap_or_else(|| {
            let cold = CommitteeState::new(self.cast.rules.clone());
            self.memo.cold(cold)
        });
        let byzantine = self.nodes[server].byzantine;
        let mut node = Node::new(&self.cast, keys, boot, held);
        node.byzantine = byzantine;
        self.nodes[server] = node;
    }
}
