//! Evidence and policies of a simulated Intel, for the tests.

use std::{fs, path::Path};

use zipnet_attest::{
    Policy,
    simulation::{Draft, Publisher},
};
use zipnet_protocol::{AdmittedServer, Instance};

use crate::attestation::{Credential, credential::expected};

/// A day.
pub const DAY: u64 = 86_400;

/// Writes a signed policy and its signatures.
pub fn publish(publisher: &Publisher, policy: &Policy, path: &Path) {
    let file = publisher.sign(policy).unwrap();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".minisig");
    fs::write(beside, file.signatures).unwrap();
    fs::write(path, file.policy).unwrap();
}

/// A server's credential, with something changed before the quote is made.
pub fn credential(
    publisher: &Publisher,
    instance: &Instance,
    server: &AdmittedServer,
    change: impl FnOnce(&mut Draft),
) -> Credential {
    // For a day from the beginning of the world.
    let (from, to) = (publisher.issued(), publisher.issued() + DAY);
    let statement = expected(instance, server).statement(1, from..to, [6; 32], [7; 32]);
    let mut draft = publisher.draft(statement);
    change(&mut draft);
    let (evidence, collateral) = draft.finish().unwrap();
    Credential::of(&evidence, &collateral)
}
