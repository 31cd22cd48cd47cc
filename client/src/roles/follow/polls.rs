//! Whom a follower asks: two servers at once, and others for what is missing.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};
use zipnet_door::PeerId;
use zipnet_protocol::{Digest, Epoch, RoundContext};

use super::tale::{Held, Servers, Tale};
use crate::{
    backoff::Backoff,
    entropy::Dice,
    peers::{PeerError, Peers},
    wire::{Follow, News},
};

/// How many servers are followed at once.
const SEATS: usize = 2;
/// How long a server may keep us waiting for news.
pub(super) const WAIT: Duration = Duration::from_secs(4);
/// How much longer the call may take.
pub(super) const SLACK: Duration = Duration::from_secs(2);
/// How long a server may take to hand on records that are missing: a page of them is
/// 256 KiB by default, and the link may be one that carries 64 KiB a second.
const PATIENCE: Duration = Duration::from_secs(6);
/// First and longest pause before somebody is asked again who gave nothing of
/// use, or in whose place nobody is better.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// After how many answers a server is left for another one, in the mean. The
/// times are random: nobody can tell when a client will be another's.
const STAY: u64 = 24;
/// How long the server that is asked for open rounds alone is left in peace after
/// it told of one, at most. It is there to confirm, or to show what the other one
/// hides; within this time all clients are busy with their envelopes.
const PEACE: Duration = Duration::from_millis(400);
/// How long the other server may have been ahead before one that told nothing is
/// left.
const SLOW: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// News, of the server in a seat.
    Seat {
        /// Which.
        at: usize,
        /// As the how manyth question. What was called off is no answer.
        turn: u64,
    },
    /// Records that are missing.
    Gap,
}

/// What a server said.
pub(super) struct Answer {
    pub asked: Asked,
    pub peer: PeerId,
    pub outcome: Result<Tale, PeerError>,
    /// What it will say next.
    pub stream: Option<Held>,
}

/// What a server's answer was worth.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given {
    /// The open round that it told of.
    pub seen: Option<RoundContext>,
    /// Whether there was anything new in it.
    pub useful: bool,
    /// Whether there was what may turn out to be new.
    pub claims: bool,
    /// Whether there was what does not hold.
    pub nonsense: bool,
}

/// A server that is followed.
#[derive(Debug)]
struct Seat {
    peer: PeerId,
    /// The open round that it told of last. Others may be ahead of it.
    seen: Option<RoundContext>,
    poll: Option<(u64, AbortHandle)>,
    /// Between two questions.
    stream: Option<Held>,
    asked: Instant,
    pause: Duration,
}

/// The questions that are out.
pub(super) struct Polls {
    /// Asked for what is missing.
    servers: Arc<Peers<Follow, News>>,
    /// Followed.
    followed: Arc<Servers>,
    /// The digest of the aggregators' bundles that are at hand, where none are sent again.
    aggregators: Option<Digest>,
    /// The newest open round, where others may build on what one server told.
    newest: Option<RoundContext>,
    seats: [Option<Seat>; SEATS],
    backoffs: [Backoff; SEATS],
    /// The seat that is asked for records. The other one is asked for open
    /// rounds alone.
    records: usize,
    /// When news of use came last.
    useful: Option<Instant>,
    out: JoinSet<Answer>,
    /// Questions so far.
    turns: u64,
    dice: Dice,
}

impl Polls {
    pub fn new(servers: Peers<Follow, News>) -> Self {
        let servers = Arc::new(servers);
        Self {
            followed: Arc::new(Servers::Full(servers.clone())),
            servers,
            aggregators: None,
            newest: None,
            seats: [const { None }; SEATS],
            backoffs: [Backoff::new(PAUSES.0, PAUSES.1); SEATS],
            records: 0,
            useful: None,
            out: JoinSet::new(),
            turns: 0,
            dice: Dice::fresh(),
        }
    }

    /// Follows servers another way.
    pub fn following(&mut self, servers: Servers) {
        self.followed = Arc::new(servers);
    }

    /// A round was told of that anybody's news may build on.
    pub const fn has_round(&mut self, round: RoundContext) {
        self.newest = Some(round);
    }

    /// The aggregators' bundles are at hand.
    pub const fn has_aggregators(&mut self, bundles: Digest) {
        self.aggregators = Some(bundles);
    }

    /// How many servers have to speak of an epoch: two, if there are as many.
    pub fn quorum(&self) -> usize {
        self.servers.serving().len().clamp(1, 2)
    }

    /// Whether records are asked of this server, as far as it is followed.
    pub fn gives_records(&self, peer: &PeerId) -> bool {
        let seat = self.seats.get(self.records).and_then(Option::as_ref);
        seat.is_none_or(|seat| seat.peer == *peer)
    }

    /// Makes sure that two servers are asked for what comes after a position.
    /// Whether there are two.
    pub fn keep(&mut self, position: Option<(Epoch, u64)>) -> bool {
        for at in 0..SEATS {
            self.sit(at);
            let after = match position {
                // No record is that far.
                Some((epoch, _)) if at != self.records => Some((epoch, u64::MAX)),
                after => after,
            };
            let Some(Some(seat)) = self.seats.get_mut(at) else {
                continue;
            };
            if seat.poll.is_some() {
                continue;
            }
            let request = Follow {
                after,
                seen: seat.seen.or(self.newest),
                wait: u32::try_from(WAIT.as_millis()).unwrap_or(u32::MAX),
                aggregators: self.aggregators,
            };
            let pause = core::mem::take(&mut seat.pause);
            seat.asked = Instant::now() + pause;
            self.turns = self.turns.wrapping_add(1);
            let (servers, peer, turn) = (self.followed.clone(), seat.peer, self.turns);
            let held = seat.stream.take();
            let held = held.filter(|held| held.covers(&request));
            let poll = self.out.spawn(async move {
                sleep(pause).await;
                let (outcome, stream) = Held::next(held, &servers, peer, request).await;
                Answer {
                    asked: Asked::Seat { at, turn },
                    peer,
                    outcome,
                    stream,
                }
            });
            seat.poll = Some((turn, poll));
        }
        self.seats.iter().all(Option::is_some)
    }

    /// Calls fail: there may be servers that nobody told of.
    pub fn look_around(&self, error: &PeerError) {
        self.servers
            .refresh(matches!(error, PeerError::Failed { .. }));
    }

    /// The seat whose question this was, if nobody called it off.
    fn of((at, turn): (usize, u64), seats: &mut [Option<Seat>; SEATS]) -> Option<&mut Seat> {
        let seat = seats.get_mut(at)?.as_mut()?;
        seat.poll.take_if(|(asked, _)| *asked == turn)?;
        Some(seat)
    }

    /// The next answer; `None` if nobody is asked anything.
    pub async fn next(&mut self) -> Option<Answer> {
        loop {
            // One that was called off is no answer.
            if let Ok(answer) = self.out.join_next().await? {
                return Some(answer);
            }
        }
    }

    /// The server in a seat has told something or nothing.
    pub fn answered(&mut self, asked: (usize, u64), given: &Given, stream: Option<Held>) {
        let Given {
            seen,
            useful,
            claims,
            nonsense,
        } = *given;
        let ahead = self.useful.filter(|_| !useful);
        if useful {
            self.useful = Some(Instant::now());
        }
        let change = self.dice.below(STAY) == 0;
        let at = asked.0;
        let (Some(seat), Some(backoff)) =
            (Self::of(asked, &mut self.seats), self.backoffs.get_mut(at))
        else {
            return;
        };
        seat.stream = stream;
        let news = claims || (seen.is_some() && seen != seat.seen);
        if seen.is_some() {
            seat.seen = seen;
        }
        if nonsense {
            // What it builds on next is not at hand: it says that whole.
            (seat.seen, seat.stream) = (None, None);
        }
        // The other server was faster, and this one had time to tell as well.
        let slow = !news && ahead.is_some_and(|since| since > seat.asked && since.elapsed() > SLOW);
        if useful || news {
            backoff.reset();
            if at != self.records {
                seat.pause = PEACE / 2 + self.dice.time(PEACE / 2);
            }
        } else if seat.asked.elapsed() < WAIT / 2 {
            // Whoever answers nothing at once is not asked again at once.
            seat.pause = backoff.next(&mut self.dice);
        }
        if nonsense || slow || change {
            self.leave(at);
        }
    }

    /// The server in a seat did not answer, or refused.
    pub fn failed(&mut self, asked: (usize, u64)) {
        let at = asked.0;
        let (Some(seat), Some(backoff)) =
            (Self::of(asked, &mut self.seats), self.backoffs.get_mut(at))
        else {
            return;
        };
        seat.pause = backoff.next(&mut self.dice);
        self.leave(at);
    }

    /// The server that is asked for records kept one back: the other one is
    /// asked for them from now on, and somebody else takes the place.
    pub fn blame_records(&mut self) {
        let blamed = self.records;
        self.records = (blamed + 1) % SEATS;
        for at in 0..SEATS {
            // Both are asked anew: for records, or for none.
            if let Some(Some(seat)) = self.seats.get_mut(at)
                && let Some((_, poll)) = seat.poll.take()
            {
                poll.abort();
            }
        }
        self.leave(blamed);
    }

    /// Asks a server for records that was not asked before, at once; or else one that
    /// did not answer then, after a pause.
    pub fn ask_another(
        &mut self,
        asked: &BTreeSet<PeerId>,
        failed: &BTreeMap<PeerId, u32>,
        after: (Epoch, u64),
    ) -> Option<PeerId> {
        let failures = |peer: &PeerId| failed.get(peer).copied().unwrap_or_default();
        let mut others = self.servers.serving();
        others.retain(|peer| !asked.contains(peer));
        let fewest = others.iter().map(failures).min()?;
        others.retain(|peer| failures(peer) == fewest);
        let peer = *others.get(self.dice.place(others.len()))?;
        let pause = PAUSES.0.saturating_mul(fewest).min(PAUSES.1);
        self.ask_peer(peer, after, pause);
        Some(peer)
    }

    /// Asks a server for records, after a pause.
    pub fn ask_peer(&mut self, peer: PeerId, after: (Epoch, u64), pause: Duration) {
        let servers = self.servers.clone();
        let request = Follow {
            after: Some(after),
            seen: None,
            wait: 0,
            aggregators: None,
        };
        self.out.spawn(async move {
            sleep(pause).await;
            Answer {
                asked: Asked::Gap,
                peer,
                outcome: servers
                    .call_peer(peer, &request, PATIENCE)
                    .await
                    .map(Tale::Full),
                stream: None,
            }
        });
    }

    /// Puts somebody into an empty seat.
    fn sit(&mut self, at: usize) {
        if matches!(self.seats.get(at), Some(Some(_))) {
            return;
        }
        let taken: Vec<_> = self.seats.iter().flatten().map(|seat| seat.peer).collect();
        let mut free = self.servers.serving();
        free.retain(|peer| !taken.contains(peer));
        self.seat(at, &free, Duration::ZERO);
    }

    /// Gives a seat to another server, if there is one.
    fn leave(&mut self, at: usize) {
        let taken: Vec<_> = self.seats.iter().flatten().map(|seat| seat.peer).collect();
        let Some(Some(left)) = self.seats.get(at) else {
            return;
        };
        let pause = left.pause;
        let serving = self.servers.serving();
        let known = serving.contains(&left.peer);
        let mut free = serving;
        free.retain(|peer| !taken.contains(peer));
        if free.is_empty() && known {
            return;
        }
        self.seat(at, &free, pause);
    }

    fn seat(&mut self, at: usize, free: &[PeerId], pause: Duration) {
        let chosen = free.get(self.dice.place(free.len())).copied();
        if let Some(seat) = self.seats.get_mut(at) {
            if let Some((_, poll)) = seat.take().and_then(|seat| seat.poll) {
                poll.abort();
            }
            *seat = chosen.map(|peer| Seat {
                peer,
                seen: None,
                poll: None,
                stream: None,
                asked: Instant::now(),
                pause,
            });
        }
        // With one server alone, that one is asked for everything.
        let other = (self.records + 1) % SEATS;
        let sits = |at: usize| matches!(self.seats.get(at), Some(Some(_)));
        if !sits(self.records) && sits(other) {
            self.records = other;
        }
    }
}

impl core::fmt::Debug for Polls {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Polls")
            .field("seats", &self.seats)
            .finish_non_exhaustive()
    }
}
