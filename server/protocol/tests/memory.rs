//! What the big operations and hostile lengths allocate, measured. Alone in its
//! process, because it counts for the whole of it.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    alloc::System,
    sync::{Mutex, PoisonError},
};

use rayon::ThreadPoolBuilder;
use serde::de::DeserializeOwned;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use zipnet_protocol::{
    Aggregate, BroadcastRecord, ClientBundle, PadTable, Participants, RegistryDelta, RegistryProof,
    RoundContext, RoundParams, SealedEnvelope, ServerBundle, SignedHeader, SignedPartial,
};

use common::World;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static ALONE: Mutex<()> = Mutex::new(());

fn measured<T>(work: impl FnOnce() -> T) -> (T, Stats) {
    let region = Region::new(ALLOCATOR);
    let result = work();
    (result, region.change())
}

#[test]
fn a_table_takes_64_bytes_a_client_and_a_partial_16_kib_a_thread() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (clients, bytes) = (1000, 16 * 1024);
    let world = World::new(1, clients);
    let server = &world.servers[0];
    let everybody = Participants::from_positions(clients, 0..clients);
    let context = RoundContext::new([1; 32]);
    for threads in [1, 2, 5] {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        // The pool's own queues allocate now and then.
        let slack = 4096 * threads;
        pool.install(|| {
            let (table, stats) =
                measured(|| PadTable::agree(&server.dh, &world.registry, None).unwrap());
            let kept = stats.bytes_allocated - stats.bytes_deallocated;
            assert!(kept <= 64 * clients + slack, "{threads} threads: {stats:?}");
            assert_eq!(stats.reallocations, 0, "a table that grew left secrets");

            let (partial, stats) =
                measured(|| table.xor_of(&context, &everybody, server.admitted.id(), bytes));
            assert_eq!(partial.len(), bytes);
            assert!(
                stats.bytes_allocated <= threads * bytes + slack,
                "{threads} threads: {stats:?}"
            );
        });
    }
}

/// Decodes `data` and says how much that allocated.
fn cost<T: DeserializeOwned>(data: &[u8]) -> usize {
    let (_, stats) = measured(|| postcard::from_bytes::<T>(data).is_ok());
    stats.bytes_allocated
}

#[test]
fn i8_a_length_alone_allocates_little() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new(2, 3);
    let round = world.open(world.header(RoundParams::new(1, 32).unwrap(), 1));
    let record = postcard::to_stdvec(&world.record(&round, &[])).unwrap();
    for start in 0..record.len() {
        for length in [u64::from(u32::MAX), u64::MAX] {
            let mut data = record[..start].to_vec();
            data.extend(postcard::to_stdvec(&length).unwrap());
            data.extend(&record[start..]);
            let most = [
                cost::<BroadcastRecord>(&data),
                cost::<SignedHeader>(&data),
                cost::<Aggregate>(&data),
                cost::<Participants>(&data),
                cost::<SignedPartial>(&data),
                cost::<SealedEnvelope>(&data),
                cost::<ServerBundle>(&data),
                cost::<ClientBundle>(&data),
                cost::<RegistryProof>(&data),
                cost::<RegistryDelta>(&data),
            ];
            // What serde sets aside for a sequence on the word of its sender.
            assert!(
                most.iter().all(|cost| *cost <= 1 << 21),
                "{start}: {most:?}"
            );
        }
    }
}
