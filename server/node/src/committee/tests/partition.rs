//! I7: two histories of one committee, each as a Byzantine leader would have
//! it, and servers that each have one memory.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use zipnet_protocol::{Epoch, RoundContext, SignedPartial};

use super::fixture::{EPOCH, World, commitment, nonce, registry_of};
use crate::committee::{
    command::{Order, Resume},
    state::{Applied, CommitteeState, Final, InFlight},
};

pub const OTHER: Epoch = Epoch::new([0x0f; 32]);

/// All records that came to be, by their place.
#[derive(Default)]
pub struct Records(BTreeMap<(Epoch, u64), BTreeSet<RoundContext>>);

impl Records {
    pub fn note(&mut self, place: (Epoch, u64), context: RoundContext) {
        self.0.entry(place).or_default().insert(context);
    }

    pub fn most_in_one_place(&self) -> usize {
        self.0.values().map(BTreeSet::len).max().unwrap_or(0)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A leader takes a round as far as it gets with these servers.
    Play { roster: u8 },
    /// A leader opens a round with servers of its choice.
    Open {
        leader: usize,
        roster: u8,
        other_epoch: bool,
    },
    /// An aggregate of clients of its choice.
    Aggregate { clients: u8 },
    /// A server is asked for its word.
    Certify { server: usize },
    /// A server is asked for its commitment and its partial.
    Partial { server: usize },
    /// The other half's newest record and a floor are brought over.
    Remind { floor: u64 },
    /// Partials that were ever given are tried here as well.
    Replay,
}

fn step(servers: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(|roster| Step::Play { roster }),
        2 => (0..servers, any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(leader, roster, other_epoch)| {
            Step::Open { leader, roster, other_epoch }
        }),
        2 => any::<u8>().prop_map(|clients| Step::Aggregate { clients }),
        6 => (0..servers).prop_map(|server| Step::Certify { server }),
        6 => (0..servers).prop_map(|server| Step::Partial { server }),
        1 => (0_u64..6).prop_map(|floor| Step::Remind { floor }),
        1 => Just(Step::Replay),
    ]
}

/// Two halves of a partition with the same servers in them: the worst case, a
/// network in which everybody hears whatever the adversary likes.
struct Halves {
    world: World,
    states: [CommitteeState; 2],
    heads: [Option<std::sync::Arc<Final>>; 2],
    given: Vec<SignedPartial>,
    records: Records,
    nonces: u64,
}

impl Halves {
    fn new(world: World) -> Self {
        let state = world.founded();
        Self {
            states: [state.clone(), state],
            heads: [None, None],
            given: Vec::new(),
            records: Records::default(),
            nonces: 0,
            world,
        }
    }

    fn try_in(&mut self, half: usize, server: usize, order: &Order) {
        let command = self.world.say(server, order);
        if let Ok(Applied::Finalized(done)) = self.states[half].apply(&command) {
            let place = done.checked.round().position();
            self.records.note(place, *done.checked.context());
            self.heads[half] = Some(done);
        }
    }

    /// Opens, fills and finalizes the next round with these servers.
    fn play(&mut self, half: usize, roster: u8) {
        let servers = self.world.servers.len();
        let members: Vec<_> = (0..servers).filter(|at| roster >> at & 1 == 1).collect();
        let Some(leader) = members.first().copied() else {
            return;
        };
        let open = Step::Open {
            leader,
            roster,
            other_epoch: false,
        };
        self.step(half, &open);
        for server in &members {
            self.step(half, &Step::Certify { server: *server });
        }
        self.step(half, &Step::Aggregate { clients: 7 });
        // Once to commit, and once to give.
        for server in members.iter().chain(&members) {
            self.step(half, &Step::Partial { server: *server });
        }
    }

    fn step(&mut self, half: usize, step: &Step) {
        match step {
            Step::Play { roster } => self.play(half, *roster),
            Step::Open {
                leader,
                roster,
                other_epoch,
            } => {
                self.nonces += 1;
                let mut header = self.world.header(&self.states[half]);
                header.nonce = nonce(1000 + self.nonces);
                if *other_epoch {
                    header.epoch = OTHER;
                }
                let mut at = 0;
                header.roster.retain(|_| {
                    at += 1;
                    roster >> (at - 1) & 1 == 1
                });
                let opener = &self.world.servers[*leader];
                let signed = header.sign(opener.id(), &opener.signing);
                self.try_in(half, *leader, &Order::OpenRound(signed));
            }
            Step::Aggregate { clients } => {
                let Some(current) = self.states[half].current().cloned() else {
                    return;
                };
                let clients: Vec<_> = (0..3).filter(|at| clients >> at & 1 == 1).collect();
                let aggregate = self.world.fold(&current, &clients);
                self.try_in(half, 0, &Order::SubmitAggregate(aggregate));
            }
            Step::Certify { server } => {
                if self.states[half].current().is_none() {
                    return;
                }
                let asked = &mut self.world.servers[*server];
                if let Ok(word) = asked.certify(&self.states[half]) {
                    self.try_in(half, *server, &Order::Certify(word));
                }
            }
            Step::Partial { server } => {
                let Some(InFlight {
                    round,
                    registry,
                    tally: Some(tally),
                    ..
                }) = self.states[half].current().cloned()
                else {
                    return;
                };
                let asked = &mut self.world.servers[*server];
                if let Ok(partial) = asked.unblind(&round, &registry, tally.aggregate()) {
                    let signed = asked.give(&partial, &round, &tally);
                    self.given.push(signed.clone());
                    self.try_in(half, *server, &commitment(&partial));
                    self.try_in(half, *server, &Order::SubmitPartial(signed));
                }
            }
            Step::Remind { floor } => {
                let newest = self.heads[1 - half].clone();
                let epoch = newest.as_ref().map_or(EPOCH, |head| head.epoch());
                let order = Order::Resume(Resume {
                    record: newest.as_ref().map(|head| head.published.clone()),
                    registry: newest.as_ref().map_or_else(Vec::new, registry_of),
                    epoch,
                    floor: *floor,
                });
                self.try_in(half, 0, &order);
            }
            Step::Replay => {
                for partial in self.given.clone() {
                    self.try_in(half, 0, &Order::SubmitPartial(partial));
                }
            }
        }
    }
}

/// Committees with any minimum that is more than half, or all of them.
pub fn committee() -> impl Strategy<Value = (usize, Option<u32>)> {
    (3_usize..=5).prop_flat_map(|servers| {
        let least = servers / 2 + 1;
        (
            Just(servers),
            prop::option::of((least..=servers).prop_map(|some| u32::try_from(some).unwrap())),
        )
    })
}

pub fn world(servers: usize, min_servers: Option<u32>) -> World {
    World::with(servers, 3, |rules| rules.min_servers = min_servers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn i7_two_halves_never_finalize_one_number_twice(
        ((servers, min_servers), steps) in committee().prop_flat_map(|committee| {
            let steps = prop::collection::vec((0_usize..2, step(committee.0)), 1..80);
            (Just(committee), steps)
        }),
    ) {
        let mut halves = Halves::new(world(servers, min_servers));
        for (half, step) in &steps {
            halves.step(*half, step);
            prop_assert!(halves.records.most_in_one_place() <= 1);
        }
    }
}

#[test]
fn i7_one_memory_is_what_keeps_two_halves_apart() {
    // Each half finalizes alone; so what is refused below is no accident.
    for half in [0, 1] {
        let mut halves = Halves::new(world(3, Some(2)));
        halves.play(half, 0b011);
        assert_eq!(halves.records.0.len(), 1);
    }
    let mut halves = Halves::new(world(3, Some(2)));
    halves.play(0, 0b011);
    halves.play(1, 0b110);
    assert_eq!(halves.records.most_in_one_place(), 1);
    assert!(
        halves.states[1].head().is_none(),
        "server 1 signed elsewhere"
    );
    // The other half goes on with the next number, and then they diverge no
    // more than a reminder can mend.
    halves.play(1, 0b110);
    assert_eq!(halves.records.0.len(), 2);
    halves.step(0, &Step::Remind { floor: 2 });
    assert_eq!(halves.states[0].previous(), halves.states[1].previous());

    // Had server 1 two memories, there would be two records.
    let mut halves = Halves::new(world(3, Some(2)));
    halves.play(0, 0b011);
    halves.world.servers[1] = halves.world.reboot(1, 1);
    halves.play(1, 0b110);
    assert_eq!(halves.records.most_in_one_place(), 2);
}

#[test]
fn i7_halves_without_a_common_server_are_never_both_large_enough() {
    for servers in 1..=6_usize {
        let mut both = 0;
        for roster in 0_u8..(1 << servers) {
            let others = !roster & ((1 << servers) - 1);
            // The smallest minimum that an operator could ask for.
            let finalized = |roster: u8| {
                let mut halves = Halves::new(world(servers, Some(1)));
                halves.play(0, roster);
                !halves.records.0.is_empty()
            };
            if roster != 0 && others != 0 && finalized(roster) && finalized(others) {
                both += 1;
            }
        }
        assert_eq!(both, 0, "{servers}");
    }
}
