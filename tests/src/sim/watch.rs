//! What must hold, whatever happens: checked at each event.
//!
//! **I14** is checked as far as a client can know: no message stands in two records of one
//! history. There is another case, which is counted and not refused. Every server has given
//! its partial of a round, the last one reached a single server, and this one restarts
//! before anybody has the record from it: the others give the round up, and certify the next
//! one on the record before. The author seals again, rightly, and a record that nobody
//! builds upon holds the message, too. A server that does so on purpose reads a round
//! alone each time that it makes the committee wait for the deadline; the budget of
//! attempts (I16) bounds how often, and the floor (I15) how much the participants differ.

use core::fmt;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use zipnet_node::committee::state::{Final, InFlight};
use zipnet_protocol::{
    Certification, CertifiedRound, ClientId, Digest, Epoch, Round, RoundContext, ServerId,
    SignedPartial, distinct_peers, participation_floor,
};

use super::client::{Sealed, digest};

/// An invariant that did not hold.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Violation {
    /// Its name in `docs/threat-model.md`.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
    /// How to see it again.
    pub seed: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            what,
            seed,
        } = self;
        write!(
            f,
            "{invariant} does not hold: {what}\n  again: ZIPNET_SIM_SEED={seed} cargo nextest run \
             --workspace --locked --no-capture -E 'package(zipnet-tests) and test(one_seed)'"
        )
    }
}

/// What a simulation has seen, as a tally of how much it tried.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Rounds that somebody opened.
    pub opened: u64,
    /// Rounds that were finalized.
    pub finalized: u64,
    /// Of these, with a part of a leaf.
    pub parted: u64,
    /// Envelopes.
    pub sealed: u64,
    /// Envelopes with a message.
    pub spoken: u64,
    /// Messages that landed.
    pub landed: u64,
    /// How often one message was sealed, at most.
    pub most_attempts: u64,
    /// Messages that stand in a record and in one that is not in its history.
    pub orphaned: u64,
    /// Partials of honest servers.
    pub partials: u64,
    /// What went wrong on purpose: partitions, restarts, lies.
    pub troubles: u64,
    /// What states refused.
    pub refused: u64,
}

impl Seen {
    /// Adds up.
    pub const fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.finalized += other.finalized;
        self.parted += other.parted;
        self.sealed += other.sealed;
        self.spoken += other.spoken;
        self.landed += other.landed;
        if other.most_attempts > self.most_attempts {
            self.most_attempts = other.most_attempts;
        }
        self.orphaned += other.orphaned;
        self.partials += other.partials;
        self.troubles += other.troubles;
        self.refused += other.refused;
    }
}

/// A record that a message stands in.
#[derive(Debug, Clone)]
struct Stands {
    context: RoundContext,
    digest: Digest,
    text: String,
}

impl Stands {
    fn of(done: &Final) -> Self {
        let round = done.checked.round();
        let header = round.header();
        let roster: Vec<_> = round
            .roster()
            .iter()
            .map(|server| format!("{}/{}", server.id().short(), server.boot()))
            .collect();
        let text = format!(
            "record {} of round {} of epoch {} on {} by {}",
            done.checked.digest().short(),
            header.number,
            header.epoch.short(),
            header.previous.short(),
            roster.join(", "),
        );
        Self {
            context: *round.context(),
            digest: *done.checked.digest(),
            text,
        }
    }
}

impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The memory of everybody, which nobody in the simulation has.
#[derive(Debug, Default)]
pub struct Watch {
    seed: u64,
    /// How much was tried.
    pub seen: Seen,
    partials: HashMap<(ServerId, u64, Epoch, u64), (RoundContext, Digest)>,
    rounds: HashMap<RoundContext, (Epoch, u64)>,
    /// Which round of a number each boot of an honest server stands for.
    standing: HashMap<(ServerId, u64, Epoch, u64), RoundContext>,
    words: HashSet<(ServerId, RoundContext)>,
    certified: HashSet<RoundContext>,
    /// What all had committed to when the first honest server gave its partial.
    committed: HashMap<(RoundContext, Digest), BTreeMap<ServerId, Digest>>,
    /// Records by their digests.
    heads: HashMap<Digest, Arc<Final>>,
    seals: HashSet<(ClientId, Epoch, u64)>,
    pads: HashSet<(ClientId, RoundContext)>,
    records: HashMap<(Epoch, u64), (RoundContext, Digest)>,
    texts: HashMap<Digest, Stands>,
    /// How often each message was sealed.
    spoken: HashMap<Digest, u64>,
}

impl Watch {
    /// Of a simulation by its seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Says that an invariant does not hold.
    #[must_use]
    pub const fn violated(&self, invariant: &'static str, what: String) -> Violation {
        Violation {
            invariant,
            what,
            seed: self.seed,
        }
    }

    /// A server took a round for open.
    ///
    /// # Errors
    /// I4: the context is that of another round, too.
    pub fn opened(&mut self, round: &Round) -> Result<(), Violation> {
        let position = round.position();
        match self.rounds.insert(*round.context(), position) {
            None => self.seen.opened += 1,
            Some(before) if before == position => {}
            Some(before) => {
                let what = format!("one context for rounds {} and {}", before.1, position.1);
                return Err(self.violated("I4", what));
            }
        }
        Ok(())
    }

    /// An honest server stands for a round.
    ///
    /// # Errors
    /// I13: it stands for another one of this number, too.
    pub fn certified(
        &mut self,
        word: &Certification,
        boot: u64,
        round: &Round,
    ) -> Result<(), Violation> {
        let (epoch, number) = round.position();
        let key = (word.server, boot, epoch, number);
        self.words.insert((word.server, word.context));
        match self.standing.insert(key, word.context) {
            Some(before) if before != word.context => {
                let server = word.server.short();
                let what = format!("server {server} stands for two rounds {number}");
                Err(self.violated("I13", what))
            }
            _ => Ok(()),
        }
    }

    /// A round came out as certified.
    ///
    /// # Errors
    /// I13: an honest server of its roster never gave its word.
    pub fn complete(
        &mut self,
        round: &CertifiedRound,
        honest: impl Fn(&ServerId) -> bool,
    ) -> Result<(), Violation> {
        let context = *round.context();
        let silent = round
            .roster()
            .iter()
            .find(|server| honest(server.id()) && !self.words.contains(&(*server.id(), context)));
        if let Some(server) = silent {
            let number = round.header().number;
            let server = server.id().short();
            let what = format!("round {number} is certified without the word of server {server}");
            return Err(self.violated("I13", what));
        }
        self.certified.insert(context);
        Ok(())
    }

    /// An honest server computed a partial.
    ///
    /// # Errors
    /// I2: it has computed another one for this number; I13: of a round that is not
    /// certified.
    pub fn unblinded(
        &mut self,
        (server, boot): (ServerId, u64),
        round: &Round,
        aggregate: Digest,
    ) -> Result<(), Violation> {
        let (epoch, number) = round.position();
        let given = (*round.context(), aggregate);
        let name = server.short();
        if !self.certified.contains(round.context()) {
            let what = format!("server {name} unblinded round {number}, which nobody certified");
            return Err(self.violated("I13", what));
        }
        match self.partials.insert((server, boot, epoch, number), given) {
            Some(before) if before != given => {
                let what = format!("server {name} unblinded two aggregates of round {number}");
                Err(self.violated("I2", what))
            }
            _ => Ok(()),
        }
    }

    /// An honest server gave its partial away, as it sees the round.
    ///
    /// # Errors
    /// I2: it computed it for another aggregate; I17: not all had committed to theirs.
    pub fn gave(
        &mut self,
        partial: &SignedPartial,
        boot: u64,
        current: &InFlight,
    ) -> Result<(), Violation> {
        self.seen.partials += 1;
        self.unblinded((partial.server, boot), &current.round, partial.aggregate)?;
        let number = current.round.header().number;
        let commitments: Option<BTreeMap<ServerId, Digest>> =
            current.tally.as_ref().and_then(|tally| {
                let roster = current.round.roster().iter();
                roster
                    .map(|server| Some((*server.id(), *tally.commitment(server.id())?)))
                    .collect()
            });
        let Some(commitments) = commitments else {
            let server = partial.server.short();
            let what = format!(
                "server {server} gave its partial of round {number} before all had committed to theirs"
            );
            return Err(self.violated("I17", what));
        };
        self.committed
            .entry((partial.context, partial.aggregate))
            .or_insert(commitments);
        Ok(())
    }

    /// An honest client sealed.
    ///
    /// # Errors
    /// I5: it has sealed for this number; I4: under these pads; I13: nobody certified the
    /// round; I16: it has tried this message too often.
    pub fn sealed(
        &mut self,
        client: ClientId,
        acceptable: bool,
        sealed: &Sealed,
        budget: Option<u64>,
    ) -> Result<(), Violation> {
        self.seen.sealed += 1;
        let (epoch, number) = sealed.round.position();
        let name = client.short();
        if !acceptable {
            let what = format!("client {name} sealed for a roster without a server that it pins");
            return Err(self.violated("I5", what));
        }
        if !self.seals.insert((client, epoch, number)) {
            let what = format!("client {name} sealed twice for round {number}");
            return Err(self.violated("I5", what));
        }
        if !self.pads.insert((client, *sealed.round.context())) {
            let what = format!("client {name} used its pads of round {number} twice");
            return Err(self.violated("I4", what));
        }
        if !self.certified.contains(sealed.round.context()) {
            let what = format!("client {name} sealed for round {number}, which nobody certified");
            return Err(self.violated("I13", what));
        }
        if let Some(message) = &sealed.message {
            self.seen.spoken += 1;
            let attempts = self.spoken.entry(digest(message.as_bytes())).or_default();
            *attempts += 1;
            let attempts = *attempts;
            self.seen.most_attempts = self.seen.most_attempts.max(attempts);
            if budget.is_some_and(|budget| attempts > budget) {
                let what = format!("client {name} sealed one message {attempts} times");
                return Err(self.violated("I16", what));
            }
        }
        Ok(())
    }

    /// A server holds a record.
    ///
    /// # Errors
    /// I7: there is another one of this number; I15: with too few participants; I17: of
    /// partials that were chosen late;
    /// I14: a message in it stands in another one.
    pub fn finalized(&mut self, done: &Final, once: bool) -> Result<(), Violation> {
        let round = done.checked.round();
        let (epoch, number) = round.position();
        let what = (
            *done.checked.context(),
            done.published.record.aggregate.digest(),
        );
        match self.records.insert((epoch, number), what) {
            None => {
                let parts = &done.published.record.aggregate.parts;
                self.seen.finalized += 1;
                self.seen.parted += u64::from(!parts.is_empty());
            }
            Some(before) if before == what => return Ok(()),
            Some(_) => {
                let what = format!("two records of round {number} of one epoch");
                return Err(self.violated("I7", what));
            }
        }
        self.check_floor(done)?;
        self.check_commitments(done)?;
        for (_, bytes) in done.checked.messages() {
            let text = digest(&bytes);
            if !self.spoken.contains_key(&text) {
                continue;
            }
            self.seen.landed += 1;
            let here = Stands::of(done);
            if let Some(before) = self.texts.insert(text, here.clone())
                && before.context != here.context
            {
                // Nobody who has the one record's history has the other one: see I14 in
                // the module's text.
                if !self.precedes(&before.digest, done) {
                    self.seen.orphaned += 1;
                    continue;
                }
                if !once {
                    continue;
                }
                let what = format!("one message stands in {before} and in {here}");
                return Err(self.violated("I14", what));
            }
        }
        Ok(())
    }

    /// Whether a record is in the history of another one.
    fn precedes(&self, earlier: &Digest, done: &Final) -> bool {
        let mut at = done.checked.round().header().previous;
        while let Some(record) = self.heads.get(&at) {
            if at == *earlier {
                return true;
            }
            at = record.checked.round().header().previous;
        }
        false
    }

    /// I15: what the header says is what the record before and the registry come to, and
    /// as many distinct peers took part.
    fn check_floor(&mut self, done: &Final) -> Result<(), Violation> {
        let header = done.checked.round().header();
        let record = &done.published.record;
        let last = self.heads.get(&header.previous).cloned();
        let last = last.as_ref().map(|last| {
            let participants = &last.published.record.aggregate.participants;
            (participants, &*last.registry)
        });
        let floor = participation_floor(header.min_participants, last, &done.registry);
        let number = header.number;
        if header.floor != floor {
            let said = header.floor;
            let what = format!("round {number} has the floor {said} where {floor} would be right");
            return Err(self.violated("I15", what));
        }
        let found = distinct_peers(&record.aggregate.participants, &done.registry);
        if found < floor as usize {
            let what = format!("round {number} has {found} participants at a floor of {floor}");
            return Err(self.violated("I15", what));
        }
        self.heads
            .insert(*done.checked.digest(), Arc::new(done.clone()));
        Ok(())
    }

    /// I17: every partial is what its server had committed to when the first honest one
    /// gave its own away.
    fn check_commitments(&self, done: &Final) -> Result<(), Violation> {
        let record = &done.published.record;
        let key = (*done.checked.context(), record.aggregate.digest());
        let committed = self.committed.get(&key);
        let other = record.partials.iter().find(|partial| {
            committed.is_some_and(|all| all.get(&partial.server) != Some(&partial.commitment()))
        });
        other.map_or(Ok(()), |partial| {
            let server = partial.server.short();
            let number = done.checked.round().header().number;
            let what = format!(
                "the partial of server {server} in round {number} is not what it committed to"
            );
            Err(self.violated("I17", what))
        })
    }
}
