//! How long a client stays listed, and how many are.

use rayon::prelude::*;
use zipnet_protocol::{ClientBundle, DhPublic, LeastServers, MAX_CLIENTS, Withdrawal};

use super::fixture::{World, accept, bytes, entropy, refuse};
use crate::committee::{
    command::{MAX_BATCH, Order},
    state::{CLIENT_LEASE_ROUNDS, CommitteeState, Refusal},
};

fn listed(world: &World, state: &CommitteeState, client: usize) -> bool {
    state.clients().get(&world.client(client).id()).is_some()
}

/// Plays rounds up to a number, with these clients.
fn play_up_to(world: &mut World, state: &mut CommitteeState, number: u64, clients: &[usize]) {
    while state.opened() < number {
        world.play(state, clients);
    }
}

#[test]
fn i2_a_client_that_takes_part_in_nothing_is_dropped_after_its_lease() {
    let mut world = World::new(1, 3);
    let mut state = world.founded();
    play_up_to(&mut world, &mut state, CLIENT_LEASE_ROUNDS, &[0, 1]);
    assert!(listed(&world, &state, 2));
    assert!(state.is_idle(&world.client(2).id()));
    assert!(!state.is_idle(&world.client(0).id()));

    let round = world.open(&mut state);
    assert_eq!(round.header().number, CLIENT_LEASE_ROUNDS + 1);
    assert_eq!(round.header().clients, 3, "its last round lists it");
    assert_eq!(state.current().unwrap().registry.len(), 3);
    assert!(!listed(&world, &state, 2));
    assert!(listed(&world, &state, 0) && listed(&world, &state, 1));
    // It may still take part in that one.
    world.aggregate(&mut state, &[0, 1, 2]);
    world.partials(&mut state, &[0]).unwrap();
    assert!(!listed(&world, &state, 2), "but is not listed by that");
    let round = world.open(&mut state);
    assert_eq!(round.header().clients, 2);
}

#[test]
fn i2_taking_part_once_extends_the_lease() {
    let mut world = World::new(1, 3);
    let mut state = world.founded();
    play_up_to(&mut world, &mut state, 4, &[0, 1]);
    play_up_to(&mut world, &mut state, 5, &[0, 1, 2]);
    let last = 5 + CLIENT_LEASE_ROUNDS;
    play_up_to(&mut world, &mut state, last, &[0, 1]);
    assert!(listed(&world, &state, 2));
    play_up_to(&mut world, &mut state, last + 1, &[0, 1]);
    assert!(!listed(&world, &state, 2));
    play_up_to(&mut world, &mut state, 4 * CLIENT_LEASE_ROUNDS, &[0, 1]);
    assert_eq!(state.clients().len(), 2, "who takes part stays");
}

#[test]
fn i2_registering_again_extends_the_lease() {
    let mut world = World::new(1, 3);
    let mut state = world.founded();
    play_up_to(&mut world, &mut state, 10, &[0, 1]);
    let again = Order::clients(world.client_bundles(&[2]));
    accept(&mut state, &world.say(0, &again));
    assert!(!state.is_idle(&world.client(2).id()));
    play_up_to(&mut world, &mut state, 10 + CLIENT_LEASE_ROUNDS, &[0, 1]);
    assert!(listed(&world, &state, 2));
    play_up_to(&mut world, &mut state, 11 + CLIENT_LEASE_ROUNDS, &[0, 1]);
    assert!(!listed(&world, &state, 2));

    accept(&mut state, &world.say(0, &again));
    assert!(listed(&world, &state, 2), "and after it, begins a new one");
    let round = world.open(&mut state);
    assert_eq!(round.header().clients, 3);
}

#[test]
fn i8_a_batch_has_a_limit() {
    let world = World::new(1, 2);
    let mut state = world.founded_with(&[0]);
    let bundle = world.client(1).bundle().clone();
    let order = Order::clients(vec![bundle.clone(); MAX_BATCH + 1]);
    assert_eq!(
        refuse(&mut state, &world.say(0, &order)),
        Refusal::ClientsFull(MAX_BATCH + 1)
    );
    let order = Order::clients(vec![bundle; MAX_BATCH]);
    accept(&mut state, &world.say(0, &order));
    assert_eq!(state.clients().len(), 2);

    let withdrawal = Withdrawal::sign(
        &world.rules.instance,
        world.client(1).id(),
        &world.client_transport(1),
    );
    let order = Order::WithdrawClients(vec![withdrawal.clone(); MAX_BATCH + 1]);
    assert_eq!(
        refuse(&mut state, &world.say(0, &order)),
        Refusal::ClientsFull(MAX_BATCH + 1)
    );
    let order = Order::WithdrawClients(vec![withdrawal; MAX_BATCH]);
    accept(&mut state, &world.say(0, &order));
    assert_eq!(state.clients().len(), 1);
}

#[test]
fn i12_one_bad_bundle_refuses_its_batch() {
    let world = World::new(1, 3);
    let mut state = world.founded_with(&[0]);
    let bundles = world.client_bundles(&[1, 2]);
    // A small-order key: every shared secret with it would be zero.
    let weak = ClientBundle::sign(
        &world.rules.instance,
        &DhPublic::new([0; 32]),
        LeastServers::ALL,
        &world.client_transport(1),
    );
    let with_bad = vec![bundles[0].clone(), weak];
    let refusal = refuse(&mut state, &world.say(0, &Order::clients(with_bad)));
    assert!(matches!(refusal, Refusal::Bundle(_)), "{refusal}");
    accept(&mut state, &world.say(0, &Order::clients(bundles)));
    assert_eq!(state.clients().len(), 3);
}

#[test]
fn i12_only_the_client_itself_withdraws() {
    let world = World::new(1, 3);
    let mut state = world.founded();
    let instance = &world.rules.instance;
    let victim = world.client(1).id();
    let forged = Withdrawal::sign(instance, victim, &world.client_transport(0));
    let order = Order::WithdrawClients(vec![forged.clone()]);
    assert_eq!(
        refuse(&mut state, &world.say(0, &order)),
        Refusal::NotWaiting
    );
    // Beside an honest one, the forged one does nothing.
    let honest = Withdrawal::sign(instance, world.client(0).id(), &world.client_transport(0));
    let order = Order::WithdrawClients(vec![forged, honest.clone()]);
    accept(&mut state, &world.say(0, &order));
    assert!(!listed(&world, &state, 0) && listed(&world, &state, 1));
    let again = Order::WithdrawClients(vec![honest]);
    assert_eq!(
        refuse(&mut state, &world.say(0, &again)),
        Refusal::NotWaiting
    );
}

#[test]
fn i8_the_registry_has_a_limit_and_a_batch_beyond_it_changes_nothing() {
    let world = World::with(1, 2, |rules| rules.clients_per_peer = u32::MAX);
    let transport = world.client_transport(0);
    // Any 32 bytes are an X25519 key; bar the few of small order, a usable one.
    let bundle = |seed: usize| {
        let dh = DhPublic::new(*entropy("any key", seed, 0));
        ClientBundle::sign(&world.rules.instance, &dh, LeastServers::ALL, &transport)
    };
    let bundles: Vec<_> = (0..MAX_CLIENTS + 1).into_par_iter().map(bundle).collect();
    let (room_for, beyond) = bundles.split_at(MAX_CLIENTS - 2);

    let mut snapshot = super::wire::WireSnapshot::of(&world.founded_with(&[]));
    snapshot.clients = room_for.iter().map(|bundle| (bundle.clone(), 0)).collect();
    let mut state = CommitteeState::restore(world.rules.clone(), &snapshot.bytes()).unwrap();
    assert_eq!(state.clients().len(), MAX_CLIENTS - 2);

    let three = Order::clients(beyond.to_vec());
    assert_eq!(beyond.len(), 3);
    let full = Refusal::ClientsFull(MAX_CLIENTS - 2);
    assert_eq!(refuse(&mut state, &world.say(0, &three)), full);
    let two = Order::clients(beyond[..2].to_vec());
    accept(&mut state, &world.say(0, &two));
    assert_eq!(state.clients().len(), MAX_CLIENTS);
    let one = Order::clients(beyond[2..].to_vec());
    let full = Refusal::ClientsFull(MAX_CLIENTS);
    assert_eq!(refuse(&mut state, &world.say(0, &one)), full);
    // Those who are in may say so again.
    let before = bytes(&state);
    accept(&mut state, &world.say(0, &two));
    assert!(bytes(&state) == before);
}
