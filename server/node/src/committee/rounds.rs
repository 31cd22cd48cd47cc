//! How rounds open, fill and finalize in the replicated state.

use std::{collections::BTreeSet, sync::Arc};

use zipnet_protocol::{
    Aggregate, Certification, Certifications, ClientBundle, ClientRegistry, Digest, FinalizedRound,
    Leaves, Participants, PeerKey, RegisteredClient, Round, RoundHeader, ServerId, SignedHeader,
    SignedPartial, Tally, participation_floor,
};

use super::{
    command::{PartialCommitment, Published, Resume},
    state::{Applied, CLIENT_LEASE_ROUNDS, CommitteeState, Final, InFlight, Refusal, rank},
};

/// Farthest that rounds may be ahead of the last record: readers and newcomers
/// believe no more.
pub(super) const MAX_JUMP: u64 = 1 << 20;
/// Farthest that reminders may push the round numbers beyond the last record,
/// however many there are (A11). The other half is left for rounds that are
/// given up.
pub(crate) const MAX_FLOOR: u64 = MAX_JUMP / 2;

impl CommitteeState {
    /// The digest that the next header must name as its predecessor.
    #[must_use]
    pub fn previous(&self) -> Digest {
        self.head
            .as_ref()
            .map_or(Digest::ZERO, |head| *head.checked.digest())
    }

    /// The participation floor of the next round (I15).
    #[must_use]
    pub fn floor(&self) -> u32 {
        self.floor_over(&self.clients)
    }

    /// The participation floor of a round over a registry.
    #[must_use]
    pub fn floor_over(&self, registry: &ClientRegistry) -> u32 {
        let last = self.head.as_ref().map(|head| {
            let participants: &Participants = &head.published.record.aggregate.participants;
            (participants, &*head.registry)
        });
        participation_floor(self.rules.min_participants, last, registry)
    }

    /// Whether the registered clients that take part with a roster of so many are
    /// enough for the floor. Others would only wait for a round that cannot end.
    #[must_use]
    pub fn is_taken(&self, servers: usize) -> bool {
        let committee = self.committee_size();
        let clients = self.clients.iter();
        let takers: BTreeSet<_> = clients
            .filter(|client| client.least_servers().takes(servers, committee))
            .map(RegisteredClient::peer)
            .collect();
        takers.len() >= self.floor() as usize
    }

    /// Who aggregates the next round, if anybody is admitted to. Who let a
    /// certified round pass without an aggregate comes last, and before that whoever
    /// servers vote against.
    #[must_use]
    pub fn next_aggregator(&self) -> Option<PeerKey> {
        self.next_aggregators().map(|(root, _)| root)
    }

    /// Who aggregates the next round, and its leaves, if anybody is admitted to.
    #[must_use]
    pub fn next_aggregators(&self) -> Option<(PeerKey, Leaves)> {
        let mut aggregators = self.aggregators.clone();
        if let Some(failed) = self.failed_round() {
            aggregators.failed(failed);
        }
        let votes = |peer: &PeerKey| self.strikes.voters(peer, self.opened).count();
        let root = aggregators.next(votes)?;
        let number = self.opened.saturating_add(1);
        let leaves = aggregators.leaves(number, self.rules.leaves, &root, votes);
        Some((root, leaves))
    }

    /// The open round, if it is certified and its aggregator has handed nothing in.
    fn failed_round(&self) -> Option<&RoundHeader> {
        let current = self.current.as_ref()?;
        let failed = current.certified.is_some() && current.tally.is_none();
        failed.then(|| current.round.header())
    }

    pub(super) fn open_round(
        &mut self,
        sender: ServerId,
        signed: &SignedHeader,
    ) -> Result<Applied, Refusal> {
        let header = signed.header();
        let rules = &self.rules;
        rules
            .check(header, self.committee_size())
            .map_err(Refusal::Unfit)?;
        let clients = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let (aggregator, leaves) = self.next_aggregators().unzip();
        let leaves = leaves.unwrap_or_default();
        let fits = [
            (
                "epoch",
                self.epoch.is_none_or(|epoch| epoch == header.epoch),
            ),
            ("number", self.opened.checked_add(1) == Some(header.number)),
            ("predecessor", header.previous == self.previous()),
            ("number of clients", header.clients == clients),
            ("client registry", header.registry == self.clients.root()),
            ("participation floor", header.floor == self.floor()),
            (
                "roster, which too few clients take part with,",
                self.is_taken(header.roster.len()),
            ),
            ("aggregator", aggregator == Some(header.aggregator)),
            ("leaves", leaves == header.leaves),
        ];
        if let Some((what, _)) = fits.iter().find(|(_, fits)| !fits) {
            return Err(Refusal::Unfit(what));
        }
        let round = signed
            .verify_with(&rules.instance, self.servers.values().cloned())
            .map_err(Refusal::Header)?;
        if signed.opener() != &sender {
            return Err(Refusal::Unfit("opener"));
        }
        let round = Arc::new(round);
        if let Some(failed) = self.failed_round().cloned() {
            self.aggregators.failed(&failed);
        }
        self.epoch = Some(header.epoch);
        self.opened = header.number;
        let forced = self
            .current
            .replace(InFlight {
                round: round.clone(),
                registry: self.clients.clone(),
                certifications: Certifications::default(),
                certified: None,
                tally: None,
            })
            .map(Box::new);
        self.expire_clients();
        self.aggregators.expire(self.opened);
        Ok(Applied::Opened { round, forced })
    }

    /// Drops clients that sat out their lease. The round that just opened
    /// still lists them.
    fn expire_clients(&mut self) {
        let oldest = self.opened.saturating_sub(CLIENT_LEASE_ROUNDS);
        let activity = self.activity.clone();
        self.drop_clients(|client| activity.get(client).is_none_or(|active| *active < oldest));
    }

    /// Takes the word of a roster server for the open round. With the last one
    /// the round is certified (I13).
    pub(super) fn certify(
        &mut self,
        sender: ServerId,
        certification: &Certification,
    ) -> Result<Applied, Refusal> {
        let current = self.current.as_mut().ok_or(Refusal::NotWaiting)?;
        if certification.context != *current.round.context() {
            return Err(Refusal::NotWaiting);
        }
        if certification.server != sender {
            return Err(Refusal::Unfit("sender"));
        }
        let certified = current
            .certifications
            .add(&current.round, certification)
            .map_err(Refusal::Certificate)?;
        Ok(match certified {
            None => Applied::Endorsed,
            Some(certified) => {
                let certified = Arc::new(certified);
                current.certified = Some(certified.clone());
                Applied::Certified(certified)
            }
        })
    }

    pub(super) fn submit_aggregate(&mut self, aggregate: &Aggregate) -> Result<Applied, Refusal> {
        let current = self.current.as_mut().ok_or(Refusal::NotWaiting)?;
        if current.tally.is_some() || current.certified.is_none() {
            return Err(Refusal::NotWaiting);
        }
        let header = current.round.header();
        if self.strikes.is_struck(&header.aggregator) {
            return Err(Refusal::Struck(header.aggregator));
        }
        let checked = aggregate
            .check(current.round.context(), header, &current.registry)
            .map_err(Refusal::Aggregate)?;
        current.tally = Some(Arc::new(Tally::new(&checked)));
        self.aggregators.served(header, aggregate);
        Ok(Applied::Aggregated)
    }

    /// Takes a server's commitment to its partial (I17).
    pub(super) fn commit_partial(
        &mut self,
        sender: ServerId,
        commitment: &PartialCommitment,
    ) -> Result<Applied, Refusal> {
        let current = self.current.as_mut().ok_or(Refusal::NotWaiting)?;
        let tally = current.tally.as_mut().ok_or(Refusal::NotWaiting)?;
        if commitment.context != *current.round.context() || commitment.aggregate != *tally.digest()
        {
            return Err(Refusal::NotWaiting);
        }
        Arc::make_mut(tally)
            .commit(&current.round, sender, commitment.commitment)
            .map_err(Refusal::Partial)?;
        Ok(Applied::Committed)
    }

    pub(super) fn submit_partial(&mut self, partial: SignedPartial) -> Result<Applied, Refusal> {
        let current = self.current.as_mut().ok_or(Refusal::NotWaiting)?;
        let tally = current.tally.as_mut().ok_or(Refusal::NotWaiting)?;
        let record = Arc::make_mut(tally)
            .add(&current.round, partial)
            .map_err(Refusal::Partial)?;
        let Some(record) = record else {
            return Ok(Applied::Unblinded);
        };
        let checked = record
            .verify_in((*current.round).clone())
            .map_err(Refusal::Record)?;
        let number = current.round.header().number;
        let active: Vec<_> = record
            .aggregate
            .participants
            .positions()
            .filter_map(|position| current.registry.at(position))
            .map(|client| *client.id())
            .collect();
        let registry = current.registry.clone();
        let published = Published {
            record,
            bundles: current.round.bundles(),
        };
        let done = Arc::new(Final {
            published,
            checked,
            registry,
        });
        let activity = Arc::make_mut(&mut self.activity);
        for client in active {
            if let Some(last) = activity.get_mut(&client) {
                *last = number;
            }
        }
        self.aggregators.finalized(done.checked.round().header());
        self.head = Some(done.clone());
        self.current = None;
        Ok(Applied::Finalized(done))
    }

    /// Takes back what the committee forgot: a record that every server of its
    /// roster signed, and a floor under the round numbers.
    pub(super) fn resume(&mut self, resume: Resume) -> Result<Applied, Refusal> {
        let record = match resume.record {
            Some(published) => self.resumable(published, &resume.registry)?,
            None => None,
        };
        let same_epoch = match &record {
            Some(record) => self.epoch == Some(record.epoch()),
            None => true,
        };
        let epoch = record.as_ref().map(|record| record.epoch()).or(self.epoch);
        let opened = if same_epoch { self.opened } else { 0 };
        let number = record.as_ref().map_or(0, |record| record.rank().0);
        let base = opened.max(number);
        let head = match &self.head {
            Some(head) if same_epoch => head.rank().0,
            _ => 0,
        };
        let floor = match epoch {
            Some(epoch)
                if epoch == resume.epoch
                    && resume.floor.saturating_sub(head.max(number)) <= MAX_FLOOR =>
            {
                resume.floor
            }
            _ => 0,
        };
        let raised = base.max(floor);
        if record.is_none() && raised == self.opened {
            return Err(Refusal::NotAhead);
        }
        self.epoch = epoch;
        self.opened = raised;
        self.current = None;
        // Idleness is counted in rounds; those that were skipped are nobody's.
        let skipped = raised.saturating_sub(opened);
        for active in Arc::make_mut(&mut self.activity).values_mut() {
            *active = if same_epoch {
                active.saturating_add(skipped)
            } else {
                raised
            };
        }
        if same_epoch {
            self.aggregators.skip(skipped);
        } else {
            self.aggregators.restart(raised);
        }
        if let Some(record) = &record {
            self.head = Some(record.clone());
        }
        Ok(Applied::Resumed(record))
    }

    /// The record, if it is valid, of a round that this committee would have
    /// opened, and ahead of the head. The registry comes along: without it
    /// nobody could tell the next floor, and whoever brings a record back could
    /// lower it.
    fn resumable(
        &self,
        published: Published,
        registry: &[ClientBundle],
    ) -> Result<Option<Arc<Final>>, Refusal> {
        let checked = published
            .record
            .verify(&self.rules.instance, &published.bundles)
            .map_err(Refusal::Record)?;
        if !self.is_behind(&checked) {
            return Ok(None);
        }
        let header = checked.round().header();
        let registry = if self.clients.root() == header.registry {
            self.clients.clone()
        } else if registry.len() == header.clients as usize {
            let registry = ClientRegistry::verify(&self.rules.instance, registry);
            Arc::new(registry.map_err(Refusal::Bundle)?)
        } else {
            return Err(Refusal::Unfit("client registry"));
        };
        if registry.root() != header.registry {
            return Err(Refusal::Unfit("client registry"));
        }
        Ok(Some(Arc::new(Final {
            published,
            checked,
            registry,
        })))
    }

    /// Whether the servers of a roster that were ever registered here are more
    /// than half of the committee. Whoever holds the committee secret can make
    /// up any number of others.
    fn knows_most_of(&self, round: &Round) -> bool {
        let roster = round.roster().iter();
        let known = roster.filter(|server| self.knows(server.id())).count();
        known.saturating_mul(2) > self.committee_size() as usize
    }

    /// Whether a record is ahead of the head and may be taken up: of a round
    /// that this committee would have opened, and of another epoch only while a
    /// server that signed it still lives. After a cold start of all servers,
    /// nobody can bring an old history back.
    #[must_use]
    pub fn is_behind(&self, record: &FinalizedRound) -> bool {
        let round = record.round();
        let header = round.header();
        let alive = || {
            round.roster().iter().any(|server| {
                self.servers
                    .get(server.id())
                    .is_some_and(|registered| registered.digest() == server.digest())
            })
        };
        self.head
            .as_ref()
            .is_none_or(|head| rank(record) > head.rank())
            && self.rules.check(header, self.committee_size()).is_ok()
            && self.knows_most_of(round)
            && header.number.saturating_sub(self.opened) <= MAX_JUMP
            && (self.epoch == Some(header.epoch) || alive())
    }
}
