//! The store of collateral: newest wins and never goes back.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    error::Error as _,
    fs,
    path::{Path, PathBuf},
    thread,
};

use tempfile::TempDir;
use zipnet_attest::{
    Ca, Collateral, Edition, Store, TrustRoot,
    collateral::MAX_COLLATERAL,
    simulation::{Platform, Td, World},
    store::{Put, StoreError},
    trusted,
};

/// 2026-01-01T00:00:00Z
const ISSUED: u64 = 1_767_225_600;
const DAY: u64 = 86_400;
/// Every edition below is in force then.
const NOW: u64 = ISSUED + 28 * DAY;
const FMSPC: [u8; 6] = *b"SIMFMS";
const NAME: &str = "53494D464D53-platform.json";

/// The same Intel, having published another time: `days` later, in force for
/// 30 days.
fn published(days: u64, platform: Platform) -> World {
    let from = ISSUED + days * DAY;
    World::builder(b"store", ISSUED)
        .platform(platform)
        .collateral_window(from, from + 30 * DAY)
        .build()
        .unwrap()
}

/// The same, with revocation lists of another day.
fn listed(days: u64, lists: u64, tcb_eval: u32) -> World {
    let window = |days: u64| (ISSUED + days * DAY, ISSUED + (days + 30) * DAY);
    let ((from, to), (lists_from, lists_to)) = (window(days), window(lists));
    World::builder(b"store", ISSUED)
        .platform(Platform {
            tcb_eval,
            ..Platform::default()
        })
        .collateral_window(from, to)
        .crl_window(lists_from, lists_to)
        .build()
        .unwrap()
}

fn edition(days: u64, tcb_eval: u32) -> World {
    let platform = Platform {
        tcb_eval,
        ..Platform::default()
    };
    published(days, platform)
}

fn put(store: &Store, world: &World) -> Result<Put, StoreError> {
    let root = TrustRoot::Other(world.root_der().to_vec());
    let collateral = collateral(world);
    let quote = world.quote(&Td::default());
    let (_, proof) = trusted(&root, &quote, &collateral, NOW).unwrap();
    store.put(proof, None)
}

fn collateral(world: &World) -> Collateral {
    Collateral::new(world.collateral().clone()).unwrap()
}

fn stored(store: &Store) -> Option<Collateral> {
    store.get(FMSPC, Ca::Platform).unwrap()
}

fn store() -> (TempDir, Store, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collateral");
    let store = Store::open(&path).unwrap();
    (folder, store, path.join(NAME))
}

/// A folder whose only file is `bytes`.
fn with(bytes: &[u8]) -> (TempDir, Store, PathBuf) {
    let (folder, store, file) = store();
    fs::write(&file, bytes).unwrap();
    (folder, store, file)
}

fn assert_names(error: &StoreError, path: &Path) {
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains("would be right"), "{text}");
    if let Some(source) = error.source() {
        assert!(!text.contains(&source.to_string()), "{text}");
    }
}

#[test]
fn the_newest_wins_by_date_and_by_evaluation() {
    let (_folder, store, file) = store();
    assert_eq!(stored(&store), None);
    // Evaluations are published side by side: the last one was issued earlier,
    // but the revocation lists are the same for all.
    let beside = listed(2, 3, 21);
    for world in [edition(1, 20), edition(3, 20), beside] {
        assert_eq!(put(&store, &world).unwrap(), Put::Stored);
        assert_eq!(stored(&store), Some(collateral(&world)));
    }
    assert_eq!(store.get(FMSPC, Ca::Processor).unwrap(), None);
    let names: Vec<_> = fs::read_dir(file.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(names, [NAME]);
}

#[test]
fn collateral_rollback_is_refused_and_the_file_keeps_its_bytes() {
    let (_folder, store, file) = store();
    assert_eq!(put(&store, &edition(5, 20)).unwrap(), Put::Stored);
    let before = fs::read(&file).unwrap();
    let (older, equal, lower) = (edition(4, 20), edition(5, 20), edition(9, 19));
    for world in [older, equal, lower] {
        assert_eq!(put(&store, &world).unwrap(), Put::Older);
        assert_eq!(fs::read(&file).unwrap(), before);
    }
}

#[test]
fn collateral_rollback_of_one_part_beside_a_newer_one_is_refused() {
    let (_folder, store, file) = store();
    assert_eq!(put(&store, &edition(5, 20)).unwrap(), Put::Stored);
    let before = fs::read(&file).unwrap();
    // Each part is signed by itself, so this verifies.
    let (newer, older) = (edition(7, 21), edition(3, 20));
    let mut parts = newer.collateral().clone();
    parts
        .qe_identity
        .clone_from(&older.collateral().qe_identity);
    parts
        .qe_identity_signature
        .clone_from(&older.collateral().qe_identity_signature);
    let mixed = Collateral::new(parts).unwrap();
    let root = TrustRoot::Other(newer.root_der().to_vec());
    let quote = newer.quote(&Td::default());
    let (_, proof) = trusted(&root, &quote, &mixed, NOW).unwrap();
    assert_eq!(store.put(proof, None).unwrap(), Put::Older);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn collateral_rollback_of_lists_that_all_have_one_number_is_refused() {
    let (_folder, store, file) = store();
    assert_eq!(put(&store, &edition(5, 20)).unwrap(), Put::Stored);
    let before = fs::read(&file).unwrap();
    for older in [listed(6, 4, 20), listed(6, 4, 21)] {
        assert_eq!(put(&store, &older).unwrap(), Put::Older);
        assert_eq!(fs::read(&file).unwrap(), before);
    }
    assert_eq!(put(&store, &listed(5, 6, 20)).unwrap(), Put::Stored);
}

#[test]
fn two_models_of_platform_do_not_disturb_each_other() {
    let (_folder, store, file) = store();
    let other = published(
        9,
        Platform {
            fmspc: *b"others",
            ..Platform::default()
        },
    );
    let one = edition(5, 20);
    assert_eq!(put(&store, &one).unwrap(), Put::Stored);
    let before = fs::read(&file).unwrap();
    assert_eq!(put(&store, &other).unwrap(), Put::Stored);
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(stored(&store), Some(collateral(&one)));
    let found = store.get(*b"others", Ca::Platform).unwrap();
    assert_eq!(found, Some(collateral(&other)));
}

#[test]
fn a_torn_temporary_file_is_ignored() {
    let (_folder, store, file) = store();
    let torn = file.with_extension("json.new");
    let world = edition(5, 20);
    fs::write(&torn, &collateral(&world).to_json().as_bytes()[..1000]).unwrap();
    assert_eq!(stored(&store), None);
    assert_eq!(put(&store, &world).unwrap(), Put::Stored);
    fs::write(&torn, vec![b'x'; 100_000]).unwrap();
    assert_eq!(stored(&store), Some(collateral(&world)));
    let newer = edition(6, 20);
    assert_eq!(put(&store, &newer).unwrap(), Put::Stored);
    assert_eq!(stored(&store), Some(collateral(&newer)));
    assert!(!torn.exists());
}

#[test]
fn a_file_that_holds_no_collateral_is_an_error_with_its_path_and_stays() {
    let good = collateral(&edition(5, 20)).to_json();
    let broken_crl = good.replace("\"pck_crl\":\"30", "\"pck_crl\":\"31");
    assert_ne!(broken_crl, good);
    let long = vec![b' '; MAX_COLLATERAL + 1];
    let cases: [&[u8]; 5] = [b"", b"\xff\0garbage", b"{}", broken_crl.as_bytes(), &long];
    for bytes in cases {
        let (_folder, store, file) = with(bytes);
        let read = store.get(FMSPC, Ca::Platform).unwrap_err();
        let written = put(&store, &edition(6, 20)).unwrap_err();
        for error in [read, written] {
            assert!(matches!(error, StoreError::Form { .. }), "{error:?}");
            assert_names(&error, &file);
        }
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_no_panic() {
    let good = collateral(&edition(5, 20)).to_json();
    let (_folder, store, file) = store();
    for cut in (0..good.len()).step_by(37) {
        fs::write(&file, &good.as_bytes()[..cut]).unwrap();
        assert!(store.get(FMSPC, Ca::Platform).is_err(), "cut to {cut}");
    }
}

#[test]
fn collateral_under_another_models_name_is_an_error() {
    let model = Platform {
        fmspc: *b"others",
        ..Platform::default()
    };
    let json = collateral(&published(5, model)).to_json();
    let (_folder, store, file) = with(json.as_bytes());
    let error = store.get(FMSPC, Ca::Platform).unwrap_err();
    assert!(matches!(error, StoreError::Misnamed { .. }), "{error:?}");
    assert_names(&error, &file);
}

#[test]
fn a_folder_that_cannot_be_is_an_error_with_its_path() {
    let (_folder, _, file) = with(b"a file");
    let error = Store::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::Folder { .. }), "{error:?}");
    assert_names(&error, &file);
}

#[test]
fn threads_that_put_in_any_order_end_with_the_newest() {
    const VERSIONS: usize = 20;
    let (_folder, store, file) = store();
    let path = file.parent().unwrap();
    let worlds: Vec<_> = (1..=u64::try_from(VERSIONS).unwrap())
        .map(|day| edition(day, 20))
        .collect();
    thread::scope(|scope| {
        for seed in 1..=8_u64 {
            let worlds = &worlds;
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                let mut last = 0;
                for at in shuffled(VERSIONS, seed) {
                    put(&store, &worlds[at]).unwrap();
                    // What is read is whole, not older than what was put, and
                    // never goes back.
                    let found = stored(&store).unwrap();
                    let is = worlds.iter().position(|world| collateral(world) == found);
                    let is = is.unwrap();
                    assert!(is >= last.max(at), "{is} after {last} and {at}");
                    last = is;
                }
            });
        }
    });
    assert_eq!(stored(&store), worlds.last().map(collateral));
}

/// Fisher and Yates, with Knuth's generator.
fn shuffled(length: usize, seed: u64) -> Vec<usize> {
    let mut state = seed;
    let mut order: Vec<_> = (0..length).collect();
    for last in (1..length).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bound = u64::try_from(last).unwrap() + 1;
        order.swap(last, usize::try_from((state >> 33) % bound).unwrap());
    }
    order
}

#[test]
fn what_is_read_back_verifies_a_quote_and_is_what_others_read() {
    let (_folder, store, file) = store();
    let world = edition(5, 20);
    put(&store, &world).unwrap();
    let root = TrustRoot::Other(world.root_der().to_vec());
    let found = stored(&store).unwrap();
    let quote = world.quote(&Td::default());
    let (genuine, _) = trusted(&root, &quote, &found, NOW).unwrap();
    assert_eq!(genuine.fmspc(), FMSPC);
    let theirs: dcap_qvl::QuoteCollateralV3 =
        serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(&theirs, world.collateral());
}

#[test]
fn genuine_collateral_of_intel_is_stored_under_its_model() {
    let vectors: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", "quotes"]
        .iter()
        .collect();
    let read = |name: &str| fs::read(vectors.join(name)).unwrap();
    let collateral = Collateral::from_json(&read("v4-uptodate.collateral.json")).unwrap();
    let quote = read("v4-uptodate.quote.bin");
    let at = 1_750_377_600;
    let (genuine, proof) = trusted(&TrustRoot::Intel, &quote, &collateral, at).unwrap();
    let (_folder, store, _) = store();
    assert_eq!(store.put(proof, None).unwrap(), Put::Stored);
    assert_eq!(store.put(proof, None).unwrap(), Put::Older);
    let found = store.get(genuine.fmspc(), Ca::Platform).unwrap();
    assert_eq!(found, Some(collateral));
}

#[test]
fn days_are_counted_until_the_first_part_expires() {
    let edition = Edition::of(&collateral(&edition(0, 20))).unwrap();
    let end = ISSUED + 30 * DAY;
    for (now, days) in [
        (ISSUED, 30),
        (ISSUED + 1, 29),
        (end, 0),
        (end + 1, -1),
        (end + 10 * DAY, -10),
        (u64::MAX, i64::MIN.div_euclid(86_400)),
    ] {
        assert_eq!(edition.days_left(now), days, "{now}");
    }
}

/// As [`put`], at another time and under a track that ends at an evaluation.
fn put_at(store: &Store, world: &World, now: u64, highest: Option<u32>) -> Put {
    let root = TrustRoot::Other(world.root_der().to_vec());
    let collateral = collateral(world);
    let quote = world.quote(&Td::default());
    let (_, proof) = trusted(&root, &quote, &collateral, now).unwrap();
    store.put(proof, highest).unwrap()
}

#[test]
fn f2_early_collateral_near_its_end_does_not_outlive_it() {
    let (_folder, store, _) = store();
    // Shown by anybody: of a later evaluation, and older.
    let early = published(
        1,
        Platform {
            tcb_eval: 21,
            tcb_status: "OutOfDate".to_owned(),
            ..Platform::default()
        },
    );
    let standard = edition(29, 20);
    let until = ISSUED + 31 * DAY;
    assert_eq!(put_at(&store, &early, until - 1, None), Put::Stored);
    // So long as it holds, the newest evaluation counts.
    assert_eq!(put_at(&store, &standard, until - 1, None), Put::Older);
    assert_eq!(put_at(&store, &standard, until + 1, None), Put::Stored);
    assert_eq!(stored(&store), Some(collateral(&standard)));
}

#[test]
fn f2_early_collateral_gives_way_at_once_where_the_track_is_standard() {
    let (_folder, store, _) = store();
    let (early, standard) = (edition(1, 21), edition(2, 20));
    assert_eq!(put_at(&store, &early, NOW, None), Put::Stored);
    assert_eq!(put_at(&store, &standard, NOW, Some(20)), Put::Stored);
    assert_eq!(stored(&store), Some(collateral(&standard)));
    // Within a track nothing goes back.
    assert_eq!(put_at(&store, &edition(1, 20), NOW, Some(20)), Put::Older);
    assert_eq!(put_at(&store, &edition(3, 19), NOW, Some(20)), Put::Older);
}
