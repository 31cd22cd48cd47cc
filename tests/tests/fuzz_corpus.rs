//! The fuzz targets over their committed seeds and mutations of these, on the
//! stable toolchain: a short run of what `make fuzz` does at length.

#![allow(missing_docs)]

use std::{error::Error, fs, path::Path};

use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, TestRunner},
};
use zipnet_tests::fuzz::{TARGETS, seeds};

/// Mutations tried on each seed.
const MUTATIONS: u32 = 64;

type TestResult = Result<(), Box<dyn Error>>;

fn folder(target: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz-corpus")
        .join(target)
}

fn corpus(target: &str) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut files: Vec<_> = fs::read_dir(folder(target))?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    files
        .iter()
        .map(|file| Ok(fs::read(file.path())?))
        .collect()
}

/// The seeds are genuine values of a whole round. `ZIPNET_BLESS=1` writes them.
#[test]
fn every_target_has_seeds_that_decode() -> TestResult {
    for (target, seed) in seeds()? {
        let path = folder(target).join("seed-0");
        if std::env::var_os("ZIPNET_BLESS").is_some() {
            fs::create_dir_all(folder(target))?;
            fs::write(&path, &seed)?;
        }
        assert_eq!(
            fs::read(&path)?,
            seed,
            "{target}: run once with ZIPNET_BLESS=1"
        );
    }
    for (target, _) in TARGETS {
        assert!(!corpus(target)?.is_empty(), "{target} has no seed");
    }
    Ok(())
}

#[test]
fn i8_no_target_panics_on_seeds_or_their_mutations() -> TestResult {
    for (target, body) in TARGETS {
        for seed in corpus(target)? {
            body(&seed);
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
                        let length = bytes.len().max(1);
                        if let Some(byte) = bytes.get_mut(at % length) {
                            *byte ^= value;
                        }
                    }
                    if shorten {
                        bytes.truncate(cut % (seed.len() + 1));
                    }
                    body(&bytes);
                    Ok(())
                })
                .map_err(|error| format!("{target}: {error}"))?;
        }
    }
    Ok(())
}
