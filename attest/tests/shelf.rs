//! The shelf of collateral: newest wins, never back, bounded.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, sync::Arc, thread};

use zipnet_attest::{
    Ca, Collateral, Platforms, Shelf, Store, TrustRoot,
    shelf::MAX_PLATFORMS,
    simulation::{Platform, World},
    store::{Put, StoreError},
    trusted_alone,
};

/// 2026-01-01T00:00:00Z
const ISSUED: u64 = 1_767_225_600;
const DAY: u64 = 86_400;
const NOW: u64 = ISSUED + 28 * DAY;
const HERE: Platforms = Platforms {
    fmspc: *b"SIMFMS",
    ca: Ca::Platform,
};

/// What was published `days` later about a model.
fn world(days: u64, fmspc: [u8; 6]) -> World {
    let from = ISSUED + days * DAY;
    World::builder(b"shelf", ISSUED)
        .platform(Platform {
            fmspc,
            ..Platform::default()
        })
        .collateral_window(from, from + 30 * DAY)
        .build()
        .unwrap()
}

fn collateral(days: u64) -> Collateral {
    Collateral::new(world(days, HERE.fmspc).collateral().clone()).unwrap()
}

fn put_of(shelf: &Shelf, world: &World) -> Result<Put, StoreError> {
    let root = TrustRoot::Other(world.root_der().to_vec());
    let collateral = Collateral::new(world.collateral().clone()).unwrap();
    shelf.put(trusted_alone(&root, &collateral, NOW).unwrap(), None)
}

fn put(shelf: &Shelf, days: u64) -> Result<Put, StoreError> {
    put_of(shelf, &world(days, HERE.fmspc))
}

fn found(shelf: &Shelf) -> Option<Collateral> {
    let found = shelf.get(HERE).unwrap()?;
    Some(found.as_ref().clone())
}

#[test]
fn the_newest_wins_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    for shelf in [Shelf::new(), Shelf::open(folder.path()).unwrap().0] {
        assert_eq!(found(&shelf), None);
        for (days, became) in [
            (3, Put::Stored),
            (3, Put::Older),
            (2, Put::Older),
            (5, Put::Stored),
        ] {
            assert_eq!(put(&shelf, days).unwrap(), became);
        }
        assert_eq!(found(&shelf), Some(collateral(5)));
        let other = Platforms {
            ca: Ca::Processor,
            ..HERE
        };
        assert_eq!(shelf.get(other).unwrap(), None);
        let known = shelf.known();
        assert_eq!(known.len(), 1);
        assert!(Arc::ptr_eq(&known[0].1, &shelf.get(HERE).unwrap().unwrap()));
    }
    let again = Shelf::open(folder.path()).unwrap().0;
    assert_eq!(put(&again, 4).unwrap(), Put::Older);
    assert_eq!(found(&again), Some(collateral(5)));
}

#[test]
fn what_another_process_put_is_found_and_is_not_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (
        Shelf::open(folder.path()).unwrap().0,
        Shelf::open(folder.path()).unwrap().0,
    );
    put(&ours, 1).unwrap();
    put(&theirs, 4).unwrap();
    // Memory answers first; who asks the folder knows better from then on.
    assert_eq!(found(&ours), Some(collateral(1)));
    let reloaded = ours.reload(HERE).unwrap().unwrap();
    assert_eq!(*reloaded, collateral(4));
    assert_eq!(found(&ours), Some(collateral(4)));
    put(&theirs, 6).unwrap();
    assert_eq!(put(&ours, 5).unwrap(), Put::Older);
    assert_eq!(found(&ours), Some(collateral(6)));
    // A folder that was emptied or went back does not take memory back.
    fs::remove_dir_all(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    assert_eq!(put(&ours, 5).unwrap(), Put::Older);
    let store = Store::open(folder.path()).unwrap();
    let older = world(2, HERE.fmspc);
    let root = TrustRoot::Other(older.root_der().to_vec());
    let of = collateral(2);
    store
        .put(trusted_alone(&root, &of, NOW).unwrap(), None)
        .unwrap();
    assert_eq!(*ours.reload(HERE).unwrap().unwrap(), collateral(6));
    assert_eq!(put(&ours, 7).unwrap(), Put::Stored);
    assert_eq!(store.list().unwrap(), [collateral(7)]);
}

#[test]
fn a_folder_that_fails_is_an_error_and_the_process_knows_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{HERE}.json"));
    let shelf = Shelf::open(folder.path()).unwrap().0;
    fs::write(&file, "no collateral").unwrap();
    for error in [shelf.get(HERE).unwrap_err(), put(&shelf, 3).unwrap_err()] {
        assert!(matches!(error, StoreError::Form { .. }), "{error:?}");
    }
    assert_eq!(found(&shelf), Some(collateral(3)));
    assert_eq!(put(&shelf, 2).unwrap(), Put::Older);
    assert_eq!(fs::read(&file).unwrap(), b"no collateral");
}

#[test]
fn f3_a_file_that_holds_no_collateral_is_named_and_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{HERE}.json"));
    fs::write(&file, "no collateral").unwrap();
    fs::write(folder.path().join("notes.txt"), "nobody's").unwrap();
    let (shelf, aside) = Shelf::open(folder.path()).unwrap();
    let [aside] = &aside[..] else {
        panic!("{aside:?}")
    };
    let to = file.with_extension("corrupt");
    assert!(aside.to_string().contains(to.to_str().unwrap()), "{aside}");
    assert_eq!(fs::read(&to).unwrap(), b"no collateral");
    assert_eq!(found(&shelf), None);
    assert_eq!(put(&shelf, 3).unwrap(), Put::Stored);
    let (_, aside) = Shelf::open(folder.path()).unwrap();
    assert!(aside.is_empty(), "{aside:?}");
}

#[test]
fn no_more_platforms_fit_than_there_is_room_for() {
    let platforms = |number: usize| {
        let [.., high, low] = number.to_be_bytes();
        Platforms {
            fmspc: [0, 0, 0, 0, high, low],
            ca: Ca::Platform,
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let (memory, disk) = (Shelf::new(), Shelf::open(folder.path()).unwrap().0);
    for number in 0..MAX_PLATFORMS {
        let here = platforms(number);
        let world = world(1, here.fmspc);
        assert_eq!(put_of(&memory, &world).unwrap(), Put::Stored);
        // Sooner than to have each of them synced.
        let json = Collateral::new(world.collateral().clone())
            .unwrap()
            .to_json();
        fs::write(folder.path().join(format!("{here}.json")), json).unwrap();
        disk.get(here).unwrap().unwrap();
    }
    let model = |number| platforms(number).fmspc;
    let one_more = world(1, model(MAX_PLATFORMS));
    let error = put_of(&memory, &one_more).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(put_of(&disk, &one_more).unwrap(), Put::Stored);
    let platforms = platforms(MAX_PLATFORMS);
    assert_eq!(memory.get(platforms).unwrap(), None);
    assert!(disk.get(platforms).unwrap().is_some());
    // Those that have a place can still be renewed.
    assert_eq!(put_of(&memory, &world(2, model(0))).unwrap(), Put::Stored);
    assert_eq!(memory.known().len(), MAX_PLATFORMS);
    assert_eq!(disk.known().len(), MAX_PLATFORMS);
}

#[test]
fn threads_that_put_in_any_order_end_with_the_newest() {
    const EDITIONS: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let editions: Vec<_> = (1..=EDITIONS).map(collateral).collect();
    let root = TrustRoot::Other(world(1, HERE.fmspc).root_der().to_vec());
    let proofs: Vec<_> = editions
        .iter()
        .map(|edition| trusted_alone(&root, edition, NOW).unwrap())
        .collect();
    for shelf in [Shelf::new(), Shelf::open(folder.path()).unwrap().0] {
        thread::scope(|scope| {
            for start in 0..6 {
                let (shelf, editions, proofs) = (&shelf, &editions, &proofs);
                scope.spawn(move || {
                    let mut last = 0;
                    for step in 0..proofs.len() {
                        let at = (start + step * 5) % proofs.len();
                        shelf.put(proofs[at], None).unwrap();
                        let found = found(shelf).unwrap();
                        let is = editions.iter().position(|edition| *edition == found);
                        let is = is.unwrap();
                        assert!(is >= at.max(last), "{is} after {last} and {at}");
                        last = is;
                    }
                });
            }
        });
        assert_eq!(found(&shelf).as_ref(), editions.last());
    }
}
