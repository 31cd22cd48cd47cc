//! I7 without any state in between: an adversary makes up whole rounds and
//! asks the guard of every server for its partial of each.

use proptest::prelude::*;
use zipnet_protocol::{Aggregate, Digest, Participants, RoundContext, RoundHeader, Tally};

use super::{
    fixture::{EPOCH, Server, aggregator, agreeing, in_flight, nonce},
    partition::{OTHER, Records, committee, world},
};
use crate::committee::state::{CommitteeState, InFlight};

/// An aggregate of these clients; what is in it does not matter here.
fn world_fold(state: &CommitteeState, current: &InFlight, clients: &[usize]) -> Aggregate {
    let all = state.clients().len();
    Aggregate::sign(
        *current.round.context(),
        Participants::from_positions(all, clients.iter().copied()),
        Digest::ZERO,
        vec![0; current.round.header().params.broadcast_bytes()].into(),
        &aggregator(0),
    )
}

/// Asks every server of the roster; a record is one that readers accept.
fn finish(
    servers: &mut [Server],
    current: &InFlight,
    aggregate: &Aggregate,
) -> Option<RoundContext> {
    let round = &current.round;
    let checked = aggregate
        .check(round.context(), round.header(), &current.registry)
        .ok()?;
    let mut tally = Tally::new(&checked);
    let mut partials = Vec::new();
    for server in servers {
        let word = server.certify_with(round, &agreeing(round.header()));
        let given = word.and_then(|_| server.unblind(round, &current.registry, aggregate));
        if let Ok(partial) = given {
            let commitment = partial.commitment();
            tally.commit(round, server.id(), commitment).ok()?;
            partials.push((&*server, partial));
        }
    }
    let mut record = None;
    for (server, partial) in partials {
        let signed = server.give(&partial, round, &tally);
        record = tally.add(round, signed).ok().flatten();
    }
    let done = record?.verify_in((**round).clone()).ok()?;
    Some(*done.context())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn i7_guards_alone_never_let_two_records_of_one_number_be(
        (servers, min_servers) in committee(),
        rounds in prop::collection::vec(
            (1_u64..3, any::<u8>(), 0_u32..3, 0_u32..3, 3_u8..8, prop::bool::weighted(0.1)),
            1..24,
        ),
        order in any::<u64>(),
    ) {
        let mut world = world(servers, min_servers);
        let mut records = Records::default();
        let state = world.founded();
        for (at, (number, roster, size, minimum, clients, other)) in rounds.iter().enumerate() {
            let mut header = RoundHeader {
                epoch: if *other { OTHER } else { EPOCH },
                number: *number,
                nonce: nonce(at as u64),
                // Often as configured, or nobody would sign at all.
                committee_size: if *size == 0 { 1 } else { u32::try_from(servers).unwrap() },
                min_participants: if *minimum == 0 { 1 } else { 2 },
                ..world.header(&state)
            };
            let full = order >> (at % 64) & 1 == 1;
            let mut place = 0;
            header.roster.retain(|_| {
                place += 1;
                full || roster >> (place - 1) & 1 == 1
            });
            let Some(opener) = header.roster.first().map(|entry| entry.server) else {
                continue;
            };
            let opener = world.servers.iter().find(|server| server.id() == opener).unwrap();
            let signed = header.sign(opener.id(), &opener.signing);
            let admitted = world.servers.iter().map(|server| server.admitted.clone());
            let Ok(round) = signed.verify_with(&world.rules.instance, admitted) else {
                continue;
            };
            let current = in_flight(round, state.clients().clone());
            let clients: Vec<_> = (0..3).filter(|at| clients >> at & 1 == 1).collect();
            if let Some(context) = finish(&mut world.servers, &current, &world_fold(&state, &current, &clients)) {
                records.note(current.round.position(), context);
            }
        }
        prop_assert!(records.most_in_one_place() <= 1);
    }
}
