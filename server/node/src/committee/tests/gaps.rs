//! Ways around I7 that were open once.

use std::collections::BTreeSet;

use zipnet_protocol::{Digest, RoundHeader};

use super::fixture::{Server, World, accept, commitment, giving};
use crate::committee::{
    command::Order,
    state::{Applied, CommitteeState},
};

/// A committee of three after a first round that all of them signed.
fn begun(min_servers: Option<u32>) -> (World, CommitteeState) {
    let mut world = World::with(3, 3, |rules| rules.min_servers = min_servers);
    let mut state = world.founded();
    world.play(&mut state, &[0, 1, 2]);
    (world, state)
}

/// The next round with these servers, as far as it gets: the digest of its
/// record, if there is one.
fn play(world: &World, state: &mut CommitteeState, servers: &mut [&mut Server]) -> Option<Digest> {
    let mut roster: Vec<_> = servers.iter().map(|server| server.entry()).collect();
    roster.sort_by_key(|entry| entry.server);
    let header = RoundHeader {
        roster,
        ..world.header(state)
    };
    let opener = &servers[0];
    let signed = header.sign(opener.id(), &opener.signing);
    let open = opener.say(&world.rules, &Order::OpenRound(signed));
    state.apply(&open).ok()?;
    for server in &mut *servers {
        let given = server.certify(state).ok()?;
        let command = server.say(&world.rules, &Order::Certify(given));
        state.apply(&command).ok()?;
    }
    let opener = &servers[0];
    let aggregate = world.fold(state.current()?, &[0, 1, 2]);
    let order = Order::SubmitAggregate(aggregate.clone());
    state.apply(&opener.say(&world.rules, &order)).ok()?;
    let current = state.current()?.clone();
    let mut partials = Vec::new();
    for server in &mut *servers {
        let partial = server
            .unblind(&current.round, &current.registry, &aggregate)
            .ok()?;
        let command = server.say(&world.rules, &commitment(&partial));
        state.apply(&command).ok()?;
        partials.push(partial);
    }
    for (server, partial) in servers.iter().zip(partials) {
        let command = server.say(&world.rules, &giving(server, &partial, state));
        if let Applied::Finalized(done) = state.apply(&command).ok()? {
            return Some(*done.checked.digest());
        }
    }
    None
}

fn register(world: &World, state: &mut CommitteeState, server: &Server) -> bool {
    state
        .apply(&server.say(&world.rules, &server.registration()))
        .is_ok()
}

fn strike(world: &World, state: &mut CommitteeState, by: &Server, server: &Server) {
    let lapse = Order::Lapse {
        server: server.id(),
        bundle: *server.admitted.digest(),
    };
    accept(state, &by.say(&world.rules, &lapse));
}

/// Three servers, as mutable as it takes.
fn split(world: &World) -> [Server; 3] {
    [0, 1, 2].map(|at| world.reboot(at, 1))
}

#[test]
fn i7_a_restart_between_two_halves_makes_no_second_record() {
    let (world, mut state) = begun(Some(2));
    let [mut a, mut b, mut c] = split(&world);
    // All of them take part once, so that each remembers what it signed.
    assert!(play(&world, &mut state, &mut [&mut a, &mut b, &mut c]).is_some());
    let (mut one, mut two) = (state.clone(), state);
    let mut records = BTreeSet::new();
    records.extend(play(&world, &mut one, &mut [&mut a, &mut b]));
    assert_eq!(records.len(), 1, "the first half goes on");
    // The server in the middle restarts and wakes up in the other half.
    let mut b = world.reboot(1, 2);
    register(&world, &mut two, &b);
    records.extend(play(&world, &mut two, &mut [&mut b, &mut c]));
    assert_eq!(records.len(), 1, "one number, two records");
}

#[test]
fn i7_a_new_name_makes_no_second_record() {
    let (world, mut state) = begun(Some(2));
    let [mut a, mut b, mut c] = split(&world);
    // All of them take part once, so that each remembers what it signed.
    assert!(play(&world, &mut state, &mut [&mut a, &mut b, &mut c]).is_some());
    let (mut one, mut two) = (state.clone(), state);
    let mut d = world.newcomer(0);
    strike(&world, &mut one, &a, &c);
    assert!(
        !register(&world, &mut one, &d),
        "a struck server keeps its place"
    );
    let mut records = BTreeSet::new();
    records.extend(play(&world, &mut one, &mut [&mut a, &mut d]));
    records.extend(play(&world, &mut two, &mut [&mut b, &mut c]));
    assert_eq!(records.len(), 1, "no server is in both rosters");
}

#[test]
fn i7_one_server_does_not_become_the_committee() {
    let (world, mut state) = begun(None);
    let [mut a, mut b, mut c] = split(&world);
    let honest = play(&world, &mut state.clone(), &mut [&mut a, &mut b, &mut c]);
    assert!(honest.is_some());
    // The same server again, with two names that it made up, and no memory.
    let mut liar = world.reboot(1, 1);
    let mut names = [world.newcomer(0), world.newcomer(1)];
    strike(&world, &mut state, &liar, &a);
    strike(&world, &mut state, &liar, &c);
    for name in &names {
        register(&world, &mut state, name);
    }
    let [one, two] = &mut names;
    let forged = play(&world, &mut state, &mut [&mut liar, one, two]);
    assert_eq!(forged, None, "all three signatures are of one server");
}
