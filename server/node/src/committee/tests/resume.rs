//! Reminding the committee of what its log has lost, and lying about it.

use std::sync::Arc;

use zipnet_protocol::{
    AggregateError, ClientBundle, Digest, Epoch, HeaderError, PartialError, RecordError,
    RoundHeader,
};

use super::fixture::{EPOCH, Server, World, accept, refuse, registry_of};
use crate::{
    committee::{
        command::{Order, Published, Resume},
        rounds::{MAX_FLOOR, MAX_JUMP},
        state::{Applied, CommitteeState, Final, Refusal},
    },
    guard::GuardError,
};

const OTHER: Epoch = Epoch::new([0x0f; 32]);

pub fn of(record: Option<&Published>, epoch: Epoch, floor: u64) -> Order {
    with(record, Vec::new(), epoch, floor)
}

fn with(
    record: Option<&Published>,
    registry: Vec<ClientBundle>,
    epoch: Epoch,
    floor: u64,
) -> Order {
    Order::Resume(Resume {
        record: record.cloned(),
        registry,
        epoch,
        floor,
    })
}

pub fn remind(done: &Arc<Final>) -> Order {
    with(Some(&done.published), registry_of(done), done.epoch(), 0)
}

/// A committee with a history of three rounds, and its state after the first.
pub fn forked() -> (World, CommitteeState, Vec<Arc<Final>>) {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let behind = state.clone();
    let second = world.play(&mut state, &[0, 1, 2]);
    let third = world.play(&mut state, &[0, 1, 2]);
    (world, behind, vec![first, second, third])
}

#[test]
fn i7_a_newer_record_comes_back_and_the_chain_goes_on_from_it() {
    let (mut world, mut state, rounds) = forked();
    world.open_only(&mut state);
    // Whoever took part in the forgotten rounds stands for no other ones.
    for server in &mut world.servers {
        let refused = GuardError::Signed { last: 3, number: 2 };
        assert_eq!(server.certify(&state), Err(refused));
    }
    let applied = accept(&mut state, &world.say(2, &remind(&rounds[2])));
    assert!(matches!(applied, Applied::Resumed(Some(_))));
    assert_eq!(state.opened(), 3);
    assert_eq!(state.previous(), *rounds[2].checked.digest());
    assert!(state.current().is_none(), "what was in flight is void");

    let behind = {
        let mut header = world.header(&state);
        header.previous = *rounds[0].checked.digest();
        header
    };
    let refusal = refuse(&mut state, &world.open_with(0, behind));
    assert_eq!(refusal, Refusal::Unfit("predecessor"));
    let next = world.play(&mut state, &[0, 1, 2]);
    assert_eq!(next.rank().0, 4);
    let header = next.checked.round().header();
    assert_eq!(header.previous, *rounds[2].checked.digest());
}

#[test]
fn i7_what_is_not_ahead_changes_nothing() {
    let (world, mut state, rounds) = forked();
    accept(&mut state, &world.say(0, &remind(&rounds[2])));
    for old in &rounds {
        assert_eq!(
            refuse(&mut state, &world.say(0, &remind(old))),
            Refusal::NotAhead
        );
    }
    for floor in [0, 1, 3] {
        let order = of(None, EPOCH, floor);
        assert_eq!(refuse(&mut state, &world.say(0, &order)), Refusal::NotAhead);
    }
    let mut cold = world.cold();
    accept(&mut cold, &world.say(0, &world.servers[0].registration()));
    let order = of(None, EPOCH, 7);
    assert_eq!(
        refuse(&mut cold, &world.say(0, &order)),
        Refusal::NotAhead,
        "without an epoch there is nothing to count in"
    );
}

/// Another life of the committee, in which these boots are registered.
fn restarted(world: &World, boots: [u64; 3]) -> (CommitteeState, Vec<Server>) {
    let mut state = world.cold();
    let servers: Vec<_> = boots
        .into_iter()
        .enumerate()
        .map(|(at, boot)| world.reboot(at, boot))
        .collect();
    for server in &servers {
        accept(
            &mut state,
            &server.say(&world.rules, &server.registration()),
        );
    }
    let order = Order::clients(world.client_bundles(&[0, 1, 2]));
    accept(&mut state, &servers[0].say(&world.rules, &order));
    let order = Order::RegisterAggregators(vec![world.aggregator(0)]);
    accept(&mut state, &servers[0].say(&world.rules, &order));
    let header = RoundHeader {
        epoch: OTHER,
        ..world.header(&state)
    };
    let signed = header.sign(servers[0].id(), &servers[0].signing);
    let open = servers[0].say(&world.rules, &Order::OpenRound(signed));
    accept(&mut state, &open);
    (state, servers)
}

#[test]
fn i7_an_old_epoch_needs_a_living_signer() {
    let (world, _, rounds) = forked();
    let (mut state, servers) = restarted(&world, [2, 2, 2]);
    for server in &servers {
        let command = server.say(&world.rules, &remind(&rounds[2]));
        assert_eq!(refuse(&mut state, &command), Refusal::NotAhead);
    }
    assert_eq!(state.epoch(), Some(OTHER));

    let (mut state, servers) = restarted(&world, [2, 1, 2]);
    let command = servers[0].say(&world.rules, &remind(&rounds[2]));
    accept(&mut state, &command);
    assert_eq!(state.epoch(), Some(EPOCH));
    assert_eq!(state.opened(), 3);
    let next = world.header(&state);
    assert_eq!((next.epoch, next.number), (EPOCH, 4));
}

#[test]
fn i2_leases_are_counted_anew_in_another_epoch() {
    let mut world = World::new(3, 3);
    let mut long = world.founded();
    for _ in 0..3 {
        world.play(&mut long, &[0, 1]);
    }
    accept(&mut long, &world.say(0, &of(None, EPOCH, 5000)));
    let order = Order::clients(world.client_bundles(&[0, 1, 2]));
    accept(&mut long, &world.say(0, &order));
    let far = world.play(&mut long, &[0, 1]);

    let (mut state, servers) = restarted(&world, [2, 1, 2]);
    let command = servers[0].say(&world.rules, &remind(&far));
    accept(&mut state, &command);
    assert_eq!(state.opened(), 5001);
    let header = world.header(&state);
    let signed = header.sign(servers[0].id(), &servers[0].signing);
    let open = servers[0].say(&world.rules, &Order::OpenRound(signed));
    accept(&mut state, &open);
    assert_eq!(state.clients().len(), 3, "nobody sat out five thousand");
}

#[test]
fn i6_a_forged_record_is_refused() {
    let (world, mut state, rounds) = forked();
    let newest = &rounds[2].published;
    let mut try_forged = |change: &dyn Fn(&mut Published)| {
        let mut forged = newest.clone();
        change(&mut forged);
        let order = of(Some(&forged), EPOCH, 0);
        match refuse(&mut state, &world.say(1, &order)) {
            Refusal::Record(error) => error,
            other => panic!("{other}"),
        }
    };
    let error = try_forged(&|forged| {
        let vector = &mut forged.record.partials[1].vector;
        *vector = vec![1; vector.len()].into();
    });
    assert!(matches!(
        error,
        RecordError::Partial(PartialError::Signature(_))
    ));
    let error = try_forged(&|forged| {
        forged.record.partials.pop();
    });
    assert_eq!(
        error,
        RecordError::Partials {
            found: 2,
            expected: 3
        }
    );
    let error = try_forged(&|forged| forged.record.partials.swap(0, 1));
    assert!(matches!(error, RecordError::Partials { .. }));
    let error = try_forged(&|forged| {
        forged.record.partials[1] = forged.record.partials[0].clone();
    });
    assert!(matches!(error, RecordError::Partials { .. }));
    let error = try_forged(&|forged| {
        let vector = &mut forged.record.aggregate.vector;
        *vector = vec![1; vector.len()].into();
    });
    assert!(matches!(
        error,
        RecordError::Aggregate(AggregateError::Signature(_))
    ));
    // Not even the aggregator can change it afterwards.
    let error = try_forged(&|forged| {
        let mut aggregate = forged.record.aggregate.clone();
        aggregate.vector = vec![1; aggregate.vector.len()].into();
        forged.record.aggregate = world.resigned(aggregate);
    });
    assert_eq!(error, RecordError::Partial(PartialError::Aggregate));
    let error = try_forged(&|forged| {
        forged.record.aggregate = rounds[1].published.record.aggregate.clone();
    });
    assert!(matches!(error, RecordError::Aggregate(_)));
    let error = try_forged(&|forged| {
        forged.bundles.pop();
    });
    assert!(matches!(
        error,
        RecordError::Header(HeaderError::MissingBundle { .. })
    ));
    let error = try_forged(&|forged| {
        forged.bundles[0] = world.reboot(0, 2).admitted.bundle().clone();
    });
    assert!(matches!(
        error,
        RecordError::Header(HeaderError::MissingBundle { .. })
    ));
    accept(&mut state, &world.say(1, &of(Some(newest), EPOCH, 0)));
}

#[test]
fn i7_a_floor_raises_the_number_within_bounds() {
    let (mut world, mut state, rounds) = forked();
    world.open_only(&mut state);
    let before = state.opened();
    let head = rounds[0].rank().0;
    for floor in [head + MAX_FLOOR + 1, u64::MAX] {
        let order = of(None, EPOCH, floor);
        let refusal = refuse(&mut state, &world.say(0, &order));
        assert_eq!(refusal, Refusal::NotAhead, "{floor} is too far");
    }
    let elsewhere = of(None, OTHER, before + 5);
    assert_eq!(
        refuse(&mut state, &world.say(0, &elsewhere)),
        Refusal::NotAhead
    );
    let applied = accept(&mut state, &world.say(0, &of(None, EPOCH, before + 5)));
    assert!(matches!(applied, Applied::Resumed(None)));
    assert_eq!(state.opened(), before + 5);
    assert!(state.current().is_none());
    let order = Order::clients(world.client_bundles(&[0, 1, 2]));
    accept(&mut state, &world.say(0, &order));
    let next = world.play(&mut state, &[0, 1]);
    assert_eq!(next.rank().0, before + 6);
    let header = next.checked.round().header();
    assert_eq!(header.previous, *rounds[0].checked.digest());
    assert_ne!(header.previous, Digest::ZERO);
    // Exactly as far as allowed.
    let far = next.rank().0 + MAX_FLOOR;
    accept(&mut state, &world.say(0, &of(None, EPOCH, far)));
    assert_eq!(state.opened(), far);
}

#[test]
fn i7_a_record_and_a_floor_come_together() {
    let (world, behind, rounds) = forked();
    let mut state = behind.clone();
    let both = of(Some(&rounds[1].published), EPOCH, 40);
    accept(&mut state, &world.say(0, &both));
    assert_eq!(state.opened(), 40);
    assert_eq!(state.previous(), *rounds[1].checked.digest());
    // A floor that does not count does not stop the record.
    let mut state = behind;
    let odd = of(Some(&rounds[1].published), EPOCH, u64::MAX);
    accept(&mut state, &world.say(0, &odd));
    assert_eq!(state.opened(), 2);
}

#[test]
fn a11_reminders_do_not_carry_the_numbers_beyond_what_is_believed() {
    let (mut world, mut state, _) = forked();
    let head = state.head().unwrap().rank().0;
    // As far as each is allowed, again and again, of every server.
    for turn in 0..64 {
        let far = state.opened() + MAX_FLOOR;
        for floor in [far, head + MAX_FLOOR, head + MAX_JUMP] {
            let order = of(None, EPOCH, floor);
            let _ = state.apply(&world.say(turn % 3, &order));
        }
    }
    assert_eq!(state.opened(), head + MAX_FLOOR);
    // A restarted server takes the snapshot, and rounds that are given up
    // have room.
    let restore = |state: &CommitteeState| {
        let bytes = postcard::to_stdvec(&state.snapshot()).unwrap();
        CommitteeState::restore(world.rules.clone(), &bytes)
    };
    assert!(restore(&state).is_ok());
    for _ in 0..6 {
        world.open(&mut state);
    }
    assert!(state.opened() - head < MAX_JUMP);
    // A record is where the count begins again.
    let next = world.play(&mut state, &[0, 1, 2]);
    let far = next.rank().0 + MAX_FLOOR;
    accept(&mut state, &world.say(1, &of(None, EPOCH, far)));
    let bytes = postcard::to_stdvec(&state.snapshot()).unwrap();
    assert!(CommitteeState::restore(world.rules.clone(), &bytes).is_ok());
}
