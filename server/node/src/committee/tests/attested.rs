//! An attested committee in memory.

use std::sync::Arc;

use zipnet::testing::evidence;
use zipnet_attest::{
    Policy,
    simulation::{Draft, Publisher},
};
use zipnet_protocol::{Digest, Instance};

use super::fixture::{Server, World, accept};
use crate::{
    attestation::Credential,
    committee::{
        command::{Command, Order, Presented, ServerRegistration, SignedPolicy},
        state::CommitteeState,
    },
};

/// When the simulated world began: 2026-01-01T00:00:00Z
pub const ISSUED: u64 = 1_767_225_600;
/// When the servers register.
pub const NOW: u64 = ISSUED + 3600;

/// An attested committee with its Intel.
pub struct Attested {
    pub intel: Arc<Publisher>,
    pub world: World,
}

impl Attested {
    pub fn new(servers: usize) -> Self {
        Self::since(servers, ISSUED)
    }

    /// A committee whose Intel began at a time in seconds since 1970.
    pub fn since(servers: usize, issued: u64) -> Self {
        let intel = Arc::new(Publisher::new(b"a committee", issued).unwrap());
        let base = Arc::new(intel.base().unwrap());
        let world = World::with(servers, 2, |rules| {
            let anchor = Digest::new(*base.anchor());
            let (name, key) = (rules.instance.name(), rules.instance.committee());
            rules.instance = Instance::attested(name.clone(), *key, anchor);
            rules.trust = Some(base.clone());
            // Room for an attacker.
            rules.committee_size = None;
        });
        Self { intel, world }
    }

    pub fn instance(&self) -> &Instance {
        &self.world.rules.instance
    }

    /// A server's registration with a credential, at a time.
    pub fn register(&self, server: &Server, credential: Credential, at: u64) -> Command {
        self.register_under(server, credential, at, Some(1))
    }

    /// The same with a policy of that serial, or none.
    pub fn register_under(
        &self,
        server: &Server,
        credential: Credential,
        at: u64,
        serial: Option<u64>,
    ) -> Command {
        let policy = serial.map(|serial| self.sign(&self.intel.policy(serial).unwrap()));
        self.present(
            server,
            Presented {
                credential,
                at,
                policy,
            },
        )
    }

    /// A policy, signed.
    pub fn sign(&self, policy: &Policy) -> SignedPolicy {
        SignedPolicy::from(&self.intel.sign(policy).unwrap())
    }

    pub fn present(&self, server: &Server, presented: Presented) -> Command {
        let order = Order::RegisterServer(ServerRegistration {
            bundle: server.admitted.bundle().clone(),
            presented: Some(presented),
        });
        server.say(&self.world.rules, &order)
    }

    /// A server's credential with something changed.
    pub fn credential(&self, server: &Server, change: impl FnOnce(&mut Draft)) -> Credential {
        evidence::credential(&self.intel, self.instance(), &server.admitted, change)
    }

    /// Gets a server registered.
    pub fn admit(&self, state: &mut CommitteeState, server: &Server) {
        let credential = self.credential(server, |_| {});
        let now = self.intel.issued() + 3600;
        accept(state, &self.register(server, credential, now));
    }

    /// The state in which all servers are registered.
    pub fn founded(&self) -> CommitteeState {
        let mut state = self.world.cold();
        for server in &self.world.servers {
            self.admit(&mut state, server);
        }
        state
    }

    /// The same with an aggregator and clients.
    pub fn founded_with(&self, clients: usize) -> CommitteeState {
        let mut state = self.founded();
        let order = Order::RegisterAggregators(vec![self.world.aggregator(0)]);
        accept(&mut state, &self.world.say(0, &order));
        let all: Vec<_> = (0..clients).collect();
        let order = Order::clients(self.world.client_bundles(&all));
        accept(&mut state, &self.world.say(0, &order));
        state
    }
}
