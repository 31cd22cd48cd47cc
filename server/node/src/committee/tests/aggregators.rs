//! A3: whoever aggregates chooses who takes part. So the committee deals with
//! those that are admitted, and its log says whose turn it is.

use zipnet_protocol::{Admission, AggregatorBundle, AggregatorError, Epoch, PeerKey, RoundHeader};

use super::fixture::{EPOCH, World, accept, bytes, entropy, nonce, refuse, registry_of};
use crate::committee::{
    aggregators::{AGGREGATOR_LEASE_ROUNDS, MAX_AGGREGATORS},
    command::{Order, Resume},
    state::{CommitteeState, Refusal},
};

/// The bundle of an aggregator that shows no admission.
fn unadmitted(world: &World, seed: usize) -> AggregatorBundle {
    let transport = world.aggregator_transport(seed);
    AggregatorBundle::sign(
        &world.rules.instance,
        None,
        &transport,
        zipnet_protocol::Whereabouts::nowhere(),
    )
}

fn peer(world: &World, seed: usize) -> PeerKey {
    world.aggregator_transport(seed).peer_key()
}

fn register(bundles: Vec<AggregatorBundle>) -> Order {
    Order::RegisterAggregators(bundles)
}

/// A committee of one with three aggregators, these in the order of their keys.
fn three() -> (World, CommitteeState, Vec<PeerKey>) {
    let world = World::new(1, 3);
    let mut state = world.founded();
    let bundles = [0, 1, 2].map(|seed| world.aggregator(seed)).to_vec();
    accept(&mut state, &world.say(0, &register(bundles)));
    let mut peers: Vec<_> = (0..3).map(|seed| peer(&world, seed)).collect();
    peers.sort_unstable();
    (world, state, peers)
}

fn listed(state: &CommitteeState) -> Vec<PeerKey> {
    state.aggregators().iter().map(|(peer, _)| *peer).collect()
}

#[test]
fn a3_an_aggregator_without_an_admission_is_refused() {
    let world = World::new(3, 2);
    let mut state = world.founded();
    let instance = &world.rules.instance;
    let transport = world.aggregator_transport(7);
    let signed = |admission| {
        AggregatorBundle::sign(
            instance,
            Some(admission),
            &transport,
            zipnet_protocol::Whereabouts::nowhere(),
        )
    };
    let guessed = zipnet_protocol::SigningSecret::from_seed(&entropy("another committee", 0, 0));
    let (name, other) = (instance.name(), "acme.mix.other".parse().unwrap());
    for (what, bundle) in [
        ("none", unadmitted(&world, 7)),
        (
            "of another key",
            signed(Admission::sign(name, &transport.peer_key(), &guessed)),
        ),
        (
            "somebody else's",
            signed(Admission::sign(name, &peer(&world, 0), &world.committee)),
        ),
        (
            "for another instance",
            signed(Admission::sign(
                &other,
                &transport.peer_key(),
                &world.committee,
            )),
        ),
    ] {
        // Alone, and beside one that is admitted.
        for batch in [vec![bundle.clone()], vec![world.aggregator(1), bundle]] {
            let refusal = refuse(&mut state, &world.say(0, &register(batch)));
            let Refusal::Aggregator(AggregatorError::NotAdmitted { peer, .. }) = refusal else {
                panic!("{what}: {refusal}");
            };
            assert_eq!(peer, transport.peer_key(), "{what}");
        }
    }
    let right = signed(Admission::sign(
        name,
        &transport.peer_key(),
        &world.committee,
    ));
    accept(&mut state, &world.say(0, &register(vec![right])));
    assert!(state.aggregators().contains(&transport.peer_key()));
}

#[test]
fn a3_the_rules_may_name_aggregators_or_ask_for_none() {
    let named = peer(&World::new(1, 2), 5);
    let world = World::with(1, 2, |rules| {
        rules.aggregators.named.insert(named);
    });
    let mut state = world.founded();
    let other = register(vec![unadmitted(&world, 6)]);
    assert!(matches!(
        refuse(&mut state, &world.say(0, &other)),
        Refusal::Aggregator(_)
    ));
    accept(
        &mut state,
        &world.say(0, &register(vec![unadmitted(&world, 5)])),
    );
    assert!(state.aggregators().contains(&named));

    let world = World::with(1, 2, |rules| rules.aggregators.any = true);
    let mut state = world.founded();
    accept(&mut state, &world.say(0, &other));
    assert!(state.aggregators().contains(&peer(&world, 6)));
    // What is no aggregator's own word is refused all the same.
    let strange = World::with(1, 2, |rules| {
        let name = "acme.mix.other".parse().unwrap();
        rules.instance = zipnet_protocol::Instance::new(name, *rules.instance.committee());
    });
    let foreign = register(vec![unadmitted(&strange, 7)]);
    let refusal = refuse(&mut state, &world.say(0, &foreign));
    assert!(
        matches!(refusal, Refusal::Aggregator(AggregatorError::Transport(_))),
        "{refusal}"
    );
}

#[test]
fn a3_a_committee_deals_with_so_many_aggregators() {
    let world = World::new(1, 2);
    let mut state = world.founded();
    let bundles = |seeds: core::ops::Range<usize>| -> Vec<_> {
        seeds.map(|seed| world.aggregator(seed)).collect()
    };
    let too_many = register(bundles(0..MAX_AGGREGATORS + 1));
    let full = Refusal::AggregatorsFull(MAX_AGGREGATORS + 1);
    assert_eq!(refuse(&mut state, &world.say(0, &too_many)), full);
    let most = register(bundles(0..MAX_AGGREGATORS));
    accept(&mut state, &world.say(0, &most));
    let one_more = register(bundles(MAX_AGGREGATORS..MAX_AGGREGATORS + 1));
    assert_eq!(refuse(&mut state, &world.say(0, &one_more)), full);
    accept(&mut state, &world.say(0, &most));
    assert_eq!(listed(&state).len(), MAX_AGGREGATORS);
}

#[test]
fn a3_the_turn_stays_with_who_serves_and_moves_on_by_one_when_it_fails() {
    let (mut world, mut state, peers) = three();
    let named = |state: &CommitteeState| state.current().unwrap().round.header().aggregator;
    for _ in 0..3 {
        let done = world.play(&mut state, &[0, 1, 2]);
        assert_eq!(done.checked.round().header().aggregator, peers[0]);
    }
    // Nobody could have served a round that is not certified.
    for _ in 0..3 {
        world.open_only(&mut state);
        assert_eq!(named(&state), peers[0]);
    }
    // Certified and given up: the next one, around the circle.
    world.certify(&mut state);
    for turn in [1, 2, 0, 1] {
        world.open(&mut state);
        assert_eq!(named(&state), peers[turn]);
    }
    // It serves, although the round is given up behind it: it stays.
    world.aggregate(&mut state, &[0, 1, 2]);
    world.open(&mut state);
    assert_eq!(named(&state), peers[1]);
    world.aggregate(&mut state, &[0, 1, 2]);
    world.partials(&mut state, &[0]).unwrap();
    world.open_only(&mut state);
    assert_eq!(named(&state), peers[1]);
}

#[test]
fn a3_the_leader_does_not_choose_the_aggregator() {
    let (world, mut state, peers) = three();
    let stranger = peer(&world, 9);
    for other in [peers[1], peers[2], stranger] {
        let header = RoundHeader {
            aggregator: other,
            ..world.header(&state)
        };
        let refusal = refuse(&mut state, &world.open_with(0, header));
        assert_eq!(refusal, Refusal::Unfit("aggregator"));
    }
    let header = world.header(&state);
    assert_eq!(header.aggregator, peers[0]);
    accept(&mut state, &world.open_with(0, header));

    // Nor is there a round without one.
    let world = World::new(1, 2);
    let mut state = world.cold();
    accept(&mut state, &world.say(0, &world.servers[0].registration()));
    let clients = Order::clients(world.client_bundles(&[0, 1]));
    accept(&mut state, &world.say(0, &clients));
    let header = world.header(&state);
    let refusal = refuse(&mut state, &world.open_with(0, header));
    assert_eq!(refusal, Refusal::Unfit("aggregator"));
}

#[test]
fn a3_an_aggregator_that_is_not_heard_of_is_forgotten_after_its_lease() {
    let (mut world, mut state, peers) = three();
    let again = (0..3).find(|seed| peer(&world, *seed) == peers[1]).unwrap();
    let again = register(vec![world.aggregator(again)]);
    while state.opened() < AGGREGATOR_LEASE_ROUNDS {
        world.play(&mut state, &[0, 1, 2]);
        if state.opened() == 10 {
            accept(&mut state, &world.say(0, &again));
        }
        let half = state.opened() > AGGREGATOR_LEASE_ROUNDS / 2;
        assert_eq!(
            state.aggregators().is_fresh(&peers[2], state.opened()),
            !half
        );
    }
    assert_eq!(listed(&state), peers);
    world.play(&mut state, &[0, 1, 2]);
    assert_eq!(listed(&state), peers[..2], "one did nothing at all");
    while state.opened() < 11 + AGGREGATOR_LEASE_ROUNDS {
        world.play(&mut state, &[0, 1, 2]);
    }
    assert_eq!(listed(&state), peers[..1], "who serves stays");
    // Who is back waits for its turn.
    accept(&mut state, &world.say(0, &again));
    world.open(&mut state);
    assert_eq!(state.next_aggregator(), Some(peers[1]));
}

/// Rounds that a reminder skipped are no aggregator's absence.
#[test]
fn a3_reminders_leave_the_committee_its_aggregators() {
    let (mut world, mut state, peers) = three();
    world.play(&mut state, &[0, 1, 2]);
    let floor = |epoch, floor| {
        Order::Resume(Resume {
            record: None,
            registry: Vec::new(),
            epoch,
            floor,
        })
    };
    let restore = |world: &World, state: &CommitteeState| {
        CommitteeState::restore(world.rules.clone(), &bytes(state)).map(|_| ())
    };
    accept(&mut state, &world.say(0, &floor(EPOCH, 5000)));
    let newest = world.play(&mut state, &[0, 1, 2]);
    assert_eq!(newest.rank().0, 5001);
    assert_eq!(listed(&state), peers);

    // Back to an epoch of lower numbers: nobody was heard of in the future.
    let mut state = world.founded();
    let header = RoundHeader {
        epoch: Epoch::new([0x0f; 32]),
        nonce: nonce(99),
        ..world.header(&state)
    };
    accept(&mut state, &world.open_with(0, header));
    let elsewhere = floor(Epoch::new([0x0f; 32]), 9000);
    accept(&mut state, &world.say(0, &elsewhere));
    accept(
        &mut state,
        &world.say(0, &register(vec![world.aggregator(1)])),
    );
    let back = Order::Resume(Resume {
        record: Some(newest.published.clone()),
        registry: registry_of(&newest),
        epoch: EPOCH,
        floor: 0,
    });
    accept(&mut state, &world.say(0, &back));
    assert_eq!((state.opened(), listed(&state).len()), (5001, 2));
    assert!(restore(&world, &state).is_ok());
    world.play(&mut state, &[0, 1, 2]);
    assert_eq!(listed(&state).len(), 2);
}
