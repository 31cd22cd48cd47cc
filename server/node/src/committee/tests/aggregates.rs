//! An aggregator, or the server that relays for it, that cheats.

use bytes::Bytes;
use zipnet_protocol::{Aggregate, AggregateError, PartialError, Participants, ParticipantsError};

use super::fixture::{World, accept, commitment, messages, refuse};
use crate::{
    committee::{
        command::Order,
        state::{Applied, CommitteeState, Refusal},
    },
    guard::GuardError,
};

/// Tries a forged aggregate, and the guard of every server on it.
fn forge(world: &mut World, state: &mut CommitteeState, forged: &Aggregate) -> AggregateError {
    let command = world.say(0, &Order::SubmitAggregate(forged.clone()));
    let refusal = refuse(state, &command);
    let current = state.current().unwrap().clone();
    for server in &mut world.servers {
        // Even a state that let it through would get no partial.
        let answer = server.unblind(&current.round, &current.registry, forged);
        let Err(GuardError::Aggregate(error)) = answer else {
            panic!("the guard let {forged:?} through");
        };
        assert_eq!(Refusal::Aggregate(error), refusal);
    }
    match refusal {
        Refusal::Aggregate(error) => error,
        other => panic!("{other}"),
    }
}

/// After all attacks, the honest aggregate of all clients still finalizes.
fn still_works(world: &mut World, state: &mut CommitteeState, clients: &[usize]) {
    world.aggregate(state, clients);
    let all: Vec<_> = (0..world.servers.len()).collect();
    let mut done = world.partials(state, &all).unwrap();
    assert_eq!(done.checked.participants(), clients.len());
    // Two collide in every fourth round.
    for _ in 0..16 {
        if messages(&done).is_empty() {
            done = world.play(state, clients);
        }
    }
    let expected = clients.iter().map(|client| format!("client {client}"));
    // Some collide; whoever is in the clear says what it should.
    let found = messages(&done);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|text| expected.clone().any(|said| said == *text))
    );
    assert_eq!(done.checked.participants(), clients.len());
}

#[test]
fn i2_all_but_one_dropped_is_too_few() {
    let mut world = World::new(3, 5);
    let mut state = world.founded();
    world.open(&mut state);
    for kept in [&[][..], &[3]] {
        let forged = world.fold(state.current().unwrap(), kept);
        let error = forge(&mut world, &mut state, &forged);
        assert_eq!(
            error,
            AggregateError::TooFew {
                found: kept.len(),
                needed: 2
            }
        );
    }
    still_works(&mut world, &mut state, &[1, 3]);
}

#[test]
fn i2_an_empty_aggregate_is_refused_whatever_the_minimum() {
    let mut world = World::with(3, 2, |rules| rules.min_participants = 0);
    let mut state = world.founded();
    world.open(&mut state);
    let forged = world.fold(state.current().unwrap(), &[]);
    let error = forge(&mut world, &mut state, &forged);
    assert_eq!(
        error,
        AggregateError::TooFew {
            found: 0,
            needed: 1
        }
    );
    still_works(&mut world, &mut state, &[0]);
}

#[test]
fn i2_forged_participants_are_refused() {
    let mut world = World::new(3, 5);
    let mut state = world.founded();
    world.open(&mut state);
    let honest = world.fold(state.current().unwrap(), &[0, 1]);
    let aggregator = world.aggregator_transport(0);
    let with = |bits: &[u8]| {
        Aggregate::sign(
            honest.context,
            Participants::from_bytes(Bytes::copy_from_slice(bits)),
            honest.envelopes,
            honest.vector.clone(),
            &aggregator,
        )
    };
    // Bits 5, 6 and 7 stand for nobody in a registry of five.
    for bits in [0b0010_0001, 0b0100_0011, 0b1000_0001, 0b1110_0000] {
        let error = forge(&mut world, &mut state, &with(&[bits]));
        assert_eq!(
            error,
            AggregateError::Participants(ParticipantsError::Unregistered)
        );
    }
    for bits in [&[][..], &[3, 0], &[3, 3, 3]] {
        let error = forge(&mut world, &mut state, &with(bits));
        assert_eq!(
            error,
            AggregateError::Participants(ParticipantsError::Length {
                found: bits.len(),
                expected: 1
            })
        );
    }
    still_works(&mut world, &mut state, &[0, 1, 2, 3, 4]);
}

#[test]
fn i2_an_aggregate_is_as_long_as_a_broadcast() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    world.open(&mut state);
    let honest = world.fold(state.current().unwrap(), &[0, 1, 2]);
    let expected = honest.vector.len();
    for length in [0, 1, expected - 1, expected + 1, 2 * expected] {
        let mut forged = honest.clone();
        forged.vector = vec![7; length].into();
        let forged = world.resigned(forged);
        let error = forge(&mut world, &mut state, &forged);
        assert_eq!(
            error,
            AggregateError::Length {
                found: length,
                expected
            }
        );
    }
    still_works(&mut world, &mut state, &[0, 1, 2]);
}

#[test]
fn a3_an_aggregate_is_of_the_aggregator_that_the_header_names() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    world.open(&mut state);
    let honest = world.fold(state.current().unwrap(), &[0, 1, 2]);
    let foreign = Aggregate::sign(
        honest.context,
        honest.participants.clone(),
        honest.envelopes,
        honest.vector.clone(),
        &world.client_transport(0),
    );
    let mut changed = honest;
    changed.envelopes = super::fixture::NOBODY;
    for forged in [foreign, changed] {
        let error = forge(&mut world, &mut state, &forged);
        assert!(matches!(error, AggregateError::Signature(_)), "{error}");
    }
    still_works(&mut world, &mut state, &[0, 1, 2]);
}

#[test]
fn i2_an_aggregate_belongs_to_one_round() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    world.open(&mut state);
    let old = world.fold(state.current().unwrap(), &[0, 1, 2]);
    let command = world.say(0, &Order::SubmitAggregate(old.clone()));
    assert_eq!(refuse(&mut world.founded(), &command), Refusal::NotWaiting);
    world.open_only(&mut state);
    assert_eq!(refuse(&mut state, &command), Refusal::NotWaiting);
    world.certify(&mut state);
    assert_eq!(forge(&mut world, &mut state, &old), AggregateError::Context);
    still_works(&mut world, &mut state, &[0, 1, 2]);
    assert_eq!(refuse(&mut state, &command), Refusal::NotWaiting);
}

#[test]
fn i2_of_two_aggregates_the_first_counts_and_no_guard_signs_the_second() {
    let mut world = World::new(3, 4);
    let mut state = world.founded();
    world.open(&mut state);
    let current = state.current().unwrap().clone();
    let first = world.fold(&current, &[0, 1, 2, 3]);
    let second = world.fold(&current, &[0, 1]);

    // The aggregator tells another server another story.
    let mut other = state.clone();
    let said = |aggregate: &Aggregate| Order::SubmitAggregate(aggregate.clone());
    accept(&mut state, &world.say(0, &said(&first)));
    accept(&mut other, &world.say(1, &said(&second)));
    assert_eq!(
        refuse(&mut state, &world.say(1, &said(&second))),
        Refusal::NotWaiting
    );
    assert_eq!(
        refuse(&mut state, &world.say(0, &said(&first))),
        Refusal::NotWaiting
    );

    world.commit(&mut state);
    for server in 0..3 {
        let command = world.partial(server, &state);
        let applied = accept(&mut state, &command);
        assert_eq!(server == 2, matches!(applied, Applied::Finalized(_)));
        let refused = world.servers[server].unblind(&current.round, &current.registry, &second);
        assert_eq!(refused, Err(GuardError::Unblinded { number: 1 }));
        // What was signed for the first tells nothing of the second, ...
        let forced =
            world.servers[server].unblind_anything(&current.round, &current.registry, &first);
        assert_eq!(
            refuse(&mut other, &world.say(server, &commitment(&forced))),
            Refusal::NotWaiting
        );
        // ... whether it is committed to there or not.
        assert_eq!(
            refuse(&mut other, &command),
            Refusal::Partial(PartialError::Aggregate)
        );
    }
}
