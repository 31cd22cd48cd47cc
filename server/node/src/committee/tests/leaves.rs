//! Which aggregators are leaves follows from the log; one that hands nothing on costs little.

use zipnet_protocol::{Leaves, PeerKey, RoundHeader};

use super::fixture::{World, accept, bytes, refuse};
use crate::committee::{
    command::Order,
    leaves::LeafMemory,
    state::{CommitteeState, Refusal},
};

const ALL: [usize; 6] = [0, 1, 2, 3, 4, 5];

/// A committee of one with three aggregators, of which two are leaves; these in the order
/// of their keys.
fn tree() -> (World, CommitteeState, Vec<PeerKey>) {
    tree_of(ALL.len())
}

fn tree_of(clients: usize) -> (World, CommitteeState, Vec<PeerKey>) {
    let world = World::with(1, clients, |rules| rules.leaves = 2);
    let mut state = world.founded();
    register(&world, &mut state);
    let peers = (0..3).map(|seed| world.aggregator_transport(seed).peer_key());
    let mut peers: Vec<_> = peers.collect();
    peers.sort_unstable();
    (world, state, peers)
}

fn next(state: &CommitteeState) -> Vec<PeerKey> {
    let (_, leaves) = state.next_aggregators().unwrap();
    leaves.iter().copied().collect()
}

/// All three say that they are there.
fn register(world: &World, state: &mut CommitteeState) {
    let bundles = [0, 1, 2].map(|seed| world.aggregator(seed)).to_vec();
    accept(state, &world.say(0, &Order::RegisterAggregators(bundles)));
}

/// A whole round of everybody.
fn play(world: &mut World, state: &mut CommitteeState) {
    if state.opened().is_multiple_of(30) {
        register(world, state);
    }
    world.play(state, &ALL);
}

/// A round in which a leaf hands nothing on.
fn without(world: &mut World, state: &mut CommitteeState, silent: PeerKey) {
    let round = world.open(state);
    let registry = state.current().unwrap().registry.clone();
    let aggregate = world.fold_without(&round, &registry, &ALL, &[silent]);
    accept(state, &world.say(0, &Order::SubmitAggregate(aggregate)));
    world.partials(state, &[0]).unwrap();
}

#[test]
fn a3_leaves_follow_from_the_log_and_not_from_the_leader() {
    let (mut world, mut state, peers) = tree();
    assert_eq!(next(&state), peers[..2]);
    for leaves in [
        vec![],
        vec![peers[0]],
        vec![peers[0], peers[2]],
        peers.clone(),
    ] {
        let header = RoundHeader {
            leaves: Leaves::new(leaves),
            ..world.header(&state)
        };
        let refusal = refuse(&mut state, &world.open_with(0, header));
        assert_eq!(refusal, Refusal::Unfit("leaves"));
    }
    for _ in 0..3 {
        let done = world.play(&mut state, &ALL);
        let record = &done.published.record;
        assert_eq!(record.header.header().aggregator, peers[0]);
        assert_eq!(record.aggregate.parts.len(), 1);
        assert_eq!(record.aggregate.participants.count(), ALL.len());
    }
    // With one leaf or none the aggregator takes all itself.
    for leaves in [0, 1] {
        let world = World::with(1, 3, |rules| rules.leaves = leaves);
        let mut state = world.founded();
        let bundles = [0, 1].map(|seed| world.aggregator(seed)).to_vec();
        accept(
            &mut state,
            &world.say(0, &Order::RegisterAggregators(bundles)),
        );
        assert_eq!(next(&state), []);
    }
    // Nor is one that stands alone a leaf of its own.
    let world = World::with(1, 3, |rules| rules.leaves = 2);
    assert_eq!(next(&world.founded()), []);
}

#[test]
fn a_leaf_that_hands_nothing_on_is_none_for_sixteen_rounds() {
    let (mut world, mut state, peers) = tree();
    without(&mut world, &mut state, peers[1]);
    let absent = state.opened();
    let wire = bytes(&state);
    let restored = CommitteeState::restore(world.rules.clone(), &wire).unwrap();
    assert_eq!(next(&restored), [peers[0], peers[2]]);
    while state.opened() < absent + 16 {
        assert_eq!(next(&state), [peers[0], peers[2]]);
        world.play(&mut state, &ALL);
    }
    assert_eq!(next(&state), peers[..2]);
}

#[test]
fn a_leaf_that_hands_on_a_part_of_nobody_is_none_either() {
    const CLIENTS: usize = 16;
    let (mut world, mut state, peers) = tree_of(CLIENTS);
    let round = world.open(&mut state);
    let header = round.header();
    let number = header.leaves.number(&peers[1]);
    let others = (0..CLIENTS).filter(|client| {
        header
            .leaves
            .number_of(&world.client(*client).bundle().client_id())
            != number
    });
    let others: Vec<_> = others.collect();
    assert!((2..CLIENTS).contains(&others.len()));
    let registry = state.current().unwrap().registry.clone();
    let aggregate = world.fold_of(&round, &registry, &others);
    assert_eq!(aggregate.parts.len(), 1);
    accept(
        &mut state,
        &world.say(0, &Order::SubmitAggregate(aggregate)),
    );
    world.partials(&mut state, &[0]).unwrap();
    assert_eq!(next(&state), [peers[0], peers[2]]);
}

#[test]
fn a_round_with_leaves_that_comes_to_nothing_is_followed_by_rounds_without() {
    let (mut world, mut state, _) = tree();
    let mut rests = Vec::new();
    for _ in 0..3 {
        while next(&state).is_empty() {
            play(&mut world, &mut state);
        }
        // Certified, and given up.
        world.open(&mut state);
        let failed = state.opened();
        let (_, leaves) = state.next_aggregators().unwrap();
        assert!(leaves.is_empty());
        play(&mut world, &mut state);
        let mut ahead = state.clone();
        while next(&ahead).is_empty() {
            play(&mut world, &mut ahead);
        }
        rests.push(ahead.opened() - failed);
        state = ahead;
    }
    assert_eq!(rests, [16, 32, 64]);
}

#[test]
fn a_rest_is_bounded_and_shorter_again_after_rounds_that_went_well() {
    let (world, state, peers) = tree();
    let mut header = RoundHeader {
        leaves: Leaves::new(peers.iter().copied().take(2)),
        ..world.header(&state)
    };
    let mut memory = LeafMemory::default();
    let rests = |memory: &mut LeafMemory, header: &mut RoundHeader| {
        memory.came_to_nothing(header);
        let failed = header.number;
        loop {
            header.number += 1;
            let all = peers.iter().copied();
            let leaves = memory.of_round(header.number, 2, &peers[0], all);
            if !leaves.is_empty() {
                return header.number - failed - 1;
            }
        }
    };
    let all: Vec<_> = (0..9).map(|_| rests(&mut memory, &mut header)).collect();
    assert_eq!(all, [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
    // Rounds that go well are not held against anybody for ever.
    for (good, rest) in [(1023, 1024), (1024, 16)] {
        for _ in 0..good {
            memory.finalized(&header);
        }
        assert_eq!(rests(&mut memory, &mut header), rest);
    }
    assert!(memory.is_bounded(header.number));
}
