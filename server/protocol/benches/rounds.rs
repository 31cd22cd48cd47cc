//! What a round costs: criterion groups for each step, and one table in which
//! every step stands beside something to compare it with, measured in turns in
//! the same run. The table goes to the screen and to `bench-table.md` in the
//! target directory.

#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;
mod rounds {
    pub mod baseline;
    pub mod stage;
    pub mod table;
}

use std::{alloc::System, env, hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput};
use rounds::{baseline, stage::Stage, table};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use zipnet_protocol::{ClientRegistry, RegistryEntry};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    // Without `--bench`, or with `--test`, criterion runs everything once.
    let asked = |wanted: &str| env::args().any(|argument| argument == wanted);
    let measure = asked("--bench") && !asked("--test") && !asked("--list");
    let mut stage = Stage::new(if measure { 10_000 } else { 50 });
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    groups(&mut criterion, &mut stage);
    criterion.final_summary();
    if measure {
        table::measure(&mut stage);
    }
}

fn groups(criterion: &mut Criterion, stage: &mut Stage) {
    let mut group = criterion.benchmark_group("pad");
    let mut buffer = vec![0; stage.bytes];
    group.throughput(Throughput::Bytes(stage.bytes as u64));
    group.bench_function("derived and accumulated", |bencher| {
        bencher.iter(|| stage.pad(black_box(&mut buffer)));
    });
    group.bench_function("bare ChaCha20", |bencher| {
        bencher.iter(|| baseline::chacha20(black_box(&mut buffer)));
    });
    group.bench_function("X25519, HKDF, AES-128-CTR, XOR", |bencher| {
        bencher.iter(|| stage.reference_pad(black_box(&mut buffer)));
    });
    group.finish();

    let clients = stage.world.clients.len();
    let mut group = criterion.benchmark_group(format!("{clients} clients"));
    group.throughput(Throughput::Elements(clients as u64));
    for pool in [&stage.one, &stage.all] {
        let name = format!("partial, {} threads", pool.current_num_threads());
        group.bench_function(name, |bencher| {
            bencher.iter(|| pool.install(|| stage.partial()));
        });
    }
    group.bench_function("fold", |bencher| {
        bencher.iter_batched_ref(
            || stage.empty_fold(),
            |fold| stage.fold_into(fold),
            BatchSize::SmallInput,
        );
    });
    group.finish();

    let mut group = criterion.benchmark_group(format!("registry of {clients}"));
    group.bench_function("one client more, and the root", |bencher| {
        let (registry, client) = stage.crowd();
        bencher.iter_batched(
            || (registry.clone(), client.clone()),
            |(mut registry, client)| {
                registry.insert(client);
                registry.root()
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("root over all clients", |bencher| {
        let clients: Vec<_> = stage.world.registry.iter().cloned().collect();
        bencher.iter_batched(
            || clients.clone(),
            |clients| ClientRegistry::from_clients(clients).root(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("proof, and its check", |bencher| {
        let (registry, _) = stage.crowd();
        let (root, clients) = (registry.root(), u32::try_from(registry.len()).unwrap());
        let middle = clients / 2;
        let entry = RegistryEntry::from(registry.at(middle as usize).unwrap());
        bencher.iter(|| {
            let proof = registry.proof(middle as usize).unwrap();
            proof.verify(&root, clients, middle, &entry).unwrap();
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("3 servers");
    group.bench_function("finalize", |bencher| {
        bencher.iter_batched(
            || stage.round.clone(),
            |round| stage.record.verify_in(round.round().clone()).unwrap(),
            BatchSize::SmallInput,
        );
    });
    // The sealer asks for a new round each time.
    group.bench_function("seal", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| stage.seal()).sum());
    });
    group.finish();
}
