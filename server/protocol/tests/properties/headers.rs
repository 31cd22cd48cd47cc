//! Which headers a party acts on.

use proptest::{collection::vec, prelude::*, sample::Index};
use zipnet_protocol::{
    AdmittedServer, Digest, HeaderError, InstanceId, MAX_ROSTER, Round, RoundHeader, RoundParams,
    ServerId,
};

use crate::common::{Server, World, signing};

/// A header over a roster of these servers, opened by the first of them.
fn header(world: &World, roster: &[usize], committee_size: usize) -> RoundHeader {
    RoundHeader {
        roster: roster.iter().map(|at| world.servers[*at].entry()).collect(),
        committee_size: u32::try_from(committee_size).unwrap(),
        ..world.header(RoundParams::default(), 1)
    }
}

fn open(world: &World, roster: &[usize], committee_size: usize) -> Result<Round, HeaderError> {
    let opener = &world.servers[roster.first().copied().unwrap_or(0)];
    let signed = header(world, roster, committee_size).sign(*opener.admitted.id(), &opener.signing);
    let cached = signed.verify_with(&world.instance, world.admitted());
    assert_eq!(signed.verify(&world.instance, &world.bundles()), cached);
    cached
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn i7_a_roster_is_ascending_and_more_than_half(
        roster in vec(0_usize..6, 0..9),
        more in 0_usize..10,
    ) {
        let world = World::new(6, 1);
        let committee = roster.len() + more;
        let ascending = roster.windows(2).all(|pair| pair[0] < pair[1]);
        let right = !roster.is_empty() && ascending && roster.len() > more;
        prop_assert_eq!(open(&world, &roster, committee).is_ok(), right);
    }

    #[test]
    fn i7_two_rosters_of_a_committee_share_a_server(
        committee in 1_usize..=6,
        one in vec(any::<bool>(), 6),
        other in vec(any::<bool>(), 6),
    ) {
        let world = World::new(committee, 1);
        let of = |chosen: &[bool]| -> Vec<_> {
            (0..committee).filter(|at| chosen[*at]).collect()
        };
        let (one, other) = (of(&one), of(&other));
        let both = open(&world, &one, committee).is_ok() && open(&world, &other, committee).is_ok();
        prop_assert!(!both || one.iter().any(|server| other.contains(server)));
    }

    #[test]
    fn i7_any_order_but_the_right_one_is_refused(swaps in vec(any::<(Index, Index)>(), 1..12)) {
        let world = World::new(6, 1);
        let mut roster: Vec<_> = (0..6).collect();
        for (a, b) in swaps {
            roster.swap(a.index(6), b.index(6));
        }
        let opened = open(&world, &roster, 6);
        if roster.is_sorted() {
            prop_assert!(opened.is_ok());
        } else {
            prop_assert_eq!(opened, Err(HeaderError::Roster { servers: 6 }));
        }
    }
}

#[test]
fn i7_a_roster_has_at_most_64_servers() {
    let world = World::new(MAX_ROSTER + 1, 1);
    let all: Vec<_> = (0..=MAX_ROSTER).collect();
    assert!(open(&world, &all[..MAX_ROSTER], MAX_ROSTER).is_ok());
    let opener = &world.servers[0];
    let over = header(&world, &all, all.len()).sign(*opener.admitted.id(), &opener.signing);
    assert_eq!(
        over.verify_with(&world.instance, world.admitted()),
        Err(HeaderError::Roster { servers: 65 })
    );
    assert!(over.verify(&world.instance, &world.bundles()).is_err());
}

#[test]
fn i7_half_of_the_committee_is_not_enough() {
    let world = World::new(4, 1);
    assert_eq!(
        open(&world, &[0, 1], 4),
        Err(HeaderError::Minority {
            servers: 2,
            committee: 4
        })
    );
    assert!(open(&world, &[0, 1], 3).is_ok());
}

/// Verifies what the first server of the committee opens with these servers.
fn open_with(world: &World, admitted: Vec<AdmittedServer>) -> Result<Round, HeaderError> {
    let opener = &world.servers[0];
    world
        .header(RoundParams::default(), 1)
        .sign(*opener.admitted.id(), &opener.signing)
        .verify_with(&world.instance, admitted)
}

#[test]
fn i3_each_roster_entry_needs_its_own_bundle() {
    let world = World::new(3, 1);
    assert!(open_with(&world, world.admitted()).is_ok());
    for missing in 0..3 {
        let mut admitted = world.admitted();
        let server = *admitted.remove(missing).id();
        let error = HeaderError::MissingBundle { server };
        assert_eq!(open_with(&world, admitted.clone()), Err(error.clone()));

        // A later boot of the same server is another bundle.
        let index = world.servers[missing].index;
        let rebooted = zipnet_protocol::ServerBundle::sign(
            &world.instance,
            &crate::common::dh("rebooted", index),
            &signing("rebooted", index),
            &signing("server transport", index),
            &world.committee,
            99,
            zipnet_protocol::Whereabouts::nowhere(),
        );
        let rebooted = rebooted.verify(&world.instance).unwrap();
        assert_eq!(*rebooted.id(), server);
        admitted.push(rebooted);
        assert_eq!(open_with(&world, admitted), Err(error));
    }
}

#[test]
fn i3_two_servers_with_one_key_are_no_roster() {
    let world = World::new(3, 1);
    let (first, second) = (&world.servers[0], &world.servers[1]);
    let index = second.index;
    let twin = |dh: &zipnet_protocol::DhSecret, by: &zipnet_protocol::SigningSecret| {
        let transport = signing("server transport", index);
        zipnet_protocol::ServerBundle::sign(
            &world.instance,
            dh,
            by,
            &transport,
            &world.committee,
            99,
            zipnet_protocol::Whereabouts::nowhere(),
        )
        .verify(&world.instance)
        .unwrap()
    };
    for (twin, key) in [
        (twin(&first.dh, &second.signing), "X25519"),
        (twin(&second.dh, &first.signing), "committee signing"),
    ] {
        let mut admitted = world.admitted();
        admitted[1] = twin.clone();
        let mut header = header(&world, &[0, 1, 2], 3);
        header.roster[1].bundle = *twin.digest();
        let opened = header
            .sign(*world.servers[2].admitted.id(), &world.servers[2].signing)
            .verify_with(&world.instance, admitted);
        let error = HeaderError::SharedKey {
            one: *first.admitted.id(),
            other: *twin.id(),
            key,
        };
        assert_eq!(opened, Err(error));
    }
}

#[test]
fn i12_only_a_server_of_the_roster_opens() {
    let world = World::new(4, 1);
    let signed = |opener: ServerId, by: &Server| {
        header(&world, &[0, 1, 2], 4)
            .sign(opener, &by.signing)
            .verify_with(&world.instance, world.admitted())
    };
    let id = |at: usize| *world.servers[at].admitted.id();
    assert!(signed(id(2), &world.servers[2]).is_ok());
    assert_eq!(
        signed(id(3), &world.servers[3]),
        Err(HeaderError::Opener { opener: id(3) })
    );
    for (opener, by) in [(2, 1), (0, 3)] {
        let forged = signed(id(opener), &world.servers[by]);
        assert!(
            matches!(forged, Err(HeaderError::Signature(_))),
            "{forged:?}"
        );
    }
}

#[test]
fn a_header_is_for_one_instance() {
    let world = World::new(2, 1);
    let opener = &world.servers[0];
    let foreign = RoundHeader {
        instance: InstanceId::new([9; 32]),
        ..header(&world, &[0, 1], 2)
    };
    assert!(matches!(
        foreign
            .sign(*opener.admitted.id(), &opener.signing)
            .verify_with(&world.instance, world.admitted()),
        Err(HeaderError::Instance { .. })
    ));
}

#[test]
fn i4_every_field_of_a_header_is_in_the_context() {
    let world = World::new(3, 2);
    let right = header(&world, &[0, 1], 3);
    let changes: [fn(&mut RoundHeader); 12] = [
        |h| h.instance = InstanceId::new([1; 32]),
        |h| h.epoch = zipnet_protocol::Epoch::new([1; 32]),
        |h| h.number += 1,
        |h| h.nonce = zipnet_protocol::Nonce::new([1; 32]),
        |h| h.previous = Digest::new([1; 32]),
        // The same bytes in another shape.
        |h| h.params = RoundParams::new(32, 512).unwrap(),
        |h| h.min_participants += 1,
        |h| h.committee_size += 1,
        |h| h.roster.truncate(1),
        |h| h.roster[1].bundle = Digest::new([1; 32]),
        |h| h.clients += 1,
        |h| h.registry = Digest::new([1; 32]),
    ];
    let mut contexts = vec![right.context()];
    for change in changes {
        let mut header = right.clone();
        change(&mut header);
        contexts.push(header.context());
    }
    contexts.sort_unstable();
    contexts.dedup();
    assert_eq!(contexts.len(), 13);
}
