//! What clients asked for and the committee has not heard yet.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use zipnet_protocol::{AggregatorBundle, ClientId, PeerKey, Withdrawal};

use crate::committee::{aggregators::MAX_AGGREGATORS, command::MAX_BATCH, invites::Wish};

/// Most clients that wait to be mirrored.
const MAX_WAITING: usize = 8192;

/// Clients' wishes: the [`desk`](super::desk) puts them in, the
/// [`registrar`](super::registrar) takes them out.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    clients: Mutex<BTreeMap<ClientId, Wish>>,
    withdrawals: Mutex<BTreeMap<ClientId, Withdrawal>>,
    aggregators: Mutex<BTreeMap<PeerKey, AggregatorBundle>>,
}

impl Waiting {
    /// Takes a verified client; `false` if too many wait.
    pub fn register(&self, wish: Wish) -> bool {
        put(&self.clients, wish.bundle.client_id(), wish)
    }

    /// Takes a verified withdrawal; `false` if too many wait.
    pub fn withdraw(&self, withdrawal: Withdrawal) -> bool {
        put(&self.withdrawals, *withdrawal.client_id(), withdrawal)
    }

    /// Takes a verified aggregator bundle; `false` if too many wait.
    pub fn enlist(&self, bundle: AggregatorBundle) -> bool {
        put(&self.aggregators, *bundle.peer(), bundle)
    }

    /// Gives up the aggregators that wait, as many as go into one order.
    pub fn next_aggregators(&self) -> Vec<AggregatorBundle> {
        take(&self.aggregators, MAX_AGGREGATORS)
    }

    /// Gives up the next clients, as many as go into one order.
    pub fn next_clients(&self) -> Vec<Wish> {
        take(&self.clients, MAX_BATCH)
    }

    /// Gives up the next withdrawals, as many as go into one order.
    pub fn next_withdrawals(&self) -> Vec<Withdrawal> {
        take(&self.withdrawals, MAX_BATCH)
    }
}

fn put<Id: Ord, T>(into: &Mutex<BTreeMap<Id, T>>, id: Id, value: T) -> bool {
    let mut waiting = into.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.len() >= MAX_WAITING && !waiting.contains_key(&id) {
        return false;
    }
    waiting.insert(id, value);
    true
}

fn take<Id: Ord, T>(from: &Mutex<BTreeMap<Id, T>>, most: usize) -> Vec<T> {
    let mut waiting = from.lock().unwrap_or_else(PoisonError::into_inner);
    let mut batch = Vec::new();
    while batch.len() < most
        && let Some((_, value)) = waiting.pop_first()
    {
        batch.push(value);
    }
    batch
}
