//! A round that is given up for the next one, and what may still come of it.

use zipnet_protocol::{AggregateError, PartialError, SealError};

use super::fixture::{World, accept, certified_anyhow, nonce, refuse};
use crate::committee::{
    command::Order,
    state::{Applied, Refusal},
};

#[test]
fn i2_late_work_for_a_given_up_round_is_refused() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let header = world.header(&state);
    let applied = accept(&mut state, &world.open_with(0, header));
    assert!(matches!(applied, Applied::Opened { forced: None, .. }));
    let late_aggregate = world.fold(state.current().unwrap(), &[0, 1, 2]);
    world.certify(&mut state);
    world.aggregate(&mut state, &[0, 1]);
    let late_commitment = world.commitment(1, &state);
    world.commit(&mut state);
    let first = world.partial(0, &state);
    let late = world.partial(1, &state);
    accept(&mut state, &first);

    let header = world.header(&state);
    assert_eq!(header.number, 2);
    let applied = accept(&mut state, &world.open_with(1, header));
    assert!(matches!(
        applied,
        Applied::Opened {
            forced: Some(_),
            ..
        }
    ));
    assert_eq!(refuse(&mut state, &late), Refusal::NotWaiting);
    let command = world.say(0, &Order::SubmitAggregate(late_aggregate));
    assert_eq!(refuse(&mut state, &command), Refusal::NotWaiting);
    world.certify(&mut state);
    assert_eq!(refuse(&mut state, &late), Refusal::NotWaiting);
    assert_eq!(
        refuse(&mut state, &command),
        Refusal::Aggregate(AggregateError::Context)
    );
    world.aggregate(&mut state, &[0, 1]);
    assert_eq!(refuse(&mut state, &late_commitment), Refusal::NotWaiting);
    let too_late = Refusal::Partial(PartialError::Context);
    assert_eq!(refuse(&mut state, &first), too_late);
    assert_eq!(refuse(&mut state, &late), too_late);
    let done = world.partials(&mut state, &[0, 1, 2]).unwrap();
    assert_eq!(done.rank().0, 2);
    assert!(state.current().is_none());

    // Nothing is in flight, so the third is not forced.
    let header = world.header(&state);
    let applied = accept(&mut state, &world.open_with(0, header));
    assert!(matches!(applied, Applied::Opened { forced: None, .. }));
}

#[test]
fn i4_a_second_envelope_has_nothing_in_common_with_the_first() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let mut client = world.client(0);
    let first = world.open(&mut state);
    let (_, one) = client.seal(&first, None).unwrap();
    let second = world.open(&mut state);
    let (_, two) = client.seal(&second, None).unwrap();
    // Cover both times, so these are the bare pads. Words of four bytes agree
    // by chance once in four thousand million times.
    let words = one.vector.chunks(4).zip(two.vector.chunks(4));
    assert!(words.clone().count() >= 64);
    assert!(words.clone().all(|(one, two)| one != two));
    assert_eq!(
        client.seal(&first, None).unwrap_err(),
        SealError::Sealed { number: 1 }
    );
    assert_eq!(
        client.seal(&second, None).unwrap_err(),
        SealError::Sealed { number: 2 }
    );
}

#[test]
fn i4_two_nonces_make_two_contexts_and_the_state_takes_one() {
    let world = World::new(3, 3);
    let state = world.founded();
    let header = world.header(&state);
    let mut other = header.clone();
    other.nonce = nonce(99);
    assert_ne!(header.context(), other.context());

    let opened = |header| {
        let mut state = state.clone();
        accept(&mut state, &world.open_with(0, header));
        state
    };
    let (one, two) = (opened(header.clone()), opened(other.clone()));
    // Whatever the guards say.
    let certified = |state: &crate::committee::state::CommitteeState| {
        certified_anyhow(&world.servers, &state.current().unwrap().round)
    };
    // A client that was shown either alone would pad differently, ...
    let seal = |state: &crate::committee::state::CommitteeState| {
        let (_, envelope) = world.client(0).seal(&certified(state), None).unwrap();
        envelope.vector
    };
    let (a, b) = (seal(&one), seal(&two));
    assert!(a.chunks(4).zip(b.chunks(4)).all(|(a, b)| a != b));
    // ... shown both it takes one, ...
    let mut client = world.client(0);
    client.seal(&certified(&one), None).unwrap();
    assert_eq!(
        client.seal(&certified(&two), None).unwrap_err(),
        SealError::Sealed { number: 1 }
    );
    // ... and so does the committee.
    let mut one = one;
    let refusal = refuse(&mut one, &world.open_with(0, other));
    assert_eq!(refusal, Refusal::Unfit("number"));
}
