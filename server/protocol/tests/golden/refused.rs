//! Records that every reader must refuse, and why: the record of `round.json`
//! with one thing changed each.

use bytes::Bytes;
use serde_json::{Value, json};
use zipnet_protocol::{
    Aggregate, BroadcastRecord, Digest, InstanceId, Partial, Participants, RoundContext,
    RoundHeader, RoundParams, ServerId, SignedPartial, SigningSecret,
};

use super::parties::{CLIENTS, SERVERS, hex, wire};
use crate::common::{World, chain, signing};

/// `refused.json`.
pub fn refused() -> Value {
    let mut world = World::new(SERVERS, CLIENTS);
    let round = world.open(world.header(RoundParams::new(4, 48).unwrap(), 9));
    let record = world.record(&round, &[Some(b"hello")]);
    let bundles = world.bundles();
    assert!(record.verify(&world.instance, &bundles).is_ok());

    let mut cases = headers(&world, &record);
    cases.extend(aggregates(&world, &record));
    cases.extend(partials(&world, &record));
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(name, changed)| {
            let wire = wire(&changed);
            assert_ne!(changed, record, "{name}");
            assert_eq!(
                postcard::from_bytes::<BroadcastRecord>(&wire).unwrap(),
                changed
            );
            let error = changed.verify(&world.instance, &bundles).unwrap_err();
            json!({ "name": name, "wire": hex(wire), "error": chain(&error) })
        })
        .collect();
    json!({ "accepted": hex(wire(&record)), "refused": cases })
}

type Cases = Vec<(&'static str, BroadcastRecord)>;

fn headers(world: &World, record: &BroadcastRecord) -> Cases {
    let (first, second) = (&world.servers[0], &world.servers[1]);
    let resigned = |change: fn(&mut RoundHeader)| {
        let mut header = record.header.header().clone();
        change(&mut header);
        BroadcastRecord {
            header: header.sign(*first.admitted.id(), &first.signing),
            ..record.clone()
        }
    };
    let signed_by = |opener: ServerId, signing| BroadcastRecord {
        header: record.header.header().clone().sign(opener, signing),
        ..record.clone()
    };
    vec![
        (
            "another instance",
            resigned(|header| header.instance = InstanceId::new([1; 32])),
        ),
        ("no roster", resigned(|header| header.roster.clear())),
        (
            "a descending roster",
            resigned(|header| header.roster.reverse()),
        ),
        (
            "a server twice",
            resigned(|header| header.roster[1] = header.roster[0]),
        ),
        (
            "a floor below the minimum",
            resigned(|header| header.floor = header.min_participants - 1),
        ),
        (
            "half of the committee",
            resigned(|header| header.committee_size = 4),
        ),
        (
            "a server without a bundle",
            resigned(|header| header.roster[1].server = ServerId::new([0xff; 32])),
        ),
        (
            "another bundle of a server",
            resigned(|header| header.roster[1].bundle = Digest::new([1; 32])),
        ),
        (
            "an opener from outside",
            signed_by(ServerId::new([0xff; 32]), &first.signing),
        ),
        (
            "an opener who did not sign",
            signed_by(*second.admitted.id(), &first.signing),
        ),
        (
            "an aggregate of another round",
            resigned(|header| header.number += 1),
        ),
    ]
}

fn aggregates(world: &World, record: &BroadcastRecord) -> Cases {
    // What its aggregator signs is changed before it does.
    let signed = |change: &dyn Fn(&mut Aggregate), aggregator: &SigningSecret| {
        let mut record = record.clone();
        let mut aggregate = record.aggregate;
        change(&mut aggregate);
        record.aggregate = Aggregate::sign(
            aggregate.context,
            aggregate.participants,
            aggregate.envelopes,
            aggregate.vector,
            aggregator,
        );
        record
    };
    let changed = |change: &dyn Fn(&mut Aggregate)| signed(change, &world.aggregator);
    let bitmap = |bits: &'static [u8]| {
        changed(&move |aggregate: &mut Aggregate| {
            aggregate.participants = Participants::from_bytes(Bytes::from_static(bits));
        })
    };
    vec![
        (
            "a short aggregate",
            changed(&|aggregate| aggregate.vector.truncate(191)),
        ),
        ("a long bitmap", bitmap(&[0x0f, 0])),
        ("a participant beyond the registry", bitmap(&[0x1f])),
        ("no participant", bitmap(&[0])),
        ("fewer participants than were unblinded", bitmap(&[0x07])),
        (
            "another aggregate than was unblinded",
            changed(&|aggregate| {
                let mut vector = aggregate.vector.to_vec();
                vector[0] ^= 1;
                aggregate.vector = vector.into();
            }),
        ),
        (
            "an aggregate with another list of envelopes",
            changed(&|aggregate| aggregate.envelopes = Digest::ZERO),
        ),
        (
            "an aggregate of another aggregator than the header names",
            signed(&|_| (), &signing("server transport", 0)),
        ),
    ]
}

fn partials(world: &World, record: &BroadcastRecord) -> Cases {
    let changed = |change: fn(&mut Vec<SignedPartial>)| {
        let mut record = record.clone();
        change(&mut record.partials);
        record
    };
    let (first, second) = (&world.servers[0], &world.servers[1]);
    let signed = |length: usize, signing| {
        let mut record = record.clone();
        let partial = &mut record.partials[0];
        *partial = Partial::new(
            partial.context,
            partial.aggregate,
            partial.server,
            partial.vector.slice(..length),
            signing,
        )
        .sign(partial.commitments, signing);
        record
    };
    // All servers sign, but for what nobody committed to.
    let given = |commitments: Digest| {
        let mut record = record.clone();
        for (partial, server) in record.partials.iter_mut().zip(&world.servers) {
            let (vector, key) = (partial.vector.clone(), &server.signing);
            *partial = Partial::new(
                partial.context,
                partial.aggregate,
                partial.server,
                vector,
                key,
            )
            .sign(commitments, key);
        }
        record
    };
    vec![
        (
            "a server's partial missing",
            changed(|partials| {
                partials.pop();
            }),
        ),
        (
            "a partial twice",
            changed(|partials| {
                partials[1] = partials[0].clone();
            }),
        ),
        (
            "a partial too many",
            changed(|partials| {
                partials.push(partials[1].clone());
            }),
        ),
        (
            "partials out of order",
            changed(|partials| partials.reverse()),
        ),
        (
            "a partial of another round",
            changed(|partials| {
                partials[0].context = RoundContext::new([1; 32]);
            }),
        ),
        (
            "a partial for another aggregate",
            changed(|partials| {
                partials[0].aggregate = Digest::new([1; 32]);
            }),
        ),
        (
            "partials given for other commitments",
            given(Digest::new([1; 32])),
        ),
        ("a short partial", signed(191, &first.signing)),
        (
            "a partial signed by another server",
            signed(192, &second.signing),
        ),
        (
            "a partial changed after it was signed",
            changed(|partials| {
                let mut vector = partials[0].vector.to_vec();
                vector[0] ^= 1;
                partials[0].vector = vector.into();
            }),
        ),
    ]
}
