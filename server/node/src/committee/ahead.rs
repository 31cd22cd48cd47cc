//! Clients' bundles and invites, verified before the command that registers them is
//! applied.
//!
//! The group's loop applies one command after the other, and 256 signatures would
//! hold it up for long. So what this server's own desk has verified is kept, and
//! a command is looked into on other threads as soon as it is in the log, which is
//! a trip to the others before it is committed. What is not ready by then the loop
//! verifies itself, from the other end.
//!
//! It is the same strict check of each signature by itself, wherever it is done:
//! nothing that a command comes to depends on who was faster (I8). A check of
//! many signatures at once would be faster still, and accepts some that a strict
//! one refuses.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use mosaik::groups::{Cursor, InMemoryLogStore, Index, Storage, Term};
use rayon::prelude::*;
use zipnet_protocol::ClientId;

use super::{
    command::{Command, MAX_BATCH, Order},
    invites::{Welcome, Wish, WishError},
};
use crate::settings::CommitteeRules;

/// Most commands that are looked into before they are applied.
const MAX_COMMANDS: usize = 16;
/// Most clients of this server's desk that are kept.
const MAX_KEPT: usize = 8192;

/// What has been verified before it is needed.
#[derive(Debug)]
pub struct Ahead {
    rules: Arc<CommitteeRules>,
    kept: Mutex<Kept>,
    commands: Mutex<VecDeque<([u8; 32], Arc<Batch>)>>,
}

/// Clients that were verified here, the oldest first.
#[derive(Debug, Default)]
struct Kept {
    clients: BTreeMap<ClientId, Welcome>,
    order: VecDeque<ClientId>,
}

impl Ahead {
    /// Nothing yet.
    #[must_use]
    pub fn new(rules: Arc<CommitteeRules>) -> Self {
        Self {
            rules,
            kept: Mutex::default(),
            commands: Mutex::default(),
        }
    }

    /// Keeps a client until the log brings it.
    pub fn keep(&self, welcome: &Welcome) {
        let id = *welcome.client().id();
        let mut kept = lock(&self.kept);
        if kept.clients.insert(id, welcome.clone()).is_none() {
            kept.order.push_back(id);
        }
        while kept.order.len() > MAX_KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.clients.remove(&oldest);
        }
    }

    /// A command is in the log, and not committed yet. Its clients are verified on
    /// other threads.
    pub fn heard(self: &Arc<Self>, command: &Command) {
        if !command.registers_clients() {
            return;
        }
        let batch = Arc::new(Batch::default());
        {
            let mut commands = lock(&self.commands);
            if commands.len() >= MAX_COMMANDS {
                commands.pop_front();
            }
            commands.push_back((key(command), batch.clone()));
        }
        let (ahead, command) = (self.clone(), command.clone());
        rayon::spawn(move || {
            let items = batch.items(|| match command.decode() {
                Ok(Order::RegisterClients(wishes)) if wishes.len() <= MAX_BATCH => wishes,
                _ => Vec::new(),
            });
            items.par_iter().for_each(|item| {
                let _ = item.verified(&ahead);
            });
        });
    }

    /// The clients of a command that is applied, those included that were
    /// verified before. `known` are registered already.
    ///
    /// # Errors
    /// [`WishError`] of the first one that does not verify.
    pub(super) fn clients(
        &self,
        command: &Command,
        wishes: Vec<Wish>,
        known: impl Fn(&Wish) -> Option<Welcome>,
    ) -> Result<Vec<Welcome>, WishError> {
        let batch = self.take(command).unwrap_or_default();
        let items = batch.items(|| wishes);
        // The other threads began at the front.
        for item in items.iter().rev() {
            item.done
                .get_or_init(|| known(&item.wish).map_or_else(|| self.verify(&item.wish), Ok));
        }
        items.iter().map(|item| item.verified(self)).collect()
    }

    fn take(&self, command: &Command) -> Option<Arc<Batch>> {
        let mut commands = lock(&self.commands);
        if commands.is_empty() {
            return None;
        }
        let key = key(command);
        let at = commands.iter().position(|(of, _)| *of == key)?;
        commands.remove(at).map(|(_, batch)| batch)
    }

    fn verify(&self, wish: &Wish) -> Result<Welcome, WishError> {
        let id = wish.bundle.client_id();
        let kept = lock(&self.kept).clients.get(&id).cloned();
        kept.filter(|welcome| welcome.is_of(wish, &self.rules))
            .map_or_else(|| self.rules.welcome(wish), Ok)
    }
}

/// The clients of one command.
#[derive(Debug, Default)]
struct Batch(OnceLock<Vec<Item>>);

#[derive(Debug)]
struct Item {
    wish: Wish,
    done: OnceLock<Result<Welcome, WishError>>,
}

impl Batch {
    /// What is in it; whoever comes first says so, all by the same bytes.
    fn items(&self, wishes: impl FnOnce() -> Vec<Wish>) -> &[Item] {
        self.0.get_or_init(|| {
            let item = |wish| Item {
                wish,
                done: OnceLock::new(),
            };
            wishes().into_iter().map(item).collect()
        })
    }
}

impl Item {
    fn verified(&self, ahead: &Ahead) -> Result<Welcome, WishError> {
        self.done.get_or_init(|| ahead.verify(&self.wish)).clone()
    }
}

fn key(command: &Command) -> [u8; 32] {
    *blake3::hash(command.order()).as_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// mosaik's log in memory, which tells [`Ahead`] of what comes into it.
#[derive(Debug)]
pub(crate) struct Log {
    log: InMemoryLogStore<Command>,
    ahead: Arc<Ahead>,
}

impl Log {
    pub fn new(ahead: Arc<Ahead>) -> Self {
        Self {
            log: InMemoryLogStore::default(),
            ahead,
        }
    }
}

impl Storage<Command> for Log {
    fn append(&mut self, command: Command, term: Term) -> Index {
        self.ahead.heard(&command);
        self.log.append(command, term)
    }

    fn available(&self) -> core::ops::RangeInclusive<Index> {
        self.log.available()
    }

    fn get(&self, index: Index) -> Option<(Command, Term)> {
        self.log.get(index)
    }

    fn get_range(&self, range: &core::ops::RangeInclusive<Index>) -> Vec<(Term, Index, Command)> {
        self.log.get_range(range)
    }

    fn truncate(&mut self, at: Index) {
        self.log.truncate(at);
    }

    fn last(&self) -> Cursor {
        self.log.last()
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    fn prune_prefix(&mut self, up_to: Index) {
        self.log.prune_prefix(up_to);
    }

    fn reset_to(&mut self, cursor: Cursor) {
        self.log.reset_to(cursor);
    }
}
