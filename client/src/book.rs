//! The doors that a process knows: the ground of everybody who is not in the
//! committee.
//!
//! It begins with the doors that its user named. Servers show the bundles of all who
//! are registered ([`RollCall`](crate::wire::RollCall)), and the committee key has
//! signed each of them: no stranger gets into this book, however many there are, and
//! nobody is asked who is not in it (A9). A server that hides others is found out by
//! the next one that is asked: one is forgotten only if two do not name it and it does
//! not answer itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use zipnet_door::Doors;
use zipnet_door::PeerId;
use zipnet_protocol::{AdmittedServer, AggregatorBundle, Instance, PeerKey};

use crate::{
    ground::{Calling, Ground, Heard, Next, Scope, Streaming, Way},
    roles::common::peer_id,
    settings::BootstrapHint,
    wire::CallInfo,
};

/// Most servers that are remembered.
const MOST: usize = 256;
/// Most aggregators that are remembered.
const AGGREGATORS: usize = 64;
/// How many servers have to say that one is gone, if there are as many.
const QUORUM: usize = 2;

#[derive(Debug, Default)]
struct Inner {
    /// Doors of registered servers, each with those who did not list it any more.
    servers: BTreeMap<PeerId, BTreeSet<PeerId>>,
    /// The aggregators that servers told of.
    aggregators: BTreeMap<PeerKey, AggregatorBundle>,
}

/// Doors, and the connections to them.
#[derive(Debug)]
pub struct Book {
    doors: Arc<Doors>,
    hints: BTreeSet<PeerId>,
    inner: Mutex<Inner>,
    wanted: Notify,
}

impl Book {
    /// The doors that a user named.
    #[must_use]
    pub fn new(doors: Arc<Doors>, hints: &[BootstrapHint]) -> Arc<Self> {
        for hint in hints {
            doors.learn(hint.peer, hint.address, None);
        }
        Arc::new(Self {
            hints: hints.iter().map(|hint| hint.peer).collect(),
            doors,
            inner: Mutex::default(),
            wanted: Notify::new(),
        })
    }

    /// The connections.
    #[must_use]
    pub const fn doors(&self) -> &Arc<Doors> {
        &self.doors
    }

    /// The doors that may be knocked at.
    #[must_use]
    pub fn present(&self) -> BTreeSet<PeerId> {
        let inner = self.lock();
        self.hints
            .iter()
            .chain(inner.servers.keys())
            .copied()
            .filter(|peer| *peer != self.doors.id())
            .collect()
    }

    /// Takes down what one of `servers` said of who is registered. Whoever two of them
    /// do not name may be gone: who that is, is returned.
    pub fn enroll(
        &self,
        teller: PeerId,
        named: &[AdmittedServer],
        servers: &BTreeSet<PeerId>,
    ) -> Vec<PeerId> {
        let mut inner = self.lock();
        let mut listed = BTreeSet::new();
        for server in named {
            let at = server.at();
            let Some(door) = peer_id(server.peer()) else {
                continue;
            };
            listed.insert(door);
            if inner.servers.contains_key(&door) || inner.servers.len() < MOST {
                self.doors.learn(door, at.addresses().iter().copied(), None);
                inner.servers.entry(door).or_default().clear();
            }
        }
        for door in servers {
            inner.servers.entry(*door).or_default();
        }
        let mut doubted = Vec::new();
        for (door, missed_by) in &mut inner.servers {
            if listed.contains(door) || *door == teller {
                continue;
            }
            missed_by.insert(teller);
            missed_by.retain(|peer| servers.contains(peer));
            let others = servers.iter().filter(|peer| *peer != door).count();
            if missed_by.len() >= QUORUM.min(others).max(1) {
                doubted.push(*door);
            }
        }
        doubted
    }

    /// Forgets a door.
    pub fn forget(&self, door: &PeerId) {
        self.lock().servers.remove(door);
    }

    /// Resolves when calls have failed, so that others should be looked for.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A book as the ground of calls.
#[derive(Debug, Clone)]
pub struct AtDoors(pub Arc<Book>);

impl Ground for AtDoors {
    fn way(&self, call: CallInfo, _: Scope<'_>) -> Arc<dyn Way> {
        Arc::new(ByDoor {
            book: self.0.clone(),
            call,
        })
    }

    fn is_at(&self, server: &AdmittedServer, peer: &PeerId) -> bool {
        peer_id(server.peer()) == Some(*peer)
    }

    fn told(&self, instance: &Instance, aggregator: &AggregatorBundle) {
        let mut inner = self.0.lock();
        let known = inner.aggregators.get(aggregator.peer());
        if known.is_some_and(|known| known == aggregator) {
            return;
        }
        // Whether it is admitted, the servers have signed in the header that names it.
        let Ok(peer) = aggregator.verify(instance, |_| true) else {
            return;
        };
        let Some(door) = peer_id(&peer) else {
            return;
        };
        if inner.aggregators.len() >= AGGREGATORS && !inner.aggregators.contains_key(&peer) {
            inner.aggregators.pop_first();
        }
        let addresses = aggregator.at().addresses().iter().copied();
        self.0.doors.learn(door, addresses, None);
        inner.aggregators.insert(peer, aggregator.clone());
    }
}

struct ByDoor {
    book: Arc<Book>,
    call: CallInfo,
}

impl Way for ByDoor {
    fn present(&self) -> Vec<PeerId> {
        self.book.present().into_iter().collect()
    }

    fn invoke(&self, peer: PeerId, request: Vec<u8>) -> Calling<'_> {
        Box::pin(async move {
            let CallInfo { kind, longest, .. } = self.call;
            let call = self.book.doors.call(peer, kind, &request, longest);
            call.await.map_err(|error| crate::report::chain(&error))
        })
    }

    fn stream(&self, peer: PeerId, request: Vec<u8>) -> Streaming<'_> {
        Box::pin(async move {
            let CallInfo { kind, longest, .. } = self.call;
            let stream = self.book.doors.stream(peer, kind, &request, longest).await;
            let stream = stream.map_err(|error| crate::report::chain(&error))?;
            let pushed: Box<dyn Heard> = Box::new(Pushed(stream));
            Ok(pushed)
        })
    }

    fn look_around(&self) {
        self.book.wanted.notify_one();
    }
}

struct Pushed(zipnet_door::Stream);

impl Heard for Pushed {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async move {
            let answer = self.0.next().await;
            answer
                .map_err(|error| crate::report::chain(&error))
                .transpose()
        })
    }
}

#[cfg(test)]
mod tests {
    use zipnet_door::{Doors, Reach};

    use super::*;
    use crate::{entropy, testing::World};

    async fn book(hints: &[BootstrapHint]) -> Arc<Book> {
        let bind = Some(core::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let doors = Doors::open(&entropy::fresh().unwrap(), bind, &Reach::Direct).await;
        Book::new(doors.unwrap(), hints)
    }

    fn door(server: &AdmittedServer) -> PeerId {
        peer_id(server.peer()).unwrap()
    }

    #[tokio::test]
    async fn a9_a_server_is_doubted_once_two_do_not_name_it_and_one_alone_is_not_heard() {
        let world = World::new(4, 1);
        let all: Vec<_> = world
            .servers
            .iter()
            .map(|one| one.admitted.clone())
            .collect();
        let doors: Vec<_> = all.iter().map(door).collect();
        let known: BTreeSet<_> = doors.iter().copied().collect();
        let book = book(&[]).await;
        assert!(book.enroll(doors[0], &all, &known).is_empty());
        assert_eq!(book.present(), known);
        // One liar, however often.
        for _ in 0..5 {
            assert!(book.enroll(doors[1], &all[..3], &known).is_empty());
        }
        // Whoever names it takes that back.
        assert!(book.enroll(doors[2], &all, &known).is_empty());
        assert!(book.enroll(doors[1], &all[..3], &known).is_empty());
        assert_eq!(book.enroll(doors[0], &all[..3], &known), [doors[3]]);
        // It is still there until somebody has seen that it is gone.
        assert_eq!(book.present(), known);
        book.forget(&doors[3]);
        assert!(!book.present().contains(&doors[3]));
    }

    #[tokio::test]
    async fn a9_strangers_do_not_get_into_the_book_and_hints_stay_in_it() {
        let world = World::new(2, 1);
        let all: Vec<_> = world
            .servers
            .iter()
            .map(|one| one.admitted.clone())
            .collect();
        let hint = BootstrapHint {
            peer: door(&all[0]),
            address: None,
        };
        let book = book(core::slice::from_ref(&hint)).await;
        assert_eq!(book.present(), BTreeSet::from([hint.peer]));
        let known = BTreeSet::from([hint.peer]);
        for _ in 0..3 {
            book.enroll(hint.peer, &[], &known);
        }
        book.forget(&hint.peer);
        assert_eq!(book.present(), BTreeSet::from([hint.peer]));
    }
}
