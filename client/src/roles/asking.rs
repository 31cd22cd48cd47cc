//! Which peers are asked next who they are.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use zipnet_door::PeerId;

use crate::{backoff::Backoff, entropy::Dice};

/// How soon a peer that is no server is asked again.
const AGAIN: Duration = Duration::from_secs(15);
/// How soon a peer that did not answer is asked again, at first.
const RETRY: Duration = Duration::from_secs(1);
/// How soon at last.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Most peers that are asked at once.
const AT_ONCE: usize = 16;
/// One place of so many goes to a peer that was asked before, whatever the
/// number of new ones: ids are free to make.
const OLD_OF: u64 = 4;

/// How a peer did that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did not answer.
    Silent,
    /// It is no server, or none that is believed.
    Stranger,
    /// It is a server.
    Server,
}

#[derive(Debug)]
struct Peer {
    /// When it may be asked again; `None` while it is being asked.
    due: Option<Duration>,
    backoff: Backoff,
}

/// Chooses whom to ask: those that were never asked first, in an order that
/// does not follow from their ids, so that however many silent peers there are
/// and wherever they sort, they cannot keep one that answers from being asked
/// (A9). It is told the time, as a time since it began.
#[derive(Debug)]
pub struct Asking {
    dice: Dice,
    peers: BTreeMap<PeerId, Peer>,
}

impl Asking {
    /// Has asked nobody yet.
    #[must_use]
    pub const fn new(dice: Dice) -> Self {
        Self {
            dice,
            peers: BTreeMap::new(),
        }
    }

    /// Whom to ask now of those that are there, to fill the free places; they
    /// count as asked until [`Asking::answered`].
    pub fn next(&mut self, there: &BTreeSet<PeerId>, now: Duration) -> Vec<PeerId> {
        self.peers
            .retain(|peer, known| known.due.is_none() || there.contains(peer));
        let busy = self.peers.values().filter(|peer| peer.due.is_none());
        let free = AT_ONCE.saturating_sub(busy.count());
        let mut fresh: Vec<_> = there
            .iter()
            .filter(|peer| !self.peers.contains_key(*peer))
            .copied()
            .collect();
        let mut old: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, known)| known.due.is_some_and(|due| due <= now))
            .map(|(peer, _)| *peer)
            .collect();
        self.dice.shuffle(&mut fresh);
        self.dice.shuffle(&mut old);
        let mut asked = Vec::new();
        while asked.len() < free {
            let old_turn = self.dice.below(OLD_OF) == 0;
            let next = if old_turn {
                old.pop().or_else(|| fresh.pop())
            } else {
                fresh.pop().or_else(|| old.pop())
            };
            let Some(peer) = next else {
                break;
            };
            let known = self.peers.entry(peer).or_insert(Peer {
                due: None,
                backoff: Backoff::new(RETRY, RETRY_MAX),
            });
            known.due = None;
            asked.push(peer);
        }
        asked
    }

    /// A peer that was asked answered, or did not.
    pub fn answered(&mut self, peer: &PeerId, outcome: Outcome, now: Duration) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        let pause = match outcome {
            Outcome::Silent => known.backoff.next(&mut self.dice),
            Outcome::Stranger => {
                known.backoff.reset();
                Backoff::new(AGAIN, AGAIN).next(&mut self.dice)
            }
            // It is asked no more while it stands.
            Outcome::Server => {
                known.backoff.reset();
                Duration::ZERO
            }
        };
        known.due = Some(now.saturating_add(pause));
    }
}

#[cfg(test)]
mod tests {
    use zipnet_door::iroh::SecretKey;

    use super::*;

    /// How long a silent peer keeps its place.
    const PATIENCE: Duration = Duration::from_secs(3);
    const TICK: Duration = Duration::from_millis(200);

    fn peers(many: u16) -> Vec<PeerId> {
        let mut peers: Vec<_> = (0..many)
            .map(|at| {
                let mut seed = [7; 32];
                seed[..2].copy_from_slice(&at.to_be_bytes());
                SecretKey::from_bytes(&seed).public()
            })
            .collect();
        peers.sort();
        peers
    }

    /// Asks for a while; only `honest` answers. When it was asked each time,
    /// and how many were asked at once at most.
    fn simulate(
        seed: u8,
        there: impl Fn(Duration) -> BTreeSet<PeerId>,
        honest: PeerId,
        outcome: Outcome,
        until: Duration,
    ) -> (Vec<Duration>, usize) {
        let mut asking = Asking::new(Dice::seeded(&[seed; 32]));
        let mut pending: Vec<(Duration, PeerId)> = Vec::new();
        let (mut now, mut asked, mut most) = (Duration::ZERO, Vec::new(), 0);
        while now < until {
            pending.retain(|(over, peer)| {
                if *over <= now {
                    asking.answered(peer, Outcome::Silent, now);
                }
                *over > now
            });
            for peer in asking.next(&there(now), now) {
                if peer == honest {
                    asked.push(now);
                    asking.answered(&peer, outcome, now);
                } else {
                    pending.push((now + PATIENCE, peer));
                }
            }
            most = most.max(pending.len());
            now += TICK;
        }
        (asked, most)
    }

    #[test]
    fn a9_silent_peers_that_sort_lower_do_not_keep_a_server_from_being_asked() {
        for many in [16, 48, 96] {
            let all = peers(many + 1);
            let honest = *all.last().unwrap();
            let there: BTreeSet<_> = all.into_iter().collect();
            // All are asked within the time that the silent ones hold all places.
            let bound = PATIENCE * (u32::from(many) / 12 + 1);
            for seed in 0..20 {
                let until = bound + TICK;
                let (asked, most) =
                    simulate(seed, |_| there.clone(), honest, Outcome::Server, until);
                assert!(!asked.is_empty(), "{many} peers, seed {seed}");
                assert!(most <= AT_ONCE);
            }
        }
    }

    #[test]
    fn a9_a_server_that_comes_later_is_asked_at_once_or_soon() {
        let all = peers(65);
        let honest = *all.last().unwrap();
        let silent: BTreeSet<_> = all[..64].iter().copied().collect();
        let mut with = silent.clone();
        with.insert(honest);
        let comes = Duration::from_mins(2);
        let there = |now| {
            if now < comes {
                silent.clone()
            } else {
                with.clone()
            }
        };
        for seed in 0..20 {
            let until = comes + PATIENCE + 4 * TICK;
            let (asked, _) = simulate(seed, there, honest, Outcome::Server, until);
            assert!(
                !asked.is_empty(),
                "seed {seed}: never-asked peers come first"
            );
        }
    }

    #[test]
    fn a9_new_ids_without_end_do_not_keep_a_server_from_being_asked_again() {
        // Sixteen new silent ids a second, and a server that is not ready when
        // it is asked first.
        let all = peers(2_000);
        let honest = *all.last().unwrap();
        let there = |now: Duration| {
            let come = (now.as_millis() * 16 / 1_000 + 16) as usize;
            let mut there: BTreeSet<_> = all[come.saturating_sub(100)..come.min(1_999)]
                .iter()
                .copied()
                .collect();
            there.insert(honest);
            there
        };
        let until = Duration::from_secs(100);
        let (asked, _) = simulate(1, there, honest, Outcome::Silent, until);
        assert!(asked.len() >= 3, "{asked:?}");
    }

    #[test]
    fn a9_a_silent_peer_is_asked_less_and_less_often() {
        let all = peers(1);
        let there: BTreeSet<_> = all.iter().copied().collect();
        let mut asking = Asking::new(Dice::seeded(&[5; 32]));
        let (mut now, mut asked) = (Duration::ZERO, 0);
        while now < Duration::from_mins(10) {
            if !asking.next(&there, now).is_empty() {
                asked += 1;
                asking.answered(&all[0], Outcome::Silent, now + PATIENCE);
            }
            now += TICK;
        }
        assert!((15..=45).contains(&asked), "{asked} times in ten minutes");
    }

    #[test]
    fn a_peer_that_is_being_asked_is_not_asked_twice_and_those_that_left_are_forgotten() {
        let all = peers(2);
        let there: BTreeSet<_> = all.iter().copied().collect();
        let mut asking = Asking::new(Dice::seeded(&[6; 32]));
        assert_eq!(asking.next(&there, Duration::ZERO).len(), 2);
        assert!(asking.next(&there, Duration::MAX).is_empty());
        asking.answered(&all[0], Outcome::Stranger, Duration::ZERO);
        assert!(asking.next(&there, AGAIN / 4).is_empty());
        assert_eq!(asking.next(&there, AGAIN), [all[0]]);
        asking.answered(&all[0], Outcome::Silent, AGAIN);
        asking.answered(&all[1], Outcome::Silent, AGAIN);
        assert!(asking.next(&BTreeSet::new(), AGAIN).is_empty());
        assert!(asking.peers.is_empty());
    }
}
