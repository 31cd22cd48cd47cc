//! Golden vectors: `vectors/*.json` say what every derivation gives, so that
//! another implementation can be written from them; `docs/vectors.md` says how
//! to read them. Each value is computed twice, by the second implementation in
//! `golden/spec.rs` and by the crate, before it is compared with the file.
//!
//! `ZIPNET_BLESS=1 cargo test -p zipnet-protocol --test golden` rewrites them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
mod golden {
    pub mod leaves;
    pub mod parties;
    pub mod refused;
    pub mod round;
    pub mod slots;
    pub mod spec;
}

use std::{env, fs, path::Path};

use golden::{leaves, parties, refused, round, slots};
use serde_json::{Value, json};

/// Compares with the committed file, or rewrites it.
fn check(name: &str, computed: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    if env::var_os("ZIPNET_BLESS").is_some() {
        let text = serde_json::to_string_pretty(computed).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let committed = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    if let Some(difference) = difference(name, &committed, computed) {
        panic!("{difference}");
    }
}

/// The first place where two values differ.
fn difference(place: &str, committed: &Value, computed: &Value) -> Option<String> {
    match (committed, computed) {
        (Value::Object(a), Value::Object(b))
            if a.len() == b.len() && a.keys().all(|key| b.contains_key(key)) =>
        {
            a.iter()
                .find_map(|(key, a)| difference(&format!("{place}/{key}"), a, &b[key]))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).find_map(|at| difference(&format!("{place}/{at}"), &a[at], &b[at]))
        }
        _ if committed == computed => None,
        _ => Some(format!(
            "{place} is committed as\n{committed}\nand computed as\n{computed}"
        )),
    }
}

#[test]
fn instance() {
    check("instance.json", &parties::instance());
}

#[test]
fn bundles() {
    check("bundles.json", &parties::bundles());
}

#[test]
fn a3_aggregators() {
    check("aggregators.json", &parties::aggregators());
}

#[test]
fn i19_invites() {
    check("invites.json", &parties::invites());
}

#[test]
fn registry() {
    check("registry.json", &round::registry());
}

#[test]
fn header() {
    check("header.json", &round::header());
}

#[test]
fn leaves_and_parts() {
    check("leaves.json", &leaves::leaves());
}

#[test]
fn i4_pads() {
    check("pads.json", &round::pads());
}

#[test]
fn i11_slots() {
    check("slots.json", &slots::slots());
}

#[test]
fn i6_round() {
    check("round.json", &round::round());
}

#[test]
fn i6_refused_records() {
    check("refused.json", &refused::refused());
}

#[test]
fn a_changed_value_is_found() {
    let committed = json!({ "record": { "digest": "00", "slots": ["a", "b"] } });
    let found = |computed: Value| difference("round.json", &committed, &computed);
    assert_eq!(found(committed.clone()), None);
    for (place, computed) in [
        (
            "/record/digest",
            json!({ "record": { "digest": "01", "slots": ["a", "b"] } }),
        ),
        (
            "/record/slots/1",
            json!({ "record": { "digest": "00", "slots": ["a", "c"] } }),
        ),
        (
            "/record/slots",
            json!({ "record": { "digest": "00", "slots": ["a"] } }),
        ),
        ("/record", json!({ "record": { "digest": "00" } })),
    ] {
        let found = found(computed).unwrap();
        assert!(
            found.starts_with(&format!("round.json{place} is")),
            "{found}"
        );
    }
}
