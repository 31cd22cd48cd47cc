//! Keeps a process's book of doors: who is registered, by the word of servers.
//!
//! Two servers chosen by chance are asked at a time, after a time of chance, or when
//! calls have failed. When that is says nothing of what the process has to say.

use core::time::Duration;
use std::{collections::BTreeSet, sync::Arc};

use zipnet_protocol::AdmittedServer;

use super::directory::Directory;
use crate::{
    backoff::Backoff,
    book::{AtDoors, Book},
    entropy::Dice,
    peers::Peers,
    wire::RollCall,
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// First and longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Keeps the book, for ever.
pub async fn keep(book: Arc<Book>, directory: Arc<Directory>) {
    let ground = AtDoors(book.clone());
    let peers = Peers::on::<RollCall>(&ground, directory.instance(), Some(directory.allowed()));
    let mut dice = Dice::fresh();
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    let mut known: Vec<AdmittedServer> = Vec::new();
    loop {
        for (teller, answer) in peers.call_two(&(), PATIENCE).await {
            let Ok(roll) = answer else {
                continue;
            };
            let mut named = Vec::new();
            for bundle in roll.servers.iter().take(zipnet_protocol::MAX_ROSTER) {
                let same = known.iter().find(|server| server.bundle() == bundle);
                let verified = || bundle.verify(directory.instance()).ok();
                named.extend(same.cloned().or_else(verified));
            }
            let servers: BTreeSet<_> = directory.peers();
            for door in book.enroll(teller, &named, &servers) {
                // All others may lie, and this one be the honest one (any-trust): while it
                // answers itself, no roster without it is sealed for.
                if peers.call_peer(door, &(), PATIENCE).await.is_err() {
                    tracing::info!(server = %door.fmt_short(), "a server is gone");
                    book.forget(&door);
                    directory.forget(&door);
                }
            }
            directory.renew(&named);
            known.retain(|server| !named.iter().any(|new| new.peer() == server.peer()));
            known.extend(named);
            known.truncate(zipnet_protocol::MAX_ROSTER);
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next(&mut dice)) => {}
            () = book.wanted() => tokio::time::sleep(PAUSES.0).await,
            () = directory.changed() => backoff.reset(),
        }
    }
}
