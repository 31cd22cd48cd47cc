//! The reading half of a client.

use core::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use std::{collections::VecDeque, sync::Arc};

use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use tokio::sync::broadcast::{self, error::RecvError};
use zipnet_protocol::{Digest, Epoch, FinalizedRound};

use super::lag::Lagged;
use crate::roles::follow::past::Past;

/// Rounds that a slow reader may lag behind before it loses some.
const BACKLOG: usize = 256;
/// How many of the last records are remembered, to tell whether one is missing. A record
/// that one server signed a second time is passed by: the next one names the one before.
const RECENT: usize = 64;

/// A round, or what is missing in front of the next one.
pub(super) type Item = Result<Arc<FinalizedRound>, Lagged>;

/// A client that takes part was asked for the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "A client that takes part does not ask servers for the past: when it does could tell that it misses a message of its own. Another one that only reads, connected by itself and from the start, would be right"
)]
pub struct TakesPart;

/// Where rounds come from: what the process hears, and what servers still keep.
#[derive(Debug)]
pub(super) struct Rounds {
    heard: broadcast::Sender<Arc<FinalizedRound>>,
    past: Arc<Past>,
}

impl Rounds {
    pub fn new(past: Past) -> Self {
        Self {
            heard: broadcast::Sender::new(BACKLOG),
            past: Arc::new(past),
        }
    }

    /// Where to tell of rounds.
    pub fn heard(&self) -> broadcast::Sender<Arc<FinalizedRound>> {
        self.heard.clone()
    }

    /// A client of the process takes part from now on.
    pub fn takes_part(&self) {
        self.past.close();
    }

    /// A reader of what comes.
    pub fn reader(&self) -> Reader {
        Reader {
            stream: Reading::new(self.heard.subscribe()).stream(),
            again: self.heard.downgrade(),
            past: self.past.clone(),
        }
    }
}

/// Yields finalized rounds, each verified: signed by every server of a roster
/// that this client trusts, or named by a round that is.
///
/// A stream of rounds. Where one is missing, because it was read too slowly or because no
/// server has it any more, [`Lagged`] stands in its place. It ends once the client has
/// left.
///
/// Nothing is sent to anybody because of a reader, but for [`Reader::from`].
pub struct Reader {
    stream: BoxStream<'static, Item>,
    again: broadcast::WeakSender<Arc<FinalizedRound>>,
    past: Arc<Past>,
}

impl Reader {
    /// The next round, or what is missing in front of it; `None` once the client has left.
    pub async fn next(&mut self) -> Option<Item> {
        self.stream.next().await
    }

    /// Begins with a round of the epoch at hand, if servers still keep it: the last 256 by
    /// default. What they do not keep is told as [`Lagged::Gone`], and is an archive's to
    /// have (`zipnet-history`); the same is said, though nothing is missing, where more than
    /// four rounds in a row were given up before it. It begins once the next round has come, which names those
    /// before; with a round that is yet to come, nothing is yielded until then.
    ///
    /// Servers that are asked see that this process reads the past, and from where on.
    /// So only a client that takes part in nothing asks: if another one of this process does
    /// by then, nobody is asked, and the past is told as missing. All that comes is verified.
    ///
    /// # Errors
    /// [`TakesPart`].
    pub fn from(self, round: u64) -> Result<Self, TakesPart> {
        if self.past.is_closed() {
            return Err(TakesPart);
        }
        let stream = match self.again.upgrade() {
            Some(heard) => Reading {
                begin: Some(Begin {
                    round,
                    epoch: None,
                    past: self.past.clone(),
                }),
                ..Reading::new(heard.subscribe())
            }
            .stream(),
            None => stream::empty().boxed(),
        };
        Ok(Self { stream, ..self })
    }
}

impl Stream for Reader {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.stream.poll_next_unpin(context)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader(..)")
    }
}

/// Where to begin.
struct Begin {
    round: u64,
    /// That of the first round that came.
    epoch: Option<Epoch>,
    past: Arc<Past>,
}

/// How far rounds were read.
struct Reading {
    heard: broadcast::Receiver<Arc<FinalizedRound>>,
    begin: Option<Begin>,
    /// What is yielded before anything else that is heard.
    ready: VecDeque<Item>,
    /// The last record, and the digests of those before it.
    last: Option<(Epoch, u64)>,
    recent: VecDeque<Digest>,
}

impl Reading {
    fn new(heard: broadcast::Receiver<Arc<FinalizedRound>>) -> Self {
        Self {
            heard,
            begin: None,
            ready: VecDeque::new(),
            last: None,
            recent: VecDeque::new(),
        }
    }

    fn stream(self) -> BoxStream<'static, Item> {
        let next = |mut reading: Self| async move {
            let item = reading.next().await?;
            Some((item, reading))
        };
        stream::unfold(self, next).boxed()
    }

    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            match self.heard.recv().await {
                Ok(done) => {
                    if self.begins(&done).await {
                        self.take(done);
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    // Nothing is said of it a second time.
                    self.last = None;
                    return Some(Err(Lagged::Slow { missed }));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Whether a round is behind the place to begin. What servers have between the two is
    /// fetched.
    async fn begins(&mut self, done: &FinalizedRound) -> bool {
        let Some(begin) = &mut self.begin else {
            return true;
        };
        let (epoch, number) = done.round().position();
        // In another epoch numbers begin anew.
        if *begin.epoch.get_or_insert(epoch) == epoch && number < begin.round {
            return false;
        }
        if let Some(begin) = self.begin.take()
            && begin.epoch == Some(epoch)
        {
            let before = begin.past.before(done, begin.round).await;
            if !before.complete {
                let first = before.records.first().map(|first| &**first);
                let (_, before) = first.unwrap_or(done).round().position();
                let after = None;
                self.ready.push_back(Err(Lagged::Gone { after, before }));
            }
            for record in before.records {
                self.take(record);
            }
        }
        true
    }

    /// Takes a round in, and says if one is missing before it.
    fn take(&mut self, done: Arc<FinalizedRound>) {
        let (epoch, number) = done.round().position();
        let previous = &done.round().header().previous;
        if let Some((of, after)) = self.last
            && of == epoch
            && !self.recent.contains(previous)
        {
            self.ready.push_back(Err(Lagged::Gone {
                after: Some(after),
                before: number,
            }));
        }
        self.last = Some((epoch, number));
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(*done.digest());
        self.ready.push_back(Ok(done));
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
