//! How aggregators are struck, and how they are not.

use zipnet_protocol::{Aggregate, EnvelopeReceipt, Fault, PeerKey, Proof, ProofError};

use super::fixture::{World, accept, bytes, certified_anyhow, refuse};
use crate::committee::{
    command::{Command, Order},
    state::{Applied, CommitteeState, InFlight, Refusal},
    strikes::{MAX_STRUCK, Strike, VOTE_ROUNDS},
};

/// The receipt of a client in a round.
fn receipt(world: &World, current: &InFlight, client: usize) -> EnvelopeReceipt {
    let round = certified_anyhow(&world.servers, &current.round);
    let (_, envelope) = world.client(client).seal(&round, None).unwrap();
    let (context, header) = (current.round.context(), current.round.header());
    let checked = envelope.check(context, header, &current.registry).unwrap();
    EnvelopeReceipt::sign(&checked, &world.aggregator_transport(0))
}

fn proof(current: &InFlight, aggregate: Aggregate, fault: Fault) -> Proof {
    Proof {
        header: current.round.header().clone(),
        aggregate,
        fault,
    }
}

fn accuse(world: &World, server: usize, aggregator: PeerKey, strike: Strike) -> Command {
    world.say(server, &Order::StrikeAggregator { aggregator, strike })
}

fn proved(world: &World, server: usize, proof: &Proof) -> Command {
    let aggregator = world.aggregator_transport(0).peer_key();
    accuse(
        world,
        server,
        aggregator,
        Strike::Proof(Box::new(proof.clone())),
    )
}

fn vote(world: &World, server: usize) -> Command {
    let aggregator = world.aggregator_transport(0).peer_key();
    accuse(world, server, aggregator, Strike::Vote)
}

fn is_struck(world: &World, state: &CommitteeState) -> bool {
    state
        .strikes()
        .is_struck(&world.aggregator_transport(0).peer_key())
}

/// After the aggregator was struck, nothing of it counts any more.
fn is_out(world: &World, state: &mut CommitteeState) {
    assert!(is_struck(world, state));
    if let Some(current) = state.current().filter(|current| current.tally.is_none()) {
        let aggregate = world.fold(&current.clone(), &[0, 1, 2]);
        let late = world.say(1, &Order::SubmitAggregate(aggregate));
        let aggregator = world.aggregator_transport(0).peer_key();
        assert_eq!(refuse(state, &late), Refusal::Struck(aggregator));
    }
    let aggregator = world.aggregator_transport(0).peer_key();
    assert!(!state.aggregators().contains(&aggregator));
    assert_eq!(state.next_aggregator(), None);
    let next = world.open_with(0, world.header(state));
    assert_eq!(refuse(state, &next), Refusal::Unfit("aggregator"));
    // Its admission does not bring it back, nor hold up others.
    let both = |seeds: &[usize]| {
        let bundles = seeds.iter().map(|seed| world.aggregator(*seed)).collect();
        world.say(0, &Order::RegisterAggregators(bundles))
    };
    assert_eq!(refuse(state, &both(&[0])), Refusal::Struck(aggregator));
    accept(state, &both(&[0, 1]));
    assert!(!state.aggregators().contains(&aggregator));
    let other = world.aggregator_transport(1).peer_key();
    assert_eq!(state.next_aggregator(), Some(other));
}

#[test]
fn a2_a_proof_strikes_whoever_brings_it() {
    let mut world = World::new(3, 4);
    let mut state = world.founded();
    world.open(&mut state);
    let current = state.current().unwrap().clone();
    let left_out = receipt(&world, &current, 3);
    world.aggregate(&mut state, &[0, 1, 2]);
    world.partials(&mut state, &[0, 1, 2]).unwrap();
    let aggregate = state.head().unwrap().published.record.aggregate.clone();
    // A round later it counts as well.
    world.open(&mut state);
    let proof = proof(&current, aggregate, Fault::Dropped { receipt: left_out });
    let applied = accept(&mut state, &proved(&world, 2, &proof));
    assert!(matches!(
        applied,
        Applied::Struck {
            reason: "dropped",
            ..
        }
    ));
    is_out(&world, &mut state);
    let aggregator = world.aggregator_transport(0).peer_key();
    let again = proved(&world, 1, &proof);
    assert_eq!(refuse(&mut state, &again), Refusal::Struck(aggregator));
    let late = vote(&world, 0);
    assert_eq!(refuse(&mut state, &late), Refusal::Struck(aggregator));

    // Whoever comes later knows it, too.
    let restored = CommitteeState::restore(world.rules.clone(), &bytes(&state)).unwrap();
    assert_eq!(bytes(&restored), bytes(&state));
    assert!(is_struck(&world, &restored));
}

#[test]
fn a2_what_proves_nothing_strikes_nobody() {
    let mut world = World::new(3, 4);
    let mut state = world.founded();
    world.open(&mut state);
    let current = state.current().unwrap().clone();
    let kept = receipt(&world, &current, 1);
    let aggregate = world.fold(&current, &[0, 1, 2]);
    let dropped = |receipt| proof(&current, aggregate.clone(), Fault::Dropped { receipt });
    let honest = proved(&world, 0, &dropped(kept));
    assert_eq!(
        refuse(&mut state, &honest),
        Refusal::Proof(ProofError::Consistent)
    );

    // A proof against one aggregator strikes no other.
    let guilty = world.aggregator_transport(0).peer_key();
    let accused = PeerKey::new([7; 32]);
    let left_out = dropped(receipt(&world, &current, 3));
    let moved = accuse(&world, 0, accused, Strike::Proof(Box::new(left_out)));
    assert_eq!(
        refuse(&mut state, &moved),
        Refusal::Accused { accused, guilty }
    );
    assert!(!is_struck(&world, &state));
}

#[test]
fn a2_votes_strike_when_more_than_half_of_the_committee_agrees() {
    let mut world = World::new(5, 3);
    let mut state = world.founded();
    world.open(&mut state);
    for (server, votes) in [(0, 1), (3, 2), (3, 2), (0, 2)] {
        let applied = accept(&mut state, &vote(&world, server));
        assert!(matches!(applied, Applied::Voted { votes: found, .. } if found == votes));
        assert!(!is_struck(&world, &state), "{votes} of 5 are not enough");
    }
    let restored = CommitteeState::restore(world.rules.clone(), &bytes(&state)).unwrap();
    assert_eq!(bytes(&restored), bytes(&state));
    let applied = accept(&mut state, &vote(&world, 4));
    assert!(matches!(applied, Applied::Struck { reason: "vote", .. }));
    is_out(&world, &mut state);
}

#[test]
fn a2_votes_of_servers_that_are_gone_or_long_ago_do_not_count() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    accept(&mut state, &vote(&world, 0));
    accept(&mut state, &world.say(0, &Order::Leave));
    let applied = accept(&mut state, &vote(&world, 1));
    assert!(matches!(applied, Applied::Voted { votes: 1, .. }));

    let mut state = world.founded();
    accept(&mut state, &vote(&world, 0));
    for _ in 0..VOTE_ROUNDS {
        world.open(&mut state);
        let again = Order::clients(world.client_bundles(&[0, 1, 2]));
        accept(&mut state, &world.say(0, &again));
        let again = Order::RegisterAggregators(vec![world.aggregator(0)]);
        accept(&mut state, &world.say(0, &again));
    }
    let applied = accept(&mut state, &vote(&world, 1));
    assert!(matches!(applied, Applied::Voted { votes: 1, .. }));
    let applied = accept(&mut state, &vote(&world, 2));
    assert!(matches!(applied, Applied::Struck { .. }));
}

#[test]
fn i19_votes_of_one_server_are_few_however_many_it_casts() {
    let world = World::new(3, 3);
    let mut state = world.founded();
    for number in 0..100 {
        let aggregator = PeerKey::new([number; 32]);
        let command = accuse(&world, 1, aggregator, Strike::Vote);
        assert!(matches!(
            accept(&mut state, &command),
            Applied::Voted { votes: 1, .. }
        ));
        assert!(state.strikes().is_bounded(1));
        let opened = state.opened();
        assert_eq!(state.strikes().voters(&aggregator, opened).count(), 1);
    }
}

#[test]
fn i19_a_snapshot_that_strikes_more_than_anybody_remembers_is_refused() {
    let world = World::new(3, 3);
    let state = world.founded();
    // The strikes come last but for invites: nobody struck, no votes, and none shown.
    let snapshot = bytes(&state);
    let (before, strikes) = snapshot.split_at(snapshot.len() - 3);
    assert_eq!(strikes, [0, 0, 0]);
    for (count, right) in [(MAX_STRUCK, true), (MAX_STRUCK + 1, false)] {
        let struck = vec![PeerKey::new([1; 32]); count];
        let many = postcard::to_stdvec(&(struck, 0_u8, 0_u8)).unwrap();
        let forged = [before, &many].concat();
        let restored = CommitteeState::restore(world.rules.clone(), &forged);
        assert_eq!(restored.is_ok(), right, "{count}");
    }
}

#[test]
fn i19_another_aggregator_takes_over_in_the_next_round() {
    // By proof, by majority, or by the one vote of a server that gives no more
    // partials for what it found by itself.
    for votes in 0..3 {
        let mut world = World::new(3, 3);
        let mut state = world.founded();
        let second = Order::RegisterAggregators(vec![world.aggregator(1)]);
        accept(&mut state, &world.say(0, &second));
        let first = state.next_aggregator().unwrap();
        let keys = [0, 1].map(|seed| world.aggregator_transport(seed).peer_key());
        let other = keys.into_iter().find(|key| *key != first).unwrap();
        let round = world.open(&mut state);
        assert_eq!(round.header().aggregator, first);
        for server in 0..votes {
            let command = accuse(&world, server, first, Strike::Vote);
            accept(&mut state, &command);
        }
        if votes == 0 {
            let current = state.current().unwrap().clone();
            let one = world.fold(&current, &[0, 1, 2]);
            let fork = Box::new(world.fold(&current, &[0, 1]));
            let proof = Box::new(proof(&current, one, Fault::Forked { other: fork }));
            let command = accuse(&world, 2, first, Strike::Proof(proof));
            assert!(matches!(
                accept(&mut state, &command),
                Applied::Struck { .. }
            ));
        }
        // The same for everybody, by the log alone: nobody's set is split.
        assert_eq!(state.next_aggregator(), Some(other));
        let round = world.open(&mut state);
        assert_eq!(round.header().aggregator, other);
        assert_eq!(state.strikes().is_struck(&first), votes != 1);
    }
}
