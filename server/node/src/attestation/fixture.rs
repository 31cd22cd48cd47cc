//! A simulated Intel with policies and evidence, for the tests.

use std::{fs, path::Path};

use minisign::KeyPair;
use sha2::{Digest as _, Sha256};
use zipnet_attest::{
    Collateral, Evidence, Policy, PolicyFile, PolicyKeys, Quote, Role, Statement, TrustBase,
    TrustRoot,
    hexes::Hexes,
    policy::Root,
    simulation::{Td, World, WorldBuilder},
};
use zipnet_protocol::{AdmittedServer, Instance};

use super::Credential;

/// A day.
pub const DAY: u64 = 86_400;

/// A simulated Intel, and a key that signs policies.
pub struct Intel {
    seed: Vec<u8>,
    /// When it issued everything, seconds since 1970.
    pub issued: u64,
    key: KeyPair,
}

/// What may be wrong with evidence.
pub struct Draft {
    pub world: WorldBuilder,
    pub td: Td,
    pub statement: Statement,
}

impl Intel {
    pub fn new(seed: &[u8], issued: u64) -> Self {
        Self {
            seed: seed.to_vec(),
            issued,
            key: KeyPair::generate_unencrypted_keypair().unwrap(),
        }
    }

    pub fn builder(&self) -> WorldBuilder {
        World::builder(&self.seed, self.issued)
    }

    pub fn world(&self) -> World {
        self.builder().build().unwrap()
    }

    pub fn root(&self) -> TrustRoot {
        TrustRoot::Other(self.world().root_der().to_vec())
    }

    pub fn base(&self) -> TrustBase {
        self.base_on(self.root())
    }

    /// The policy keys over another trust root.
    pub fn base_on(&self, root: TrustRoot) -> TrustBase {
        let keys = PolicyKeys::new(&[self.key.pk.to_base64()], 1).unwrap();
        TrustBase::new(root, keys)
    }

    /// A policy that accepts the default TD.
    pub fn policy(&self, serial: u64) -> Policy {
        let world = self.world();
        let quote = Quote::parse(&world.quote(&Td::default())).unwrap();
        let mut policy = Policy::accepting(&quote, "release", "small", serial);
        policy.root = Root::Simulation {
            sha256: Hexes(Sha256::digest(world.root_der()).into()),
        };
        policy
    }

    pub fn sign(&self, policy: &Policy) -> PolicyFile {
        let bytes = serde_json::to_vec(policy).unwrap();
        let signature = minisign::sign(None, &self.key.sk, &bytes[..], None, None).unwrap();
        PolicyFile {
            policy: bytes,
            signatures: signature.into_string(),
        }
    }

    /// Writes a signed policy and its signatures.
    pub fn publish(&self, policy: &Policy, path: &Path) {
        let file = self.sign(policy);
        let mut beside = path.as_os_str().to_owned();
        beside.push(".minisig");
        fs::write(beside, file.signatures).unwrap();
        fs::write(path, file.policy).unwrap();
    }

    /// What a server states, from an hour after the world began, for a day.
    pub fn statement(&self, instance: &Instance, server: &AdmittedServer) -> Statement {
        Statement {
            instance: *instance.id().as_bytes(),
            role: Role::Server,
            server: *server.id().as_bytes(),
            peer: *server.peer().as_bytes(),
            x25519: *server.dh().as_bytes(),
            signing: *server.signing().as_bytes(),
            epoch: 1,
            not_before: self.issued,
            not_after: self.issued + DAY,
            config: [6; 32],
            freshness: [7; 32],
        }
    }

    /// A server's credential, with something changed before the quote is made.
    pub fn credential_with(
        &self,
        instance: &Instance,
        server: &AdmittedServer,
        change: impl FnOnce(&mut Draft),
    ) -> Credential {
        let mut draft = Draft {
            world: self.builder(),
            td: Td::default(),
            statement: self.statement(instance, server),
        };
        change(&mut draft);
        let Draft {
            world,
            mut td,
            statement,
        } = draft;
        let world = world.build().unwrap();
        td.report_data = statement.report_data();
        let quote = world.quote(&td);
        let collateral = Collateral::new(world.collateral().clone()).unwrap();
        Credential {
            evidence: Evidence { statement, quote }.encode().into(),
            collateral: collateral.to_json().into_bytes().into(),
        }
    }
}
