//! The virtual clock: what happens next.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the simulation began.
pub type Micros = u64;

/// Events in the order of their time; those of one time in the order in which they
/// were planned.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    now: Micros,
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at: Micros,
    turn: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.turn) == (other.at, other.turn)
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            now: 0,
            planned: 0,
        }
    }
}

impl<E> Queue<E> {
    /// The time.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// Plans an event.
    pub fn after(&mut self, delay: Micros, event: E) {
        self.at(self.now + delay, event);
    }

    /// Plans an event for a time, or for now if that has passed.
    pub fn at(&mut self, at: Micros, event: E) {
        self.planned += 1;
        self.heap.push(Reverse(Planned {
            at: at.max(self.now),
            turn: self.planned,
            event,
        }));
    }

    /// Moves the clock to the next event.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(planned) = self.heap.pop()?;
        self.now = planned.at;
        Some(planned.event)
    }
}
