//! Who counts as the committee.

use super::fixture::{NOBODY, Server, World, accept, refuse};
use crate::committee::{
    command::Order,
    state::{CommitteeState, Refusal},
};

fn strike(server: &Server) -> Order {
    Order::Lapse {
        server: server.id(),
        bundle: *server.admitted.digest(),
    }
}

fn unconfigured(servers: usize) -> (World, CommitteeState) {
    let world = World::with(servers, 2, |rules| rules.committee_size = None);
    let state = world.founded();
    (world, state)
}

#[test]
fn i7_a_lapse_is_for_one_bundle() {
    let (world, mut state) = unconfigured(3);
    let later = world.reboot(2, 2);
    accept(&mut state, &later.say(&world.rules, &later.registration()));
    let id = later.id();
    // The boot before lapsed; the server is back since.
    let old = strike(&world.servers[2]);
    assert_eq!(
        refuse(&mut state, &world.say(0, &old)),
        Refusal::Unregistered(id)
    );
    let made_up = Order::Lapse {
        server: id,
        bundle: NOBODY,
    };
    assert_eq!(
        refuse(&mut state, &world.say(0, &made_up)),
        Refusal::Unregistered(id)
    );
    let right = strike(&later);
    accept(&mut state, &world.say(0, &right));
    assert!(!state.servers().contains_key(&id));
    assert_eq!(
        refuse(&mut state, &world.say(0, &right)),
        Refusal::Unregistered(id)
    );
}

#[test]
fn i7_striking_servers_makes_the_committee_no_smaller() {
    let (world, mut state) = unconfigured(4);
    assert_eq!(state.committee_size(), 4);
    for struck in [3, 2, 1] {
        accept(&mut state, &world.say(0, &strike(&world.servers[struck])));
        assert_eq!(state.committee_size(), 4);
        assert_eq!(state.roster_minimum(), 4);
    }
    assert_eq!(state.servers().len(), 1);
    let header = world.header(&state);
    let refusal = refuse(&mut state, &world.open_with(0, header.clone()));
    assert_eq!(refusal, Refusal::Unfit("roster"), "one of four");
    let mut alone = header;
    alone.committee_size = 1;
    let refusal = refuse(&mut state, &world.open_with(0, alone));
    assert_eq!(refusal, Refusal::Unfit("committee size"));
    // They come back, and the committee is whole.
    for back in [1, 2, 3] {
        accept(
            &mut state,
            &world.say(back, &world.servers[back].registration()),
        );
        assert_eq!(state.committee_size(), 4);
    }
    let header = world.header(&state);
    accept(&mut state, &world.open_with(0, header));
}

#[test]
fn i7_leaving_makes_the_committee_no_smaller() {
    let (world, mut state) = unconfigured(3);
    for gone in [2, 1] {
        accept(&mut state, &world.say(gone, &Order::Leave));
        assert_eq!((state.committee_size(), state.roster_minimum()), (3, 3));
    }
    let header = world.header(&state);
    let refusal = refuse(&mut state, &world.open_with(0, header));
    assert_eq!(refusal, Refusal::Unfit("roster"), "one of three");
    for back in [1, 2] {
        let later = world.reboot(back, 2);
        accept(&mut state, &later.say(&world.rules, &later.registration()));
        assert_eq!(state.committee_size(), 3, "the same names");
    }
    let header = world.header(&state);
    accept(&mut state, &world.open_with(0, header));
}

#[test]
fn i7_a_configured_size_stays_whoever_comes_and_goes() {
    let world = World::new(3, 2);
    let mut state = world.cold();
    assert_eq!((state.committee_size(), state.roster_minimum()), (3, 3));
    for server in [0, 1, 2] {
        accept(
            &mut state,
            &world.say(server, &world.servers[server].registration()),
        );
        assert_eq!((state.committee_size(), state.roster_minimum()), (3, 3));
    }
    accept(&mut state, &world.say(2, &Order::Leave));
    accept(&mut state, &world.say(0, &strike(&world.servers[1])));
    assert_eq!(state.servers().len(), 1);
    assert_eq!((state.committee_size(), state.roster_minimum()), (3, 3));
}

#[test]
fn i7_a_complete_committee_takes_no_more_names() {
    let world = World::new(3, 2);
    let mut state = world.founded();
    let extra = world.newcomer(0);
    let registration = extra.say(&world.rules, &extra.registration());
    assert_eq!(refuse(&mut state, &registration), Refusal::CommitteeFull(3));
    // A new boot of a member is no new name.
    let later = world.reboot(1, 2);
    accept(&mut state, &later.say(&world.rules, &later.registration()));
    assert_eq!(refuse(&mut state, &registration), Refusal::CommitteeFull(3));
}

#[test]
fn i8_a_committee_has_at_most_as_many_names_as_a_roster() {
    let (world, mut state) = unconfigured(63);
    let (last, extra) = (world.newcomer(0), world.newcomer(1));
    accept(&mut state, &last.say(&world.rules, &last.registration()));
    let registration = extra.say(&world.rules, &extra.registration());
    assert_eq!(
        refuse(&mut state, &registration),
        Refusal::CommitteeFull(64)
    );
    // A struck one still has its place, and can come back to it.
    let struck = &world.servers[5];
    accept(&mut state, &world.say(0, &strike(struck)));
    assert!(matches!(
        refuse(&mut state, &registration),
        Refusal::CommitteeFull(_)
    ));
    accept(&mut state, &world.say(5, &struck.registration()));
    assert_eq!(state.committee_size(), 64);
}
