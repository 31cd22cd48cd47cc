//! Following the committee from outside: clients, readers and aggregators ask
//! one server after the other for news and verify all of it.

use core::time::Duration;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use mosaik::Network;
use tokio::time::{Instant, timeout};
use zipnet_protocol::{
    CertificateError, CertifiedRound, Digest, Epoch, FinalizedRound, Instance, MAX_ROSTER, PeerKey,
    RecordError, Round, RoundContext,
};

use super::directory::Directory;
use crate::{
    attestation::{Credential, VouchError, vouch},
    peers::{Allowed, Peers},
    settings::TrustSettings,
    wire::{Call as _, CredentialCall, Follow, FollowCall, MAX_RECORDS, News},
};

/// How long a server may keep us waiting for news.
const WAIT: Duration = Duration::from_secs(4);
/// How much longer the call may take.
const SLACK: Duration = Duration::from_secs(2);
/// How long a server may take to hand on evidence.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait when nobody answers, or somebody answers nothing.
const PAUSE: Duration = Duration::from_millis(250);
/// Farthest that a round may be ahead of the last record.
const MAX_JUMP: u64 = 1 << 20;
/// Farthest that a record which is not trusted may move a reader.
const MAX_PASSED: u64 = 64;
/// Most epochs that are remembered as left.
const MAX_EPOCHS: usize = 64;

/// Something a server sent that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum NewsError {
    /// A certificate.
    #[error("The certificate of an open round is refused")]
    Certificate(#[source] CertificateError),
    /// A record.
    #[error("A broadcast record is refused")]
    Record(#[source] RecordError),
    /// The roster is not trusted (I5).
    #[error("The roster lacks server {server}, which this process requires or knows to be there")]
    Required {
        /// Whose transport key is missing.
        server: String,
    },
    /// The roster is too small (I5).
    #[error(
        "The roster has {found} servers of a committee of {committee}; at least {needed} are required here"
    )]
    SmallRoster {
        /// Servers in it.
        found: usize,
        /// The committee's size, by the header's word.
        committee: u32,
        /// Servers wanted.
        needed: u32,
    },
    /// The round asks for too few participants (I5).
    #[error("The round asks for {found} participants; at least {needed} are required here")]
    FewParticipants {
        /// By the header's word.
        found: u32,
        /// Wanted.
        needed: u32,
    },
    /// Nobody vouches for the roster (I5, I6).
    #[error("The roster is not vouched for")]
    Vouch(#[source] VouchError),
    /// A number out of all proportion.
    #[error("Round {number} is too far ahead of the last record to be believed")]
    Ahead {
        /// By the header's word.
        number: u64,
    },
    /// An epoch that is over.
    #[error("The round belongs to an epoch that the committee has left")]
    OldEpoch,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A round takes envelopes.
    Opened(Arc<CertifiedRound>),
    /// A round is finalized.
    Finalized(Arc<FinalizedRound>),
}

/// What a record means for the reader's position.
enum Step {
    New,
    Old,
    /// Records before it are missing.
    Gap,
}

/// Follows the committee of an instance.
#[derive(Debug)]
pub struct Follower {
    instance: Instance,
    trust: TrustSettings,
    directory: Arc<Directory>,
    peers: Peers<Follow, News>,
    credentials: Peers<Digest, Credential>,
    position: Option<(Epoch, u64)>,
    digest: Option<Digest>,
    seen: Option<RoundContext>,
    /// Epochs that were left, with the last number there.
    left: VecDeque<(Epoch, u64)>,
    /// How many servers were asked for the same missing records.
    gap_tries: usize,
}

impl Follower {
    /// Starts with the present.
    #[must_use]
    pub fn new(
        network: Arc<Network>,
        instance: &Instance,
        trust: &TrustSettings,
        directory: &Arc<Directory>,
    ) -> Self {
        let servers = directory.clone();
        let allowed: Allowed = Arc::new(move |peer| servers.is_server(peer));
        Self {
            peers: Peers::new(
                network.clone(),
                FollowCall::id(instance),
                FollowCall::LABEL,
                Some(allowed.clone()),
            ),
            credentials: Peers::new(
                network,
                CredentialCall::id(instance),
                CredentialCall::LABEL,
                Some(allowed),
            ),
            instance: instance.clone(),
            trust: trust.clone(),
            directory: directory.clone(),
            position: None,
            digest: None,
            seen: None,
            left: VecDeque::new(),
            gap_tries: 0,
        }
    }

    /// Waits for news, for ever if need be. Everything in it was verified.
    pub async fn next(&mut self) -> Vec<Event> {
        loop {
            let request = Follow {
                after: self.position,
                seen: self.seen,
                wait: u32::try_from(WAIT.as_millis()).unwrap_or(u32::MAX),
            };
            let asked = Instant::now();
            let news = match self.peers.call(&request, WAIT + SLACK).await {
                Ok((_, news)) => news,
                Err(error) => {
                    tracing::debug!(because = %crate::report::chain(&error), "no news");
                    // A server that was just met may know more.
                    let _ = timeout(PAUSE, self.directory.changed()).await;
                    continue;
                }
            };
            let started = self.position.is_some();
            self.fetch_credentials(&news).await;
            let (events, problem) = self.take(news);
            if let Some(error) = &problem {
                tracing::warn!(
                    because = %crate::report::chain(error),
                    "refused news of a server"
                );
            }
            // Whoever answers nothing at once, or nonsense, is not asked
            // again at once.
            if problem.is_some() || (events.is_empty() && started && asked.elapsed() < PAUSE) {
                self.peers.distrust();
                tokio::time::sleep(PAUSE).await;
            }
            if !events.is_empty() {
                return events;
            }
        }
    }

    /// Fetches the evidence of servers in the news that is not known, or not
    /// in force any more. It is judged when it is used.
    async fn fetch_credentials(&self, news: &News) {
        let Some(authority) = &self.trust.authority else {
            return;
        };
        let records = news.records.iter().take(MAX_RECORDS);
        let bundles = records
            .flat_map(|published| published.bundles.iter().take(MAX_ROSTER))
            .chain(
                news.open
                    .iter()
                    .flat_map(|open| open.bundles.iter().take(MAX_ROSTER)),
            );
        let mut asked = BTreeSet::new();
        for bundle in bundles {
            let Ok(server) = bundle.verify(&self.instance) else {
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

    fn take(&mut self, news: News) -> (Vec<Event>, Option<NewsError>) {
        let mut events = Vec::new();
        let full = news.records.len() >= MAX_RECORDS;
        for published in news.records.iter().take(MAX_RECORDS) {
            let done = match published.record.verify(&self.instance, &published.bundles) {
                Ok(done) => done,
                Err(error) => return (events, Some(NewsError::Record(error))),
            };
            if self.is_over(done.round()) {
                return (events, Some(NewsError::OldEpoch));
            }
            if let Err(error) = self.trusted_roster(done.round()) {
                self.pass_over(&done);
                return (events, Some(error));
            }
            if self.position.is_none() {
                // The newest record is where to start, not news.
                self.position = Some(done.round().position());
                self.digest = Some(*done.digest());
                continue;
            }
            match self.step(&done) {
                Step::Old => continue,
                Step::Gap if self.gap_tries < self.peers.serving().len() => {
                    // Another server may still have what is missing.
                    self.gap_tries = self.gap_tries.saturating_add(1);
                    self.peers.distrust();
                    return (events, None);
                }
                Step::Gap | Step::New => self.advance(&done),
            }
            events.push(Event::Finalized(Arc::new(done)));
        }
        if self.position.is_none() {
            self.position = Some((Epoch::new([0; 32]), 0));
        }
        // With a full page there may be a record of the open round's
        // predecessor that has not been seen.
        if let Some(open) = news.open.filter(|_| !full) {
            let round = open
                .certificate
                .verify(&self.instance, &open.bundles)
                .map_err(NewsError::Certificate)
                .and_then(|round| self.trusted_open(&round).map(|()| round));
            match round {
                Ok(round) => {
                    self.seen = Some(*round.context());
                    events.push(Event::Opened(Arc::new(round)));
                }
                Err(error) => return (events, Some(error)),
            }
        }
        (events, None)
    }

    /// What must hold of any roster.
    fn trusted_roster(&self, round: &Round) -> Result<(), NewsError> {
        let header = round.header();
        let found = round.roster().len();
        if let Some(size) = self.trust.committee_size {
            let needed = self.trust.min_servers.unwrap_or(size);
            if header.committee_size != size || found < needed as usize {
                return Err(NewsError::SmallRoster {
                    found,
                    committee: header.committee_size,
                    needed,
                });
            }
        }
        let required = self
            .trust
            .required
            .iter()
            .map(|peer| PeerKey::new(*peer.as_bytes()));
        holds_all(round, required)?;
        let authority = self.trust.authority.as_deref();
        vouch(&self.instance, authority, round, |server| {
            authority?.credential(server.digest())
        })
        .map(|_| ())
        .map_err(NewsError::Vouch)
    }

    /// What must hold of a round that is to be sealed for (I5): besides, every
    /// server that is known to be there is in its roster, unless a smaller
    /// number was set as enough.
    fn trusted_open(&self, round: &Round) -> Result<(), NewsError> {
        let header = round.header();
        if self.is_over(round) {
            return Err(NewsError::OldEpoch);
        }
        let base = self
            .position
            .filter(|(epoch, _)| *epoch == header.epoch)
            .map_or(0, |(_, number)| number);
        if header.number.saturating_sub(base) > MAX_JUMP {
            return Err(NewsError::Ahead {
                number: header.number,
            });
        }
        if header.min_participants < self.trust.min_participants {
            return Err(NewsError::FewParticipants {
                found: header.min_participants,
                needed: self.trust.min_participants,
            });
        }
        self.trusted_roster(round)?;
        match self.trust.min_servers {
            None => holds_all(round, self.directory.servers()),
            Some(needed) if round.roster().len() < needed as usize => Err(NewsError::SmallRoster {
                found: round.roster().len(),
                committee: header.committee_size,
                needed,
            }),
            Some(_) => Ok(()),
        }
    }

    /// Whether a round lies behind in an epoch that was left. The committee may
    /// come back to one, but only to go on.
    fn is_over(&self, round: &Round) -> bool {
        let (epoch, number) = round.position();
        self.left
            .iter()
            .any(|(left, last)| *left == epoch && number <= *last)
    }

    /// Moves past a record that is not trusted, so that those behind it can be
    /// read, but not far: it may be made up.
    fn pass_over(&mut self, done: &FinalizedRound) {
        let (epoch, number) = done.round().position();
        if let Some((current, last)) = &mut self.position
            && *current == epoch
            && number > *last
            && number.saturating_sub(*last) <= MAX_PASSED
        {
            *last = number;
        }
    }

    fn step(&self, done: &FinalizedRound) -> Step {
        let (epoch, number) = done.round().position();
        match self.position {
            Some((current, last)) if epoch == current && number <= last => Step::Old,
            Some((current, _))
                if epoch == current
                    && self
                        .digest
                        .is_some_and(|digest| digest != done.round().header().previous) =>
            {
                Step::Gap
            }
            _ => Step::New,
        }
    }

    /// Moves on to a record.
    fn advance(&mut self, done: &FinalizedRound) {
        let (epoch, number) = done.round().position();
        if let Some((current, last)) = self.position {
            if epoch != current && last > 0 {
                tracing::warn!(
                    epoch = %epoch.short(),
                    "the committee started over with a new epoch"
                );
                if self.left.len() >= MAX_EPOCHS {
                    self.left.pop_front();
                }
                self.left.retain(|(left, _)| *left != current);
                self.left.push_back((current, last));
            } else if self.gap_tries > 0 {
                tracing::warn!(
                    round = number,
                    "records before this round are missing: no server has them any more, or the chain was forked"
                );
            }
        }
        self.gap_tries = 0;
        self.position = Some((epoch, number));
        self.digest = Some(*done.digest());
    }
}

fn holds_all(round: &Round, servers: impl IntoIterator<Item = PeerKey>) -> Result<(), NewsError> {
    let roster = round.roster();
    match servers
        .into_iter()
        .find(|wanted| !roster.iter().any(|server| server.peer() == wanted))
    {
        Some(missing) => Err(NewsError::Required {
            server: missing.to_string(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
