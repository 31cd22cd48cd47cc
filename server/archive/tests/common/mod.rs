//! A chain of real records, and an archive of them in memory.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::sync::Arc;

use object_store::memory::InMemory;
use zipnet::{settings::TrustSettings, wire::Published};
use zipnet_archive::{
    Arrival, Keeper,
    objects::Objects,
    serve::{Limits, Meter, Server},
};
use zipnet_protocol::{Digest, Epoch, Instance, RoundParams};

#[path = "../../../protocol/tests/common/mod.rs"]
mod world;

pub use world::World;

/// The shape of its broadcasts.
pub fn params() -> RoundParams {
    RoundParams::new(8, 64).unwrap()
}

/// A committee of three with two clients, that goes on from record to record.
pub struct Committee {
    pub world: World,
    epoch: Epoch,
    number: u64,
    previous: Digest,
}

impl Committee {
    pub fn new() -> Self {
        Self {
            world: World::new(3, 2),
            epoch: Epoch::new([1; 32]),
            number: 0,
            previous: Digest::ZERO,
        }
    }

    pub fn instance(&self) -> &Instance {
        &self.world.instance
    }

    /// All servers start over.
    pub fn begin(&mut self, epoch: u8) {
        self.epoch = Epoch::new([epoch; 32]);
        self.number = 0;
        self.previous = Digest::ZERO;
        // Clients seal once for each number.
        self.world = World::new(3, 2);
    }

    /// Gives rounds up.
    pub fn skip(&mut self, rounds: u64) {
        self.number += rounds;
    }

    /// The next record, in which somebody says the number of its round.
    pub fn next(&mut self) -> Arrival {
        self.number += 1;
        let said = format!("message {}", self.number);
        self.say(said.as_bytes())
    }

    /// Records of the next rounds.
    pub fn several(&mut self, count: usize) -> Vec<Arrival> {
        (0..count).map(|_| self.next()).collect()
    }

    fn say(&mut self, message: &[u8]) -> Arrival {
        let number = usize::try_from(self.number).unwrap();
        let mut header = self.world.header(params(), number);
        header.epoch = self.epoch;
        header.previous = self.previous;
        let round = self.world.open(header);
        let record = self.world.record(&round, &[Some(message)]);
        let done = record.verify_in(round.round().clone()).unwrap();
        self.previous = *done.digest();
        Arrival {
            published: Published {
                record,
                bundles: self.world.bundles(),
            },
            done: Arc::new(done),
            evidence: Vec::new(),
        }
    }
}

/// Whoever trusts this committee.
pub fn trust(instance: &Instance) -> TrustSettings {
    TrustSettings {
        name: instance.name().clone(),
        committee: Some(*instance.committee()),
        required: Vec::new(),
        committee_size: Some(3),
        min_servers: None,
        min_participants: 1,
        aggregators: Vec::new(),
        authority: None,
    }
}

/// An archive in memory, of these records.
pub async fn archive(instance: &Instance, records: &[Arrival]) -> (Arc<InMemory>, Arc<Keeper>) {
    let store = Arc::new(InMemory::new());
    let objects = Objects::within(store.clone());
    let keeper = Keeper::open(instance.clone(), objects).await.unwrap();
    for record in records {
        assert!(keeper.add(record).await.unwrap());
    }
    (store, Arc::new(keeper))
}

struct Nobody;

impl Meter for Nobody {
    fn answered(&self, _: u16) {}
}

/// Serves an archive on a port of loopback; yields its address, without a slash.
pub fn serve(keeper: Arc<Keeper>, limits: Limits) -> String {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, keeper, limits, Arc::new(Nobody)).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run());
    format!("http://{address}")
}
