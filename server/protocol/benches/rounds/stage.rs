//! A committee of three and its clients, ready for every step of a round.

use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use x25519_dalek::{PublicKey, StaticSecret};
use zipnet_protocol::{
    BroadcastRecord, CertifiedRound, ClientRegistry, Fold, Message, PadSecret, PadTable,
    Participants, RegisteredClient, RoundPads, RoundParams, SealedEnvelope,
};

use super::baseline;
use crate::common::{World, dh, entropy};

pub struct Stage {
    pub bytes: usize,
    pub world: World,
    pub round: CertifiedRound,
    pub record: BroadcastRecord,
    pub envelopes: Vec<SealedEnvelope>,
    /// A pool of one thread.
    pub one: ThreadPool,
    /// A pool of as many as there are cores.
    pub all: ThreadPool,
    table: PadTable,
    everybody: Participants,
    message: Message,
    next: usize,
    pads: RoundPads,
    shared: PadSecret,
    client_secret: StaticSecret,
    server_public: PublicKey,
}

impl Stage {
    pub fn new(clients: usize) -> Self {
        let pool = |threads| {
            ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
        };
        let params = RoundParams::default();
        let bytes = params.broadcast_bytes();
        let world = World::new(3, clients);
        let round = world.open(world.header(params, 1));
        let envelopes: Vec<_> = (0..clients)
            .map(|client| {
                // Nothing of a fold's cost depends on what is folded.
                let mut vector = vec![0; bytes];
                blake3::Hasher::new()
                    .update(&client.to_be_bytes())
                    .finalize_xof()
                    .fill(&mut vector);
                world.envelope(&round, client, vector)
            })
            .collect();
        let aggregate = world.fold(&round, &envelopes);
        let record = world.unblind(&round, &aggregate);
        let server = &world.servers[0];
        Self {
            table: PadTable::agree(&server.dh, &world.registry, None).unwrap(),
            everybody: Participants::from_positions(clients, 0..clients),
            message: Message::new(vec![0x61; 200], &params).unwrap(),
            next: 2,
            pads: RoundPads::new(round.context()),
            shared: dh("client dh", 0).agree(server.admitted.dh()).unwrap(),
            client_secret: StaticSecret::from(*entropy("client dh", 0)),
            server_public: PublicKey::from(*server.admitted.dh().as_bytes()),
            one: pool(1),
            all: pool(0),
            bytes,
            record,
            envelopes,
            round,
            world,
        }
    }

    /// Derives one pad and accumulates it.
    pub fn pad(&self, accumulator: &mut [u8]) {
        let client = self.world.clients[0].sealer.id();
        let server = self.world.servers[0].admitted.id();
        self.pads
            .xor_into(accumulator, &self.shared, &client, server);
    }

    pub fn reference_pad(&self, accumulator: &mut [u8]) {
        baseline::reference_pad(&self.client_secret, &self.server_public, accumulator);
    }

    /// A server's shared secrets with all clients.
    pub fn agree(&self) -> PadTable {
        PadTable::agree(&self.world.servers[0].dh, &self.world.registry, None).unwrap()
    }

    /// The registry without the client in its middle, whose root is known, and
    /// that client.
    pub fn crowd(&self) -> (ClientRegistry, RegisteredClient) {
        let mut registry = self.world.registry.clone();
        let client = registry.at(registry.len() / 2).unwrap().clone();
        registry.remove_where(|id| id == client.id());
        let _ = registry.root();
        (registry, client)
    }

    /// A server's partial over all clients.
    pub fn partial(&self) -> Vec<u8> {
        let server = self.world.servers[0].admitted.id();
        self.table
            .xor_of(self.round.context(), &self.everybody, server, self.bytes)
    }

    pub fn empty_fold(&self) -> Fold {
        let round = &self.round;
        Fold::new(*round.context(), round.header(), self.envelopes.len())
    }

    pub fn fold_into(&self, fold: &mut Fold) {
        for envelope in &self.envelopes {
            fold.add(&self.world.registry, envelope).unwrap();
        }
    }

    /// Opens another round, and seals for it: only that is timed.
    pub fn seal(&mut self) -> Duration {
        let header = self.world.header(RoundParams::default(), self.next);
        let round = self.world.open(header);
        self.next += 1;
        let sealer = &mut self.world.clients[0].sealer;
        timed(|| sealer.seal(&round, Some(&self.message)).unwrap())
    }
}

/// How long something takes, without dropping what it gives.
pub fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let result = std::hint::black_box(work());
    let took = start.elapsed();
    drop(result);
    took
}
