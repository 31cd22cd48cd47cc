//! A leader that opens rounds as it should not.

use zipnet_protocol::{
    ClientRegistry, Digest, Epoch, HeaderError, RosterEntry, RoundHeader, RoundParams,
};

use super::fixture::{World, accept, nonce, refuse};
use crate::committee::{
    Committee, Shared,
    command::{Command, Order},
    state::{Applied, CommitteeState, Refusal},
};

/// Tries a forged header beside the honest one, as the first server's command.
fn forge(
    world: &World,
    state: &mut CommitteeState,
    change: impl FnOnce(&mut RoundHeader),
) -> Refusal {
    let honest = world.header(state);
    let mut forged = honest.clone();
    change(&mut forged);
    assert_ne!(forged, honest);
    let refusal = refuse(state, &world.open_with(0, forged));
    let taken = accept(&mut state.clone(), &world.open_with(0, honest));
    assert!(matches!(taken, Applied::Opened { .. }));
    refusal
}

#[test]
fn i7_a_number_opens_once() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.header(&state);
    accept(&mut state, &world.open_with(0, first.clone()));
    for (forged, opener) in [
        (
            RoundHeader {
                nonce: nonce(99),
                ..first.clone()
            },
            0,
        ),
        (first.clone(), 0),
        (first.clone(), 1),
    ] {
        let refusal = refuse(&mut state, &world.open_with(opener, forged));
        assert_eq!(refusal, Refusal::Unfit("number"));
    }
    world.certify(&mut state);
    let again = RoundHeader {
        nonce: nonce(99),
        ..first.clone()
    };
    let refusal = refuse(&mut state, &world.open_with(0, again));
    assert_eq!(refusal, Refusal::Unfit("number"), "certified or not");
    world.aggregate(&mut state, &[0, 1, 2]);
    world.partials(&mut state, &[0, 1, 2]).unwrap();
    let again = RoundHeader {
        nonce: nonce(99),
        previous: state.previous(),
        ..first
    };
    let refusal = refuse(&mut state, &world.open_with(0, again));
    assert_eq!(refusal, Refusal::Unfit("number"), "finalized or not");
}

#[test]
fn i7_numbers_epoch_and_predecessor_leave_no_choice() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    world.play(&mut state, &[0, 1]);
    let first = state.previous();
    world.play(&mut state, &[0, 1]);
    for number in [0, 1, 2, 4, u64::MAX] {
        let refusal = forge(&world, &mut state, |header| header.number = number);
        assert_eq!(refusal, Refusal::Unfit("number"), "{number}");
    }
    let refusal = forge(&world, &mut state, |header| {
        header.epoch = Epoch::new([1; 32]);
    });
    assert_eq!(refusal, Refusal::Unfit("epoch"));
    for previous in [Digest::ZERO, first, super::fixture::NOBODY] {
        let refusal = forge(&world, &mut state, |header| header.previous = previous);
        assert_eq!(refusal, Refusal::Unfit("predecessor"));
    }
}

#[test]
fn i2_the_rules_are_not_the_leaders_to_change() {
    let world = World::with(3, 3, |rules| rules.min_participants = 3);
    let mut state = world.founded();
    let refusal = forge(&world, &mut state, |header| {
        header.params = RoundParams::new(8, 64).unwrap();
    });
    assert_eq!(refusal, Refusal::Unfit("parameters"));
    for minimum in [0, 1, 2, 4] {
        let refusal = forge(&world, &mut state, |header| {
            header.min_participants = minimum;
        });
        assert_eq!(refusal, Refusal::Unfit("minimum of participants"));
    }
    for size in [0, 1, 2, 4, u32::MAX] {
        let refusal = forge(&world, &mut state, |header| header.committee_size = size);
        assert_eq!(refusal, Refusal::Unfit("committee size"));
    }
}

#[test]
fn i2_the_crowd_is_not_the_leaders_to_shrink() {
    let world = World::new(3, 3);
    let mut state = world.founded();
    let alone = {
        let bundles = world.client_bundles(&[0]);
        ClientRegistry::verify(&world.rules.instance, &bundles).unwrap()
    };
    let refusal = forge(&world, &mut state, |header| {
        header.clients = 1;
        header.registry = alone.root();
    });
    assert_eq!(refusal, Refusal::Unfit("number of clients"));
    let refusal = forge(&world, &mut state, |header| {
        header.registry = alone.root();
    });
    assert_eq!(refusal, Refusal::Unfit("client registry"));
    for clients in [0, 2, 4, u32::MAX] {
        let refusal = forge(&world, &mut state, |header| header.clients = clients);
        assert_eq!(refusal, Refusal::Unfit("number of clients"));
    }
}

#[test]
fn i2_no_round_opens_below_the_minimum_of_clients() {
    let world = World::new(3, 3);
    for clients in [&[][..], &[1]] {
        let mut state = world.founded_with(clients);
        let header = world.header(&state);
        let refusal = refuse(&mut state, &world.open_with(0, header));
        assert_eq!(refusal, Refusal::Unfit("number of clients"));
    }
    let mut state = world.founded_with(&[0, 2]);
    let header = world.header(&state);
    accept(&mut state, &world.open_with(0, header));
}

#[test]
fn i7_a_roster_is_the_committee_as_registered() {
    let world = World::new(3, 3);
    let mut state = world.founded();
    for left_out in 0..3 {
        let refusal = forge(&world, &mut state, |header| {
            header.roster.remove(left_out);
        });
        assert_eq!(refusal, Refusal::Unfit("roster"));
    }
    let refusal = forge(&world, &mut state, |header| header.roster.clear());
    assert_eq!(refusal, Refusal::Unfit("roster"));
    // Distinct and in order.
    let refusal = forge(&world, &mut state, |header| {
        header.roster[2] = header.roster[1];
    });
    assert_eq!(
        refusal,
        Refusal::Header(HeaderError::Roster { servers: 3 }),
        "repeated"
    );
    let refusal = forge(&world, &mut state, |header| header.roster.swap(0, 1));
    assert_eq!(refusal, Refusal::Header(HeaderError::Roster { servers: 3 }));
    // With the keys that are registered.
    let other_boot = world.reboot(1, 2).entry();
    let refusal = forge(&world, &mut state, |header| header.roster[1] = other_boot);
    let missing = |entry: RosterEntry| {
        Refusal::Header(HeaderError::MissingBundle {
            server: entry.server,
        })
    };
    assert_eq!(refusal, missing(other_boot));
    let stranger = world.newcomer(0).entry();
    let refusal = forge(&world, &mut state, |header| {
        header.roster[2] = stranger;
        header.roster.sort_by_key(|entry| entry.server);
    });
    assert_eq!(refusal, missing(stranger));
    let refusal = forge(&world, &mut state, |header| {
        header.roster.push(stranger);
        header.roster.sort_by_key(|entry| entry.server);
    });
    assert_eq!(refusal, missing(stranger));
}

#[test]
fn i7_a_roster_is_more_than_half_whatever_the_minimum_says() {
    let world = World::with(4, 3, |rules| rules.min_servers = Some(1));
    let mut state = world.founded();
    assert_eq!(state.roster_minimum(), 3);
    for kept in [1, 2] {
        let refusal = forge(&world, &mut state, |header| header.roster.truncate(kept));
        assert_eq!(refusal, Refusal::Unfit("roster"));
    }
    let mut smaller = world.header(&state);
    smaller.roster.truncate(3);
    accept(&mut state, &world.open_with(0, smaller));
}

#[test]
fn i12_a_header_is_opened_by_the_server_that_sends_it() {
    let world = World::with(4, 3, |rules| rules.min_servers = Some(3));
    let mut state = world.founded();
    let header = world.header(&state);
    let (me, other) = (&world.servers[0], &world.servers[1]);

    let forged = header.clone().sign(other.id(), &me.signing);
    let refusal = refuse(&mut state, &world.say(0, &Order::OpenRound(forged)));
    assert!(
        matches!(refusal, Refusal::Header(HeaderError::Signature(_))),
        "in another server's name: {refusal}"
    );
    let theirs = header.clone().sign(other.id(), &other.signing);
    let refusal = refuse(&mut state, &world.say(0, &Order::OpenRound(theirs.clone())));
    assert_eq!(refusal, Refusal::Unfit("opener"), "another server's header");

    let mut without_me = header.clone();
    without_me.roster.remove(0);
    let refusal = refuse(&mut state, &world.open_with(0, without_me.clone()));
    assert_eq!(
        refusal,
        Refusal::Header(HeaderError::Opener { opener: me.id() })
    );
    accept(&mut state.clone(), &world.open_with(1, without_me));

    let mut elsewhere = header;
    elsewhere.instance = zipnet_protocol::InstanceId::new([9; 32]);
    let refusal = refuse(&mut state, &world.open_with(0, elsewhere));
    assert_eq!(refusal, Refusal::Unfit("instance"));
    accept(&mut state, &world.say(1, &Order::OpenRound(theirs)));
}

/// A14: what does not fit makes a server start again from the leader's state only if
/// it comes from the leader; others could make everybody start again and again.
#[test]
fn a14_only_what_the_leader_sends_is_a_sign_of_a_state_that_has_parted() {
    let world = World::new(3, 3);
    let shared = Shared::new(world.rules.clone(), 4, usize::MAX);
    let mut machine = Committee::new(world.rules.clone(), shared.clone());
    let [leader, other] = [0, 1].map(|server| world.servers[server].id());
    let apply = |machine: &mut Committee, command: &Command| {
        let refusal = machine.state.apply(command).unwrap_err();
        machine.refuse(command, &refusal, 1);
    };
    // Nobody is registered in this state, and rounds are opened all the same.
    let founded = world.founded();
    let commands = [0, 1].map(|server| world.open_with(server, world.header(&founded)));
    apply(&mut machine, &commands[0]);
    assert_eq!(shared.misfits(&leader), 0, "from when it was asked for");
    for count in 1..4 {
        for _ in 0..5 {
            apply(&mut machine, &commands[1]);
        }
        apply(&mut machine, &commands[0]);
        assert_eq!(shared.misfits(&leader), count);
    }
    // Another leader, another count.
    assert_eq!(shared.misfits(&other), 0);
    apply(&mut machine, &commands[1]);
    assert_eq!(shared.misfits(&other), 1);
    // A state in which everybody is registered, and a number that is taken.
    machine.state = founded;
    accept(&mut machine.state, &commands[1]);
    shared.reset_misfits();
    apply(&mut machine, &commands[1]);
    assert_eq!(shared.misfits(&other), 1);
}

/// Clients that ask for all servers sit out a smaller round: below the floor, nobody
/// opens it.
#[test]
fn i15_a_smaller_round_needs_enough_clients_that_take_part_in_it() {
    let mut world = World::with(4, 10, |rules| rules.min_servers = Some(3));
    let mut state = world.founded();
    let all: Vec<_> = (0..10).collect();
    world.play(&mut state, &all);
    assert_eq!(state.floor(), 9);
    let ask_for_all = |world: &World, state: &mut CommitteeState, clients: &[usize]| {
        let bundles = clients.iter().map(|client| world.client_asking(*client, 0));
        let order = Order::clients(bundles);
        accept(state, &world.say(0, &order));
    };
    ask_for_all(&world, &mut state, &[0]);
    assert!(state.is_taken(3) && state.is_taken(4));
    ask_for_all(&world, &mut state, &[1]);
    assert!(!state.is_taken(3) && state.is_taken(4));
    let mut smaller = world.header(&state);
    smaller.roster.truncate(3);
    let refusal = refuse(&mut state, &world.open_with(0, smaller));
    assert!(
        matches!(refusal, Refusal::Unfit(what) if what.starts_with("roster")),
        "{refusal}"
    );
    let whole = world.header(&state);
    accept(&mut state, &world.open_with(0, whole));
}
