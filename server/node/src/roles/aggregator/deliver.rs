//! Hands the aggregate to every server.

use core::time::Duration;
use std::collections::BTreeSet;

use futures::{StreamExt as _, stream::FuturesUnordered};
use mosaik::PeerId;
use zipnet_protocol::Aggregate;

use crate::{
    entropy, metrics,
    peers::{PeerError, Peers},
    wire::Refused,
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long to wait before servers are asked again; the pause doubles from time
/// to time, and is random within itself.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Delivers until every server has answered, for as long as it is polled: the
/// caller drops it when the round is over.
///
/// To all of them, since one that says that it has passed the aggregate on,
/// and has not, would end the round otherwise (A6). All learn the same, at the
/// same time, so that nobody is told apart by it.
pub(super) async fn deliver(
    servers: &Peers<Aggregate, ()>,
    aggregate: &Aggregate,
    number: u64,
    participants: usize,
) {
    let mut done: BTreeSet<PeerId> = BTreeSet::new();
    let mut pause = PAUSE;
    loop {
        let waiting = servers.serving().into_iter();
        let waiting: Vec<_> = waiting.filter(|peer| !done.contains(peer)).collect();
        if waiting.is_empty() && !done.is_empty() {
            return;
        }
        let mut calls: FuturesUnordered<_> = waiting
            .into_iter()
            .map(|peer| async move { (peer, servers.call_peer(peer, aggregate, PATIENCE).await) })
            .collect();
        while let Some((peer, answer)) = calls.next().await {
            if is_taken(&answer) {
                if done.is_empty() {
                    metrics::aggregate("forwarded");
                    tracing::info!(
                        round = %format_args!("r{number}"),
                        participants,
                        server = %peer.fmt_short(),
                        "aggregator: forwarded aggregate"
                    );
                }
                done.insert(peer);
            } else if let Err(error) = answer {
                metrics::aggregate("failed");
                tracing::debug!(
                    round = number,
                    because = %crate::report::chain(&error),
                    "a server did not take the aggregate"
                );
            }
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether the server has it, or another one had passed it on already.
fn is_taken(answer: &Result<(), PeerError>) -> bool {
    match answer {
        Ok(()) => true,
        Err(error) => error.refusal() == Some(&Refused::Repeated),
    }
}

/// Half of a pause, and a random part of the other half.
pub(super) fn jittered(pause: Duration) -> Duration {
    let dice = entropy::fresh().map_or(0, |bytes| bytes.first().copied().unwrap_or(0));
    pause / 2 + pause * u32::from(dice) / 512
}
