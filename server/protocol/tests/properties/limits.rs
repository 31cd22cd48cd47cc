//! Wrong lengths, wrong bits, too few.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use zipnet_protocol::{
    Aggregate, AggregateError, CertifiedRound, Digest, Fold, FoldError, Message, MessageError,
    Partial, PartialError, Participants, ParticipantsError, RoundHeader, RoundParams,
};

use crate::common::World;

const PARAMS: (u32, u32) = (2, 40);
const BYTES: usize = 80;

fn round(world: &World) -> CertifiedRound {
    let params = RoundParams::new(PARAMS.0, PARAMS.1).unwrap();
    world.open(world.header(params, 1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn i6_wrong_lengths_are_refused_everywhere(length in 0_usize..3 * BYTES) {
        let world = World::new(1, 1);
        let round = round(&world);
        let vector = Bytes::from(vec![7; length]);
        let right = length == BYTES;
        let (found, expected) = (length, BYTES);

        let envelope = world.envelope(&round, 0, vector.to_vec());
        let mut fold = Fold::new(*round.context(), round.header(), 1);
        let added = fold.add(&world.registry, &envelope);
        prop_assert_eq!(added, if right { Ok(()) } else {
            Err(FoldError::Length { found, expected })
        });
        prop_assert_eq!(fold.count(), usize::from(right));

        let aggregate = Aggregate::sign(
            *round.context(),
            Participants::from_positions(1, [0]),
            Digest::ZERO,
            vector.clone(),
            &world.aggregator,
        );
        let checked = aggregate.check(round.context(), round.header(), &world.registry).map(drop);
        prop_assert_eq!(checked, if right { Ok(()) } else {
            Err(AggregateError::Length { found, expected })
        });

        let server = &world.servers[0];
        let partial = Partial::new(
            *round.context(),
            aggregate.digest(),
            *server.admitted.id(),
            vector,
            &server.signing,
        )
        .sign(zipnet_protocol::Digest::ZERO, &server.signing);
        let verified = partial.verify(&round, &aggregate.digest());
        prop_assert_eq!(verified, if right { Ok(()) } else {
            Err(PartialError::Length { found, expected })
        });
    }

    #[test]
    fn messages_fit_or_are_refused(length in 0_usize..100, slot_bytes in 32_u32..100) {
        let params = RoundParams::new(3, slot_bytes).unwrap();
        let limit = slot_bytes as usize - 16;
        let message = Message::new(vec![1; length], &params).map(drop);
        prop_assert_eq!(message, if length <= limit { Ok(()) } else {
            Err(MessageError::TooLong { length, limit })
        });
    }

    #[test]
    fn params_hold_their_limits(slots in 0_u32..5000, slot_bytes in 0_u32..70_000) {
        let right = (1..=4096).contains(&slots)
            && (32..=65536).contains(&slot_bytes)
            && slots as usize * slot_bytes as usize <= 1 << 20;
        let wire = postcard::to_stdvec(&(slots, slot_bytes)).unwrap();
        let params = RoundParams::new(slots, slot_bytes);
        prop_assert_eq!(params.is_ok(), right);
        prop_assert_eq!(postcard::from_bytes::<RoundParams>(&wire).ok(), params.ok());
        if let Ok(params) = params {
            prop_assert_eq!(params.broadcast_bytes(), slots as usize * slot_bytes as usize);
            prop_assert_eq!(postcard::to_stdvec(&params).unwrap(), wire);
        }
    }

    #[test]
    fn i2_participants_are_a_set_of_positions(
        clients in 0_usize..70,
        positions in vec(0_usize..90, 0..60),
    ) {
        let set: BTreeSet<_> = positions.iter().copied().filter(|at| *at < clients).collect();
        let participants = Participants::from_positions(clients, positions);
        prop_assert_eq!(participants.check(clients), Ok(()));
        prop_assert_eq!(participants.count(), set.len());
        prop_assert_eq!(participants.as_bytes().len(), clients.div_ceil(8));
        prop_assert!((0..90).all(|at| participants.contains(at) == set.contains(&at)));
        prop_assert!(participants.positions().eq(set));
    }

    #[test]
    fn i2_a_bitmap_fits_its_registry_to_the_bit(
        bits in vec(any::<u8>(), 0..6),
        clients in 0_usize..50,
    ) {
        let participants = Participants::from_bytes(bits.clone().into());
        let last = (0..bits.len() * 8).rfind(|at| participants.contains(*at));
        let expected = clients.div_ceil(8);
        prop_assert_eq!(participants.check(clients), if bits.len() != expected {
            Err(ParticipantsError::Length { found: bits.len(), expected })
        } else if last.is_some_and(|last| last >= clients) {
            Err(ParticipantsError::Unregistered)
        } else {
            Ok(())
        });
    }

    #[test]
    fn i2_an_aggregate_needs_its_participants(
        chosen in vec(any::<bool>(), 1..12),
        min_participants in 0_u32..14,
    ) {
        let clients = chosen.len();
        let world = World::new(1, clients);
        let header = RoundHeader {
            min_participants,
            floor: min_participants.max(1),
            ..round(&world).header().clone()
        };
        let context = header.context();
        let positions = (0..clients).filter(|at| chosen[*at]);
        let found = positions.clone().count();
        let needed = min_participants.max(1);
        let aggregate = Aggregate::sign(
            context,
            Participants::from_positions(clients, positions),
            Digest::ZERO,
            vec![0; BYTES].into(),
            &world.aggregator,
        );
        let checked = aggregate.check(&context, &header, &world.registry).map(drop);
        prop_assert_eq!(checked, if found >= needed as usize { Ok(()) } else {
            Err(AggregateError::TooFew { found, needed })
        });
        let other = RoundHeader {
            number: 2,
            ..header.clone()
        };
        prop_assert_eq!(
            aggregate.check(&other.context(), &other, &world.registry).map(drop),
            Err(AggregateError::Context)
        );
        let fewer = RoundHeader {
            clients: header.clients - 1,
            ..header
        };
        let last = aggregate.participants.contains(clients - 1);
        if last || clients % 8 == 1 {
            let checked = aggregate.check(&context, &fewer, &world.registry);
            prop_assert!(matches!(checked, Err(AggregateError::Participants(_))));
        }
    }
}

#[test]
fn i2_nobody_is_not_enough_whatever_the_header_says() {
    let world = World::new(1, 3);
    let header = RoundHeader {
        min_participants: 0,
        ..round(&world).header().clone()
    };
    let aggregate = Aggregate::sign(
        header.context(),
        Participants::from_positions(3, []),
        Digest::ZERO,
        vec![0; BYTES].into(),
        &world.aggregator,
    );
    let refused = AggregateError::TooFew {
        found: 0,
        needed: 1,
    };
    let checked = aggregate
        .check(&header.context(), &header, &world.registry)
        .map(drop);
    assert_eq!(checked, Err(refused));
}

/// Bytes of the aggregate that a server gets, when some of a registry's clients cover.
fn aggregate_of(world: &mut World, number: usize, who: impl Iterator<Item = usize>) -> usize {
    let params = RoundParams::new(PARAMS.0, PARAMS.1).unwrap();
    let round = world.open(world.header(params, number));
    let envelopes = world.seal(&round, who.map(|client| (client, None)));
    let aggregate = world.fold(&round, envelopes.iter().map(|(_, envelope)| envelope));
    postcard::to_stdvec(&aggregate).unwrap().len()
}

#[test]
fn a_client_that_covers_costs_a_server_a_fifth_of_a_byte_a_round_at_most() {
    const CLIENTS: usize = 1000;
    const MOST: f64 = 0.2;
    let mut fewer = World::new(1, CLIENTS);
    let mut more = World::new(1, 2 * CLIENTS);
    let all = aggregate_of(&mut more, 1, 0..2 * CLIENTS);
    let half = aggregate_of(&mut more, 2, (0..2 * CLIENTS).step_by(2));
    let before = aggregate_of(&mut fewer, 1, 0..CLIENTS);
    // The vector and the signature are there for any number of them.
    let each = |added: usize| {
        let clients = u32::try_from(CLIENTS).unwrap();
        f64::from(u32::try_from(added).unwrap()) / f64::from(clients)
    };
    let (joined, registered) = (each(all.abs_diff(half)), each(all - before));
    println!(
        "an aggregate of {CLIENTS} clients has {before} bytes, of {} {all}: {registered} for each that registers and \
         covers, {joined} for each that is registered and covers",
        2 * CLIENTS
    );
    assert!(registered <= MOST, "{before} to {all}");
    assert!(joined <= MOST, "{half} to {all}");
}
