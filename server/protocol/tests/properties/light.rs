//! Light records say what the later round named, to the last bit; headers are rebuilt
//! from what is new in them.

use proptest::prelude::*;
use zipnet_protocol::{
    CertifiedRound, Digest, FinalizedRound, HeaderDelta, LightError, LightRecord, NoBase,
    RoundHeader, RoundParams,
};

use super::tampering::{flip_all, wire};
use crate::common::World;

/// A finalized round, and the certified one that names it.
fn two_rounds() -> (World, FinalizedRound, CertifiedRound) {
    let mut world = World::new(2, 3);
    let params = RoundParams::new(1, 32).unwrap();
    let first = world.open(world.header(params, 1));
    let record = world.record(&first, &[Some(b"hello")]);
    let done = record.verify(&world.instance, &world.bundles()).unwrap();
    let next = follow(&world, &done, 2);
    (world, done, next)
}

fn follow(world: &World, done: &FinalizedRound, number: usize) -> CertifiedRound {
    let params = done.round().header().params;
    world.open(RoundHeader {
        previous: *done.digest(),
        ..world.header(params, number)
    })
}

#[test]
fn i13_every_bit_of_a_light_record_is_named_by_the_next_round() {
    let (_, done, next) = two_rounds();
    let light = wire(&LightRecord::of(&done));
    let decoded = flip_all(&light, |light: &LightRecord| {
        let claim = light.claim(done.round().clone());
        claim.is_ok_and(|claim| claim.named_by(&next).is_some_and(|found| found == done))
    });
    // All but the two lengths.
    assert!(decoded >= (light.len() - 2) * 8, "{decoded}");
}

#[test]
fn i13_a_light_record_of_another_round_or_shape_is_none() {
    let (mut world, done, next) = two_rounds();
    let light = LightRecord::of(&done);
    // The same content, told as the next round's.
    let claim = light.claim(next.round().clone()).unwrap();
    assert!(claim.clone().named_by(&next).is_none());
    assert!(claim.behind(&done).is_none());
    let short = LightRecord {
        broadcast: light.broadcast.slice(1..),
        ..light.clone()
    };
    let length = LightError::Length {
        found: 31,
        expected: 32,
    };
    assert_eq!(short.claim(done.round().clone()).unwrap_err(), length);
    // A chain, from its end backwards.
    let record = world.record(&next, &[]);
    let second = record.verify(&world.instance, &world.bundles()).unwrap();
    let third = follow(&world, &second, 3);
    let claims = [&done, &second].map(|done| {
        let light = LightRecord::of(done);
        light.claim(done.round().clone()).unwrap()
    });
    let [first, last] = claims;
    assert!(first.clone().named_by(&third).is_none());
    let last = last.named_by(&third).unwrap();
    assert_eq!(first.behind(&last).unwrap(), done);
}

#[test]
fn a_header_is_rebuilt_from_what_is_new_or_told_whole() {
    let (world, done, next) = two_rounds();
    let base = done.round().header();
    let previous = next.header().previous;
    for told in [false, true] {
        let delta = HeaderDelta::between(base, next.signed(), told).unwrap();
        let length = wire(&delta).len();
        assert_eq!(length, if told { 102 } else { 134 });
        let at_hand = told.then_some(&previous);
        assert_eq!(delta.onto(base, at_hand).as_ref(), Ok(next.signed()));
        if told {
            assert_eq!(delta.onto(base, None), Err(NoBase::Previous));
        }
        // Over another record it is no header that anybody has signed.
        let other = Digest::new([7; 32]);
        let rebuilt = delta.onto(base, Some(&other)).unwrap();
        let verified = rebuilt.verify(&world.instance, &world.bundles());
        assert_eq!(verified.is_err(), told);
        let wrong = delta.onto(next.header(), Some(&previous));
        let number = NoBase::Number {
            wanted: 1,
            found: 2,
        };
        assert_eq!(wrong, Err(number));
    }
    // What a delta cannot say.
    let smaller = RoundHeader {
        roster: base.roster.iter().take(1).copied().collect(),
        committee_size: 1,
        ..next.header().clone()
    };
    let opener = &world.servers[0];
    let smaller = smaller.sign(*opener.admitted.id(), &opener.signing);
    assert_eq!(HeaderDelta::between(base, &smaller, false), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_a_delta_or_none(data in prop::collection::vec(any::<u8>(), 0..160)) {
        let (world, done, _) = two_rounds();
        if let Ok(delta) = postcard::from_bytes::<HeaderDelta>(&data)
            && let Ok(rebuilt) = delta.onto(done.round().header(), Some(done.digest()))
        {
            prop_assert!(rebuilt.verify(&world.instance, &world.bundles()).is_err());
        }
    }
}
