//! I17: nobody gives a vector before every server has committed to its own, and
//! nobody another one than it committed to.

use zipnet_protocol::{Partial, PartialError, SignedPartial, Tally};

use super::fixture::{NOBODY, Server, World, accept, commitment, giving, refuse};
use crate::{
    committee::{
        command::{Order, PartialCommitment},
        state::{Applied, CommitteeState, Refusal},
    },
    guard::GuardError,
};

/// A round that waits for commitments.
fn aggregated() -> (World, CommitteeState) {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    world.open(&mut state);
    world.aggregate(&mut state, &[0, 1, 2]);
    (world, state)
}

fn partial_of(server: &mut Server, state: &CommitteeState) -> Partial {
    let current = state.current().unwrap();
    let aggregate = current.tally.as_ref().unwrap().aggregate();
    server
        .unblind(&current.round, &current.registry, aggregate)
        .unwrap()
}

fn promise(partial: &Partial) -> PartialCommitment {
    match commitment(partial) {
        Order::CommitPartial(promise) => promise,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a1_who_commits_and_does_not_reveal_is_named() {
    let (mut world, mut state) = aggregated();
    let named = |state: &CommitteeState| -> Vec<_> {
        state.current().unwrap().withheld().copied().collect()
    };
    for server in 0..3 {
        assert!(named(&state).is_empty(), "nobody has to give anything yet");
        let command = world.commitment(server, &state);
        accept(&mut state, &command);
    }
    for server in [2, 0] {
        let command = world.partial(server, &state);
        accept(&mut state, &command);
    }
    assert_eq!(named(&state), [*world.servers[1].admitted.peer()]);
}

#[test]
fn i17_partials_before_all_commitments_are_refused() {
    let (mut world, mut state) = aggregated();
    for server in [1, 2, 0] {
        for asked in 0..3 {
            let early = world.partial(asked, &state);
            let server = world.servers[asked].id();
            assert_eq!(
                refuse(&mut state, &early),
                Refusal::Partial(PartialError::Early { server })
            );
        }
        let command = world.commitment(server, &state);
        assert!(matches!(accept(&mut state, &command), Applied::Committed));
    }
    for server in 0..3 {
        let command = world.partial(server, &state);
        accept(&mut state, &command);
    }
    assert!(state.current().is_none());
}

/// What I17 is for: whoever sees the others' vectors first chooses what comes
/// out. It has to choose before.
#[test]
fn i17_a_vector_that_does_not_fit_its_commitment_names_its_server() {
    let (mut world, mut state) = aggregated();
    world.commit(&mut state);
    for server in [0, 1] {
        let command = world.partial(server, &state);
        accept(&mut state, &command);
    }
    let liar = &mut world.servers[2];
    let honest = partial_of(liar, &state);
    let server = liar.id();
    for bit in [0, 77, 511] {
        let mut vector = honest.vector().to_vec();
        vector[bit / 8] ^= 1 << (bit % 8);
        let other = Partial::new(
            *honest.context(),
            *honest.aggregate(),
            server,
            vector.into(),
            &liar.signing,
        );
        let order = giving(liar, &other, &state);
        let refusal = refuse(&mut state, &liar.say(&world.rules, &order));
        assert_eq!(
            refusal,
            Refusal::Partial(PartialError::Commitment { server })
        );
        assert_eq!(refusal.reason(), "commitment");
    }
    let command = world.partial(2, &state);
    assert!(matches!(
        accept(&mut state, &command),
        Applied::Finalized(_)
    ));
}

#[test]
fn i17_a_commitment_is_for_one_round_and_one_aggregate() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    world.open(&mut state);
    let any = PartialCommitment {
        context: *state.current().unwrap().round.context(),
        aggregate: NOBODY,
        commitment: NOBODY,
    };
    let early = world.say(0, &Order::CommitPartial(any));
    assert_eq!(refuse(&mut state, &early), Refusal::NotWaiting);
    world.aggregate(&mut state, &[0, 1, 2]);
    let right = promise(&partial_of(&mut world.servers[0], &state));
    let old = world.say(0, &Order::CommitPartial(right));
    for wrong in [
        any,
        PartialCommitment {
            aggregate: NOBODY,
            ..right
        },
        PartialCommitment {
            context: zipnet_protocol::RoundContext::new([7; 32]),
            ..right
        },
    ] {
        let command = world.say(0, &Order::CommitPartial(wrong));
        assert_eq!(refuse(&mut state, &command), Refusal::NotWaiting);
    }
    world.partials(&mut state, &[0, 1, 2]).unwrap();
    assert_eq!(refuse(&mut state, &old), Refusal::NotWaiting);
    world.open(&mut state);
    world.aggregate(&mut state, &[0, 1, 2]);
    assert_eq!(refuse(&mut state, &old), Refusal::NotWaiting, "replayed");
}

#[test]
fn i17_a_server_commits_once_and_for_itself() {
    let mut world = World::with(4, 3, |rules| rules.min_servers = Some(3));
    let mut state = world.founded();
    let mut header = world.header(&state);
    header.roster.truncate(3);
    accept(&mut state, &world.open_with(0, header));
    world.certify(&mut state);
    world.aggregate(&mut state, &[0, 1, 2]);
    let right = promise(&partial_of(&mut world.servers[0], &state));

    let server = world.servers[3].id();
    let command = world.say(3, &Order::CommitPartial(right));
    assert_eq!(
        refuse(&mut state, &command),
        Refusal::Partial(PartialError::Stranger { server }),
        "registered, and not in the roster"
    );
    let stranger = world.newcomer(0);
    let command = stranger.say(&world.rules, &Order::CommitPartial(right));
    assert_eq!(
        refuse(&mut state, &command),
        Refusal::Unregistered(stranger.id())
    );

    accept(&mut state, &world.say(0, &Order::CommitPartial(right)));
    let server = world.servers[0].id();
    let other = PartialCommitment {
        commitment: NOBODY,
        ..right
    };
    for again in [right, other] {
        let command = world.say(0, &Order::CommitPartial(again));
        assert_eq!(
            refuse(&mut state, &command),
            Refusal::Partial(PartialError::Repeated { server })
        );
    }
    // A commitment that is a copy of somebody else's is nobody else's partial.
    accept(&mut state, &world.say(1, &Order::CommitPartial(right)));
    let command = world.commitment(2, &state);
    accept(&mut state, &command);
    let copied = world.partial(1, &state);
    let server = world.servers[1].id();
    assert_eq!(
        refuse(&mut state, &copied),
        Refusal::Partial(PartialError::Commitment { server })
    );
}

/// The guard is asked with any tally that a state could show it.
#[test]
fn i17_a_guard_reveals_nothing_before_it_sees_everybodys_commitment() {
    let (mut world, mut state) = aggregated();
    let uncommitted = Err(GuardError::Uncommitted { number: 1 });
    assert_eq!(
        reveal(&mut world, &state),
        uncommitted,
        "nothing was computed"
    );
    for server in [1, 2] {
        let command = world.commitment(server, &state);
        accept(&mut state, &command);
        assert_eq!(reveal(&mut world, &state), uncommitted);
    }
    let ours = partial_of(&mut world.servers[0], &state);
    assert_eq!(reveal(&mut world, &state), uncommitted, "its own is not in");
    // Another one in its name.
    let mut forged = state.clone();
    let other = PartialCommitment {
        commitment: NOBODY,
        ..promise(&ours)
    };
    accept(&mut forged, &world.say(0, &Order::CommitPartial(other)));
    let current = forged.current().unwrap();
    let tally = current.tally.as_ref().unwrap();
    assert!(tally.committed(&current.round).is_some());
    assert_eq!(reveal(&mut world, &forged), uncommitted);
    // Of another aggregate, complete and with the right commitment.
    let current = state.current().unwrap().clone();
    let two = world.fold(&current, &[0, 1]);
    let checked = two.check(
        current.round.context(),
        current.round.header(),
        &current.registry,
    );
    let mut another = Tally::new(&checked.unwrap());
    for server in &world.servers {
        let id = server.id();
        another
            .commit(&current.round, id, ours.commitment())
            .unwrap();
    }
    let server = &mut world.servers[0];
    let answer = server
        .guard
        .reveal(&current.round, &another, &server.keys.signing);
    assert_eq!(answer, uncommitted);

    accept(&mut state, &world.say(0, &commitment(&ours)));
    let tally = state.current().unwrap().tally.clone().unwrap();
    let expected = world.servers[0].give(&ours, &current.round, &tally);
    assert_eq!(reveal(&mut world, &state), Ok(expected.clone()));
    assert_eq!(reveal(&mut world, &state), Ok(expected));
    // A round later it is gone.
    let old = state.clone();
    world.open(&mut state);
    assert_eq!(reveal(&mut world, &old), uncommitted);
}

/// A leader shows two logs. In one the last server gets to see what the others
/// give; in the other it commits to what it would like after that.
#[test]
fn i17_a_partial_is_given_for_one_set_of_commitments_only() {
    let (mut world, mut state) = aggregated();
    for server in [0, 1] {
        let command = world.commitment(server, &state);
        accept(&mut state, &command);
    }
    let mut elsewhere = state.clone();
    let command = world.commitment(2, &state);
    accept(&mut state, &command);
    let mut given = Vec::new();
    for server in [0, 1] {
        let current = state.current().unwrap();
        let tally = current.tally.as_ref().unwrap();
        let asked = &mut world.servers[server];
        let partial = asked
            .guard
            .reveal(&current.round, tally, &asked.keys.signing);
        given.push(partial.unwrap());
    }
    // It has seen all vectors but its own, and chooses.
    let liar = &mut world.servers[2];
    let honest = partial_of(liar, &state);
    let chosen = Partial::new(
        *honest.context(),
        *honest.aggregate(),
        liar.id(),
        vec![0x55; honest.vector().len()].into(),
        &liar.signing,
    );
    let command = liar.say(&world.rules, &commitment(&chosen));
    accept(&mut elsewhere, &command);
    for (server, partial) in given.into_iter().enumerate() {
        let id = partial.server;
        let stolen = world.say(2, &Order::SubmitPartial(partial));
        assert_eq!(
            refuse(&mut elsewhere, &stolen),
            Refusal::Partial(PartialError::Commitments { server: id })
        );
        let current = elsewhere.current().unwrap();
        let tally = current.tally.as_ref().unwrap();
        let asked = &mut world.servers[server];
        assert_eq!(
            asked
                .guard
                .reveal(&current.round, tally, &asked.keys.signing),
            Err(GuardError::Given { number: 1 }),
            "nor does it give it again"
        );
    }
    // Where it was given for, the round goes on.
    assert!(world.partials(&mut state, &[0, 1, 2]).is_some());
}

/// What the first server's guard gives in a state.
fn reveal(world: &mut World, state: &CommitteeState) -> Result<SignedPartial, GuardError> {
    let current = state.current().unwrap();
    let tally = current.tally.as_ref().unwrap();
    let asked = &mut world.servers[0];
    asked
        .guard
        .reveal(&current.round, tally, &asked.keys.signing)
}
