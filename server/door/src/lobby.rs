//! How many connections there may be (I19).
//!
//! A handshake is begun only with an address that has proved to be one. Behind it
//! the peer is known by its key: those who are registered or named have places of
//! their own, strangers share the rest. When these are full, a new stranger takes the
//! place of the oldest one of the address that has the most: whoever has many
//! addresses gets many places, and nobody's many connections from one address
//! keep another address out.

use core::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::PeerId;

/// How many connections a door holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Handshakes at once.
    pub handshakes: usize,
    /// Connections of strangers.
    pub strangers: usize,
    /// Handshakes, or strangers' connections, of one address: of IPv6, of a /64.
    pub each_address: usize,
    /// Connections of those who are known.
    pub known: usize,
    /// Connections of one peer.
    pub each_peer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 512,
            strangers: 2_048,
            each_address: 128,
            known: 20_000,
            each_peer: 4,
        }
    }
}

/// What a door has done since it was opened.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Addresses that were asked to prove themselves.
    pub challenged: AtomicU64,
    /// Connections that were turned away: too many.
    pub full: AtomicU64,
    /// Handshakes that failed or took too long.
    pub failed: AtomicU64,
    /// Strangers that made room for others, or asked nothing for long.
    pub displaced: AtomicU64,
    /// Connections cut since the peer did not read, or sent what is no frame.
    pub cut: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whom an address counts as; `None` for what comes through a relay, which shows
/// the address of nobody.
type Group = Option<IpAddr>;

fn group(address: Option<IpAddr>) -> Group {
    address.map(|address| match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    })
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    handshakes: BTreeMap<Group, usize>,
    /// Oldest first.
    strangers: BTreeMap<Group, VecDeque<(u64, Arc<Notify>)>>,
    known: usize,
    peers: BTreeMap<PeerId, usize>,
}

impl Held {
    fn handshakes(&self) -> usize {
        self.handshakes.values().sum()
    }

    fn strangers(&self) -> usize {
        self.strangers.values().map(VecDeque::len).sum()
    }
}

/// Counts the connections of a door.
#[derive(Debug)]
pub(crate) struct Lobby {
    limits: Limits,
    held: Mutex<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Handshake,
    Stranger { id: u64 },
    Known,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    lobby: Arc<Lobby>,
    group: Group,
    peer: Option<PeerId>,
    held: As,
    /// Told when the place goes to somebody else.
    displaced: Arc<Notify>,
}

impl Lobby {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            held: Mutex::default(),
        })
    }

    /// Connections: in handshakes, of strangers, of those who are known.
    pub fn numbers(&self) -> (usize, usize, usize) {
        let held = self.lock();
        (held.handshakes(), held.strangers(), held.known)
    }

    /// A place for a handshake with an address.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let group = group(address);
        let mut held = self.lock();
        let many = held.handshakes.get(&group).copied().unwrap_or(0);
        let each = group.is_some() && many >= self.limits.each_address;
        if each || held.handshakes() >= self.limits.handshakes {
            return None;
        }
        held.handshakes.insert(group, many.saturating_add(1));
        Some(Place {
            lobby: self.clone(),
            group,
            peer: None,
            held: As::Handshake,
            displaced: Arc::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The handshake is done, and the peer is this one. Whether it may stay.
    pub fn is(&mut self, peer: PeerId, known: bool) -> bool {
        let lobby = self.lobby.clone();
        let mut held = lobby.lock();
        let own = held.peers.get(&peer).copied().unwrap_or(0);
        if own >= lobby.limits.each_peer {
            return false;
        }
        let stays = if known {
            self.settle(&mut held)
        } else {
            self.wait(&mut held)
        };
        if stays {
            held.peers.insert(peer, own.saturating_add(1));
            self.peer = Some(peer);
        }
        stays
    }

    /// The peer has become known; whether there is a place for it as such.
    pub fn settles(&mut self) -> bool {
        let lobby = self.lobby.clone();
        self.settle(&mut lobby.lock())
    }

    /// Whether the peer counts as known.
    pub fn is_known(&self) -> bool {
        self.held == As::Known
    }

    /// Resolves when the place went to another stranger.
    pub fn displaced(&self) -> Arc<Notify> {
        self.displaced.clone()
    }

    fn settle(&mut self, held: &mut Held) -> bool {
        if self.held == As::Known {
            return true;
        }
        if held.known >= self.lobby.limits.known {
            return false;
        }
        self.release(held);
        held.known = held.known.saturating_add(1);
        self.held = As::Known;
        true
    }

    fn wait(&mut self, held: &mut Held) -> bool {
        let limits = self.lobby.limits;
        let own = held.strangers.get(&self.group).map_or(0, VecDeque::len);
        if self.group.is_some() && own >= limits.each_address {
            return false;
        }
        if held.strangers() >= limits.strangers {
            let most = held.strangers.values_mut().max_by_key(|of| of.len());
            let Some(most) = most.filter(|of| of.len() > own.saturating_add(1)) else {
                return false;
            };
            if let Some((_, oldest)) = most.pop_front() {
                oldest.notify_one();
            }
        }
        self.release(held);
        let id = held.next;
        held.next = id.wrapping_add(1);
        let of = held.strangers.entry(self.group).or_default();
        of.push_back((id, self.displaced.clone()));
        self.held = As::Stranger { id };
        true
    }

    /// Leaves the place that it has.
    fn release(&self, held: &mut Held) {
        match self.held {
            As::Handshake => {
                if let Some(many) = held.handshakes.get_mut(&self.group) {
                    *many = many.saturating_sub(1);
                    if *many == 0 {
                        held.handshakes.remove(&self.group);
                    }
                }
            }
            As::Stranger { id } => {
                if let Some(of) = held.strangers.get_mut(&self.group) {
                    of.retain(|(other, _)| *other != id);
                    if of.is_empty() {
                        held.strangers.remove(&self.group);
                    }
                }
            }
            As::Known => held.known = held.known.saturating_sub(1),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let lobby = self.lobby.clone();
        let mut held = lobby.lock();
        self.release(&mut held);
        if let Some(peer) = self.peer
            && let Some(own) = held.peers.get_mut(&peer)
        {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    fn peer(id: u16) -> PeerId {
        let mut seed = [9; 32];
        seed[..2].copy_from_slice(&id.to_be_bytes());
        SecretKey::from_bytes(&seed).public()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn lobby() -> Arc<Lobby> {
        Lobby::new(Limits {
            handshakes: 4,
            strangers: 6,
            each_address: 4,
            known: 2,
            each_peer: 2,
        })
    }

    fn stranger(lobby: &Arc<Lobby>, from: u8, id: u16) -> Option<Place> {
        let mut place = lobby.enter(Some(address(from)))?;
        place.is(peer(id), false).then_some(place)
    }

    #[test]
    fn i19_handshakes_are_bounded_by_address_and_in_all() {
        let lobby = lobby();
        let held: Vec<_> = (0..4)
            .filter_map(|_| lobby.enter(Some(address(1))))
            .collect();
        assert_eq!(held.len(), 4);
        assert!(lobby.enter(Some(address(1))).is_none());
        assert!(lobby.enter(Some(address(2))).is_none(), "all are taken");
        drop(held);
        assert_eq!(lobby.numbers(), (0, 0, 0));
        assert!(lobby.lock().handshakes.is_empty(), "nobody is remembered");
    }

    #[test]
    fn i19_an_address_with_many_makes_room_for_one_with_few() {
        let lobby = lobby();
        let many: Vec<_> = (0..6).map(|id| stranger(&lobby, 1, id)).collect();
        assert_eq!(many.iter().flatten().count(), 4, "of one address");
        let two: Vec<_> = (10..12).filter_map(|id| stranger(&lobby, 2, id)).collect();
        assert_eq!((two.len(), lobby.numbers().1), (2, 6));
        // All places are taken; the address that has four gives one.
        let third = stranger(&lobby, 3, 20).expect("a place");
        assert_eq!(lobby.numbers().1, 6);
        let left = lobby.lock().strangers.get(&Some(address(1))).unwrap().len();
        assert_eq!(left, 3);
        // The address that has the most gets no more.
        assert!(stranger(&lobby, 1, 21).is_none());
        drop((many, two, third));
        assert_eq!(lobby.numbers(), (0, 0, 0));
        assert!(lobby.lock().peers.is_empty());
    }

    #[tokio::test]
    async fn i19_whoever_is_displaced_is_told() {
        let lobby = lobby();
        let first = stranger(&lobby, 1, 0).unwrap();
        let _others: Vec<_> = (1..4).map(|id| stranger(&lobby, 1, id)).collect();
        let _two: Vec<_> = (4..6).map(|id| stranger(&lobby, 2, id)).collect();
        let _new = stranger(&lobby, 3, 6).unwrap();
        first.displaced().notified().await;
    }

    #[test]
    fn i19_strangers_take_no_place_of_those_who_are_known() {
        let lobby = lobby();
        let strangers: Vec<_> = (0..6_u8)
            .filter_map(|id| stranger(&lobby, id, id.into()))
            .collect();
        assert_eq!(strangers.len(), 6);
        let mut known = Vec::new();
        for id in 100..102 {
            let mut place = lobby.enter(Some(address(1))).unwrap();
            assert!(place.is(peer(id), true));
            known.push(place);
        }
        let mut third = lobby.enter(Some(address(1))).unwrap();
        assert!(!third.is(peer(102), true), "all are taken");
        // A stranger that becomes known leaves its place to others.
        known.pop();
        let mut strangers = strangers;
        assert!(strangers[0].settles() && strangers[0].is_known());
        assert_eq!((lobby.numbers().1, lobby.numbers().2), (5, 2));
    }

    #[test]
    fn i19_one_peer_has_no_more_than_its_connections() {
        let lobby = lobby();
        let held: Vec<_> = (0..3).filter_map(|_| stranger(&lobby, 1, 7)).collect();
        assert_eq!(held.len(), 2);
        drop(held);
        assert!(stranger(&lobby, 1, 7).is_some());
    }

    #[test]
    fn i19_ipv6_counts_by_the_network_and_mapped_ipv4_as_what_it_is() {
        let v6 = |text: &str| group(Some(text.parse().unwrap()));
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:10.0.0.1"), group(Some(address(1))));
    }
}
