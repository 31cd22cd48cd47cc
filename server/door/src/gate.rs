//! How many callers a call has at once, and how many of them may be strangers.
//! A place is free again when the handler is done, whatever the caller does (A5).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zipnet_protocol::PeerKey;

/// What a call's callers are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Callers at once.
    pub all: usize,
    /// Calls of one peer at once.
    pub each: usize,
}

impl Places {
    /// So many callers, each with up to `each` calls at once.
    #[must_use]
    pub const fn new(all: usize, each: usize) -> Self {
        Self { all, each }
    }

    /// How many of the places strangers may fill: ids cost nothing, and those
    /// that are known must find one free (I19).
    const fn for_strangers(self) -> usize {
        self.all.div_ceil(2)
    }
}

#[derive(Debug, Default)]
struct Held {
    strangers: usize,
    known: usize,
    by: BTreeMap<PeerKey, usize>,
}

/// Counts the callers of one call.
#[derive(Debug)]
pub struct Gate {
    places: Places,
    held: Mutex<Held>,
}

/// A caller's place; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    caller: PeerKey,
    stranger: bool,
}

impl Gate {
    /// With so many places.
    #[must_use]
    pub fn new(places: Places) -> Arc<Self> {
        Arc::new(Self {
            places,
            held: Mutex::default(),
        })
    }

    /// A place, if the caller may have one. Whether it is known is asked only
    /// when strangers have filled their share: it may take a while.
    pub fn enter(self: &Arc<Self>, caller: PeerKey, known: impl FnOnce() -> bool) -> Option<Place> {
        {
            let mut held = self.held();
            if held.by.get(&caller).copied().unwrap_or(0) >= self.places.each {
                return None;
            }
            if held.strangers < self.places.for_strangers() {
                return Some(self.take(&mut held, caller, true));
            }
        }
        // Not under the lock.
        if !known() {
            return None;
        }
        let mut held = self.held();
        let rest = self.places.all.saturating_sub(self.places.for_strangers());
        let more = held.by.get(&caller).copied().unwrap_or(0) < self.places.each;
        (more && held.known < rest.max(1)).then(|| self.take(&mut held, caller, false))
    }

    fn take(self: &Arc<Self>, held: &mut Held, caller: PeerKey, stranger: bool) -> Place {
        let count = if stranger {
            &mut held.strangers
        } else {
            &mut held.known
        };
        *count = count.saturating_add(1);
        let own = held.by.entry(caller).or_default();
        *own = own.saturating_add(1);
        Place {
            gate: self.clone(),
            caller,
            stranger,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.gate.held();
        let count = if self.stranger {
            &mut held.strangers
        } else {
            &mut held.known
        };
        *count = count.saturating_sub(1);
        if let Some(own) = held.by.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.by.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8) -> PeerKey {
        PeerKey::new([id; 32])
    }

    #[test]
    fn a5_one_peer_has_no_more_than_its_places() {
        let gate = Gate::new(Places::new(100, 2));
        let enter = |id| gate.enter(peer(id), || false);
        let mut held: Vec<_> = (0..2).filter_map(|_| enter(1)).collect();
        assert_eq!(held.len(), 2);
        assert!(enter(1).is_none());
        assert!(gate.enter(peer(1), || true).is_none(), "known or not");
        let other = enter(2).expect("another peer has its own");
        held.pop();
        assert!(enter(1).is_some(), "a place that was left is free");
        drop((held, other));
        assert!(gate.held().by.is_empty(), "nobody is remembered");
    }

    #[test]
    fn a5_strangers_leave_half_of_the_places_to_those_who_are_known() {
        let gate = Gate::new(Places::new(8, 4));
        let strangers: Vec<_> = (0..100)
            .filter_map(|id| gate.enter(peer(id), || false))
            .collect();
        assert_eq!(strangers.len(), 4);
        let known: Vec<_> = (100..200)
            .filter_map(|id| gate.enter(peer(id), || true))
            .collect();
        assert_eq!(known.len(), 4);
        assert!(gate.enter(peer(200), || true).is_none(), "all are taken");
        drop(strangers);
        assert!(gate.enter(peer(201), || false).is_some());
    }

    #[test]
    fn a5_a_single_place_is_not_lost_by_the_division() {
        let gate = Gate::new(Places::new(1, 1));
        let stranger = gate.enter(peer(1), || false);
        assert!(stranger.is_some());
        assert!(gate.enter(peer(2), || true).is_some());
        assert!(gate.enter(peer(3), || false).is_none());
    }
}
