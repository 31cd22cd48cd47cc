//! Attacks on what a server holds itself to, over rounds and states as a
//! Byzantine leader could forge them: the guard has nobody else to rely on.

use zipnet_protocol::{
    Aggregate, AggregateError, ClientRegistry, Epoch, Round, RoundHeader, RoundParams,
};

use super::{GuardError, Held};
use crate::committee::{
    state::InFlight,
    tests::fixture::{self, EPOCH, World, agreeing, nonce},
};

/// A round as it stands in some state that says so.
fn forged(world: &World, change: impl FnOnce(&mut RoundHeader)) -> InFlight {
    let state = world.founded();
    let mut header = world.header(&state);
    change(&mut header);
    in_flight(world, header, state.clients())
}

fn in_flight(world: &World, header: RoundHeader, registry: &ClientRegistry) -> InFlight {
    let opener = &world.servers[0];
    let servers = world.servers.iter().map(|server| server.admitted.clone());
    let round = header
        .sign(opener.id(), &opener.signing)
        .verify_with(&world.rules.instance, servers)
        .unwrap();
    fixture::in_flight(round, registry.clone().into())
}

/// What the first server's guard says to a round with all clients in it.
fn ask(world: &mut World, current: &InFlight) -> Result<(), GuardError> {
    let clients: Vec<_> = (0..current.registry.len()).collect();
    let aggregate = world.fold(current, &clients);
    let held = agreeing(current.round.header());
    world.servers[0].certify_with(&current.round, &held)?;
    world.servers[0]
        .unblind(&current.round, &current.registry, &aggregate)
        .map(|partial| {
            let signed = partial.sign(zipnet_protocol::Digest::ZERO, &world.servers[0].signing);
            let verified = signed.verify(&current.round, &aggregate.digest());
            assert!(verified.is_ok());
        })
}

#[test]
fn i2_a_number_is_signed_once_whatever_the_state_says() {
    let mut world = World::new(3, 3);
    let first = forged(&world, |_| {});
    let again = forged(&world, |header| header.nonce = nonce(99));
    assert_ne!(first.round.context(), again.round.context());
    assert_eq!(ask(&mut world, &first), Ok(()));
    let refused = Err(GuardError::Signed { last: 1, number: 1 });
    assert_eq!(ask(&mut world, &again), refused);
    assert_eq!(ask(&mut world, &first), Ok(()), "the same bytes again");
    assert_eq!(ask(&mut world, &again), refused);
}

#[test]
fn i2_the_same_partial_is_handed_out_again() {
    let mut world = World::new(3, 3);
    let current = forged(&world, |_| {});
    let all = world.fold(&current, &[0, 1, 2]);
    let two = world.fold(&current, &[0, 1]);
    let server = &mut world.servers[0];
    let held = agreeing(current.round.header());
    server.certify_with(&current.round, &held).unwrap();
    let mut unblind =
        |aggregate: &Aggregate| server.unblind(&current.round, &current.registry, aggregate);
    let first = unblind(&all).unwrap();
    assert_eq!(unblind(&all), Ok(first.clone()));
    assert_eq!(
        unblind(&two),
        Err(GuardError::Unblinded { number: 1 }),
        "of two aggregates that differ in one client, its slot would be the difference"
    );
    let mut garbled = all.clone();
    garbled.vector = vec![0; garbled.vector.len()].into();
    let garbled = Aggregate::sign(
        garbled.context,
        garbled.participants,
        garbled.envelopes,
        garbled.vector,
        &fixture::aggregator(0),
    );
    assert_eq!(unblind(&garbled), Err(GuardError::Unblinded { number: 1 }));
    assert_eq!(unblind(&all), Ok(first));
}

#[test]
fn i2_numbers_only_go_up_in_each_epoch() {
    let mut world = World::new(3, 3);
    let at = |world: &World, epoch: Epoch, number: u64| {
        forged(world, |header| {
            header.epoch = epoch;
            header.number = number;
        })
    };
    let other = Epoch::new([1; 32]);
    let fifth = at(&world, EPOCH, 5);
    assert_eq!(ask(&mut world, &fifth), Ok(()));
    assert_eq!(world.servers[0].guard.floor(&EPOCH), Some(5));
    assert_eq!(world.servers[0].guard.floor(&other), None);
    for number in [0, 1, 4] {
        let late = at(&world, EPOCH, number);
        let refused = Err(GuardError::Signed { last: 5, number });
        assert_eq!(ask(&mut world, &late), refused);
    }
    let elsewhere = at(&world, other, 1);
    assert_eq!(ask(&mut world, &elsewhere), Ok(()));
    // The detour does not wash the first epoch's memory away.
    let again = forged(&world, |header| {
        header.number = 5;
        header.nonce = nonce(99);
    });
    let refused = Err(GuardError::Signed { last: 5, number: 5 });
    assert_eq!(ask(&mut world, &again), refused);
    let next = at(&world, EPOCH, 6);
    assert_eq!(ask(&mut world, &next), Ok(()));
}

#[test]
fn i2_a_refusal_takes_no_number() {
    let mut world = World::new(3, 3);
    let current = forged(&world, |_| {});
    let few = world.fold(&current, &[2]);
    let server = &mut world.servers[0];
    let uncertified = server.unblind(&current.round, &current.registry, &few);
    assert_eq!(uncertified, Err(GuardError::Uncertified { number: 1 }));
    let mut held = agreeing(current.round.header());
    held.floor += 1;
    let refused = server.certify_with(&current.round, &held);
    assert_eq!(refused, Err(GuardError::Differs("participation floor")));
    assert_eq!(server.guard.floor(&EPOCH), None);
    held.floor -= 1;
    assert!(server.certify_with(&current.round, &held).is_ok());
    let refused = server.unblind(&current.round, &current.registry, &few);
    let too_few = AggregateError::TooFew {
        found: 1,
        needed: 2,
    };
    assert_eq!(refused, Err(GuardError::Aggregate(too_few)));
    assert_eq!(ask(&mut world, &current), Ok(()));
}

#[test]
fn i2_the_rules_hold_against_any_header() {
    let mut world = World::new(4, 3);
    let other_shape = forged(&world, |header| {
        header.params = RoundParams::new(8, 64).unwrap();
    });
    let refused = |what| Err(GuardError::Rules(what));
    assert_eq!(ask(&mut world, &other_shape), refused("parameters"));
    for minimum in [0, 1, 3] {
        let smaller = forged(&world, |header| {
            header.min_participants = minimum;
            header.floor = header.floor.max(minimum);
        });
        let answer = ask(&mut world, &smaller);
        assert_eq!(answer, refused("minimum of participants"), "{minimum}");
    }
    for size in [0, 1, 3, 5] {
        let resized = forged(&world, |header| header.committee_size = size);
        assert_eq!(ask(&mut world, &resized), refused("committee size"));
    }
    let smaller = forged(&world, |header| header.roster.truncate(3));
    assert_eq!(ask(&mut world, &smaller), refused("roster"));
    let honest = forged(&world, |_| {});
    assert_eq!(ask(&mut world, &honest), Ok(()));
}

#[test]
fn i7_fewer_servers_than_configured_are_refused() {
    let mut world = World::with(5, 3, |rules| rules.min_servers = Some(4));
    let three = forged(&world, |header| header.roster.truncate(3));
    assert_eq!(ask(&mut world, &three), Err(GuardError::Rules("roster")));
    let four = forged(&world, |header| header.roster.truncate(4));
    assert_eq!(ask(&mut world, &four), Ok(()));
}

#[test]
fn i2_the_registry_is_the_one_that_the_header_names() {
    let mut world = World::new(3, 4);
    let state = world.founded();
    let honest = world.header(&state);
    let part = world.founded_with(&[0, 1, 2]);
    let swapped = in_flight(&world, honest.clone(), part.clients());
    let clients = [0, 1, 2];
    // The bitmap would mean other clients than the ones that sealed.
    let mut aggregate = world.fold(&swapped, &clients);
    let agreed = agreeing(&honest);
    assert!(
        world.servers[0]
            .certify_with(&swapped.round, &agreed)
            .is_ok()
    );
    for registry in [part.clients(), world.founded_with(&[1, 2, 3]).clients()] {
        let answer = world.servers[0].unblind(&swapped.round, registry, &aggregate);
        assert_eq!(answer, Err(GuardError::Registry));
    }
    let miscounted = in_flight(
        &world,
        RoundHeader {
            number: 2,
            clients: 3,
            ..honest.clone()
        },
        state.clients(),
    );
    // Nor would it stand for that round.
    let header = miscounted.round.header();
    let held = Held {
        clients: 4,
        ..agreeing(header)
    };
    let answer = world.servers[0].certify_with(&miscounted.round, &held);
    assert_eq!(answer, Err(GuardError::Differs("number of clients")));
    let answer = world.servers[0].certify_with(&miscounted.round, &agreeing(header));
    assert!(answer.is_ok());
    aggregate.context = *miscounted.round.context();
    let answer = world.servers[0].unblind(&miscounted.round, state.clients(), &aggregate);
    assert_eq!(answer, Err(GuardError::Registry));

    let honest = RoundHeader {
        number: 3,
        ..honest
    };
    let right = in_flight(&world, honest, state.clients());
    assert_eq!(ask(&mut world, &right), Ok(()));
}

#[test]
fn i2_a_server_signs_only_as_the_boot_that_the_roster_names() {
    let mut world = World::new(3, 3);
    let current = forged(&world, |_| {});
    let aggregate = world.fold(&current, &[0, 1, 2]);
    let held = agreeing(current.round.header());
    let answer = |server: &mut fixture::Server, round: &Round| {
        let certified = server.certify_with(round, &held).map(|_| ());
        let partial = server.unblind(round, &current.registry, &aggregate);
        assert_eq!(certified, partial.map(|_| ()), "neither or both");
        certified
    };
    let mut later = world.reboot(0, 2);
    let mut stranger = world.newcomer(0);
    assert_eq!(
        answer(&mut later, &current.round),
        Err(GuardError::NotInRoster)
    );
    assert_eq!(
        answer(&mut stranger, &current.round),
        Err(GuardError::NotInRoster)
    );
    // Registered again under a higher boot: the old bundle does not count.
    let mut raised = world.reboot(0, 1);
    raised.guard.set_bundle(*later.admitted.digest());
    assert_eq!(
        answer(&mut raised, &current.round),
        Err(GuardError::NotInRoster)
    );
    assert_eq!(answer(&mut world.servers[0], &current.round), Ok(()));
}

#[test]
fn i2_epochs_are_remembered_until_there_are_too_many() {
    let mut world = World::new(1, 2);
    let epoch = |seed: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&seed.to_be_bytes());
        Epoch::new(bytes)
    };
    for seed in 0..1024 {
        let current = forged(&world, |header| header.epoch = epoch(seed));
        assert_eq!(ask(&mut world, &current), Ok(()));
    }
    let one_more = forged(&world, |header| header.epoch = epoch(1024));
    assert_eq!(ask(&mut world, &one_more), Err(GuardError::Epochs));
    let first = forged(&world, |header| {
        header.epoch = epoch(0);
        header.nonce = nonce(99);
    });
    let refused = Err(GuardError::Signed { last: 1, number: 1 });
    assert_eq!(ask(&mut world, &first), refused, "none was forgotten");
    let second = forged(&world, |header| {
        header.epoch = epoch(0);
        header.number = 2;
    });
    assert_eq!(ask(&mut world, &second), Ok(()));
}

#[test]
fn i13_a_header_that_differs_from_what_is_held_gets_no_word() {
    let mut world = World::new(3, 3);
    let current = forged(&world, |_| {});
    let agreed = || agreeing(current.round.header());
    let other = world.aggregator_transport(1).peer_key();
    let differing = [
        (
            "predecessor",
            Held {
                previous: fixture::NOBODY,
                ..agreed()
            },
        ),
        (
            "client registry",
            Held {
                registry: fixture::NOBODY,
                ..agreed()
            },
        ),
        (
            "number of clients",
            Held {
                clients: 2,
                ..agreed()
            },
        ),
        (
            "participation floor",
            Held {
                floor: 3,
                ..agreed()
            },
        ),
        (
            "aggregator",
            Held {
                aggregator: Some(other),
                ..agreed()
            },
        ),
        (
            "aggregator",
            Held {
                aggregator: None,
                ..agreed()
            },
        ),
        (
            "leaves",
            Held {
                leaves: zipnet_protocol::Leaves::new([other]),
                ..agreed()
            },
        ),
    ];
    for (what, held) in differing {
        let answer = world.servers[0].certify_with(&current.round, &held);
        assert_eq!(answer, Err(GuardError::Differs(what)));
    }
    assert!(!world.servers[0].guard.has_signed());
    // The other way round: what is held is right, and the header says less.
    for change in [
        (|header| header.floor = 3) as fn(&mut RoundHeader),
        |header| header.previous = fixture::NOBODY,
        |header| header.registry = fixture::NOBODY,
        |header| header.clients = 4,
        |header| header.aggregator = zipnet_protocol::PeerKey::new([7; 32]),
        |header| header.leaves = zipnet_protocol::Leaves::new([header.aggregator]),
    ] {
        let lie = forged(&world, change);
        let answer = world.servers[0].certify_with(&lie.round, &agreed());
        assert!(matches!(answer, Err(GuardError::Differs(_))), "{answer:?}");
    }
    assert_eq!(world.servers[0].guard.floor(&EPOCH), None);
    assert!(
        world.servers[0]
            .certify_with(&current.round, &agreed())
            .is_ok()
    );
}

#[test]
fn i13_one_round_of_each_number_has_a_servers_word_whatever_the_state_says() {
    let mut world = World::new(3, 3);
    let ask_for = |world: &mut World, current: &InFlight| {
        let held = agreeing(current.round.header());
        world.servers[0].certify_with(&current.round, &held)
    };
    let first = forged(&world, |_| {});
    let given = ask_for(&mut world, &first).unwrap();
    assert_eq!(
        ask_for(&mut world, &first),
        Ok(given.clone()),
        "the same again"
    );
    // Even if what is held has changed since: it was right when it was given.
    let moved = Held {
        previous: fixture::NOBODY,
        ..agreeing(first.round.header())
    };
    let again = world.servers[0].certify_with(&first.round, &moved);
    assert_eq!(again, Ok(given));
    for seed in 50..60 {
        let other = forged(&world, |header| header.nonce = nonce(seed));
        let refused = Err(GuardError::Signed { last: 1, number: 1 });
        assert_eq!(ask_for(&mut world, &other), refused);
    }
    let later = forged(&world, |header| header.number = 3);
    assert!(ask_for(&mut world, &later).is_ok());
    // The older one that it stood for is over, and those between never were.
    for (number, late) in [
        (1, first),
        (2, forged(&world, |header| header.number = 2)),
        (
            3,
            forged(&world, |header| {
                header.number = 3;
                header.nonce = nonce(99);
            }),
        ),
    ] {
        let refused = Err(GuardError::Signed { last: 3, number });
        assert_eq!(ask_for(&mut world, &late), refused);
    }
    assert!(ask_for(&mut world, &later).is_ok());
}

#[test]
fn i13_only_the_newest_certified_round_is_unblinded() {
    let mut world = World::new(3, 3);
    let unblind = |world: &mut World, current: &InFlight| {
        let aggregate = world.fold(current, &[0, 1, 2]);
        let answer = world.servers[0].unblind(&current.round, &current.registry, &aggregate);
        answer.map(|_| ())
    };
    let certify = |world: &mut World, current: &InFlight| {
        let held = agreeing(current.round.header());
        world.servers[0]
            .certify_with(&current.round, &held)
            .unwrap();
    };
    let first = forged(&world, |_| {});
    let twin = forged(&world, |header| header.nonce = nonce(99));
    let second = forged(&world, |header| header.number = 2);
    let uncertified = |number| Err(GuardError::Uncertified { number });
    assert_eq!(unblind(&mut world, &first), uncertified(1));
    certify(&mut world, &first);
    assert_eq!(unblind(&mut world, &twin), uncertified(1));
    assert_eq!(unblind(&mut world, &second), uncertified(2));
    assert_eq!(unblind(&mut world, &first), Ok(()));
    certify(&mut world, &second);
    assert_eq!(unblind(&mut world, &first), uncertified(1), "it is over");
    assert_eq!(unblind(&mut world, &second), Ok(()));
    // Nor does another epoch bring it back.
    let elsewhere = forged(&world, |header| header.epoch = Epoch::new([1; 32]));
    certify(&mut world, &elsewhere);
    assert_eq!(unblind(&mut world, &second), uncertified(2));
    assert_eq!(unblind(&mut world, &elsewhere), Ok(()));
}

#[test]
fn i13_a_second_epoch_of_one_process_needs_the_whole_committee() {
    let mut world = World::with(3, 3, |rules| rules.min_servers = Some(2));
    let at = |world: &World, epoch, number, roster| {
        forged(world, |header| {
            header.epoch = epoch;
            header.number = number;
            header.roster.truncate(roster);
        })
    };
    let amnesia = Err(GuardError::Amnesia {
        committee: 3,
        roster: 2,
    });
    let other = Epoch::new([1; 32]);
    // New, and the epoch is not.
    let late = at(&world, EPOCH, 2, 2);
    assert_eq!(ask(&mut world, &late), amnesia);
    // New, as the epoch is: nothing can have been signed there.
    let first = at(&world, EPOCH, 1, 2);
    assert_eq!(ask(&mut world, &first), Ok(()));
    assert!(world.servers[0].guard.has_signed());
    let second = at(&world, EPOCH, 2, 2);
    assert_eq!(ask(&mut world, &second), Ok(()));
    for number in [0, 1, 2] {
        let elsewhere = at(&world, other, number, 2);
        assert_eq!(ask(&mut world, &elsewhere), amnesia, "{number}");
    }
    assert_eq!(world.servers[0].guard.floor(&other), None);
    let whole = at(&world, other, 1, 3);
    assert_eq!(ask(&mut world, &whole), Ok(()));
    let then = at(&world, other, 2, 2);
    assert_eq!(ask(&mut world, &then), Ok(()));
}

#[test]
fn i7_what_others_have_told_counts_as_signed() {
    let mut world = World::with(3, 3, |rules| rules.min_servers = Some(2));
    let of_two = |world: &World, number| {
        forged(world, |header| {
            header.number = number;
            header.roster.truncate(2);
        })
    };
    let fifth = of_two(&world, 5);
    assert!(matches!(
        ask(&mut world, &fifth),
        Err(GuardError::Amnesia { .. })
    ));
    world.servers[0].guard.learn(EPOCH, 5);
    assert!(!world.servers[0].guard.has_signed());
    assert_eq!(
        ask(&mut world, &fifth),
        Err(GuardError::Signed { last: 5, number: 5 })
    );
    let sixth = of_two(&world, 6);
    assert_eq!(ask(&mut world, &sixth), Ok(()));
    // Nothing that is said later takes it back.
    world.servers[0].guard.learn(EPOCH, 1);
    assert_eq!(world.servers[0].guard.floor(&EPOCH), Some(6));
    assert_eq!(
        ask(&mut world, &fifth),
        Err(GuardError::Signed { last: 6, number: 5 })
    );
}

#[test]
fn i7_who_was_told_is_stood_with_in_no_earlier_boot() {
    let mut world = World::with(3, 3, |rules| rules.min_servers = Some(2));
    let first = forged(&world, |header| header.number = 1);
    let asker = world.servers[1].admitted.clone();
    let me = &mut world.servers[0];
    assert_eq!(me.guard.tell(*asker.id(), asker.boot(), &EPOCH), None);
    assert_eq!(ask(&mut world, &first), Ok(()), "the boot that asked");
    let me = &mut world.servers[0];
    assert_eq!(
        me.guard.tell(*asker.id(), asker.boot() + 1, &EPOCH),
        Some(1)
    );
    let second = forged(&world, |header| header.number = 2);
    let outdated = GuardError::Outdated {
        server: *asker.id(),
    };
    assert_eq!(ask(&mut world, &second), Err(outdated.clone()));
    // An older boot that asks late changes nothing.
    let me = &mut world.servers[0];
    me.guard.tell(*asker.id(), asker.boot(), &EPOCH);
    assert_eq!(ask(&mut world, &second), Err(outdated));
}

/// Whoever was in a roster with an earlier boot of a server is among those whom the
/// new one hears, whichever they are.
#[test]
fn i7_enough_are_heard_to_meet_every_roster() {
    for size in 1_u32..=9 {
        for least in (size / 2 + 1)..=size {
            let world = World::with(1, 3, |rules| {
                rules.committee_size = Some(size);
                rules.min_servers = Some(least);
            });
            let others = size - 1;
            let needed = u32::try_from(world.rules.words_needed(size)).unwrap();
            let minimum = u32::try_from(world.rules.roster_minimum(size)).unwrap();
            assert!(needed <= others);
            // The unheard alone never make a roster with it.
            assert!(others - needed + 1 < minimum.max(2), "{least} of {size}");
        }
    }
}

#[test]
fn i15_an_aggregate_below_the_headers_floor_gets_no_partial() {
    let mut world = World::new(3, 5);
    let current = forged(&world, |header| header.floor = 4);
    let held = agreeing(current.round.header());
    let given = world.servers[0].certify_with(&current.round, &held);
    assert!(given.is_ok());
    for clients in [&[][..], &[0, 1], &[0, 1, 2]] {
        let few = world.fold(&current, clients);
        let refused = world.servers[0].unblind(&current.round, &current.registry, &few);
        let too_few = AggregateError::TooFew {
            found: clients.len(),
            needed: 4,
        };
        assert_eq!(refused, Err(GuardError::Aggregate(too_few)));
    }
    assert_eq!(ask(&mut world, &current), Ok(()));
}
