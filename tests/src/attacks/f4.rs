//! F4: a cuckoo: an operator's connection leads to another machine than its own.
//!
//! Whoever is on the way passes it on to a TD of his own, with the same image and the same
//! configuration, both of which are public. All of its evidence holds: it is the right
//! program, on a machine whose owner may take TDX apart at leisure.
//!
//! The control gives as release 0.1.0 did, on any machine that the policy accepts, which is
//! [`Machines::Any`] today. Now operators name the machine, or the policy does for a guest
//! of that name, and nothing is sealed to any other. The giver is real; the TD answers it
//! by hand, because a simulated machine takes its id from its configuration, and this one
//! has the operator's.

use std::sync::Arc;

use zipnet_attest::{
    Policy, SecretText,
    provision::{Giver, Known, Machines},
    simulation::Td,
};

use super::{
    doors::{by_hand, config, key, pair, parcel, rule},
    ground::{COMMITTEE_SECRET, Ground, clock, collateral, listed, machine, named},
    report::{Outcome, Row},
};

/// The operator's machine, and the stranger's.
const OURS: u8 = 1;
const THEIRS: u8 = 66;
const NAME: &str = "server-1";

/// Whether the TD on the stranger's machine reads the operator's secrets, or else by which
/// rule it does not.
fn relayed(ground: &Ground, policy: &Policy, machines: Machines<'_>) -> Result<(), String> {
    let file = ground.intel.sign(policy).expect("a signature");
    let base = ground.intel.base().expect("a root");
    let ours = config(ground, NAME, "");
    let giver = Giver {
        key: &key(),
        base: &base,
        verifier: &ground.verifier(policy),
        known: Known::Config(&ours),
        machines,
    };
    let world = ground.world(machine(THEIRS));
    let published = Arc::new(collateral(&world));
    let (stream, theirs) = pair();
    let td = by_hand(ground, world, &Td::default(), ours.clone(), theirs);
    let seed = SecretText::from("the seed of server-1");
    let outcome = giver.give(
        stream,
        clock(),
        |_| Ok(published),
        |_| Ok(parcel(&file, Some(seed))),
    );
    match td.join().expect("a TD") {
        Some(read) if read.committee_secret.expose() == COMMITTEE_SECRET => Ok(()),
        _ => Err(rule(&outcome)),
    }
}

/// Runs it.
#[must_use]
pub fn run() -> Row {
    let ground = Ground::new("F4", clock() - 3600);
    let any = ground.policy(1);
    let mut naming = ground.policy(1);
    naming.servers = Some(vec![named(
        NAME,
        &SecretText::from("the seed of server-1"),
        OURS,
    )]);
    let mut listing = ground.policy(1);
    listing.platforms = Some(listed(&[OURS, THEIRS]));
    let own = listed(&[OURS]);
    let before = relayed(&ground, &any, Machines::Any);
    let after = [
        (
            "the policy names the server's machine",
            &naming,
            Machines::OfPolicy,
        ),
        // It is somebody else's server: the policy's list does not tell the two apart.
        ("the operator names it", &listing, Machines::These(&own)),
    ]
    .map(|(how, policy, machines)| (how, relayed(&ground, policy, machines)));
    let told: Vec<_> = after
        .iter()
        .map(|(how, read)| match read {
            Ok(()) => format!("{how}: it reads the secrets"),
            Err(rule) => format!("{how}: {rule}"),
        })
        .collect();
    Row {
        attack: "F4",
        title: "an operator's connection is led to another machine",
        invariant: "-",
        before: Outcome::done(
            before.is_ok(),
            "the stranger's TD reads committee secret and seed".to_owned(),
        ),
        after: Outcome::done(after.iter().any(|(_, read)| read.is_ok()), told.join("; ")),
        on: "a real giver",
    }
}
