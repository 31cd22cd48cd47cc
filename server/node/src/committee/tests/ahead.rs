//! What is verified before a command is applied changes when it is done, and
//! nothing else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use zipnet_protocol::{ClientBundle, DhPublic, LeastServers};

use super::fixture::World;
use crate::committee::{
    ahead::Ahead,
    command::{Command, MAX_BATCH, Order},
    invites::Wish,
    state::{CommitteeState, Refusal},
};

fn ahead(world: &World) -> Arc<Ahead> {
    Arc::new(Ahead::new(world.rules.clone()))
}

/// The outcome of a command, with what was verified by then.
fn outcome(
    state: &CommitteeState,
    command: &Command,
    ahead: Option<&Ahead>,
) -> (Result<(), Refusal>, CommitteeState) {
    let mut state = state.clone();
    let outcome = match ahead {
        Some(ahead) => state.apply_ahead(command, ahead),
        None => state.apply(command),
    };
    (outcome.map(|_| ()), state)
}

fn same(one: &CommitteeState, other: &CommitteeState) -> bool {
    let snapshot = |state: &CommitteeState| postcard::to_stdvec(&state.snapshot()).unwrap();
    snapshot(one) == snapshot(other)
}

#[test]
fn i8_who_was_faster_does_not_matter() {
    let world = World::new(1, 12);
    let state = world.founded_with(&[0, 1]);
    let weak = ClientBundle::sign(
        &world.rules.instance,
        &DhPublic::new([0; 32]),
        LeastServers::ALL,
        &world.client_transport(7),
    );
    let good = world.client_bundles(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut bad = good.clone();
    bad.insert(4, weak);
    let mut forged = good.clone();
    let mut bytes = postcard::to_stdvec(&forged[2]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    forged[2] = postcard::from_bytes(&bytes).unwrap();
    let empty = Vec::new();
    let long = vec![good[0].clone(); MAX_BATCH + 1];
    for bundles in [good, bad, forged, empty, long] {
        let command = world.say(0, &Order::clients(bundles.clone()));
        let (plain, left) = outcome(&state, &command, None);
        for round in 0..20 {
            let ahead = ahead(&world);
            if round % 2 == 0 {
                for bundle in &bundles {
                    // As the desk does: only what verifies is kept.
                    if let Ok(welcome) = world.rules.welcome(&Wish::from(bundle.clone())) {
                        ahead.keep(&welcome);
                    }
                }
            }
            if round % 5 != 0 {
                ahead.heard(&command);
            }
            if round % 3 == 0 {
                std::thread::yield_now();
            }
            let (found, state) = outcome(&state, &command, Some(&ahead));
            assert_eq!(found, plain);
            assert!(same(&state, &left));
        }
    }
}

#[test]
fn i12_a_kept_client_vouches_for_no_other_bundle() {
    let world = World::new(1, 2);
    let state = world.founded_with(&[0]);
    let ahead = ahead(&world);
    let right = world.client(1).bundle().clone();
    ahead.keep(&world.rules.welcome(&Wish::from(right.clone())).unwrap());
    // The same client, as if it had asked for something else.
    let mut bytes = postcard::to_stdvec(&right).unwrap();
    let at = bytes.len() - 65;
    bytes[at] ^= 1;
    let other: ClientBundle = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(other.client_id(), right.client_id());
    let command = world.say(0, &Order::clients(vec![other]));
    let (found, _) = outcome(&state, &command, Some(&ahead));
    assert!(matches!(found, Err(Refusal::Bundle(_))), "{found:?}");
}

#[test]
fn only_registrations_of_clients_are_looked_into() {
    let world = World::new(1, 1);
    let clients = Order::clients(world.client_bundles(&[0]));
    assert!(world.say(0, &clients).registers_clients());
    assert!(
        !world
            .say(0, &Order::WithdrawClients(Vec::new()))
            .registers_clients()
    );
    assert!(!world.say(0, &Order::Leave).registers_clients());
}

/// How long the group's loop is busy with a command of 256 new clients, by what
/// was verified before.
#[test]
fn a17_a_command_of_256_clients_holds_the_loop_up_for_little() {
    let mut times: [Vec<Duration>; 2] = Default::default();
    let world = World::with(1, 2000 + MAX_BATCH, |rules| rules.clients_per_peer = 16);
    let mut state = world.founded_with(&[]);
    let old: Vec<_> = (MAX_BATCH..2000 + MAX_BATCH).collect();
    for some in old.chunks(MAX_BATCH) {
        let order = Order::clients(world.client_bundles(some));
        state.apply(&world.say(0, &order)).unwrap();
    }
    let new: Vec<_> = (0..MAX_BATCH).collect();
    let bundles = world.client_bundles(&new);
    let command = world.say(0, &Order::clients(bundles.clone()));
    for _ in 0..5 {
        for (is_kept, times) in times.iter_mut().enumerate() {
            let ahead = ahead(&world);
            if is_kept == 1 {
                for bundle in &bundles {
                    ahead.keep(&world.rules.welcome(&Wish::from(bundle.clone())).unwrap());
                }
            }
            let mut state = state.clone();
            let started = Instant::now();
            state.apply_ahead(&command, &ahead).unwrap();
            times.push(started.elapsed());
            assert_eq!(state.clients().len(), 2000 + MAX_BATCH);
        }
    }
    let best = |times: &[Duration]| times.iter().copied().min().unwrap();
    let [before, after] = [best(&times[0]), best(&times[1])];
    println!(
        "256 new clients beside 2000: {} us in the loop when nothing was verified before, {} us when all were",
        before.as_micros(),
        after.as_micros()
    );
    assert!(after * 4 < before, "{after:?} of {before:?}");
}
