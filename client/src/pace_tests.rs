use super::*;
use crate::roles::client::fate::{Fate, Opened, Recorded, Standing};
use zipnet_protocol::{Digest, Epoch, RoundContext};

/// Numbers for a test, from a seed (splitmix64).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).unwrap()
    }
}

fn wide(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The n-th round, the one before it being in the record with its number as
/// digest.
fn round(number: u64) -> Opened {
    Opened {
        epoch: Epoch::new([1; 32]),
        number,
        context: RoundContext::new(wide(number)),
        previous: Digest::new(wide(number - 1)),
        roster: [zipnet_protocol::ServerId::new([1; 32])].into(),
    }
}

struct Drained {
    rounds: u64,
    not_delivered: usize,
}

/// Everybody has one message. `rule` says who talks.
fn drain(
    talkers: usize,
    slots: u32,
    seed: u64,
    budget: u32,
    rule: fn(&Pace, u64) -> bool,
) -> Drained {
    let mut draws = Draws(seed);
    let mut pace = Pace::new();
    let mut waiting: Vec<_> = (0..talkers).map(|_| Fate::new(budget)).collect();
    let mut not_delivered = 0;
    let mut number = 0;
    while !waiting.is_empty() && number < 5000 {
        number += 1;
        let mut held = vec![0_u32; slots as usize];
        let open = round(number);
        for fate in &mut waiting {
            let draw = draws.next();
            if rule(&pace, draw)
                && let Some(permit) = fate.permit(&open)
            {
                let slot = draws.below(slots);
                permit.sealed(slot);
                held[slot as usize] += 1;
            }
        }
        for fate in &mut waiting {
            let holds = fate
                .slot(&open.context)
                .is_some_and(|slot| held[slot as usize] == 1);
            fate.recorded(&Recorded {
                epoch: open.epoch,
                number,
                context: open.context,
                digest: Digest::new(wide(number)),
                previous: open.previous,
                holds,
            });
            fate.opened(&round(number + 1));
        }
        let count = |wanted: fn(u32) -> bool| {
            u32::try_from(held.iter().filter(|held| wanted(**held)).count()).unwrap()
        };
        pace.recorded(&Occupancy {
            slots,
            empty: count(|held| held == 0),
            messages: count(|held| held == 1),
        });
        waiting.retain(|fate| match fate.standing() {
            Standing::Landed(_) => false,
            Standing::Spent => {
                not_delivered += 1;
                false
            }
            Standing::Queued | Standing::Undecided => true,
        });
    }
    Drained {
        rounds: number,
        not_delivered,
    }
}

fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

#[test]
fn i16_a_crowd_drains_within_rounds_and_the_old_rule_does_not() {
    let runs: Vec<_> = (0..11)
        .map(|seed| drain(500, 64, seed, 8, Pace::talks))
        .collect();
    let rounds = median(runs.iter().map(|run| run.rounds).collect());
    assert!(rounds <= 40, "{rounds} rounds");
    let missed: usize = runs.iter().map(|run| run.not_delivered).sum();
    // Of 5,500 messages.
    assert!(missed <= 11, "{missed} messages ran out of attempts");

    let old = (0..3)
        .map(|seed| drain(500, 64, seed, u32::MAX, |_, _| true).rounds)
        .collect();
    let old = median(old);
    assert!(old > 150, "the old rule took {old} rounds");
}

#[test]
fn a7_a_crowd_many_times_the_slots_does_not_collapse() {
    let run = drain(3000, 64, 7, 8, Pace::talks);
    assert!(run.rounds < 240, "{} rounds", run.rounds);
    assert!(run.not_delivered < 30, "{} missed", run.not_delivered);
}

#[test]
fn a_message_in_a_quiet_committee_is_sealed_at_once() {
    for slots in [1, 2, 64, 4096] {
        let run = drain(1, slots, 3, 1, Pace::talks);
        assert_eq!((run.rounds, run.not_delivered), (1, 0));
    }
    // And again after many rounds of others, few or none.
    let mut pace = Pace::new();
    for messages in [0, 1, 5, 0, 20] {
        pace.recorded(&Occupancy {
            slots: 64,
            empty: 64 - messages,
            messages,
        });
        assert!(pace.talks(u64::MAX));
    }
}

#[test]
fn i16_behind_noise_everybody_covers_until_a_round_is_none() {
    let mut pace = Pace::new();
    let noise = Occupancy {
        slots: 64,
        empty: 0,
        messages: 0,
    };
    for _ in 0..100 {
        pace.recorded(&noise);
        assert!(!pace.talks(0), "not even the least draw talks");
    }
    // Noise in a pause is not taken for a crowd.
    let before = pace.backlog();
    pace.recorded(&Occupancy {
        slots: 64,
        empty: 64,
        messages: 0,
    });
    assert!(pace.talks(0));
    assert!((pace.backlog() - before).abs() < f64::EPSILON);
    assert!(pace.talks(u64::MAX / 16), "soon again as likely as before");
    // One round that nobody talks in says that nobody waits.
    pace.recorded(&Occupancy {
        slots: 64,
        empty: 64,
        messages: 0,
    });
    assert!(pace.talks(u64::MAX - (1 << 12)));
}

#[test]
fn i16_the_backlog_is_estimated_from_public_slots() {
    let mut draws = Draws(11);
    for talkers in [20_u32, 60, 120] {
        let mut sum = 0.0;
        for _ in 0..50 {
            let mut held = [0; 64];
            for _ in 0..talkers {
                held[draws.below(64) as usize] += 1;
            }
            let count =
                |wanted: u32| u32::try_from(held.iter().filter(|h| **h == wanted).count()).unwrap();
            let mut pace = Pace::new();
            pace.recorded(&Occupancy {
                slots: 64,
                empty: count(0),
                messages: count(1),
            });
            sum += pace.backlog();
        }
        let mean = sum / 50.0;
        let off = (mean - f64::from(talkers)).abs() / f64::from(talkers);
        assert!(off < 0.15, "{talkers} talkers, {mean} by estimate");
    }
}
