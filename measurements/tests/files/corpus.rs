//! The fuzz targets over their seeds and mutations of these, on the stable
//! toolchain: a short run of what `make fuzz` does at length.

use std::time::{Duration, Instant};

use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, TestRunner},
};
use zipnet_measurements::{Shape, machine::FROZEN};

use crate::{
    guest::Guest,
    targets::TARGETS,
    vectors::{TDS, Td, path, read},
};

/// Mutations tried on each seed.
const MUTATIONS: u32 = 200;

/// What one input may take on a busy machine; a few milliseconds are usual.
const BOUND: Duration = Duration::from_secs(5);

fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "acpi" => [1, 32]
            .into_iter()
            .map(|cpus| {
                let memory = 1 << 30;
                let files = FROZEN.acpi(Shape { cpus, memory }).unwrap();
                [[32].as_slice(), &files.loader, &files.tables[..0x3000]].concat()
            })
            .collect(),
        "quote" => {
            let quotes = path("../../attest/vectors/quotes");
            ["v4-uptodate", "v5-td15ex"]
                .map(|name| std::fs::read(quotes.join(format!("{name}.quote.bin"))).unwrap())
                .to_vec()
        }
        "manifest" => {
            let guest = Guest::default();
            vec![
                serde_json::to_vec(&guest.report()).unwrap(),
                serde_json::to_vec(&guest.manifest()).unwrap(),
            ]
        }
        "eventlog" => {
            let mut logs = vec![read("eventlog/tpm-qemu-10.0.2.log")];
            logs.extend(TDS.map(|name| Td::read(name).log()));
            logs
        }
        folder => {
            let mut files: Vec<_> = std::fs::read_dir(path(folder))
                .unwrap()
                .map(|file| file.unwrap().path())
                .collect();
            files.sort();
            files
                .iter()
                .map(|file| std::fs::read(file).unwrap())
                .collect()
        }
    }
}

#[test]
fn no_target_panics_on_seeds_or_their_mutations() {
    for (target, body) in TARGETS {
        for seed in seeds(target) {
            assert!(!seed.is_empty());
            let strategy = (
                vec((any::<usize>(), any::<u8>()), 1..8),
                any::<usize>(),
                any::<bool>(),
            );
            let config = Config {
                cases: MUTATIONS,
                failure_persistence: None,
                ..Config::default()
            };
            TestRunner::new(config)
                .run(&strategy, |(flips, cut, shorten)| {
                    let mut bytes = seed.clone();
                    for (at, value) in flips {
                        let length = bytes.len();
                        // Headers are where parsers look.
                        let at = if at % 2 == 0 {
                            at % length
                        } else {
                            at % length.min(2048)
                        };
                        bytes[at] ^= value;
                    }
                    if shorten {
                        bytes.truncate(cut % (bytes.len() + 1));
                    }
                    let start = Instant::now();
                    body(&bytes);
                    assert!(start.elapsed() < BOUND, "{target}: {:?}", start.elapsed());
                    Ok(())
                })
                .unwrap();
        }
    }
}

#[test]
fn no_target_panics_on_any_bytes() {
    for (_, body) in TARGETS {
        let config = Config {
            cases: 500,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config)
            .run(&vec(any::<u8>(), 0..4096), |bytes| {
                body(&bytes);
                Ok(())
            })
            .unwrap();
    }
}
