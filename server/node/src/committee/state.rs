//! The committee's replicated state and what may change it.
//!
//! [`CommitteeState::apply`] is deterministic and total (I8): no clock, no
//! randomness, no panic, bounded work on any bytes. It checks what every
//! server can check from the log alone; what a server must hold back by itself
//! is the [`guard`](crate::guard)'s business. The state is soft: all of it can
//! be rebuilt from what its owners signed.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

pub use zipnet_protocol::Tally;
use zipnet_protocol::{
    AdmittedServer, CertifiedRound, ClientId, ClientRegistry, Digest, Epoch, FinalizedRound,
    MAX_CLIENTS, PeerKey, Round, ServerId, ShownInvite,
};

use super::{
    admission::{Absent, Admissions},
    aggregators::Aggregators,
    ahead::Ahead,
    command::{Command, Order, Published},
    invites::{Invites, Welcome, Wish},
    strikes::Strikes,
};
pub use super::{in_flight::InFlight, refusal::Refusal};
use crate::settings::CommitteeRules;

/// A registered client that takes part in none of this many rounds is dropped.
pub const CLIENT_LEASE_ROUNDS: u64 = 16;

/// What a command changed.
#[derive(Debug, Clone)]
pub enum Applied {
    /// The registries.
    Registered,
    /// A round opened; an unfinished one was given up if it was `forced`.
    Opened {
        /// The round.
        round: Arc<Round>,
        /// Whether another was in flight.
        forced: Option<Box<InFlight>>,
    },
    /// One more server stands for the open round.
    Endorsed,
    /// All do.
    Certified(Arc<CertifiedRound>),
    /// The open round has its aggregate.
    Aggregated,
    /// One more server has committed to its partial.
    Committed,
    /// The open round has one more partial.
    Unblinded,
    /// A round is finalized.
    Finalized(Arc<Final>),
    /// The committee remembered something.
    Resumed(Option<Arc<Final>>),
    /// An aggregator is struck.
    Struck {
        /// Which one.
        aggregator: PeerKey,
        /// A word for it.
        reason: &'static str,
    },
    /// A vote to strike an aggregator is in.
    Voted {
        /// Which one.
        aggregator: PeerKey,
        /// How many votes stand against it.
        votes: usize,
    },
}

/// A finalized round, in both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// As it travels.
    pub published: Published,
    /// As it was checked.
    pub checked: FinalizedRound,
    /// The registry that its participants refer to.
    pub registry: Arc<ClientRegistry>,
}

/// Where a record stands: histories are compared by round number, then digest.
pub(super) fn rank(record: &FinalizedRound) -> (u64, Digest) {
    (record.round().header().number, *record.digest())
}

impl Final {
    /// Where it stands: histories are compared by round number, then digest.
    #[must_use]
    pub fn rank(&self) -> (u64, Digest) {
        rank(&self.checked)
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.checked.round().header().epoch
    }
}

/// The replicated state. Cheap to clone: everything large is shared.
#[derive(Debug, Clone)]
pub struct CommitteeState {
    pub(super) rules: Arc<CommitteeRules>,
    pub(super) epoch: Option<Epoch>,
    pub(super) opened: u64,
    pub(super) head: Option<Arc<Final>>,
    pub(super) servers: Arc<BTreeMap<ServerId, AdmittedServer>>,
    /// The evidence of each, in an attested instance.
    pub(super) admissions: Admissions,
    /// Servers that were registered and are not now.
    pub(super) absent: Arc<BTreeMap<ServerId, Absent>>,
    pub(super) clients: Arc<ClientRegistry>,
    /// By which invites they are registered, where these are needed.
    pub(super) invites: Arc<Invites>,
    pub(super) activity: Arc<BTreeMap<ClientId, u64>>,
    pub(super) aggregators: Aggregators,
    pub(super) current: Option<InFlight>,
    pub(super) strikes: Arc<Strikes>,
}

impl CommitteeState {
    /// The state of a cold start.
    #[must_use]
    pub fn new(rules: Arc<CommitteeRules>) -> Self {
        Self {
            rules,
            epoch: None,
            opened: 0,
            head: None,
            servers: Arc::default(),
            admissions: Admissions::default(),
            absent: Arc::default(),
            clients: Arc::default(),
            invites: Arc::default(),
            activity: Arc::default(),
            aggregators: Aggregators::default(),
            current: None,
            strikes: Arc::default(),
        }
    }

    /// What the committee agreed on beforehand.
    #[must_use]
    pub fn rules(&self) -> &CommitteeRules {
        &self.rules
    }

    /// The epoch, once a round was opened.
    #[must_use]
    pub const fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The highest round number of the epoch so far.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// The newest finalized round.
    #[must_use]
    pub const fn head(&self) -> Option<&Arc<Final>> {
        self.head.as_ref()
    }

    /// The registered servers.
    #[must_use]
    pub fn servers(&self) -> &BTreeMap<ServerId, AdmittedServer> {
        &self.servers
    }

    /// What the committee knows of its servers' evidence.
    #[must_use]
    pub const fn admissions(&self) -> &Admissions {
        &self.admissions
    }

    /// The registered clients.
    #[must_use]
    pub const fn clients(&self) -> &Arc<ClientRegistry> {
        &self.clients
    }

    /// The invites by which they are registered, where these are needed.
    #[must_use]
    pub fn invites(&self) -> &Invites {
        &self.invites
    }

    /// The registered aggregators.
    #[must_use]
    pub const fn aggregators(&self) -> &Aggregators {
        &self.aggregators
    }

    /// The open round.
    #[must_use]
    pub const fn current(&self) -> Option<&InFlight> {
        self.current.as_ref()
    }

    /// Whether a client has been idle for half of its lease.
    #[must_use]
    pub fn is_idle(&self, client: &ClientId) -> bool {
        let active = self.activity.get(client).copied().unwrap_or(0);
        self.opened.saturating_sub(active) > CLIENT_LEASE_ROUNDS / 2
    }

    /// How many servers the committee has: the configured number, or else
    /// everyone who ever registered in this life of the committee. Who leaves
    /// still counts: otherwise whoever can stop honest servers could make the
    /// committee one of its own.
    #[must_use]
    pub fn committee_size(&self) -> u32 {
        self.rules.committee_size.unwrap_or_else(|| {
            let known = self.servers.len().saturating_add(self.absent.len());
            u32::try_from(known).unwrap_or(u32::MAX)
        })
    }

    /// Whether a server was ever registered in this life of the committee.
    #[must_use]
    pub fn knows(&self, server: &ServerId) -> bool {
        self.servers.contains_key(server) || self.absent.contains_key(server)
    }

    /// Fewest servers of a roster now (I7).
    #[must_use]
    pub fn roster_minimum(&self) -> usize {
        self.rules.roster_minimum(self.committee_size())
    }

    /// Applies one command.
    ///
    /// # Errors
    /// [`Refusal`]; the state is then as it was.
    pub fn apply(&mut self, command: &Command) -> Result<Applied, Refusal> {
        self.apply_ahead(command, &Ahead::new(self.rules.clone()))
    }

    /// As [`CommitteeState::apply`], with what was verified before.
    ///
    /// # Errors
    /// The same.
    pub fn apply_ahead(&mut self, command: &Command, ahead: &Ahead) -> Result<Applied, Refusal> {
        let sender = *command.sender();
        let order = command.decode().map_err(|_| Refusal::Undecodable(sender))?;
        // A registration brings the key that it is signed with along.
        if let Order::RegisterServer(registration) = order {
            let server = registration
                .bundle
                .verify(&self.rules.instance)
                .map_err(Refusal::Bundle)?;
            self.authenticate(command, &server)?;
            return self.register_server(server, registration);
        }
        let server = self
            .servers
            .get(&sender)
            .ok_or(Refusal::Unregistered(sender))?;
        self.authenticate(command, server)?;
        match order {
            Order::RegisterServer(_) => Err(Refusal::NotWaiting),
            Order::RegisterClients(wishes) => self.register_clients(command, wishes, ahead),
            Order::WithdrawClients(withdrawals) => self.withdraw_clients(&withdrawals),
            Order::Lapse { server, bundle } => self.lapse(server, bundle),
            Order::Leave => self.leave(sender),
            Order::OpenRound(header) => self.open_round(sender, &header),
            Order::SubmitAggregate(aggregate) => self.submit_aggregate(&aggregate),
            Order::SubmitPartial(partial) => self.submit_partial(partial),
            Order::Resume(resume) => self.resume(resume),
            Order::Certify(certification) => self.certify(sender, &certification),
            Order::CommitPartial(commitment) => self.commit_partial(sender, &commitment),
            Order::RegisterAggregators(bundles) => self.register_aggregators(bundles),
            Order::StrikeAggregator { aggregator, strike } => {
                self.strike_aggregator(sender, aggregator, &strike)
            }
        }
    }

    fn authenticate(&self, command: &Command, server: &AdmittedServer) -> Result<(), Refusal> {
        let sender = *command.sender();
        if sender != *server.id() {
            return Err(Refusal::Unregistered(sender));
        }
        command
            .verify(&self.rules.instance, server.signing())
            .map_err(|source| Refusal::Unsigned { sender, source })
    }

    fn register_clients(
        &mut self,
        command: &Command,
        wishes: Vec<Wish>,
        ahead: &Ahead,
    ) -> Result<Applied, Refusal> {
        if wishes.len() > super::command::MAX_BATCH {
            return Err(Refusal::ClientsFull(wishes.len()));
        }
        let known = |wish: &Wish| {
            let client = self.clients.get(&wish.bundle.client_id())?;
            let welcome = Welcome {
                client: client.clone(),
                invite: self.invites.of(client.id()).cloned(),
            };
            welcome.is_of(wish, &self.rules).then_some(welcome)
        };
        let verified = ahead.clients(command, wishes, known)?;
        let new: BTreeSet<&ClientId> = verified
            .iter()
            .map(|welcome| welcome.client.id())
            .filter(|id| self.clients.position(id).is_none())
            .collect();
        if self.clients.len().saturating_add(new.len()) > MAX_CLIENTS {
            return Err(Refusal::ClientsFull(self.clients.len()));
        }
        // Whoever has enough of them, or an invite that admits another one, is
        // passed over, so that nobody can keep others out of the registry by being
        // in one batch with them.
        let mut of_peer = self.clients_of(&verified);
        for Welcome { client, invite } in verified {
            let id = *client.id();
            let known = self.clients.get(&id);
            if known.is_none() {
                let admits = |invite: &ShownInvite| self.invites.admits(invite.key(), &id);
                let count = of_peer.entry(*client.peer()).or_default();
                if *count >= self.rules.clients_per_peer || !invite.as_ref().is_none_or(admits) {
                    continue;
                }
                *count = count.saturating_add(1);
                if let Some(invite) = invite {
                    Arc::make_mut(&mut self.invites).take(id, invite);
                }
            }
            if known.is_none_or(|known| *known != client) {
                Arc::make_mut(&mut self.clients).insert(client);
            }
            Arc::make_mut(&mut self.activity).insert(id, self.opened);
        }
        Ok(Applied::Registered)
    }

    /// How many clients each of these clients' peers has registered.
    fn clients_of(&self, clients: &[Welcome]) -> BTreeMap<PeerKey, u32> {
        let clients = clients.iter().map(Welcome::client);
        let peers = clients.map(|client| (*client.peer(), 0_u32));
        let mut of_peer: BTreeMap<_, _> = peers.collect();
        for client in self.clients.iter() {
            if let Some(count) = of_peer.get_mut(client.peer()) {
                *count = count.saturating_add(1);
            }
        }
        of_peer
    }

    /// Whether a peer may register one more client.
    #[must_use]
    pub fn has_room_for(&self, peer: &PeerKey) -> bool {
        let clients = self.clients.iter().filter(|client| client.peer() == peer);
        clients.count() < self.rules.clients_per_peer as usize
    }

    fn withdraw_clients(
        &mut self,
        withdrawals: &[zipnet_protocol::Withdrawal],
    ) -> Result<Applied, Refusal> {
        if withdrawals.len() > super::command::MAX_BATCH {
            return Err(Refusal::ClientsFull(withdrawals.len()));
        }
        let gone: BTreeSet<ClientId> = withdrawals
            .iter()
            .filter(|withdrawal| {
                self.clients
                    .get(withdrawal.client_id())
                    .is_some_and(|client| withdrawal.verify(&self.rules.instance, client).is_ok())
            })
            .map(|withdrawal| *withdrawal.client_id())
            .collect();
        if gone.is_empty() {
            return Err(Refusal::NotWaiting);
        }
        self.drop_clients(|client| gone.contains(client));
        Ok(Applied::Registered)
    }

    /// Removes clients from the registry; the open round keeps its own.
    pub(super) fn drop_clients(&mut self, gone: impl Fn(&ClientId) -> bool) {
        if self.clients.iter().any(|client| gone(client.id())) {
            Arc::make_mut(&mut self.clients).remove_where(&gone);
            Arc::make_mut(&mut self.activity).retain(|client, _| !gone(client));
            Arc::make_mut(&mut self.invites).free(&gone);
        }
    }
}
