//! Following the committee from outside: clients, readers and aggregators ask
//! servers for news and verify all of it.
//!
//! No server is believed alone, and none can blind (A1, A6, A13): two are
//! followed at once, chosen at random and changed at random times and upon any
//! refusal, error, nonsense or silence. One of them is asked for records and
//! open rounds, the other for open rounds only: these are short, and name the
//! newest record, so whoever keeps records back is found out by the next round.
//! What is missing is then fetched from the others, all of them if need be, in
//! random order.
//!
//! Nothing here knows whether its process talks: what is asked, when and of whom
//! is the same for all.

mod claims;
pub mod course;
mod doubt;
mod error;
mod gap;
mod kept;
mod light;
pub(crate) mod past;
mod polls;
mod seen;
mod tale;
mod trust;

use core::time::Duration;
use std::{collections::BTreeSet, sync::Arc};

use tokio::time::{Instant, sleep, sleep_until};
use zipnet_door::PeerId;
use zipnet_protocol::{
    AdmittedServer, CertifiedRound, Digest, FinalizedRound, Instance, MAX_ROSTER, RoundContext,
};

pub use self::{error::NewsError, trust::pinned};

use self::{
    claims::Claims,
    course::{Course, Step, Turn},
    doubt::Doubt,
    gap::{Gap, ToldBy},
    kept::Kept,
    light::Told,
    polls::{Answer, Asked, Given, Polls},
    seen::Seen,
    tale::Tale,
};
use super::directory::Directory;
use crate::{
    attestation::Credential,
    ground::Ground,
    peers::Peers,
    settings::TrustSettings,
    wire::{CredentialCall, FollowCall, MAX_RECORDS, Published},
};

/// How long a server may take to hand on evidence.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait when there is nobody to ask.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a round is kept back whose predecessor's record may be on its way
/// from the other server. A client that knows what became of its message can go
/// on in this round.
const GRACE: Duration = Duration::from_millis(300);
/// How long that record may still take before others are asked for it, and its server
/// loses its seat. Servers and links under load are late, and whoever asks twice for what
/// is on its way makes them later. A server that withholds gains these seconds, once: the
/// client covers meanwhile.
const LATE: Duration = Duration::from_secs(2);
/// After how long without anything of use one server's certified round is enough
/// to go into another epoch. Otherwise two must speak of it.
const STALE: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A round takes envelopes.
    Opened(Arc<CertifiedRound>),
    /// A round is finalized.
    Finalized(Arc<FinalizedRound>),
}

/// A certified round that is kept back for a moment.
#[derive(Debug)]
struct Held {
    round: Arc<CertifiedRound>,
    until: Instant,
}

/// The record before a certified round that was reported without it.
#[derive(Debug, Clone, Copy)]
struct Late {
    wanted: Digest,
    /// The number of the certified round.
    number: u64,
    until: Instant,
}

/// What became of news.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "any of them may hold beside any other"
)]
struct Taken {
    events: Vec<Event>,
    /// What does not hold.
    problem: Option<NewsError>,
    /// Whether any of it was of use.
    useful: bool,
    /// Whether there were records that nothing proves yet.
    claims: bool,
    /// Whether records were left out.
    gap: bool,
    /// Whether records were of an epoch that too few servers speak of.
    foreign: bool,
}

/// Follows the committee of an instance.
pub struct Follower {
    instance: Instance,
    ground: Arc<dyn Ground>,
    trust: TrustSettings,
    directory: Arc<Directory>,
    credentials: Peers<Digest, Credential>,
    polls: Polls,
    seen: Seen,
    course: Course,
    held: Option<Held>,
    late: Option<Late>,
    gap: Option<Gap>,
    kept: Kept,
    /// Light records, where these are read.
    claims: Option<Claims>,
    /// The open round that was complained of last.
    refused: Option<RoundContext>,
    /// When anything of use came last.
    useful: Instant,
    /// Whether it was said that rounds are too small here.
    told_few: bool,
    /// Why rounds are not believed.
    doubt: Doubt,
}

impl Follower {
    /// Starts with the present.
    #[must_use]
    pub fn new(
        ground: &Arc<dyn Ground>,
        instance: &Instance,
        trust: &TrustSettings,
        directory: &Arc<Directory>,
    ) -> Self {
        let allowed = directory.allowed();
        Self {
            polls: Polls::new(Peers::on::<FollowCall>(
                &**ground,
                instance,
                Some(allowed.clone()),
            )),
            credentials: Peers::on::<CredentialCall>(&**ground, instance, Some(allowed)),
            ground: ground.clone(),
            seen: Seen::new(instance.clone()),
            instance: instance.clone(),
            trust: trust.clone(),
            directory: directory.clone(),
            course: Course::default(),
            held: None,
            late: None,
            gap: None,
            kept: Kept::default(),
            claims: None,
            refused: None,
            useful: Instant::now(),
            told_few: false,
            doubt: Doubt::default(),
        }
    }

    /// Keeps the last records as they came, so many and so many bytes of vectors, for
    /// whoever hands them on ([`Follower::published`]).
    #[must_use]
    pub fn keeping(mut self, most: usize, bytes: usize) -> Self {
        self.kept = Kept::new(most, bytes);
        self
    }

    /// A record as it came, if it is one of those that are kept. It was verified, and its
    /// roster is trusted.
    #[must_use]
    pub fn published(&self, record: &Digest) -> Option<&Published> {
        self.kept.get(record)
    }

    /// Waits for news, for ever if need be. Everything in it was verified. Once
    /// this was dropped before it was done, nothing more need come.
    pub async fn next(&mut self) -> Vec<Event> {
        loop {
            let all = self.polls.keep(self.position());
            let held = self.held.as_ref().map(|held| held.until);
            let until = held
                .into_iter()
                .chain(self.late.map(|late| late.until))
                .min();
            let events = tokio::select! {
                Some(answer) = self.polls.next() => self.hear(answer).await,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    self.overdue(Instant::now())
                }
                // A server that was just met may take the place.
                () = sleep(PAUSE), if !all => Vec::new(),
                () = self.directory.changed(), if !all => Vec::new(),
            };
            if !events.is_empty() {
                self.doubt.heard(&events);
                return events;
            }
        }
    }

    /// Looks into the answer of a server.
    async fn hear(&mut self, answer: Answer) -> Vec<Event> {
        let Answer {
            asked,
            peer,
            outcome,
            stream,
        } = answer;
        match outcome {
            Ok(tale) => {
                let told = match tale {
                    Tale::Full(news) => Told::from(news),
                    Tale::Light(news) => self.understand(news, &peer),
                };
                self.fetch_credentials(&told).await;
                match asked {
                    Asked::Seat { at, turn } => {
                        let seen = told
                            .news
                            .open
                            .as_ref()
                            .map(|open| open.certificate.header.header().context());
                        let taken = self.take(told, peer);
                        if let Some(error) = &taken.problem {
                            self.doubt.told(error);
                            tracing::warn!(
                                because = %crate::report::chain(error),
                                "refused news of a server"
                            );
                        }
                        let given = Given {
                            seen,
                            useful: taken.useful,
                            claims: taken.claims,
                            nonsense: taken.problem.is_some() || taken.gap,
                        };
                        self.polls.answered((at, turn), &given, stream);
                        taken.events
                    }
                    Asked::Gap => self.filling(&told.news, peer),
                }
            }
            Err(error) => {
                tracing::debug!(because = %crate::report::chain(&error), "no news");
                self.polls.look_around(&error);
                match asked {
                    Asked::Seat { at, turn } => {
                        self.polls.failed((at, turn));
                        Vec::new()
                    }
                    Asked::Gap => self.unanswered(peer),
                }
            }
        }
    }

    /// Fetches the evidence of servers in the news that is not known, or not
    /// in force any more. It is judged when it is used.
    async fn fetch_credentials(&self, told: &Told) {
        let Some(authority) = &self.trust.authority else {
            return;
        };
        let news = &told.news;
        let claims = told.claims.iter().flat_map(|claim| claim.round().roster());
        // Where a roster is left out, it is the last one.
        let known = claims.chain(self.seen.roster()).map(AdmittedServer::bundle);
        let records = news.records.iter().take(MAX_RECORDS);
        let bundles = records
            .flat_map(|published| published.bundles.iter().take(MAX_ROSTER))
            .chain(
                news.open
                    .iter()
                    .flat_map(|open| open.bundles.iter().take(MAX_ROSTER)),
            )
            .chain(known.filter(|_| self.claims.is_some()));
        let mut asked = BTreeSet::new();
        for bundle in bundles {
            let Some(server) = self.seen.server(bundle) else {
                continue;
            };
            if !asked.insert(*server.digest()) || authority.stands(&self.instance, &server) {
                continue;
            }
            match self.credentials.call(server.digest(), PATIENCE).await {
                Ok((_, credential)) => {
                    // The verdict is remembered; so is the credential.
                    let _ = authority.judge(&self.instance, &server, &Arc::new(credential));
                }
                Err(error) => {
                    self.credentials.distrust();
                    tracing::debug!(
                        server = %server.id().short(),
                        because = %crate::report::chain(&error),
                        "nobody has this server's evidence"
                    );
                }
            }
        }
    }

    /// Takes news in.
    fn take(&mut self, told: Told, from: PeerId) -> Taken {
        // Records of another epoch are no reason to go there, since one server
        // may have kept those of a life that is over. Two servers' word is, and
        // so is one's certified round if nobody has anything else (A13).
        let lone = self.useful.elapsed() > STALE
            && told.news.open.as_ref().is_some_and(|open| {
                let round = self.seen.open(open);
                round.is_ok_and(|round| self.trusted_open(&round).is_ok())
            });
        let quorum = if lone { 1 } else { self.polls.quorum() };
        let taken = self.take_of(told, from, quorum);
        if taken.useful {
            self.useful = Instant::now();
        }
        taken
    }

    fn take_of(&mut self, told: impl Into<Told>, from: PeerId, quorum: usize) -> Taken {
        let Told {
            news,
            claims,
            problem,
        } = told.into();
        let mut taken = Taken {
            problem,
            ..Taken::default()
        };
        let full = news.records.len() >= MAX_RECORDS;
        for published in news.records.iter().take(MAX_RECORDS) {
            let done = match self.seen.record(published) {
                Ok(done) => done,
                Err(error) => {
                    taken.problem = Some(NewsError::Record(error));
                    return taken;
                }
            };
            if let Err(error) = self.trusted_roster(done.round()) {
                self.course.pass_over(done.round());
                taken.problem = Some(error);
                if self.course.position().is_some() {
                    return taken;
                }
                // It would only have told where to begin, and the open round does, too.
                // The evidence of a server that has started over since ends one day,
                // and nobody makes a record any more whom this keeps away.
                break;
            }
            self.kept.push(&done, published);
            if !self.step(done, from, quorum, &mut taken) {
                if taken.gap {
                    return taken;
                }
                break;
            }
        }
        self.take_claims(claims, from, quorum, &mut taken);
        self.unhold(&mut taken.events);
        // With a full page there may be a record of the open round's
        // predecessor that has not been seen.
        if let Some(open) = news.open.filter(|_| taken.foreign || !full) {
            let round = self
                .seen
                .open(&open)
                .map_err(NewsError::Certificate)
                .and_then(|round| self.trusted_open(&round).map(|()| round));
            match round {
                Ok(round) => {
                    taken.problem = None;
                    if let Some(claims) = &mut self.claims {
                        claims.certify(&round);
                    }
                    self.prove(from, quorum, &mut taken);
                    self.take_aggregators(round.header(), &open.aggregators);
                    let context = *round.context();
                    self.take_open(round, from, quorum, &mut taken);
                    // Of another epoch a second server has to speak as well.
                    if self.claims.is_some() && taken.problem.is_none() {
                        self.polls.has_round(context);
                    }
                }
                Err(error) => {
                    // Each server shows it. It is complained of once.
                    let context = open.certificate.header.header().context();
                    let few = matches!(error, NewsError::FewParticipants { .. });
                    let told = few && core::mem::replace(&mut self.told_few, few);
                    if self.refused.replace(context) != Some(context) && !told {
                        taken.problem = Some(error);
                    }
                }
            }
        }
        if taken.foreign && !taken.useful && taken.problem.is_none() {
            taken.problem = Some(NewsError::OtherEpoch);
        }
        taken
    }

    /// Goes on to a record. Whether those behind it may follow.
    fn step(
        &mut self,
        done: FinalizedRound,
        from: PeerId,
        quorum: usize,
        taken: &mut Taken,
    ) -> bool {
        match self.course.record(&done, from, quorum) {
            Step::Old => {}
            Step::Start => taken.useful = true,
            Step::New => {
                taken.useful = true;
                taken.events.push(Event::Finalized(Arc::new(done)));
            }
            Step::Gap => {
                taken.gap = true;
                let told_by = ToldBy::Record(Box::new(done.clone()));
                taken.events.extend(self.miss(*done.digest(), told_by));
                return false;
            }
            // A server that was asked for another epoch begins with its
            // oldest records. Where it is now, its open round says.
            Step::Foreign => {
                taken.foreign = true;
                return false;
            }
        }
        true
    }

    fn take_open(
        &mut self,
        round: Arc<CertifiedRound>,
        from: PeerId,
        quorum: usize,
        taken: &mut Taken,
    ) {
        let previous = round.header().previous;
        match self.course.open(&round, from, quorum) {
            Turn::Old => {}
            Turn::Foreign => taken.problem = Some(NewsError::OtherEpoch),
            Turn::Next => {
                taken.useful = true;
                self.held = None;
                taken.events.push(Event::Opened(round));
            }
            Turn::Gap => {
                taken.useful = true;
                // Whoever is asked for records had the time to give this one.
                if self.polls.gives_records(&from) {
                    self.held = None;
                    taken.gap = true;
                    let number = round.header().number;
                    taken.events.push(Event::Opened(round));
                    taken
                        .events
                        .extend(self.miss(previous, ToldBy::Round(number)));
                } else {
                    let until = Instant::now() + GRACE;
                    self.held = Some(Held { round, until });
                }
            }
        }
    }

    /// Reports the round that was kept back, if its predecessor is here by now.
    fn unhold(&mut self, events: &mut Vec<Event>) {
        let course = &mut self.course;
        if let Some(held) = self.held.take_if(|held| {
            let header = held.round.header();
            course.confirm(&header.previous, header.number)
        }) {
            // It may be over by now.
            let (epoch, number) = held.round.position();
            if course
                .position()
                .is_none_or(|at| (epoch, at.1) != at || at.1 < number)
            {
                events.push(Event::Opened(held.round));
            }
        }
    }

    /// Reports the round that was kept back although its predecessor is missing: a
    /// client can cover in it. If that is missing for too long, whoever is asked for
    /// records has kept it back, and others are asked.
    fn overdue(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(held) = self.held.take_if(|held| held.until <= now) {
            let header = held.round.header();
            // A newer one that is missing, too, gives nobody more time.
            let until = self.late.map_or(now + LATE, |late| late.until);
            self.late = Some(Late {
                wanted: header.previous,
                number: header.number,
                until,
            });
            events.push(Event::Opened(held.round));
        }
        self.late.take_if(|late| self.course.knows(&late.wanted));
        if let Some(late) = self.late.take_if(|late| late.until <= now) {
            self.polls.blame_records();
            self.claims.iter_mut().for_each(Claims::forget);
            events.extend(self.miss(late.wanted, ToldBy::Round(late.number)));
        }
        events
    }
}

impl core::fmt::Debug for Follower {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Follower").field(&self.course).finish()
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;

#[cfg(test)]
mod light_tests;

#[cfg(test)]
mod network_tests;
