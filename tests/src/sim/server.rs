//! A server: the real state, the real guard, and the decisions of
//! `roles/server/{leader,unblinder,memory,registrar}.rs` without their clocks and
//! sockets. An honest one does what those do; what a Byzantine one does besides is in
//! [`byzantine`](super::byzantine).

use std::{collections::BTreeMap, sync::Arc};

use zipnet_node::{
    attestation::vouch,
    committee::{
        command::{Order, PartialCommitment, Resume},
        state::{Applied, CommitteeState, Final, InFlight, Refusal},
    },
    guard::{self, Guard, GuardError},
};
use zipnet_protocol::{
    AdmittedServer, Aggregate, Certification, ClientBundle, ClientRegistry, Digest, Epoch, Nonce,
    PadTable, Partial, PeerKey, RosterEntry, Round, RoundContext, RoundHeader, SignedPartial,
};

use super::{
    cast::{Cast, Keys},
    floors::Heard,
    held::Held,
    queue::Micros,
    rng::Rng,
};

/// From opening to opening, at least.
const PERIOD: Micros = 1_000;
/// After this an unfinished round is given up.
pub const DEADLINE: Micros = 400_000;
/// How soon something that does not show in the log is sent again.
const PATIENCE: Micros = 60_000;
/// How often the memory is compared with the log.
const MEMORY: Micros = 100_000;
/// How soon a partial that does not show is sent again.
const PARTIAL: Micros = 15_000;
/// Records that are kept.
const RETAIN: usize = 32;
/// How many misfitting rounds of a leader in a row are too many.
const MAX_MISFITS: u32 = 2;

/// What a server does next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub enum Act {
    /// It says something to the committee.
    Say(Order),
    /// It stands for a round.
    Certified(Certification, Arc<Round>),
    /// It unblinded an aggregate, and committed to what came out.
    Unblinded(Digest, Arc<Round>),
    /// It gave the partial that it had committed to.
    Gave(SignedPartial, InFlight),
    /// It starts again from the leader's state.
    Rejoin,
}

/// One boot of a server.
#[derive(Debug)]
pub struct Node {
    /// Its keys.
    pub keys: Keys,
    /// Which boot this is.
    pub boot: u64,
    /// The committee's state as it has it.
    pub held: Held,
    /// The records that it has seen finalized, by number, of each epoch.
    pub ring: BTreeMap<(u64, Digest), Arc<Final>>,
    /// Whether it does what it likes.
    pub byzantine: bool,
    pub(super) guard: Guard,
    pub(super) heard: Heard,
    pads: Option<(Digest, PadTable)>,
    opened_at: Option<Micros>,
    watched: Option<(RoundContext, Micros)>,
    refused: Option<RoundContext>,
    stood: Option<RoundContext>,
    gave: Option<(RoundContext, &'static str)>,
    said: BTreeMap<&'static str, Micros>,
    misfits: u32,
}

impl Node {
    /// A boot of a server with a state that it was given.
    #[must_use]
    pub fn new(cast: &Cast, keys: Keys, boot: u64, held: Held) -> Self {
        let guard = Guard::new(cast.rules.clone(), keys.id(), *keys.admitted.digest());
        let mut node = Self {
            keys,
            boot,
            held,
            ring: BTreeMap::new(),
            byzantine: false,
            guard,
            heard: Heard::default(),
            pads: None,
            opened_at: None,
            watched: None,
            refused: None,
            stood: None,
            gave: None,
            said: BTreeMap::new(),
            misfits: 0,
        };
        node.keep_head();
        node
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> &CommitteeState {
        &self.held.state
    }

    /// The open round, if the server's state has one.
    #[must_use]
    pub fn current(&self) -> Option<&InFlight> {
        self.state().current()
    }

    /// Takes over another server's state.
    pub fn install(&mut self, held: Held) {
        self.held = held;
        self.misfits = 0;
        self.keep_head();
    }

    fn keep_head(&mut self) {
        if let Some(head) = self.state().head().cloned() {
            self.keep(head);
        }
    }

    fn keep(&mut self, done: Arc<Final>) {
        self.ring.insert(done.rank(), done);
        if self.ring.len() > RETAIN {
            self.ring.pop_first();
        }
    }

    /// What a command did here.
    pub fn observe(&mut self, by_leader: bool, said: &Result<Applied, Refusal>) {
        match said {
            Ok(Applied::Opened { .. }) => self.misfits = 0,
            Ok(Applied::Finalized(done) | Applied::Resumed(Some(done))) => self.keep(done.clone()),
            Err(Refusal::Unfit(_) | Refusal::Header(_)) if by_leader => self.misfits += 1,
            Ok(_) | Err(_) => {}
        }
    }

    /// What it does now, as `roles/server` would.
    pub fn drive(
        &mut self,
        now: Micros,
        leads: bool,
        reachable: &[bool],
        rng: &mut Rng,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        self.watch(now);
        if self.misfits >= MAX_MISFITS && !leads {
            self.misfits = 0;
            return vec![Act::Rejoin];
        }
        if !self.is_registered() {
            if self.may_say("register", now, PATIENCE) {
                acts.push(Act::Say(self.keys.registration()));
            }
            return acts;
        }
        if let Some(resume) = self.reminder()
            && self.may_say("resume", now, MEMORY)
        {
            acts.push(Act::Say(Order::Resume(resume)));
        }
        if leads && let Some(header) = self.next_header(now, reachable, rng) {
            let signed = header.sign(self.keys.id(), &self.keys.signing);
            self.opened_at = Some(now);
            acts.push(Act::Say(Order::OpenRound(signed)));
        }
        if let Some(certified) = self.certify(now) {
            acts.extend(certified);
        }
        if let Some(partial) = self.partial(now) {
            acts.extend(partial);
        }
        acts
    }

    fn is_registered(&self) -> bool {
        let me = self.state().servers().get(&self.keys.id());
        me.is_some_and(|server| server.digest() == self.keys.admitted.digest())
    }

    /// Whether it is time to say something (again).
    pub fn may_say(&mut self, what: &'static str, now: Micros, every: Micros) -> bool {
        let due = self.said.get(what).is_none_or(|last| now >= last + every);
        if due {
            self.said.insert(what, now);
        }
        due
    }

    fn watch(&mut self, now: Micros) {
        let open = self.current().map(|current| *current.round.context());
        match (open, self.watched) {
            (Some(open), Some((watched, _))) if open == watched => {}
            (open, _) => self.watched = open.map(|open| (open, now)),
        }
    }

    /// The newest record that this process holds and the committee has lost.
    fn lost(&self) -> Option<&Arc<Final>> {
        let records = self.ring.values().rev();
        let mut lost = records.filter(|record| self.state().is_behind(&record.checked));
        lost.next()
    }

    fn reminder(&self) -> Option<Resume> {
        let lost = self.lost();
        let epoch = lost.map(|done| done.epoch()).or(self.state().epoch())?;
        let floor = self.guard.floor(&epoch).unwrap_or(0);
        let floor_counts = self.state().epoch() == Some(epoch) && floor > self.state().opened();
        if lost.is_none() && !floor_counts {
            return None;
        }
        Some(Resume {
            record: lost.map(|done| done.published.clone()),
            registry: lost.map_or_else(Vec::new, |done| registry_of(done)),
            epoch,
            floor,
        })
    }

    /// The header that an honest leader of this state opens the next round with, if
    /// it is time.
    fn next_header(&self, now: Micros, reachable: &[bool], rng: &mut Rng) -> Option<RoundHeader> {
        let state = self.state();
        if self.opened_at.is_some_and(|at| now < at + PERIOD) {
            return None;
        }
        if let Some(current) = self.current()
            && !self.given_up(current, now)
        {
            return None;
        }
        // Once in a while it opens a round that cannot finish, as one does that has
        // not noticed yet who is gone.
        let careless = rng.per_mille(20);
        let complete = state.rules().min_servers.is_none();
        let all: Vec<&AdmittedServer> = state.servers().values().collect();
        let roster: Vec<_> = all
            .iter()
            .zip(reachable)
            .filter(|(_, there)| careless || complete || **there)
            .map(|(server, _)| RosterEntry {
                server: *server.id(),
                bundle: *server.digest(),
            })
            .collect();
        let everybody = reachable.iter().all(|there| *there);
        let clients = state.clients().len();
        if roster.len() < state.roster_minimum()
            || (complete && !everybody && !careless)
            || clients < state.rules().min_participants as usize
        {
            return None;
        }
        let epoch = state.epoch().unwrap_or(Epoch::new(*rng.entropy()));
        state.next_aggregator()?;
        Some(header_of(state, epoch, roster, Nonce::new(*rng.entropy())))
    }

    fn given_up(&self, current: &InFlight, now: Micros) -> bool {
        let gone = current.round.roster().iter().any(|server| {
            let registered = self.state().servers().get(server.id());
            let unblinded = current
                .tally
                .as_ref()
                .is_some_and(|tally| tally.contains(server.id()));
            !unblinded && registered.is_none_or(|now| now.digest() != server.digest())
        });
        gone || self
            .watched
            .is_none_or(|(_, since)| now >= since + DEADLINE)
    }

    /// `roles/server/certifier.rs`.
    fn certify(&mut self, now: Micros) -> Option<Vec<Act>> {
        let current = self.current()?.clone();
        let me = self.keys.id();
        current.round.server(&me)?;
        if current.certifications.contains(&me) || self.lost().is_some() {
            return None;
        }
        let context = *current.round.context();
        if self.stood != Some(context) {
            self.stood = Some(context);
            self.said.remove("certify");
        }
        if !self.may_say("certify", now, PARTIAL) {
            return None;
        }
        let certification = if self.byzantine {
            // It stands for anything.
            Certification::sign(context, me, &self.keys.signing)
        } else {
            self.stand_for(&current).ok()?
        };
        Some(vec![
            Act::Certified(certification.clone(), current.round),
            Act::Say(Order::Certify(certification)),
        ])
    }

    /// The server's word for a round, if its guard gives it.
    ///
    /// # Errors
    /// The guard's.
    pub fn stand_for(&mut self, current: &InFlight) -> Result<Certification, GuardError> {
        let state = self.state();
        let header = current.round.header();
        let held = guard::Held {
            previous: state.previous(),
            registry: current.registry.root(),
            clients: u32::try_from(current.registry.len()).unwrap_or(u32::MAX),
            floor: state.floor_over(&current.registry),
            aggregator: Some(header.aggregator).filter(|peer| state.aggregators().contains(peer)),
            leaves: state.aggregators().listed_of(&header.leaves),
        };
        let vouched = vouch(&state.rules().instance, None, &current.round, |_| None);
        let vouched = vouched.expect("nobody is attested");
        self.guard
            .certify(&current.round, &vouched, &held, &self.keys.signing)
    }

    /// `roles/server/unblinder.rs`.
    fn partial(&mut self, now: Micros) -> Option<Vec<Act>> {
        let current = self.current()?.clone();
        let context = *current.round.context();
        let me = self.keys.id();
        current.round.server(&me)?;
        let tally = current.tally.clone()?;
        if self.refused == Some(context) || tally.contains(&me) {
            return None;
        }
        let committed = tally.commitment(&me).is_some();
        if committed && tally.committed(&current.round).is_none() {
            return None;
        }
        // At once for another round, otherwise with patience.
        let step = if committed { "partial" } else { "commitment" };
        if self.gave != Some((context, step)) {
            self.gave = Some((context, step));
            self.said.remove(step);
        }
        if !self.may_say(step, now, PARTIAL) {
            return None;
        }
        if self.byzantine {
            return self.partial_of_a_liar(&current, committed);
        }
        if committed {
            let partial = self
                .guard
                .reveal(&current.round, &tally, &self.keys.signing)
                .ok()?;
            return Some(vec![
                Act::Gave(partial.clone(), current),
                Act::Say(Order::SubmitPartial(partial)),
            ]);
        }
        let unblinded = self.unblind(&current.round, &current.registry, tally.aggregate());
        let Ok(commitment) = unblinded else {
            self.refused = Some(context);
            return None;
        };
        Some(vec![
            Act::Unblinded(*tally.digest(), current.round),
            Act::Say(Order::CommitPartial(PartialCommitment {
                context,
                aggregate: *tally.digest(),
                commitment,
            })),
        ])
    }

    /// It keeps to no guard, but to the protocol, or nothing would ever be finalized.
    fn partial_of_a_liar(&mut self, current: &InFlight, committed: bool) -> Option<Vec<Act>> {
        let tally = current.tally.clone()?;
        let partial = self.unblind_anything(&current.round, &current.registry, tally.aggregate());
        let order = if committed {
            let commitments = tally.committed(&current.round)?;
            Order::SubmitPartial(partial.sign(commitments, &self.keys.signing))
        } else {
            Order::CommitPartial(PartialCommitment {
                context: *current.round.context(),
                aggregate: *tally.digest(),
                commitment: partial.commitment(),
            })
        };
        Some(vec![Act::Say(order)])
    }

    /// Unblinds an aggregate, if the guard does. Returns what to commit to.
    ///
    /// # Errors
    /// The guard's.
    pub fn unblind(
        &mut self,
        round: &Round,
        registry: &ClientRegistry,
        aggregate: &Aggregate,
    ) -> Result<Digest, GuardError> {
        self.agree(registry);
        let (_, pads) = self.pads.as_ref().expect("agreed");
        let instance = &self.held.state.rules().instance;
        let vouched = vouch(instance, None, round, |_| None).expect("nobody is attested");
        self.guard.unblind(
            round,
            &vouched,
            registry,
            aggregate,
            pads,
            &self.keys.signing,
        )
    }

    /// The partial that was committed to.
    ///
    /// # Errors
    /// The guard's.
    pub fn reveal(&mut self, current: &InFlight) -> Result<SignedPartial, GuardError> {
        let tally = current.tally.as_ref().expect("a tally");
        self.guard.reveal(&current.round, tally, &self.keys.signing)
    }

    /// The partial of whoever holds itself to nothing.
    pub fn unblind_anything(
        &mut self,
        round: &Round,
        registry: &ClientRegistry,
        aggregate: &Aggregate,
    ) -> Partial {
        self.agree(registry);
        let (_, pads) = self.pads.as_ref().expect("agreed");
        let vector = pads.xor_of(
            round.context(),
            &aggregate.participants,
            &self.keys.id(),
            round.header().params.broadcast_bytes(),
        );
        Partial::new(
            *round.context(),
            aggregate.digest(),
            self.keys.id(),
            vector.into(),
            &self.keys.signing,
        )
    }

    fn agree(&mut self, registry: &ClientRegistry) {
        let digest = registry.root();
        if self.pads.as_ref().is_none_or(|(of, _)| *of != digest) {
            let known = self.pads.take();
            let known = known.as_ref().map(|(_, pads)| pads);
            let pads = PadTable::agree(&self.keys.dh, registry, known).expect("checked keys");
            self.pads = Some((digest, pads));
        }
    }
}

/// A header that fits a state.
#[must_use]
pub fn header_of(
    state: &CommitteeState,
    epoch: Epoch,
    roster: Vec<RosterEntry>,
    nonce: Nonce,
) -> RoundHeader {
    let rules = state.rules();
    let (aggregator, leaves) = state.next_aggregators().unzip();
    RoundHeader {
        instance: *rules.instance.id(),
        epoch,
        number: state.opened().saturating_add(1),
        nonce,
        previous: state.previous(),
        params: rules.params,
        min_participants: rules.min_participants,
        floor: state.floor(),
        committee_size: state.committee_size(),
        roster,
        clients: u32::try_from(state.clients().len()).unwrap_or(u32::MAX),
        registry: state.clients().root(),
        aggregator: aggregator.unwrap_or(PeerKey::new([0; 32])),
        leaves: leaves.unwrap_or_default(),
    }
}

/// The clients that a record's participants refer to, as a reminder brings them.
#[must_use]
pub fn registry_of(done: &Final) -> Vec<ClientBundle> {
    let clients = done.registry.iter();
    clients.map(|client| client.bundle().clone()).collect()
}
