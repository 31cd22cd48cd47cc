//! A process that judges the evidence of a committee.

use core::time::Duration;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use zipnet_attest::{
    Rule,
    simulation::{Draft, Publisher},
};
use zipnet_protocol::{Digest, Instance};

use super::{
    Server, World, clock,
    evidence::{self, publish},
};
use crate::attestation::{Authority, AuthoritySettings, CollateralSource, Credential};

/// An attested committee of three whose Intel began an hour ago, and a folder for its
/// policy.
pub struct Here {
    pub folder: TempDir,
    pub intel: Arc<Publisher>,
    pub world: World,
}

impl Default for Here {
    fn default() -> Self {
        Self::new()
    }
}

impl Here {
    pub fn new() -> Self {
        let intel = Publisher::new(b"a committee", clock() - 3600).unwrap();
        Self::with(Arc::new(intel))
    }

    /// The same of an Intel and a signer of policies that are there already.
    pub fn with(intel: Arc<Publisher>) -> Self {
        let anchor = Digest::new(*intel.base().unwrap().anchor());
        let world = World::with(3, 2, |rules| {
            let (name, key) = (rules.instance.name(), rules.instance.committee());
            rules.instance = Instance::attested(name.clone(), *key, anchor);
        });
        let folder = tempfile::tempdir().unwrap();
        let here = Self {
            folder,
            intel,
            world,
        };
        here.publish(1);
        here
    }

    pub fn intel(&self) -> &Publisher {
        &self.intel
    }

    pub const fn instance(&self) -> &Instance {
        &self.world.rules.instance
    }

    pub fn policy_file(&self) -> PathBuf {
        self.folder.path().join("policy.json")
    }

    pub fn publish(&self, serial: u64) {
        let policy = self.intel.policy(serial).unwrap();
        publish(&self.intel, &policy, &self.policy_file());
    }

    pub fn settings(&self, state: Option<&Path>) -> AuthoritySettings {
        AuthoritySettings {
            base: Arc::new(self.intel.base().unwrap()),
            policy: self.policy_file(),
            collateral: CollateralSource::Shown,
            refresh: Duration::from_hours(1),
            state: state.map(Path::to_owned),
        }
    }

    pub fn authority(&self) -> Authority {
        Authority::open(self.settings(None)).unwrap()
    }

    pub fn credential(&self, server: &Server, change: impl FnOnce(&mut Draft)) -> Arc<Credential> {
        Arc::new(evidence::credential(
            &self.intel,
            self.instance(),
            &server.admitted,
            change,
        ))
    }

    pub fn judge(
        &self,
        authority: &Authority,
        server: &Server,
        credential: &Arc<Credential>,
    ) -> Result<(), Rule> {
        authority
            .judge(self.instance(), &server.admitted, credential)
            .map(|_| ())
            .map_err(|refusal| refusal.rule())
    }
}
