//! A record is what its servers signed, to the last bit.

use rayon::prelude::*;
use zipnet_protocol::{
    Aggregate, BroadcastRecord, CertifiedRound, ClientBundle, FinalizedRound, Partial,
    PartialError, RecordError, RoundParams, ServerBundle, SignedHeader, SignedPartial, Tally,
    Withdrawal,
};

use crate::common::{World, chain, signing};

/// A small finalized round.
fn finalized() -> (World, CertifiedRound, BroadcastRecord) {
    let mut world = World::new(2, 3);
    let round = world.open(world.header(RoundParams::new(1, 32).unwrap(), 1));
    let record = world.record(&round, &[Some(b"hello")]);
    (world, round, record)
}

/// Decodes every single-bit change of a wire encoding and asks for none to be
/// accepted. The count of those that decode at all is returned.
pub fn flip_all<T>(wire: &[u8], accepted: impl Fn(&T) -> bool + Sync) -> usize
where
    T: serde::de::DeserializeOwned,
{
    assert!(accepted(&postcard::from_bytes(wire).unwrap()));
    (0..wire.len() * 8)
        .into_par_iter()
        .filter(|bit| {
            let mut wire = wire.to_vec();
            wire[bit / 8] ^= 1 << (bit % 8);
            postcard::from_bytes::<T>(&wire).is_ok_and(|changed| {
                assert!(!accepted(&changed), "bit {bit} does not matter");
                true
            })
        })
        .count()
}

pub fn wire(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

#[test]
fn i6_every_bit_of_a_record_is_signed() {
    let (world, _, record) = finalized();
    let admitted = world.admitted();
    // As `BroadcastRecord::verify`, without verifying the bundles each time.
    let verify = |record: &BroadcastRecord| -> Result<FinalizedRound, RecordError> {
        let round = record
            .header
            .verify_with(&world.instance, admitted.clone())
            .map_err(RecordError::Header)?;
        record.verify_in(round)
    };
    let record = wire(&record);
    let decoded = flip_all(&record, |record| verify(record).is_ok());
    // All but the few bytes that hold lengths and shape.
    assert!(decoded > (record.len() - 16) * 8, "{decoded}");
}

#[test]
fn i6_a_record_is_read_in_its_own_round_only() {
    let (world, round, record) = finalized();
    assert!(record.verify_in(round.round().clone()).is_ok());
    let later = world.open(world.header(round.header().params, 2));
    assert_eq!(
        record.verify_in(later.round().clone()),
        Err(RecordError::Round)
    );

    // The same header, opened by another server, is another record.
    let other = &world.servers[1];
    let mut reopened = record.clone();
    reopened.header = round
        .header()
        .clone()
        .sign(*other.admitted.id(), &other.signing);
    assert_eq!(
        reopened.verify_in(round.round().clone()),
        Err(RecordError::Round)
    );

    // And nobody's signature at all is none.
    let stranger = signing("stranger", 0);
    reopened.header = round.header().clone().sign(*other.admitted.id(), &stranger);
    assert_eq!(
        reopened.verify_in(round.round().clone()),
        Err(RecordError::Round)
    );
    let error = reopened
        .verify(&world.instance, &world.bundles())
        .unwrap_err();
    assert!(
        chain(&error).ends_with("The signature does not verify"),
        "{error}"
    );
}

#[test]
fn i6_a_record_has_each_partial_once_and_in_order() {
    let (_, round, record) = finalized();
    for partials in [
        &[][..],
        &[0],
        &[1],
        &[0, 0],
        &[0, 1],
        &[1, 0],
        &[1, 1],
        &[0, 1, 0],
        &[0, 1, 1],
        &[0, 0, 1],
    ] {
        let changed = BroadcastRecord {
            partials: partials
                .iter()
                .map(|at| record.partials[*at].clone())
                .collect(),
            ..record.clone()
        };
        let read = changed.verify_in(round.round().clone()).map(drop);
        if partials == [0, 1] {
            assert_eq!(read, Ok(()));
        } else {
            let (found, expected) = (partials.len(), 2);
            assert_eq!(read, Err(RecordError::Partials { found, expected }));
        }
    }
}

#[test]
fn i12_every_bit_of_a_bundle_is_signed() {
    let (world, round, _) = finalized();
    let instance = &world.instance;
    let client = wire(world.clients[0].sealer.bundle());
    flip_all::<ClientBundle>(&client, |bundle| bundle.verify(instance).is_ok());
    let server = wire(&world.bundles()[0]);
    flip_all::<ServerBundle>(&server, |bundle| bundle.verify(instance).is_ok());

    let client = &world.clients[0];
    let transport = signing("client transport", client.index);
    let withdrawal = wire(&Withdrawal::sign(instance, client.sealer.id(), &transport));
    let registered = world.registry.at(0).unwrap();
    flip_all::<Withdrawal>(&withdrawal, |withdrawal| {
        withdrawal.verify(instance, registered).is_ok()
    });

    let admitted = world.admitted();
    flip_all::<SignedHeader>(&wire(round.signed()), |header| {
        header.verify_with(instance, admitted.clone()).is_ok()
    });
}

/// Two aggregates of a round: of all clients, and of all but one.
fn aggregates(world: &mut World, round: &CertifiedRound) -> [Aggregate; 2] {
    let sealed: Vec<_> = world
        .seal(round, (0..3).map(|client| (client, None)))
        .into_iter()
        .map(|(_, envelope)| envelope)
        .collect();
    [world.fold(round, &sealed), world.fold(round, &sealed[1..])]
}

#[test]
fn i2_a_partial_counts_for_its_round_aggregate_and_server_only() {
    let mut world = World::new(2, 3);
    let params = RoundParams::new(1, 32).unwrap();
    let rounds = [1, 2].map(|number| world.open(world.header(params, number)));
    let aggregates = [0, 1].map(|at| aggregates(&mut world, &rounds[at]));

    for round in 0..2 {
        for aggregate in 0..2 {
            for server in 0..2 {
                let right = &aggregates[round][aggregate];
                let partial = world.partial(&rounds[round], right, server);
                let partial = world.give(&partial, zipnet_protocol::Digest::ZERO);
                replay(&world, &rounds, &aggregates, &partial, (round, aggregate));
            }
        }
    }
}

fn replay(
    world: &World,
    rounds: &[CertifiedRound; 2],
    aggregates: &[[Aggregate; 2]; 2],
    partial: &SignedPartial,
    right: (usize, usize),
) {
    for (at, round) in rounds.iter().enumerate() {
        for (of, aggregate) in aggregates[at].iter().enumerate() {
            let digest = aggregate.digest();
            let expected = match (at == right.0, of == right.1) {
                (false, _) => Err(PartialError::Context),
                (true, false) => Err(PartialError::Aggregate),
                (true, true) => Ok(()),
            };
            assert_eq!(partial.verify(round, &digest), expected);

            // With the names changed to fit, the signature does not.
            for server in &world.servers {
                let mut renamed = partial.clone();
                renamed.context = *round.context();
                renamed.aggregate = digest;
                renamed.server = *server.admitted.id();
                let verified = renamed.verify(round, &digest);
                if renamed == *partial {
                    assert_eq!(verified, Ok(()));
                } else {
                    assert!(matches!(verified, Err(PartialError::Signature(_))));
                }
            }
        }
    }
}

#[test]
fn i6_a_tally_takes_each_server_once_and_no_stranger() {
    let (world, round, record) = finalized();
    let checked = record
        .aggregate
        .check(round.context(), round.header(), &world.registry)
        .unwrap();
    let mut tally = Tally::new(&checked);
    let [first, second] = [&record.partials[0], &record.partials[1]];
    for partial in [first, second] {
        let commitment = partial.commitment();
        assert_eq!(tally.commit(&round, partial.server, commitment), Ok(()));
    }
    assert_eq!(tally.add(&round, first.clone()), Ok(None));
    let server = first.server;
    assert_eq!(
        tally.add(&round, first.clone()),
        Err(PartialError::Repeated { server })
    );

    let stranger = zipnet_protocol::ServerId::new([9; 32]);
    let foreign = Partial::new(
        *round.context(),
        *tally.digest(),
        stranger,
        first.vector.clone(),
        &signing("stranger", 0),
    )
    .sign(first.commitments, &signing("stranger", 0));
    assert_eq!(
        tally.add(&round, foreign),
        Err(PartialError::Stranger { server: stranger })
    );
    let forged = Partial::new(
        *round.context(),
        *tally.digest(),
        second.server,
        second.vector.clone(),
        &signing("stranger", 0),
    )
    .sign(first.commitments, &signing("stranger", 0));
    assert!(matches!(
        tally.add(&round, forged),
        Err(PartialError::Signature(_))
    ));
    assert!(!tally.contains(&second.server), "the tally is as it was");
    assert_eq!(tally.add(&round, second.clone()), Ok(Some(record.clone())));
}

#[test]
fn i17_no_vector_comes_before_all_commitments_and_none_but_the_committed_one() {
    let (world, round, record) = finalized();
    let checked = record
        .aggregate
        .check(round.context(), round.header(), &world.registry)
        .unwrap();
    let mut tally = Tally::new(&checked);
    let [first, second] = [&record.partials[0], &record.partials[1]];
    let commit =
        |tally: &mut Tally, of: &SignedPartial| tally.commit(&round, of.server, of.commitment());
    assert_eq!(commit(&mut tally, first), Ok(()));
    let server = first.server;
    let early = Err(PartialError::Early { server });
    assert_eq!(tally.add(&round, first.clone()), early);
    assert_eq!(
        commit(&mut tally, first),
        Err(PartialError::Repeated { server }),
        "nobody commits twice"
    );
    let stranger = zipnet_protocol::ServerId::new([9; 32]);
    assert_eq!(
        tally.commit(&round, stranger, first.commitment()),
        Err(PartialError::Stranger { server: stranger })
    );
    assert_eq!(commit(&mut tally, second), Ok(()));
    assert_eq!(tally.committed(&round), Some(first.commitments));
    assert_eq!(tally.add(&round, first.clone()), Ok(None));

    // The last one has seen the broadcast now, and would like another one.
    let mut chosen = second.vector.to_vec();
    chosen[0] ^= 1;
    let at = world
        .servers
        .iter()
        .find(|at| *at.admitted.id() == second.server);
    let key = &at.unwrap().signing;
    let chosen = Partial::new(
        *round.context(),
        *tally.digest(),
        second.server,
        chosen.into(),
        key,
    );
    let signed = chosen.sign(first.commitments, key);
    assert_eq!(signed.verify(&round, tally.digest()), Ok(()));
    let server = second.server;
    let refused = Err(PartialError::Commitment { server });
    assert_eq!(tally.add(&round, signed), refused);

    // In another log it commits to that, and takes what the first one gave in this.
    let mut elsewhere = Tally::new(&checked);
    assert_eq!(commit(&mut elsewhere, first), Ok(()));
    let anew = elsewhere.commit(&round, server, chosen.commitment());
    assert_eq!(anew, Ok(()));
    let taken = elsewhere.add(&round, first.clone());
    let stolen = PartialError::Commitments {
        server: first.server,
    };
    assert_eq!(taken, Err(stolen));
    // Nor does a reader believe a record that somebody made of the two.
    let made_up = BroadcastRecord {
        partials: vec![
            first.clone(),
            chosen.sign(elsewhere.committed(&round).unwrap(), key),
        ],
        ..record.clone()
    };
    let believed = made_up.verify_in(round.round().clone());
    assert_eq!(believed, Err(RecordError::Partial(stolen)));
    assert_eq!(tally.add(&round, second.clone()), Ok(Some(record.clone())));
}
