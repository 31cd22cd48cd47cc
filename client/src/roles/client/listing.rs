//! Whether a client is listed, by what certified rounds say and not by anybody's
//! word (A6).
//!
//! The proof comes with the answer to a registration. So nothing more is asked of
//! anybody, and when a client asks says nothing of what it has to say.

use core::time::Duration;
use std::collections::VecDeque;

use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        watch,
    },
    time::timeout,
};
use zipnet_protocol::{Digest, RegistryEntry, Round, RoundContext};

use crate::{roles::follow::Event, wire::Listing};

/// Of how many of the last rounds a proof counts. One may be certified between
/// the server's look and this client's.
const RECENT: usize = 2;
/// How long a proof may be ahead of what this client was told.
const PATIENCE: Duration = Duration::from_secs(3);

/// The registry that a round's header names.
#[derive(Debug, Clone)]
struct Named {
    context: RoundContext,
    root: Digest,
    clients: u32,
}

/// The registries of the newest rounds that every server of their rosters has
/// signed for, the newest last.
#[derive(Debug, Default)]
pub(super) struct Registries(watch::Sender<VecDeque<Named>>);

impl Registries {
    /// Hears of rounds until nobody tells of them any more.
    pub async fn follow(&self, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(Event::Opened(round)) => self.signed(&round),
                Ok(Event::Finalized(done)) => self.signed(done.round()),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn signed(&self, round: &Round) {
        let (context, header) = (*round.context(), round.header());
        self.0.send_if_modified(|named| {
            let known = named.iter().any(|named| named.context == context);
            if !known {
                named.push_back(Named {
                    context,
                    root: header.registry,
                    clients: header.clients,
                });
                while named.len() > RECENT {
                    named.pop_front();
                }
            }
            !known
        });
    }

    /// Whether a listing holds for the client. It waits a while for a round that
    /// this client was not told of yet.
    pub async fn lists(&self, listing: &Listing, client: &RegistryEntry) -> bool {
        let mut changes = self.0.subscribe();
        let known = changes.wait_for(|named| {
            let mut named = named.iter();
            named.any(|named| named.context == listing.context)
        });
        let Ok(Ok(known)) = timeout(PATIENCE, known).await else {
            return false;
        };
        known
            .iter()
            .filter(|named| named.context == listing.context)
            .any(|named| {
                let position = listing.position;
                let proof = &listing.proof;
                let found = proof.verify(&named.root, named.clients, position, client);
                found.is_ok()
            })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zipnet_protocol::ClientRegistry;

    use super::*;
    use crate::testing::World;

    fn listing(round: &Round, registry: &ClientRegistry, position: u32) -> Listing {
        Listing {
            context: *round.context(),
            position,
            proof: registry.proof(position as usize).unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a6_listed_is_who_has_a_proof_for_one_of_the_newest_rounds() {
        let mut world = World::new(2, 4);
        let mut state = world.founded_with(&[0, 1, 2]);
        let known = Registries::default();
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let round = world.open(&mut state);
            let registry = state.current().unwrap().registry.clone();
            rounds.push((round, registry));
        }
        let entries = [0, 1, 2, 3].map(|client| RegistryEntry::from(world.client(client).bundle()));
        let entry = |client: usize| entries[client];
        let (round, registry) = &rounds[1];
        let right = listing(round, registry, 1);
        assert!(!known.lists(&right, &entry(1)).await, "of an unknown round");
        for (round, _) in &rounds[..2] {
            known.signed(round);
        }
        assert!(known.lists(&right, &entry(1)).await);
        for other in [0, 2, 3] {
            assert!(!known.lists(&right, &entry(other)).await, "client {other}");
        }
        let mut elsewhere = right.clone();
        elsewhere.position = 2;
        assert!(!known.lists(&elsewhere, &entry(1)).await);
        // Of a registry that no header names.
        let all = world.founded();
        let made_up = listing(round, all.clients(), 3);
        assert!(!known.lists(&made_up, &entry(3)).await);
        // Once two later ones are known, it is too old.
        known.signed(&rounds[2].0);
        assert!(known.lists(&right, &entry(1)).await);
        world.open(&mut state);
        known.signed(&state.current().unwrap().round);
        assert!(!known.lists(&right, &entry(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_may_come_before_its_round() {
        let mut world = World::new(1, 2);
        let mut state = world.founded();
        let round = world.open(&mut state);
        let known = Arc::new(Registries::default());
        let listing = listing(&round, state.clients(), 0);
        let entry = RegistryEntry::from(world.client(0).bundle());
        let asked = tokio::spawn({
            let known = known.clone();
            async move { known.lists(&listing, &entry).await }
        });
        tokio::time::sleep(PATIENCE / 2).await;
        known.signed(&round);
        assert!(asked.await.unwrap());
    }
}
