//! I15: how many have to take part follows from what was recorded, and nobody
//! lowers it by a wish.

use zipnet_protocol::{AggregateError, ClientBundle, Withdrawal, participation_floor};

use super::fixture::{World, accept, bytes, refuse, registry_of};
use crate::{
    committee::{
        command::{Order, Resume},
        state::{CLIENT_LEASE_ROUNDS, CommitteeState, Refusal},
    },
    guard::GuardError,
};

/// What state and guard say to the honest aggregate of these clients.
fn too_few(world: &mut World, state: &mut CommitteeState, clients: &[usize]) -> (usize, u32) {
    let current = state.current().unwrap().clone();
    let aggregate = world.fold(&current, clients);
    let command = world.say(0, &Order::SubmitAggregate(aggregate.clone()));
    let refusal = refuse(state, &command);
    for server in &mut world.servers {
        let answer = server.unblind(&current.round, &current.registry, &aggregate);
        let Err(GuardError::Aggregate(error)) = answer else {
            panic!("the guard let {} clients through", clients.len());
        };
        assert_eq!(Refusal::Aggregate(error), refusal);
    }
    match refusal {
        Refusal::Aggregate(AggregateError::TooFew { found, needed }) => (found, needed),
        other => panic!("{other}"),
    }
}

fn withdraw(world: &World, state: &mut CommitteeState, clients: &[usize]) {
    let instance = &world.rules.instance;
    let leave = |client: &usize| {
        let transport = world.client_transport(*client);
        Withdrawal::sign(instance, world.client(*client).id(), &transport)
    };
    let order = Order::WithdrawClients(clients.iter().map(leave).collect());
    accept(state, &world.say(0, &order));
}

#[test]
fn i15_an_aggregate_below_the_floor_is_refused_by_state_and_guard() {
    let mut world = World::new(3, 10);
    let mut state = world.founded();
    let all: Vec<_> = (0..10).collect();
    assert_eq!(world.header(&state).floor, 2, "no record yet");
    world.play(&mut state, &all);
    world.open(&mut state);
    for few in [0, 2, 8] {
        assert_eq!(too_few(&mut world, &mut state, &all[..few]), (few, 9));
    }
    world.aggregate(&mut state, &all[1..]);
    assert!(world.partials(&mut state, &[0, 1, 2]).is_some());
}

#[test]
fn i15_the_clients_of_one_peer_count_once() {
    let mut world = World::with(3, 6, |rules| rules.clients_per_peer = 3);
    let mut state = world.founded();
    let peer = |client: usize| world.client_transport(client).peer_key();
    let of_one: Vec<_> = (0..6).filter(|client| peer(*client) == peer(0)).collect();
    let other = (0..6).find(|client| peer(*client) != peer(0)).unwrap();
    assert_eq!(of_one.len(), 3);
    world.open(&mut state);
    assert_eq!(too_few(&mut world, &mut state, &of_one), (1, 2));
    let two = [of_one[0], other];
    world.aggregate(&mut state, &two);
    world.partials(&mut state, &[0, 1, 2]).unwrap();

    let all: Vec<_> = (0..6).collect();
    world.play(&mut state, &all);
    assert_eq!(state.floor(), 2, "of two peers, the minimum");
    // A peer cannot register more of them, whoever mirrors it.
    let world = World::with(3, 6, |rules| rules.clients_per_peer = 2);
    let state = world.founded();
    assert_eq!(state.clients().len(), 6, "two each");
    assert!(!state.has_room_for(&world.client_transport(0).peer_key()));
}

#[test]
fn i15_one_peer_registers_no_more_clients_than_the_rules_say() {
    // Their transport keys are those of another world, four to a peer.
    let crowd = World::with(1, 4, |rules| rules.clients_per_peer = 4);
    let world = World::with(1, 4, |rules| rules.clients_per_peer = 2);
    let mut state = world.founded_with(&[]);
    let bundles = crowd.client_bundles(&[0, 1, 2, 3]);
    let peer = crowd.client_transport(0).peer_key();
    for bundle in &bundles {
        let order = Order::clients(vec![bundle.clone()]);
        accept(&mut state, &world.say(0, &order));
    }
    assert_eq!(state.clients().len(), 2);
    assert!(!state.has_room_for(&peer));
    // Whoever is in a batch with them gets in.
    let honest = (0..4).find(|client| world.client_transport(*client).peer_key() != peer);
    let honest = world.client_bundles(&[honest.unwrap()]);
    let batch = [bundles, honest].concat();
    let again = Order::clients(batch);
    accept(&mut state, &world.say(0, &again));
    assert_eq!(state.clients().len(), 3);
}

#[test]
fn i15_the_floor_follows_the_record_and_drops_by_withdrawals() {
    let mut world = World::new(1, 10);
    let mut state = world.founded();
    let all: Vec<_> = (0..10).collect();
    for (participants, next) in [(10, 9), (9, 8), (8, 7), (10, 9), (9, 8)] {
        let done = world.play(&mut state, &all[..participants]);
        let record = &done.published.record.aggregate.participants;
        let by_rule = participation_floor(2, Some((record, &done.registry)), state.clients());
        assert_eq!((world.header(&state).floor, by_rule), (next, next));
    }
    // Who did not take part makes no difference by leaving, who did does.
    withdraw(&world, &mut state, &[9]);
    assert_eq!(world.header(&state).floor, 8);
    withdraw(&world, &mut state, &[0, 1, 2]);
    assert_eq!(world.header(&state).floor, 5, "nine tenths of six");
    // To register again is to be counted again.
    let order = Order::clients(world.client_bundles(&[0, 1, 2]));
    accept(&mut state, &world.say(0, &order));
    assert_eq!(world.header(&state).floor, 8);
    // No leader has a say in it.
    for floor in [0, 1, 2, 7, 9] {
        let mut header = world.header(&state);
        header.floor = floor;
        let refusal = refuse(&mut state, &world.open_with(0, header));
        assert_eq!(refusal, Refusal::Unfit("participation floor"));
    }
}

#[test]
fn i15_giving_rounds_up_does_not_lower_the_floor() {
    let mut world = World::new(1, 10);
    let mut state = world.founded();
    let all: Vec<_> = (0..10).collect();
    world.play(&mut state, &all);
    for _ in 0..CLIENT_LEASE_ROUNDS - 2 {
        let round = world.open(&mut state);
        assert_eq!(round.header().floor, 9);
        assert_eq!(too_few(&mut world, &mut state, &all[..8]), (8, 9));
    }
    world.aggregate(&mut state, &all[..9]);
    assert!(world.partials(&mut state, &[0]).is_some());
}

/// A third of the clients vanish without a word. What it costs is in the docs.
#[test]
fn i15_after_a_mass_departure_the_leases_let_rounds_go_on() {
    let mut world = World::new(1, 30);
    let mut state = world.founded();
    let all: Vec<_> = (0..30).collect();
    let stay = &all[..20];
    world.play(&mut state, &all);
    assert_eq!(state.floor(), 27);
    let mut given_up = 0;
    loop {
        world.open(&mut state);
        let aggregate = world.fold(state.current().unwrap(), stay);
        let command = world.say(0, &Order::SubmitAggregate(aggregate));
        if state.apply(&command).is_ok() {
            break;
        }
        given_up += 1;
        assert!(given_up <= CLIENT_LEASE_ROUNDS + 1, "for ever");
        // Who is still there says so again, as servers tell it to.
        let idle = |client: &&usize| state.is_idle(&world.client(**client).id());
        let idle: Vec<_> = stay.iter().filter(idle).copied().collect();
        let order = Order::clients(world.client_bundles(&idle));
        accept(&mut state, &world.say(0, &order));
    }
    println!("rounds given up after a third of the clients had vanished: {given_up}");
    assert_eq!(given_up, CLIENT_LEASE_ROUNDS + 1);
    let done = world.partials(&mut state, &[0]).unwrap();
    assert_eq!(done.checked.participants(), stay.len());
    assert_eq!(done.checked.round().header().floor, 18, "nine tenths of 20");
}

#[test]
fn i15_a_reminder_does_not_lower_the_floor() {
    let mut world = World::new(3, 6);
    let mut state = world.founded_with(&[0, 1, 2, 3, 4]);
    let mut behind = state.clone();
    let newest = world.play(&mut state, &[0, 1, 2, 3, 4]);
    assert_eq!(state.floor(), 4);
    // The one that forgot has another registry, so it cannot know whose bits
    // the record's participants are.
    let late = Order::clients(world.client_bundles(&[5]));
    accept(&mut behind, &world.say(0, &late));
    assert_eq!(behind.floor(), 2);
    let remind = |registry: Vec<ClientBundle>| {
        Order::Resume(Resume {
            record: Some(newest.published.clone()),
            registry,
            epoch: newest.epoch(),
            floor: 0,
        })
    };
    let right = registry_of(&newest);
    let mut swapped = right.clone();
    swapped[4] = world.client_bundles(&[5]).remove(0);
    for (what, registry) in [
        ("missing", Vec::new()),
        ("cut", right[..4].to_vec()),
        ("of other clients", swapped),
        ("longer", world.client_bundles(&[0, 1, 2, 3, 4, 5])),
        ("one of them twice", [&right[..4], &right[..1]].concat()),
    ] {
        let refusal = refuse(&mut behind, &world.say(1, &remind(registry)));
        assert_eq!(refusal, Refusal::Unfit("client registry"), "{what}");
    }
    let foreign = {
        let name: zipnet_protocol::InstanceName = "acme.mix.other".parse().unwrap();
        let key = *world.rules.instance.committee();
        let other = World::with(3, 6, |rules| {
            rules.instance = zipnet_protocol::Instance::new(name.clone(), key);
        });
        other.client_bundles(&[0, 1, 2, 3, 4])
    };
    let refusal = refuse(&mut behind, &world.say(1, &remind(foreign)));
    assert!(matches!(refusal, Refusal::Bundle(_)), "{refusal}");

    accept(&mut behind, &world.say(1, &remind(right)));
    assert_eq!(behind.floor(), 4);
    let restored = CommitteeState::restore(world.rules.clone(), &bytes(&behind)).unwrap();
    assert_eq!(restored.floor(), 4);
    // Whoever has the registry itself needs none brought.
    let mut same = world.founded_with(&[0, 1, 2, 3, 4]);
    accept(&mut same, &world.say(1, &remind(Vec::new())));
    assert_eq!(same.floor(), 4);
}
