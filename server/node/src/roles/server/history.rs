//! Fetches the records that this server missed, so that readers do not depend on who
//! stayed.
//!
//! A server that starts, or was cut off, gets the newest record with the committee's
//! state, and the ones before it from the others: each by the digest that the one
//! behind it names, so that nobody can show another history (I6). They are public, and
//! asking for them tells no more than that this server was away.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use mosaik::Network;
use tokio::time::Instant;
use zipnet_protocol::{AdmittedServer, Digest, PeerKey, RecordError};

use super::context::Context;
use crate::{
    committee::{Fetched, Missing, View, command::Published},
    members, metrics,
    peers::{PeerError, Peers},
    roles::common::peer_id,
    wire::{HistoryCall, MAX_NEWS, MAX_RECORDS, Refused},
};

/// How often it is looked whether something is missing.
const TICK: Duration = Duration::from_secs(1);
/// How long a server may take for a page.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a server that did not have a record is asked for it again.
const AGAIN: Duration = Duration::from_secs(30);

/// Answers another server.
pub(super) fn records(context: &Context, digest: &Digest) -> Result<Vec<Published>, Refused> {
    let kept = context
        .shared
        .broadcasts()
        .chain(digest, MAX_RECORDS, MAX_NEWS);
    if kept.is_empty() {
        return Err(Refused::NotOpen);
    }
    Ok(kept.iter().map(|kept| kept.published().clone()).collect())
}

/// A page that does not help.
#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error("It does not hand out the record")]
    Call(#[source] PeerError),
    #[error("A record of it does not verify")]
    Record(#[source] RecordError),
    #[error("A record of it is not the one that the record behind it names")]
    Other,
}

pub(super) async fn run(context: Arc<Context>, network: Arc<Network>) {
    let peers = Peers::on::<HistoryCall>(&members::Members(network), &context.rules.instance, None);
    let mut refused: BTreeMap<PeerKey, Instant> = BTreeMap::new();
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        refused.retain(|_, at| at.elapsed() < AGAIN);
        let mut fetched = 0_usize;
        while let Some((missing, server)) = next(&context, &context.view(), &refused) {
            tokio::select! {
                () = context.stop().cancelled() => return,
                page = fetch(&context, &peers, &missing, &server) => match page {
                    Ok(count) => fetched = fetched.saturating_add(count),
                    Err(error) => {
                        refused.insert(*server.peer(), Instant::now());
                        tracing::debug!(
                            server = %server.peer().short(),
                            because = %crate::report::chain(&error),
                            "no records of the history from a server"
                        );
                    }
                }
            }
        }
        if fetched > 0 {
            tracing::info!(fetched, "fetched records that this server missed");
        }
    }
}

/// What is missing, and a server that may have it: first whoever signed the round
/// behind it, since those held it.
fn next(
    context: &Context,
    view: &View,
    refused: &BTreeMap<PeerKey, Instant>,
) -> Option<(Missing, AdmittedServer)> {
    let head = view.state.head()?;
    let missing = context.shared.broadcasts().missing(&head.checked)?;
    let bonded = context.bonded();
    let servers = view.state.servers().values();
    let server = servers
        .filter(|server| *server.id() != context.id() && context.is_bonded(server, &bonded))
        .filter(|server| !refused.contains_key(server.peer()))
        .max_by_key(|server| missing.holders.contains(server.id()))?
        .clone();
    Some((missing, server))
}

/// Fetches a page and keeps what of it is in the chain and finds room. How many
/// records that were.
async fn fetch(
    context: &Context,
    peers: &Peers<Digest, Vec<Published>>,
    missing: &Missing,
    server: &AdmittedServer,
) -> Result<usize, PageError> {
    let peer = peer_id(&server.member()).ok_or(PageError::Other)?;
    let page = peers.call_peer(peer, &missing.digest, PATIENCE).await;
    let page = page.map_err(PageError::Call)?;
    let (mut wanted, mut before, mut count) = (missing.digest, missing.before, 0_usize);
    for published in page.into_iter().take(MAX_RECORDS) {
        let checked = published
            .record
            .verify(&context.rules.instance, &published.bundles)
            .map_err(PageError::Record)?;
        let header = checked.round().header();
        let follows =
            *checked.digest() == wanted && header.epoch == missing.epoch && header.number < before;
        if !follows {
            return Err(PageError::Other);
        }
        (wanted, before) = (header.previous, header.number);
        let broadcasts = context.shared.broadcasts();
        if !broadcasts.fill(Fetched { published, checked }) {
            break;
        }
        metrics::record_fetched();
        count = count.saturating_add(1);
    }
    if count == 0 {
        return Err(PageError::Other);
    }
    Ok(count)
}
