//! A snapshot is the state, no more and no less.

use zipnet_protocol::Withdrawal;

use super::fixture::{World, accept, bytes, refuse};
use crate::committee::{
    aggregators::AGGREGATOR_LEASE_ROUNDS,
    command::{Command, Order, Resume},
    state::CommitteeState,
};

/// A state, and commands that it accepts one after the other.
struct Case {
    name: &'static str,
    state: CommitteeState,
    next: Vec<Command>,
}

/// States of all kinds, each with something to tell it from the others.
fn cases(world: &mut World) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, state: &CommitteeState, next| {
        cases.push(Case {
            name,
            state: state.clone(),
            next,
        });
    };
    let register = world.say(0, &world.servers[0].registration());
    case("cold", &world.cold(), vec![register]);

    let mut state = world.founded_with(&[0, 1, 2]);
    let open = world.open_with(0, world.header(&state));
    case("founded", &state, vec![open.clone()]);

    accept(&mut state, &open);
    let words: Vec<_> = (0..3).map(|at| world.certification(at, &state)).collect();
    case("open", &state, words.clone());
    accept(&mut state, &words[1]);
    let rest = vec![words[2].clone(), words[0].clone()];
    case("one certification", &state, rest);
    accept(&mut state, &words[2]);
    case("two certifications", &state, vec![words[0].clone()]);
    accept(&mut state, &words[0]);
    let aggregate = world.fold(state.current().unwrap(), &[0, 1, 2]);
    let aggregate = world.say(1, &Order::SubmitAggregate(aggregate));
    case("certified", &state, vec![aggregate.clone()]);
    let another = Order::RegisterAggregators(vec![world.aggregator(1), world.aggregator(2)]);
    accept(&mut state, &world.say(2, &another));
    let forced = world.open_with(1, world.header(&state));
    case("several aggregators", &state, vec![forced.clone()]);
    let mut given_up = state.clone();
    accept(&mut given_up, &forced);
    let words = (0..3).map(|at| world.reboot(at, 1).certify(&given_up).unwrap());
    let words = words.map(Order::Certify).enumerate();
    let words = words.map(|(at, word)| world.say(at, &word)).collect();
    case("given up without aggregate", &given_up, words);

    let late = Order::clients(world.client_bundles(&[3]));
    accept(&mut state, &world.say(0, &late));
    let leaver = Withdrawal::sign(
        &world.rules.instance,
        world.client(0).id(),
        &world.client_transport(0),
    );
    let leaver = Order::WithdrawClients(vec![leaver]);
    accept(&mut state, &world.say(0, &leaver));
    assert_ne!(**state.clients(), *state.current().unwrap().registry);
    case(
        "certified, registry changed",
        &state,
        vec![aggregate.clone()],
    );

    accept(&mut state, &aggregate);
    let commitments: Vec<_> = (0..3).map(|at| world.commitment(at, &state)).collect();
    case("aggregated", &state, commitments.clone());
    accept(&mut state, &commitments[2]);
    let rest = vec![commitments[0].clone(), commitments[1].clone()];
    case("one commitment", &state, rest);
    accept(&mut state, &commitments[0]);
    case("two commitments", &state, vec![commitments[1].clone()]);
    accept(&mut state, &commitments[1]);
    let partials: Vec<_> = (0..3).map(|at| world.partial(at, &state)).collect();
    case("committed", &state, partials.clone());
    accept(&mut state, &partials[1]);
    let rest = vec![partials[0].clone(), partials[2].clone()];
    case("one partial", &state, rest);
    accept(&mut state, &partials[0]);
    case("two partials", &state, vec![partials[2].clone()]);
    accept(&mut state, &partials[2]);
    let head = state.head().unwrap();
    assert_ne!(head.registry, *state.clients());
    let open = world.open_with(1, world.header(&state));
    case("finalized, registry changed", &state, vec![open.clone()]);
    let mut over_it = state.clone();
    accept(&mut over_it, &open);
    let current = over_it.current().unwrap();
    assert_ne!(head.registry, current.registry);
    let again = Order::clients(world.client_bundles(&[0]));
    case(
        "open over another registry than the head's",
        &over_it,
        vec![world.say(1, &again)],
    );

    later(world, state, &mut cases);
    cases
}

/// States a long time after.
fn later(world: &mut World, mut state: CommitteeState, cases: &mut Vec<Case>) {
    let mut case = |name, state: &CommitteeState, next| {
        cases.push(Case {
            name,
            state: state.clone(),
            next,
        });
    };
    let mut idle = state.clone();
    // The aggregators' leases go by rounds, and theirs is not renewed either.
    let lease = usize::try_from(AGGREGATOR_LEASE_ROUNDS).unwrap();
    for _ in 0..lease + 4 {
        let round = world.open(&mut idle);
        world.aggregate(&mut idle, &[1, 2]);
        assert!(round.header().clients >= 2);
        world.partials(&mut idle, &[0, 1, 2]).unwrap();
    }
    assert_eq!(idle.aggregators().iter().count(), 1, "only who served");
    let open = world.open_with(1, world.header(&idle));
    case("much later", &idle, vec![open]);

    let floor = Order::Resume(Resume {
        record: None,
        registry: Vec::new(),
        epoch: state.epoch().unwrap(),
        floor: 77,
    });
    accept(&mut state, &world.say(0, &floor));
    let lapse = Order::Lapse {
        server: world.servers[2].id(),
        bundle: *world.servers[2].admitted.digest(),
    };
    accept(&mut state, &world.say(0, &lapse));
    accept(&mut state, &world.say(1, &Order::Leave));
    let rebooted = world.reboot(1, 9);
    let back = vec![
        world.say(2, &world.servers[2].registration()),
        rebooted.say(&world.rules, &rebooted.registration()),
    ];
    case("servers away, numbers raised", &state, back);
}

pub fn restored(world: &World, state: &CommitteeState) -> CommitteeState {
    CommitteeState::restore(world.rules.clone(), &bytes(state)).unwrap()
}

#[test]
fn i8_every_state_comes_back_as_it_was() {
    for configured in [true, false] {
        let mut world = World::with(3, 4, |rules| {
            rules.committee_size = rules.committee_size.filter(|_| configured);
        });
        for case in cases(&mut world) {
            let name = case.name;
            let (mut ours, mut theirs) = (case.state.clone(), restored(&world, &case.state));
            assert!(bytes(&ours) == bytes(&theirs), "{name}");
            assert_eq!(ours.committee_size(), theirs.committee_size(), "{name}");
            assert_eq!(ours.previous(), theirs.previous(), "{name}");
            // And goes on as it would have.
            for command in &case.next {
                accept(&mut ours, command);
                accept(&mut theirs, command);
                assert!(bytes(&ours) == bytes(&theirs), "{name}, later");
            }
        }
    }
}

#[test]
fn i8_restored_or_not_the_same_is_refused() {
    let mut world = World::new(3, 4);
    let cases = cases(&mut world);
    let commands: Vec<_> = cases.iter().flat_map(|case| case.next.clone()).collect();
    let mut refused = 0;
    for case in &cases {
        for command in &commands {
            let (mut ours, mut theirs) = (case.state.clone(), restored(&world, &case.state));
            match ours.apply(command) {
                Ok(_) => {
                    accept(&mut theirs, command);
                }
                Err(refusal) => {
                    refused += 1;
                    assert_eq!(refuse(&mut theirs, command), refusal, "{}", case.name);
                }
            }
            assert!(bytes(&ours) == bytes(&theirs), "{}", case.name);
        }
    }
    assert!(refused > commands.len(), "most fit one state only");
}
