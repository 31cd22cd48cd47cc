//! A server that cheats with its partial.

use std::sync::Arc;

use zipnet_protocol::{Partial, PartialError, SignedPartial};

use super::fixture::{NOBODY, World, accept, commitment, giving, refuse};
use crate::committee::{
    command::Order,
    state::{Applied, CommitteeState, Refusal},
};

/// A round that waits for the partials.
fn waiting(servers: usize) -> (World, CommitteeState) {
    let mut world = World::new(servers, 3);
    let mut state = world.founded();
    world.open(&mut state);
    world.aggregate(&mut state, &[0, 1, 2]);
    (world, state)
}

fn submit(partial: &SignedPartial) -> Order {
    Order::SubmitPartial(partial.clone())
}

/// The honest partial of a server.
fn honest(world: &mut World, server: usize, state: &CommitteeState) -> SignedPartial {
    match world.partial(server, state).decode().unwrap() {
        Order::SubmitPartial(partial) => partial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn i6_the_partial_of_the_round_before_is_refused() {
    let (mut world, mut state) = waiting(3);
    let old = honest(&mut world, 0, &state);
    world.partials(&mut state, &[0, 1, 2]).unwrap();
    let replay = world.say(0, &submit(&old));
    assert_eq!(refuse(&mut state, &replay), Refusal::NotWaiting);
    world.open_only(&mut state);
    assert_eq!(refuse(&mut state, &replay), Refusal::NotWaiting);
    world.certify(&mut state);
    assert_eq!(refuse(&mut state, &replay), Refusal::NotWaiting);
    world.aggregate(&mut state, &[0, 1, 2]);
    assert_eq!(
        refuse(&mut state, &replay),
        Refusal::Partial(PartialError::Context)
    );
    // Signed anew for the present round, it is a lie that only readers see:
    // the messages are gone, the record names the servers that signed it.
    let current = state.current().unwrap();
    let digest = *current.tally.as_ref().unwrap().digest();
    let liar = &world.servers[0];
    let again = Partial::new(
        *current.round.context(),
        digest,
        liar.id(),
        old.vector,
        &liar.signing,
    );
    accept(&mut state, &world.say(0, &commitment(&again)));
    world.commit(&mut state);
    let again = giving(&world.servers[0], &again, &state);
    accept(&mut state, &world.say(0, &again));
    let done = world.partials(&mut state, &[1, 2]).unwrap();
    assert_eq!(done.checked.messages().count(), 0);
}

#[test]
fn i6_a_partial_counts_once() {
    let (mut world, mut state) = waiting(3);
    let server = world.servers[0].id();
    let repeated = Refusal::Partial(PartialError::Repeated { server });
    world.commit(&mut state);
    let partial = honest(&mut world, 0, &state);
    accept(&mut state, &world.say(0, &submit(&partial)));
    assert_eq!(
        refuse(&mut state, &world.say(0, &submit(&partial))),
        repeated
    );
    assert_eq!(
        refuse(&mut state, &world.say(1, &submit(&partial))),
        repeated
    );
    let key = &world.servers[0].signing;
    let other = Partial::new(
        partial.context,
        partial.aggregate,
        server,
        vec![0; partial.vector.len()].into(),
        key,
    )
    .sign(partial.commitments, key);
    assert_eq!(refuse(&mut state, &world.say(0, &submit(&other))), repeated);
    assert!(world.partials(&mut state, &[1]).is_none(), "one is missing");
    assert!(world.partials(&mut state, &[2]).is_some());
}

#[test]
fn i6_a_partial_is_bound_to_aggregate_length_and_sender() {
    let (mut world, mut state) = waiting(3);
    world.commit(&mut state);
    let good = honest(&mut world, 0, &state);
    let (me, other) = (&world.servers[0], &world.servers[1]);
    let expected = good.vector.len();

    let another_aggregate = Partial::new(
        good.context,
        NOBODY,
        me.id(),
        good.vector.clone(),
        &me.signing,
    )
    .sign(good.commitments, &me.signing);
    assert_eq!(
        refuse(&mut state, &world.say(0, &submit(&another_aggregate))),
        Refusal::Partial(PartialError::Aggregate)
    );
    for length in [0, 1, expected - 1, expected + 1] {
        let wrong = Partial::new(
            good.context,
            good.aggregate,
            me.id(),
            vec![1; length].into(),
            &me.signing,
        )
        .sign(good.commitments, &me.signing);
        assert_eq!(
            refuse(&mut state, &world.say(0, &submit(&wrong))),
            Refusal::Partial(PartialError::Length {
                found: length,
                expected
            })
        );
    }
    let under_other_name = Partial::new(
        good.context,
        good.aggregate,
        other.id(),
        good.vector.clone(),
        &me.signing,
    )
    .sign(good.commitments, &me.signing);
    let mut renamed = good.clone();
    renamed.server = other.id();
    let mut vector = good.vector.to_vec();
    vector[7] ^= 1;
    let mut changed = good.clone();
    changed.vector = vector.into();
    for forged in [under_other_name, renamed, changed] {
        let refusal = refuse(&mut state, &world.say(0, &submit(&forged)));
        assert!(
            matches!(refusal, Refusal::Partial(PartialError::Signature(_))),
            "{refusal}"
        );
    }
    accept(&mut state, &world.say(0, &submit(&good)));
}

#[test]
fn i7_nobody_outside_of_the_roster_has_a_say() {
    let mut world = World::with(4, 3, |rules| rules.min_servers = Some(3));
    let mut state = world.founded();
    let mut header = world.header(&state);
    header.roster.truncate(3);
    accept(&mut state, &world.open_with(0, header));
    world.certify(&mut state);
    world.aggregate(&mut state, &[0, 1, 2]);
    world.commit(&mut state);
    let current = state.current().unwrap().clone();
    let aggregate = current.tally.as_ref().unwrap().aggregate();

    for stranger in [&world.servers[3], &world.newcomer(0)] {
        let partial = stranger.unblind_anything(&current.round, &current.registry, aggregate);
        let order = giving(stranger, &partial, &state);
        let refusal = refuse(&mut state, &world.say(0, &order));
        assert_eq!(
            refusal,
            Refusal::Partial(PartialError::Stranger {
                server: stranger.id()
            })
        );
    }
    assert!(world.partials(&mut state, &[0, 1]).is_none());
    assert!(world.partials(&mut state, &[2]).is_some());
}

#[test]
fn i6_a_record_holds_every_partial_of_the_roster() {
    let (mut world, mut state) = waiting(3);
    world.commit(&mut state);
    for server in [2, 0] {
        let command = world.partial(server, &state);
        assert!(matches!(accept(&mut state, &command), Applied::Unblinded));
        assert!(state.head().is_none());
    }
    let command = world.partial(1, &state);
    let Applied::Finalized(done) = accept(&mut state, &command) else {
        panic!("the last partial finalizes");
    };
    assert!(Arc::ptr_eq(state.head().unwrap(), &done));
    assert!(state.current().is_none());
    let partials = &done.published.record.partials;
    let signers: Vec<_> = partials.iter().map(|partial| partial.server).collect();
    let roster: Vec<_> = world.servers.iter().map(|server| server.id()).collect();
    assert_eq!(signers, roster);
    // A reader that trusts no server comes to the same broadcast.
    let read = done
        .published
        .record
        .verify(&world.rules.instance, &done.published.bundles)
        .unwrap();
    assert_eq!(read, done.checked);
    assert_eq!(state.previous(), *read.digest());
}
