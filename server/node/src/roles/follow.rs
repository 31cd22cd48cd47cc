//! Following the committee from outside: clients, readers and aggregators ask
//! one server after the other for news and verify all of it.

use core::time::Duration;
use std::{collections::VecDeque, sync::Arc};

use mosaik::Network;
use zipnet_protocol::{
    Digest, Epoch, FinalizedRound, HeaderError, Instance, PeerKey, RecordError, Round, RoundContext,
};

use crate::{
    peers::Peers,
    settings::TrustSettings,
    wire::{Call as _, Follow, FollowCall, MAX_RECORDS, News},
};

/// How long a server may keep us waiting for news.
const WAIT: Duration = Duration::from_secs(10);
/// How much longer the call may take.
const SLACK: Duration = Duration::from_secs(3);
/// How long to wait when nobody answers.
const PAUSE: Duration = Duration::from_millis(250);
/// Most epochs that are remembered as over.
const MAX_EPOCHS: usize = 64;

/// Something a server sent that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum NewsError {
    /// A header.
    #[error("The header of an open round is refused")]
    Header(#[source] HeaderError),
    /// A record.
    #[error("A broadcast record is refused")]
    Record(#[source] RecordError),
    /// The roster is not trusted (I5).
    #[error("The roster lacks server {server}, which this process requires")]
    Required {
        /// Whose transport key is missing.
        server: String,
    },
    /// The roster is too small (I5).
    #[error("The roster has {found} servers; at least {needed} are required here")]
    SmallRoster {
        /// Servers in it.
        found: usize,
        /// Servers wanted.
        needed: usize,
    },
    /// An epoch that is over.
    #[error("The round belongs to an epoch that the committee has left")]
    OldEpoch,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A round takes envelopes.
    Opened(Arc<Round>),
    /// A round is finalized.
    Finalized(Arc<FinalizedRound>),
}

/// Follows the committee of an instance.
#[derive(Debug)]
pub struct Follower {
    instance: Instance,
    required: Vec<PeerKey>,
    min_roster: usize,
    peers: Peers<Follow, News>,
    position: Option<(Epoch, u64)>,
    digest: Option<Digest>,
    seen: Option<RoundContext>,
    over: VecDeque<Epoch>,
}

impl Follower {
    /// Starts with the present.
    #[must_use]
    pub fn new(network: Arc<Network>, instance: &Instance, trust: &TrustSettings) -> Self {
        Self {
            peers: Peers::new(network, FollowCall::id(instance), FollowCall::LABEL, None),
            instance: instance.clone(),
            required: trust
                .required
                .iter()
                .map(|peer| PeerKey::new(*peer.as_bytes()))
                .collect(),
            min_roster: trust.min_roster,
            position: None,
            digest: None,
            seen: None,
            over: VecDeque::new(),
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
            let news = match self.peers.call(&request, WAIT + SLACK).await {
                Ok((_, news)) => news,
                Err(error) => {
                    tracing::debug!(because = crate::report::chain(&error), "no news");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (events, problem) = self.take(news);
            if let Some(error) = problem {
                tracing::warn!(
                    because = crate::report::chain(&error),
                    "refused news of a server"
                );
                self.peers.distrust();
                tokio::time::sleep(PAUSE).await;
            }
            if !events.is_empty() {
                return events;
            }
        }
    }

    fn take(&mut self, news: News) -> (Vec<Event>, Option<NewsError>) {
        let mut events = Vec::new();
        if self.position.is_none() {
            self.position = Some(news.at.unwrap_or((Epoch::new([0; 32]), 0)));
        }
        let full = news.records.len() >= MAX_RECORDS;
        for published in news.records.iter().take(MAX_RECORDS) {
            let checked = published
                .record
                .verify(&self.instance, &published.bundles)
                .map_err(NewsError::Record)
                .and_then(|done| self.trusted(done.round()).map(|()| done));
            match checked {
                Ok(done) => {
                    if self.advance(&done) {
                        events.push(Event::Finalized(Arc::new(done)));
                    }
                }
                Err(error) => return (events, Some(error)),
            }
        }
        // With a full page there may be a record of the open round's
        // predecessor that has not been seen.
        if let Some(open) = news.open.filter(|_| !full) {
            let round = open
                .header
                .verify(&self.instance, &open.bundles)
                .map_err(NewsError::Header)
                .and_then(|round| self.trusted(&round).map(|()| round));
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

    fn trusted(&self, round: &Round) -> Result<(), NewsError> {
        if self.over.contains(&round.header().epoch) {
            return Err(NewsError::OldEpoch);
        }
        let roster = round.roster();
        if roster.len() < self.min_roster {
            return Err(NewsError::SmallRoster {
                found: roster.len(),
                needed: self.min_roster,
            });
        }
        match self
            .required
            .iter()
            .find(|required| !roster.iter().any(|server| server.peer() == *required))
        {
            Some(missing) => Err(NewsError::Required {
                server: missing.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Moves on to a record; `false` if it is not new.
    fn advance(&mut self, done: &FinalizedRound) -> bool {
        let (epoch, number) = done.round().position();
        if let Some((current, last)) = self.position {
            if epoch == current && number <= last {
                return false;
            }
            if epoch != current && last > 0 {
                tracing::warn!(
                    epoch = epoch.short(),
                    "the committee started over with a new epoch"
                );
                if self.over.len() >= MAX_EPOCHS {
                    self.over.pop_front();
                }
                self.over.push_back(current);
            } else if self
                .digest
                .is_some_and(|digest| digest != done.round().header().previous)
            {
                tracing::warn!(
                    round = number,
                    "records before this round are missing; no server that answered keeps them any more"
                );
            }
        }
        self.position = Some((epoch, number));
        self.digest = Some(*done.digest());
        true
    }
}
