//! Policies and snapshots in an attested committee.

use zipnet_attest::{hexes::Hexes, simulation::Publisher};

use super::{
    attested::{Attested, NOW},
    fixture::{accept, bytes, refuse},
    wire::{WireAdmissions, WireSnapshot},
};
use crate::committee::{
    command::{Presented, SignedPolicy},
    snapshot::SnapshotError,
    state::{CommitteeState, Refusal},
};

#[test]
fn i3_without_a_policy_nobody_is_admitted() {
    let attested = Attested::new(3);
    let mut state = attested.world.cold();
    let server = &attested.world.servers[0];
    let shown = attested.credential(server, |_| {});
    let command = attested.register_under(server, shown.clone(), NOW, None);
    assert_eq!(refuse(&mut state, &command), Refusal::NoPolicy);

    // One that other keys signed.
    let stranger = Publisher::new(b"a committee", attested.intel.issued()).unwrap();
    let forged = stranger.sign(&stranger.policy(9).unwrap()).unwrap();
    let command = attested.present(
        server,
        Presented {
            credential: shown,
            at: NOW,
            policy: Some(SignedPolicy::from(&forged)),
        },
    );
    assert_eq!(refuse(&mut state, &command).reason(), "policy");
}

#[test]
fn i3_policies_only_go_up_and_a_new_one_strikes_whom_it_does_not_admit() {
    let attested = Attested::new(3);
    let mut state = attested.founded();
    let [first, second, third] = &attested.world.servers[..] else {
        unreachable!()
    };
    let present = |server, policy: &zipnet_attest::Policy| {
        let credential = attested.credential(server, |_| {});
        let policy = Some(attested.sign(policy));
        attested.present(
            server,
            Presented {
                credential,
                at: NOW,
                policy,
            },
        )
    };
    let mut third_policy = attested.intel.policy(3).unwrap();
    accept(&mut state, &present(first, &third_policy));
    assert_eq!(state.admissions().policy().unwrap().serial(), 3);
    assert_eq!(state.servers().len(), 3);

    // A lower serial changes nothing, though it is signed.
    third_policy.serial = 2;
    third_policy.images.clear();
    accept(&mut state, &present(second, &third_policy));
    assert_eq!(state.admissions().policy().unwrap().serial(), 3);
    assert_eq!(state.servers().len(), 3);

    // One that nobody satisfies is not taken from somebody whom it refuses.
    third_policy.serial = 4;
    let refusal = refuse(&mut state, &present(third, &third_policy));
    assert_eq!(refusal.reason(), "evidence");
    assert_eq!(state.admissions().policy().unwrap().serial(), 3);

    // A new release strikes those that run the old one.
    let mut next = attested.intel.policy(5).unwrap();
    next.images[0].mrtd = Hexes([0x66; 48]);
    let shown = attested.credential(first, |draft| draft.td.mrtd = [0x66; 48]);
    let command = attested.present(
        first,
        Presented {
            credential: shown,
            at: NOW,
            policy: Some(attested.sign(&next)),
        },
    );
    accept(&mut state, &command);
    assert_eq!(state.servers().keys().collect::<Vec<_>>(), [&first.id()]);
    assert_eq!(state.committee_size(), 3, "they keep their places");

    // They are back, with the same keys, once they show the new one.
    let upgraded = attested.credential(second, |draft| draft.td.mrtd = [0x66; 48]);
    accept(
        &mut state,
        &attested.register_under(second, upgraded, NOW, None),
    );
    assert_eq!(state.servers().len(), 2);
}

#[test]
fn i8_an_attested_state_survives_its_snapshot_and_a_forged_one_is_refused() {
    let attested = Attested::new(3);
    let state = attested.founded();
    let restore = |bytes: &[u8]| CommitteeState::restore(attested.world.rules.clone(), bytes);
    assert!(bytes(&restore(&bytes(&state)).unwrap()) == bytes(&state));
    let server = &attested.world.servers[0];
    let shown = attested.credential(server, |_| {});
    let registration = attested.register_under(server, shown, NOW, None);
    println!(
        "registration {} bytes, snapshot of three servers {} bytes",
        postcard::to_stdvec(&registration).unwrap().len(),
        bytes(&state).len()
    );

    let forged = |change: fn(&mut WireAdmissions)| {
        let mut snapshot = WireSnapshot::of(&state);
        change(snapshot.admissions.as_mut().unwrap());
        restore(&snapshot.bytes()).expect_err("refused")
    };
    for (name, change) in [
        (
            "no evidence of one server",
            (|with| with.credentials.truncate(2)) as fn(&mut WireAdmissions),
        ),
        ("evidence of a time to come", |with| {
            with.credentials[0].1 = NOW + 1;
        }),
        ("a clock far ahead", |with| with.clock = u64::MAX),
    ] {
        let error = forged(change);
        assert!(
            matches!(error, SnapshotError::Inconsistent("evidence")),
            "{name}"
        );
    }
    for (name, change) in [
        (
            "evidence of each other",
            (|with| with.credentials.swap(0, 1)) as fn(&mut WireAdmissions),
        ),
        ("evidence before it was made", |with| {
            with.credentials[0].1 = 1;
        }),
        ("an unsigned policy", |with| {
            with.policy.signatures.clear();
        }),
    ] {
        let error = forged(change);
        assert!(
            matches!(error, SnapshotError::Evidence(_)),
            "{name}: {error:?}"
        );
    }
    let mut bare = WireSnapshot::of(&state);
    bare.admissions = None;
    assert!(matches!(
        restore(&bare.bytes()).expect_err("refused"),
        SnapshotError::Inconsistent("evidence")
    ));
}
