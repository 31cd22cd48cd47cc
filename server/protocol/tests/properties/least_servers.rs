//! Nobody takes part with fewer servers than he registered for: neither he, nor the
//! aggregator, nor any honest server lets it happen.

use zipnet_protocol::{
    Aggregate, AggregateError, ClientRegistry, Digest, FoldError, LeastServers, Participants,
    RoundParams, SealError, SealedEnvelope,
};

use crate::common::{World, signing};

/// Position of the client that wants all of three servers, and of one that takes one.
fn unlike(world: &World) -> (usize, usize) {
    let least = |client: &usize| {
        let bundle = world.clients[*client].sealer.bundle();
        bundle.least_servers() == LeastServers::ALL
    };
    let all = (0..world.clients.len()).find(least).unwrap();
    let any = (0..world.clients.len()).find(|at| !least(at)).unwrap();
    (all, any)
}

#[test]
fn i5_a_client_seals_for_no_fewer_servers_than_it_registered_for() {
    let mut world = World::new(3, 2);
    let (all, any) = unlike(&world);
    let mut header = world.header(RoundParams::new(2, 40).unwrap(), 1);
    header.roster.truncate(2);
    let round = world.open(header);
    let refused = world.clients[all].sealer.seal(&round, None);
    assert_eq!(refused.unwrap_err(), SealError::Servers { found: 2 });
    assert!(world.clients[any].sealer.seal(&round, None).is_ok());
    // It was not sealed, so the next round may be.
    let whole = world.open(world.header(RoundParams::new(2, 40).unwrap(), 2));
    assert!(world.clients[all].sealer.seal(&whole, None).is_ok());
}

#[test]
fn i5_no_honest_aggregator_or_server_serves_somebody_with_fewer() {
    let world = World::new(3, 2);
    let (all, any) = unlike(&world);
    let mut header = world.header(RoundParams::new(2, 40).unwrap(), 1);
    header.roster.truncate(2);
    let round = world.open(header.clone());
    // As a client that goes back on its word would.
    let envelope = |at: usize| {
        SealedEnvelope::sign(
            *round.context(),
            world.clients[at].sealer.id(),
            vec![0; 80].into(),
            header.params,
            &signing("client transport", world.clients[at].index),
        )
    };
    let check = |at| envelope(at).check(round.context(), &header, &world.registry);
    let client = world.clients[all].sealer.id();
    assert_eq!(
        check(all).unwrap_err(),
        FoldError::Servers { client, found: 2 }
    );
    assert!(check(any).is_ok());
    let aggregate = |position: usize| {
        Aggregate::sign(
            *round.context(),
            Participants::from_positions(2, [position]),
            Digest::ZERO,
            vec![0; 80].into(),
            &world.aggregator,
        )
    };
    let checked = |at: usize| {
        let aggregate = aggregate(at);
        let checked = aggregate.check(round.context(), &header, &world.registry);
        checked.map(drop)
    };
    assert_eq!(
        checked(all),
        Err(AggregateError::Servers {
            position: all,
            found: 2
        })
    );
    assert_eq!(checked(any), Ok(()));
}

#[test]
fn what_a_client_asks_for_is_signed_and_part_of_the_registry() {
    let world = World::new(1, 1);
    let bundle = |least| {
        zipnet_protocol::ClientBundle::sign(
            &world.instance,
            world.registered(7).dh(),
            LeastServers::new(least),
            &signing("client transport", 7),
        )
    };
    let of = |least| {
        let verified = bundle(least).verify(&world.instance).unwrap();
        ClientRegistry::from_clients(vec![verified]).root()
    };
    assert_ne!(of(0), of(2));
    // The signature of one is none for the other.
    let (mine, other) = (
        postcard::to_stdvec(&bundle(0)),
        postcard::to_stdvec(&bundle(2)),
    );
    let (mine, other) = (mine.unwrap(), other.unwrap());
    let at = (0..mine.len()).find(|at| mine[*at] != other[*at]).unwrap();
    let mut forged = mine;
    forged[at] = other[at];
    let forged: zipnet_protocol::ClientBundle = postcard::from_bytes(&forged).unwrap();
    assert_eq!(forged.least_servers(), LeastServers::new(2));
    assert!(forged.verify(&world.instance).is_err());
}

#[test]
fn enough_is_as_many_as_asked_for_or_all() {
    let takes = |least, servers, committee| LeastServers::new(least).takes(servers, committee);
    assert!(takes(0, 3, 3) && !takes(0, 2, 3));
    assert!(takes(2, 2, 3) && takes(2, 3, 3) && !takes(2, 1, 3));
    assert!(!takes(4, 3, 3), "more than there are");
}
