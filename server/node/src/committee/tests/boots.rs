//! Two processes with one transport key: the one that booted later counts.

use zipnet_protocol::{CertificateError, Certification, PartialError};

use super::fixture::{Server, World, accept, commitment, giving, refuse};
use crate::{
    committee::{
        command::Order,
        state::{Applied, CommitteeState, Refusal},
    },
    guard::GuardError,
};

fn unsigned(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Unsigned { .. })
}

#[test]
fn i12_an_older_boot_is_stale() {
    let world = World::new(3, 2);
    let mut state = world.founded();
    let rules = &world.rules;
    let later = world.reboot(0, 7);
    assert_eq!(later.id(), world.servers[0].id(), "same transport key");
    accept(&mut state, &later.say(rules, &later.registration()));

    let id = later.id();
    for (boot, old) in [(1, world.reboot(0, 1)), (6, world.reboot(0, 6))] {
        let too_old = Refusal::Stale {
            server: id,
            least: 8,
            found: boot,
        };
        assert_eq!(
            refuse(&mut state, &old.say(rules, &old.registration())),
            too_old
        );
    }
    // The same boot again is no news either.
    assert!(matches!(
        refuse(&mut state, &later.say(rules, &later.registration())),
        Refusal::Stale { found: 7, .. }
    ));
    let newest = world.reboot(0, 8);
    accept(&mut state, &newest.say(rules, &newest.registration()));
    assert_eq!(state.servers().len(), 3, "one entry for one identity");
}

#[test]
fn i2_commands_of_a_replaced_process_no_longer_count() {
    let mut world = World::new(3, 2);
    let mut state = world.founded();
    let later = world.reboot(0, 2);
    accept(&mut state, &later.say(&world.rules, &later.registration()));

    // The old process still believes that it belongs to the committee.
    let orders = [
        Order::clients(world.client_bundles(&[0])),
        Order::Leave,
        Order::OpenRound(
            world
                .header(&state)
                .sign(world.servers[0].id(), &world.servers[0].signing),
        ),
    ];
    for order in orders {
        let command = world.say(0, &order);
        assert!(unsigned(&refuse(&mut state, &command)), "{order:?}");
    }
    let header = world.header(&state);
    let signed = header.sign(later.id(), &later.signing);
    let command = later.say(&world.rules, &Order::OpenRound(signed));
    accept(&mut state, &command);
    let current = state.current().unwrap().clone();
    let old = &mut world.servers[0];
    assert_eq!(
        old.certify(&state),
        Err(GuardError::NotInRoster),
        "an honest process sees that it was replaced"
    );
    let forced = Certification::sign(*current.round.context(), old.id(), &old.signing);
    let forced = Order::Certify(forced);
    assert!(unsigned(&refuse(&mut state, &world.say(0, &forced))));
    let refusal = refuse(&mut state, &later.say(&world.rules, &forced));
    assert!(
        matches!(
            refusal,
            Refusal::Certificate(CertificateError::Signature { .. })
        ),
        "{refusal}"
    );
    let mut later = later;
    for server in [1, 2] {
        let command = world.certification(server, &state);
        accept(&mut state, &command);
    }
    let certify = Order::Certify(later.certify(&state).unwrap());
    accept(&mut state, &later.say(&world.rules, &certify));

    // Nor does its partial, whoever relays it.
    world.aggregate_by(1, &mut state, &[0, 1]);
    let current = state.current().unwrap().clone();
    let aggregate = current.tally.as_ref().unwrap().aggregate().clone();
    let old = &mut world.servers[0];
    assert_eq!(
        old.unblind(&current.round, &current.registry, &aggregate),
        Err(GuardError::NotInRoster),
        "an honest process sees that it was replaced"
    );
    let forced = old.unblind_anything(&current.round, &current.registry, &aggregate);
    let promise = commitment(&forced);
    assert!(unsigned(&refuse(&mut state, &world.say(0, &promise))));
    world.commit(&mut state);
    let partial = later
        .unblind(&current.round, &current.registry, &aggregate)
        .unwrap();
    let command = later.say(&world.rules, &commitment(&partial));
    accept(&mut state, &command);
    let forced = giving(&world.servers[0], &forced, &state);
    let relayed = world.say(1, &forced);
    assert!(matches!(
        refuse(&mut state, &relayed),
        Refusal::Partial(PartialError::Signature(_))
    ));
    assert!(unsigned(&refuse(&mut state, &world.say(0, &forced))));

    let order = giving(&later, &partial, &state);
    accept(&mut state, &later.say(&world.rules, &order));
    assert!(world.partials(&mut state, &[1, 2]).is_some());
}

#[test]
fn i2_a_record_needs_the_keys_that_its_header_names() {
    let mut world = World::new(3, 2);
    let mut state = world.founded();
    world.open(&mut state);
    world.aggregate(&mut state, &[0, 1]);
    let current = state.current().unwrap().clone();
    let aggregate = current.tally.as_ref().unwrap().aggregate().clone();
    world.commit(&mut state);

    let mut later = world.reboot(0, 2);
    accept(&mut state, &later.say(&world.rules, &later.registration()));
    assert_eq!(
        later.unblind(&current.round, &current.registry, &aggregate),
        Err(GuardError::NotInRoster)
    );
    let forced = later.unblind_anything(&current.round, &current.registry, &aggregate);
    let order = giving(&later, &forced, &state);
    let refusal = refuse(&mut state, &later.say(&world.rules, &order));
    assert!(
        matches!(refusal, Refusal::Partial(PartialError::Signature(_))),
        "{refusal}"
    );

    // The partial with the named keys is as good as it ever was.
    let old = world.servers[0]
        .unblind(&current.round, &current.registry, &aggregate)
        .unwrap();
    let old = giving(&world.servers[0], &old, &state);
    accept(&mut state, &world.say(1, &old));
    let done = world.partials(&mut state, &[1, 2]).unwrap();
    let signer = done.checked.round().server(&later.id()).unwrap();
    assert_eq!(signer.boot(), 1);

    // The next round names the new keys.
    let header = world.header(&state);
    let command = world.open_with(1, header);
    let Applied::Opened { round, .. } = accept(&mut state, &command) else {
        panic!("a round opens");
    };
    assert_eq!(round.server(&later.id()).unwrap().boot(), 2);
}

/// Strikes the first server by the second one's word.
fn strike(world: &World, state: &mut CommitteeState, server: &Server) {
    let lapse = Order::Lapse {
        server: server.id(),
        bundle: *server.admitted.digest(),
    };
    accept(state, &world.say(1, &lapse));
}

fn both() -> [World; 2] {
    [
        World::new(3, 2),
        World::with(3, 2, |rules| rules.committee_size = None),
    ]
}

#[test]
fn i12_the_older_boot_of_a_struck_server_stays_stale() {
    for world in both() {
        let mut state = world.founded();
        let rules = &world.rules;
        let later = world.reboot(0, 2);
        let registration = later.say(rules, &later.registration());
        accept(&mut state, &registration);
        strike(&world, &mut state, &later);

        let old = world.say(0, &world.servers[0].registration());
        let id = later.id();
        assert_eq!(
            refuse(&mut state, &old),
            Refusal::Stale {
                server: id,
                least: 2,
                found: 1
            }
        );
        // The struck process itself may come back.
        accept(&mut state, &registration);
        assert_eq!(state.servers()[&id].boot(), 2);
    }
}

#[test]
fn i12_a_process_that_left_does_not_come_back() {
    for world in both() {
        let mut state = world.founded();
        let registration = world.say(0, &world.servers[0].registration());
        let farewell = world.say(0, &Order::Leave);
        accept(&mut state, &farewell);
        let id = world.servers[0].id();
        assert_eq!(
            refuse(&mut state, &farewell),
            Refusal::Unregistered(id),
            "replayed"
        );
        assert_eq!(
            refuse(&mut state, &registration),
            Refusal::Stale {
                server: id,
                least: 2,
                found: 1
            }
        );
        let later = world.reboot(0, 2);
        accept(&mut state, &later.say(&world.rules, &later.registration()));
        // What the earlier boot said does not make the later one leave.
        assert!(unsigned(&refuse(&mut state, &farewell)));
    }
}
