//! Evidence and policies of a simulated Intel, for the tests.

use std::{fs, path::Path};

use zipnet_attest::{
    Policy, Role, Statement,
    simulation::{Draft, Publisher},
};
use zipnet_protocol::{AdmittedServer, Instance};

use super::Credential;

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

/// What a server states, for a day from the beginning of the world.
fn statement(publisher: &Publisher, instance: &Instance, server: &AdmittedServer) -> Statement {
    Statement {
        instance: *instance.id().as_bytes(),
        role: Role::Server,
        server: *server.id().as_bytes(),
        peer: *server.peer().as_bytes(),
        x25519: *server.dh().as_bytes(),
        signing: *server.signing().as_bytes(),
        epoch: 1,
        not_before: publisher.issued(),
        not_after: publisher.issued() + DAY,
        config: [6; 32],
        freshness: [7; 32],
    }
}

/// A server's credential, with something changed before the quote is made.
pub fn credential(
    publisher: &Publisher,
    instance: &Instance,
    server: &AdmittedServer,
    change: impl FnOnce(&mut Draft),
) -> Credential {
    let mut draft = publisher.draft(statement(publisher, instance, server));
    change(&mut draft);
    let (evidence, collateral) = draft.finish().unwrap();
    Credential::of(&evidence, &collateral)
}
