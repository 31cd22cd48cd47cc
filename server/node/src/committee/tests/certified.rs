//! I13: a round counts once every server of its roster stands for it.

use zipnet_protocol::{CertificateError, Certification, Digest};

use super::fixture::{Server, World, accept, nonce, refuse};
use crate::{
    committee::{
        command::{Command, Order},
        state::{Applied, CommitteeState, Refusal},
    },
    guard::GuardError,
};

/// A committee of three and its open round, which nobody stands for yet.
fn opened() -> (World, CommitteeState) {
    let world = World::new(3, 3);
    let mut state = world.founded();
    world.open_only(&mut state);
    (world, state)
}

/// The word of a server that holds itself to nothing.
fn word(server: &Server, state: &CommitteeState) -> Certification {
    let round = &state.current().unwrap().round;
    Certification::sign(*round.context(), server.id(), &server.signing)
}

fn say(world: &World, by: usize, given: Certification) -> Command {
    world.say(by, &Order::Certify(given))
}

#[test]
fn i13_a_round_that_not_every_server_stands_for_takes_no_aggregate() {
    let (mut world, mut state) = opened();
    let aggregate = world.fold(state.current().unwrap(), &[0, 1, 2]);
    let aggregate = world.say(0, &Order::SubmitAggregate(aggregate));
    for server in [2, 0, 1] {
        assert_eq!(refuse(&mut state, &aggregate), Refusal::NotWaiting);
        assert!(state.current().unwrap().certified.is_none());
        let command = world.certification(server, &state);
        let applied = accept(&mut state, &command);
        let last = server == 1;
        assert_eq!(last, matches!(applied, Applied::Certified(_)));
        assert_eq!(!last, matches!(applied, Applied::Endorsed));
    }
    accept(&mut state, &aggregate);
}

#[test]
fn i13_the_certificate_holds_the_word_of_the_whole_roster() {
    let (mut world, mut state) = opened();
    let certified = world.certify(&mut state);
    let certificate = certified.certificate();
    let bundles = certified.bundles();
    let instance = &world.rules.instance;
    let read = certificate.verify(instance, &bundles).unwrap();
    assert_eq!(read, *certified);
    let mut fewer = certificate.clone();
    fewer.signatures.pop();
    assert_eq!(
        fewer.verify(instance, &bundles),
        Err(CertificateError::Signatures {
            found: 2,
            expected: 3
        })
    );
}

#[test]
fn i13_a_certification_is_of_a_roster_server_and_its_own() {
    let mut world = World::with(4, 3, |rules| rules.min_servers = Some(3));
    let mut state = world.founded();
    let mut header = world.header(&state);
    header.roster.truncate(3);
    accept(&mut state, &world.open_with(0, header));
    let (inside, left_out) = (&world.servers[1], &world.servers[3]);

    // Registered, and not in this roster.
    let command = say(&world, 3, word(left_out, &state));
    let server = left_out.id();
    assert_eq!(
        refuse(&mut state, &command),
        Refusal::Certificate(CertificateError::Stranger { server })
    );
    // Not registered at all.
    let stranger = world.newcomer(0);
    let order = Order::Certify(word(&stranger, &state));
    let refusal = refuse(&mut state, &stranger.say(&world.rules, &order));
    assert_eq!(refusal, Refusal::Unregistered(stranger.id()));
    // Right, and sent by somebody else.
    for other in [inside, &stranger] {
        let command = say(&world, 0, word(other, &state));
        let refusal = refuse(&mut state, &command);
        assert_eq!(refusal, Refusal::Unfit("sender"));
    }
    // In its own name, signed with other keys.
    let context = *state.current().unwrap().round.context();
    for key in [&world.servers[0].signing, &inside.transport] {
        let forged = Certification::sign(context, inside.id(), key);
        let refusal = refuse(&mut state, &say(&world, 1, forged));
        let Refusal::Certificate(CertificateError::Signature { server, .. }) = refusal else {
            panic!("{refusal}");
        };
        assert_eq!(server, inside.id());
    }
    for server in [0, 1] {
        let command = world.certification(server, &state);
        accept(&mut state, &command);
    }
    let command = world.certification(2, &state);
    assert!(matches!(
        accept(&mut state, &command),
        Applied::Certified(_)
    ));
}

#[test]
fn i13_a_certification_counts_once_and_for_one_round() {
    let (mut world, mut state) = opened();
    let first = world.certification(0, &state);
    let late = world.certification(1, &state);
    accept(&mut state, &first);
    let server = world.servers[0].id();
    let repeated = Refusal::Certificate(CertificateError::Repeated { server });
    assert_eq!(refuse(&mut state, &first), repeated);

    // Given up for the next: what was said for the first does not count there.
    world.open_only(&mut state);
    for old in [&first, &late] {
        assert_eq!(refuse(&mut state, old), Refusal::NotWaiting);
    }
    world.certify(&mut state);
    let again = say(&world, 0, word(&world.servers[0], &state));
    let refusal = refuse(&mut state, &again);
    assert_eq!(refusal, repeated, "certified, and again");
    world.aggregate(&mut state, &[0, 1, 2]);
    assert_eq!(refuse(&mut state, &first), Refusal::NotWaiting);
    world.partials(&mut state, &[0, 1, 2]).unwrap();
    assert_eq!(refuse(&mut state, &first), Refusal::NotWaiting);
    assert_eq!(refuse(&mut world.founded(), &first), Refusal::NotWaiting);
}

#[test]
fn i13_two_headers_of_one_number_are_never_both_certified() {
    let mut world = World::new(3, 3);
    let state = world.founded();
    let header = world.header(&state);
    let mut other = header.clone();
    other.nonce = nonce(99);
    // A leader shows each half of the committee another round.
    let mut halves = [state.clone(), state];
    accept(&mut halves[0], &world.open_with(0, header));
    accept(&mut halves[1], &world.open_with(0, other));
    for (server, half) in [(0, 0), (1, 1), (2, 0)] {
        let command = world.certification(server, &halves[half]);
        accept(&mut halves[half], &command);
        let refused = world.servers[server].certify(&halves[1 - half]);
        assert_eq!(refused, Err(GuardError::Signed { last: 1, number: 1 }));
    }
    for half in &mut halves {
        assert!(half.current().unwrap().certified.is_none());
    }
    // The next number mends it.
    world.play(&mut halves[0], &[0, 1, 2]);
    assert_eq!(halves[0].opened(), 2);
    assert_ne!(halves[0].previous(), Digest::ZERO);
}

/// What certificates cost a server of five in each round: its own word by the
/// guard, and what it does with everybody's. The least of many rounds, since
/// others run beside a test.
#[test]
fn i13_guard_and_certificates_cost_less_than_a_millisecond_at_five_servers() {
    let mut world = World::new(5, 3);
    let mut state = world.founded();
    let least = (0..50)
        .map(|_| {
            world.open_only(&mut state);
            let others: Vec<_> = (1..5)
                .map(|server| world.certification(server, &state))
                .collect();
            let started = std::time::Instant::now();
            let own = world.certification(0, &state);
            for command in others.iter().chain([&own]) {
                state.apply(command).unwrap();
            }
            let took = started.elapsed();
            assert!(state.current().unwrap().certified.is_some());
            world.aggregate(&mut state, &[0, 1, 2]);
            world.commit(&mut state);
            world.partials(&mut state, &[0, 1, 2, 3, 4]).unwrap();
            took
        })
        .min()
        .unwrap();
    println!(
        "guard and certificates of 5 servers: {} us a round",
        least.as_micros()
    );
    assert!(least < std::time::Duration::from_millis(1), "{least:?}");
}
