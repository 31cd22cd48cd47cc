//! How a server that lags behind the group's log catches up: the leader sends
//! it the whole state. So no entry that was applied is needed any more, and
//! the log is pruned up to the last one.
//!
//! mosaik's own log replay keeps every command for ever, and after a partition
//! it fetches the missing entries without comparing the earlier ones, which
//! leaves states apart for good. A snapshot replaces the state as a whole.

use core::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use mosaik::{
    PeerId, UniqueId,
    groups::{
        Cursor, Index, StateSync, StateSyncProvider, StateSyncSession, SyncContext,
        SyncProviderContext, SyncSessionContext, Term,
    },
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Sleep};

use super::{Committee, Shared, command::Command, state::CommitteeState};

/// Bytes of a snapshot in one message.
const CHUNK_BYTES: usize = 256 * 1024;
/// Most chunks that a newcomer takes: 256 MiB.
const MAX_CHUNKS: u32 = 1024;
/// Most entries that are kept while the state is on its way.
const MAX_BUFFERED: usize = 4096;
/// How long a newcomer waits for the whole snapshot before it asks again.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it asks before it leaves the next move to the group.
const MAX_TRIES: u32 = 3;

/// What lagging servers and the leader say to each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SyncMessage {
    /// Please send the state.
    Request,
    /// One piece of it.
    Chunk(Chunk),
}

/// A piece of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chunk {
    anchor: Cursor,
    part: u32,
    parts: u32,
    bytes: Bytes,
    /// Entries behind the anchor that are not committed yet; with the last
    /// part.
    tail: Vec<(Term, Command)>,
}

/// The factory of both sides.
#[derive(Debug)]
pub struct SnapshotSync {
    shared: Arc<Shared>,
}

impl SnapshotSync {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl StateSync for SnapshotSync {
    type Machine = Committee;
    type Message = SyncMessage;
    type Provider = Provider;
    type Session = Session;

    fn signature(&self) -> UniqueId {
        UniqueId::from("zipnet.committee.snapshot-sync.v1")
    }

    fn create_provider(&self, _: &dyn SyncContext<Self>) -> Provider {
        Provider {
            shared: self.shared.clone(),
        }
    }

    fn create_session(
        &self,
        cx: &mut dyn SyncSessionContext<Self>,
        position: Cursor,
        _: Index,
        entries: Vec<(Command, Term)>,
    ) -> Session {
        let leader = cx.leader();
        let mut session = Session {
            leader,
            anchor: None,
            parts: BTreeMap::new(),
            expected: 0,
            tail: Vec::new(),
            buffered: BTreeMap::new(),
            timer: Box::pin(tokio::time::sleep(PATIENCE)),
            tries: 0,
            refused: false,
            wakers: Vec::new(),
        };
        session.keep(position, entries);
        session.ask(cx);
        session
    }
}

/// The serving side; lives as long as the group.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
}

impl Provider {
    fn serve(peer: PeerId, cx: &mut dyn SyncProviderContext<SnapshotSync>) {
        let anchor = cx.committed();
        let snapshot = cx.state_machine().state().snapshot();
        let bytes: Bytes = match postcard::to_stdvec(&snapshot) {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                tracing::error!(%error, "could not encode the committee's state");
                return;
            }
        };
        let last = cx.log().last().index();
        let tail: Vec<_> = cx
            .log()
            .get_range(&(anchor.index().next()..=last))
            .into_iter()
            .map(|(term, _, command)| (term, command))
            .collect();
        let parts = u32::try_from(bytes.len().div_ceil(CHUNK_BYTES).max(1)).unwrap_or(u32::MAX);
        for part in 0..parts {
            let from = (part as usize).saturating_mul(CHUNK_BYTES).min(bytes.len());
            let to = from.saturating_add(CHUNK_BYTES).min(bytes.len());
            let chunk = Chunk {
                anchor,
                part,
                parts,
                bytes: bytes.slice(from..to),
                tail: if part.saturating_add(1) == parts {
                    tail.clone()
                } else {
                    Vec::new()
                },
            };
            if cx.send_to(peer, SyncMessage::Chunk(chunk)).is_err() {
                return;
            }
        }
        tracing::debug!(peer = %peer.fmt_short(), %anchor, bytes = bytes.len(), "sent the committee's state");
    }
}

impl StateSyncProvider for Provider {
    type Owner = SnapshotSync;

    fn receive(
        &mut self,
        message: SyncMessage,
        sender: PeerId,
        cx: &mut dyn SyncProviderContext<SnapshotSync>,
    ) -> Result<(), SyncMessage> {
        match message {
            SyncMessage::Request => {
                Self::serve(sender, cx);
                Ok(())
            }
            SyncMessage::Chunk(_) => Err(message),
        }
    }

    fn safe_to_prune_prefix(
        &self,
        cx: &mut dyn SyncProviderContext<SnapshotSync>,
    ) -> Option<Index> {
        Some(cx.committed().index())
    }

    fn committed(&mut self, _: Cursor, cx: &mut dyn SyncProviderContext<SnapshotSync>) {
        let range = cx.log().available();
        self.shared
            .set_log_entries(range.end().0.saturating_sub(range.start().0));
    }
}

/// The catching-up side; lives until the state is installed.
#[derive(Debug)]
pub struct Session {
    leader: PeerId,
    anchor: Option<Cursor>,
    parts: BTreeMap<u32, Bytes>,
    expected: u32,
    tail: Vec<(Term, Command)>,
    buffered: BTreeMap<u64, (Term, Command)>,
    timer: Pin<Box<Sleep>>,
    tries: u32,
    refused: bool,
    wakers: Vec<Waker>,
}

impl Session {
    fn ask(&mut self, cx: &mut dyn SyncSessionContext<SnapshotSync>) {
        self.tries = self.tries.saturating_add(1);
        self.anchor = None;
        self.parts.clear();
        self.timer.as_mut().reset(Instant::now() + PATIENCE);
        if cx.send_to(self.leader, SyncMessage::Request).is_err() {
            tracing::debug!("could not encode a snapshot request");
        }
    }

    fn keep(&mut self, position: Cursor, entries: Vec<(Command, Term)>) {
        let mut index = position.index().0;
        for (command, term) in entries {
            index = index.saturating_add(1);
            self.buffered.insert(index, (term, command));
        }
        // What is lost here is fetched by another session.
        while self.buffered.len() > MAX_BUFFERED {
            self.buffered.pop_first();
        }
    }

    fn install(&mut self, anchor: Cursor, cx: &mut dyn SyncSessionContext<SnapshotSync>) -> bool {
        let bytes: Vec<u8> = self.parts.values().flatten().copied().collect();
        let rules = cx.state_machine().state().rules.clone();
        let state = match CommitteeState::restore(rules, &bytes) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(
                    leader = %self.leader.fmt_short(),
                    because = %crate::report::chain(&error),
                    "refused the committee state that the leader sent"
                );
                return false;
            }
        };
        cx.state_machine_mut().install(state, anchor.index().0);
        cx.log_mut().reset_to(anchor);
        cx.set_committed(anchor);
        let mut index = anchor.index().0;
        for (term, command) in core::mem::take(&mut self.tail) {
            index = index.saturating_add(1);
            self.buffered.entry(index).or_insert((term, command));
        }
        let mut index = anchor.index().0.saturating_add(1);
        while let Some((term, command)) = self.buffered.remove(&index) {
            cx.log_mut().append(command, term);
            index = index.saturating_add(1);
        }
        tracing::info!(%anchor, bytes = bytes.len(), "caught up with the committee by a snapshot");
        true
    }
}

impl StateSyncSession for Session {
    type Owner = SnapshotSync;

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        driver: &mut dyn SyncSessionContext<SnapshotSync>,
    ) -> Poll<Cursor> {
        if let Some(anchor) = self.anchor
            && !self.refused
            && u32::try_from(self.parts.len()).is_ok_and(|parts| parts == self.expected)
        {
            if self.install(anchor, driver) {
                return Poll::Ready(driver.log().last());
            }
            // Wait out the timer, so that a bad leader costs little.
            self.refused = true;
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.refused || self.tries >= MAX_TRIES {
                // Nothing was changed. Without a session this server may
                // again vote, or be brought here by another leader.
                return Poll::Ready(driver.log().last());
            }
            self.ask(driver);
        }
        self.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn receive(
        &mut self,
        message: SyncMessage,
        sender: PeerId,
        _: &mut dyn SyncSessionContext<SnapshotSync>,
    ) {
        let SyncMessage::Chunk(chunk) = message else {
            return;
        };
        if sender != self.leader
            || chunk.parts == 0
            || chunk.parts > MAX_CHUNKS
            || chunk.part >= chunk.parts
        {
            return;
        }
        if chunk.bytes.len() > CHUNK_BYTES {
            return;
        }
        if self.anchor != Some(chunk.anchor) {
            self.anchor = Some(chunk.anchor);
            self.parts.clear();
        }
        self.expected = chunk.parts;
        if chunk.part.saturating_add(1) == chunk.parts {
            self.tail = chunk.tail;
        }
        self.parts.insert(chunk.part, chunk.bytes);
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn buffer(
        &mut self,
        position: Cursor,
        entries: Vec<(Command, Term)>,
        cx: &mut dyn SyncSessionContext<SnapshotSync>,
    ) {
        // An append entry has just arrived, so the leader is known.
        let leader = cx.leader();
        if leader != self.leader {
            self.leader = leader;
            self.tries = 0;
            self.refused = false;
            // The old leader's entries may never be committed.
            self.buffered.clear();
            self.ask(cx);
        }
        self.keep(position, entries);
    }
}
