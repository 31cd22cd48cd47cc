//! Collateral over HTTP, from good servers and from bad ones.
#![cfg(feature = "fetch")]
#![allow(missing_docs, clippy::unwrap_used)]

#[cfg(feature = "cli")]
mod cli;
mod hostile;

use std::time::Duration;

use zipnet_attest::{
    Ca, Collateral, Platforms, TrustRoot,
    fetch::{FetchError, Limits, Source},
    genuine,
    policy::{Track, Wanted},
    simulation::{Pccs, Platform, Td, World},
    trusted_alone,
};

/// What Intel's standard track is at.
const STANDARD: Wanted = Wanted::newest(Track::Standard);
/// 2026-01-01T00:00:00Z
const ISSUED: u64 = 1_767_225_600;
const NOW: u64 = ISSUED + 3600;
const HERE: Platforms = Platforms {
    fmspc: *b"SIMFMS",
    ca: Ca::Platform,
};

fn rated(status: &str, tcb_eval: u32) -> World {
    let platform = Platform {
        tcb_status: status.to_owned(),
        tcb_eval,
        ..Platform::default()
    };
    let builder = World::builder(b"fetch", ISSUED);
    builder.platform(platform).build().unwrap()
}

fn world() -> World {
    rated("UpToDate", 20)
}

fn source(address: &str) -> Source {
    Source::new(address).unwrap()
}

/// A source that is soon tired.
fn hasty(address: &str) -> Source {
    let limits = Limits {
        request: Duration::from_secs(1),
        total: Duration::from_secs(3),
    };
    Source::with_limits(address, limits).unwrap()
}

#[test]
fn what_is_fetched_is_what_was_published_and_verifies_a_quote() {
    let world = world();
    let pccs = Pccs::serve(&world).unwrap();
    for suffix in ["", "/", "/sgx/certification/v4/", "/tdx/certification/v4"] {
        let source = source(&(pccs.address() + suffix));
        assert_eq!(source.address(), pccs.address());
        let quote = world.quote(&Td::default());
        let platforms = Platforms::of_quote(&quote).unwrap();
        let found = source.fetch(platforms, &STANDARD).unwrap();
        assert_eq!(found, Collateral::new(world.collateral().clone()).unwrap());
        let root = TrustRoot::Other(world.root_der().to_vec());
        genuine(&root, &quote, &found, NOW).unwrap();
        trusted_alone(&root, &found, NOW).unwrap();
    }
    assert_eq!(pccs.requests(), 16);
}

#[test]
fn a_new_edition_is_served_while_the_server_runs() {
    let pccs = Pccs::serve(&world()).unwrap();
    let newer = rated("Revoked", 21);
    pccs.publish(&newer);
    let source = source(&pccs.address());
    let found = source.fetch(HERE, &STANDARD).unwrap();
    let published = Collateral::new(newer.collateral().clone()).unwrap();
    assert_eq!(found, published);
    // Another model beside it.
    let other = Platforms {
        fmspc: *b"others",
        ..HERE
    };
    let error = source.fetch(other, &STANDARD).unwrap_err();
    assert!(
        matches!(error, FetchError::Status { status: 404, .. }),
        "{error:?}"
    );
    let world = World::builder(b"fetch", ISSUED).platform(Platform {
        fmspc: *b"others",
        ..Platform::default()
    });
    pccs.publish(&world.build().unwrap());
    source.fetch(other, &STANDARD).unwrap();
    source.fetch(HERE, &STANDARD).unwrap();
}

#[test]
fn an_address_that_is_none_is_refused_before_anything_is_sent() {
    let long = format!("http://{}", "a".repeat(600));
    for address in [
        "",
        "pccs.example",
        "ftp://pccs.example",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@pccs.example",
        "http://pccs.example/?token=1",
        "http://pccs.example/#1",
        "http://pccs example",
        &long,
    ] {
        let error = Source::new(address).unwrap_err();
        assert!(matches!(error, FetchError::Address { .. }), "{address}");
        assert!(error.to_string().contains("would be right"), "{error}");
    }
    for address in ["https://pccs.example:8081", zipnet_attest::fetch::INTEL] {
        assert_eq!(Source::new(address).unwrap().address(), address);
    }
}

#[test]
fn f2_what_is_fetched_is_of_the_track_that_is_asked_for() {
    let pccs = Pccs::serve(&rated("UpToDate", 20)).unwrap();
    pccs.publish_early(&rated("OutOfDate", 21));
    let source = source(&pccs.address());
    let fetched = |wanted: Wanted| {
        let found = source.fetch(HERE, &wanted).unwrap();
        wanted.check(&found).unwrap();
        zipnet_attest::Edition::of(&found).unwrap().evaluation
    };
    assert_eq!(fetched(STANDARD), 20);
    assert_eq!(fetched(Wanted::newest(Track::Early)), 21);
    // Intel's standard track has moved on, and the policy has not: the number that
    // it names is still published.
    pccs.publish(&rated("UpToDate", 22));
    let at = |highest| Wanted {
        track: Track::Standard,
        highest: Some(highest),
    };
    assert_eq!(fetched(at(22)), 22);
    assert_eq!(fetched(at(30)), 22);
    assert_eq!(fetched(at(20)), 20);
    let gone = source.fetch(HERE, &at(19)).unwrap_err();
    assert!(
        matches!(gone, FetchError::Status { status: 404, .. }),
        "{gone}"
    );
}
