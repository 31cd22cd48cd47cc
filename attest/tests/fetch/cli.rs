//! `zipnet-attest collateral`.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;
use zipnet_attest::simulation::{Pccs, Td, World};

use super::{NOW, rated, world};

fn run(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .arg("collateral")
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A folder with a world's root and a quote of its platform.
fn folder(world: &World) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("root.der", world.root_der());
    write("td.quote", &world.quote(&Td::default()));
    folder
}

const MODEL: [&str; 4] = ["--fmspc", "53494D464D53", "--ca", "platform"];

fn fetch(folder: &TempDir, from: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let at = NOW.to_string();
    let common = ["fetch", "--from", from, "--root", "root.der", "--at", &at];
    run(folder, &[&common, more].concat())
}

#[test]
fn a_fetched_file_verifies_the_quote_that_it_was_fetched_for() {
    let world = world();
    let folder = folder(&world);
    let pccs = Pccs::serve(&world).unwrap();
    let more = ["--quote", "td.quote", "--out", "td.json", "--store", "kept"];
    let (status, out, _) = fetch(&folder, &pccs.address(), &more);
    assert_eq!(status, Some(0), "{out}");
    for words in [
        "accepted and stored",
        "53494D464D53",
        "days left  29",
        "2026-01-31",
    ] {
        assert!(out.contains(words), "{out}");
    }
    let at = NOW.to_string();
    let verified = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .args(["verify", "--quote", "td.quote", "--collateral", "td.json"])
        .args(["--root", "root.der", "--at", &at])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert_eq!(verified.code(), Some(0));

    let (status, of_file, _) = run(&folder, &["show", "td.json", "--at", &at]);
    assert_eq!(status, Some(0), "{of_file}");
    let (status, of_store, _) = run(&folder, &["show", "--store", "kept", "--at", &at]);
    assert_eq!((status, of_store), (Some(0), of_file));
    let (_, json, _) = run(&folder, &["show", "td.json", "--json", "--at", &at]);
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown["fmspc"], "53494D464D53");
    assert_eq!(shown["ca"], "platform");
    assert_eq!(shown["evaluation"], 20);
    assert_eq!(shown["pck_crl"]["number"], 1);
    assert_eq!(shown["root_crl"]["from"], "2026-01-01T00:00:00Z");
    assert_eq!(shown["days_left"], 29);
}

#[test]
fn a_store_takes_what_condemns_a_platform_and_never_goes_back() {
    let (older, newer) = (world(), rated("Revoked", 21));
    let folder = folder(&newer);
    let pccs = Pccs::serve(&newer).unwrap();
    let more = [&MODEL[..], &["--store", "kept", "--json"]].concat();
    for (world, became) in [(&newer, "stored"), (&older, "kept")] {
        pccs.publish(world);
        let (status, out, _) = fetch(&folder, &pccs.address(), &more);
        assert_eq!(status, Some(0), "{out}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["became"], became, "{out}");
    }
    let (_, shown, _) = run(&folder, &["show", "--store", "kept", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["evaluation"], 21);
}

#[test]
fn what_does_not_verify_is_refused_with_status_1_and_not_written() {
    let world = world();
    let folder = folder(&world);
    let pccs = Pccs::serve(&World::builder(b"other", super::ISSUED).build().unwrap()).unwrap();
    let more = [&MODEL[..], &["--store", "kept", "--out", "td.json"]].concat();
    let (status, out, _) = fetch(&folder, &pccs.address(), &more);
    assert_eq!(status, Some(1), "{out}");
    assert!(out.contains("ZA-304"), "{out}");
    assert!(!folder.path().join("kept").exists());
    assert!(!folder.path().join("td.json").exists());
    // Intel's root, and a time when all has expired.
    let pccs = Pccs::serve(&world).unwrap();
    let from = pccs.address();
    let common = [&["fetch", "--from", &from, "--out", "td.json"], &MODEL[..]].concat();
    let (status, out, _) = run(&folder, &common);
    assert_eq!(status, Some(1), "{out}");
    assert!(!folder.path().join("td.json").exists());
}

#[test]
fn nobody_there_is_undecided_with_status_3() {
    let folder = folder(&world());
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let more = [&MODEL[..], &["--out", "td.json"]].concat();
    let (status, out, _) = fetch(&folder, &address, &more);
    assert_eq!(status, Some(3), "{out}");
    assert!(
        out.starts_with("undecided: ") && out.contains(&address),
        "{out}"
    );
    let (status, out, _) = fetch(&folder, &address, &[&more[..], &["--json"]].concat());
    assert_eq!(status, Some(3), "{out}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["verdict"], "undecided");
}

#[test]
fn a_bad_argument_is_status_2() {
    let folder = folder(&world());
    fs::write(folder.path().join("junk"), "no certificate").unwrap();
    let from = "http://127.0.0.1:1";
    for arguments in [
        &["fetch", "--from", from, "--quote", "td.quote"][..],
        &["fetch", "--from", from, "--out", "x"],
        &[
            "fetch",
            "--from",
            from,
            "--out",
            "x",
            "--fmspc",
            "53494D464D53",
        ],
        &[
            "fetch", "--from", from, "--out", "x", "--fmspc", "53", "--ca", "platform",
        ],
        &[
            "fetch",
            "--from",
            from,
            "--out",
            "x",
            "--fmspc",
            "53494D464D53",
            "--ca",
            "mine",
        ],
        &[
            "fetch", "--from", "pccs", "--out", "x", "--quote", "td.quote",
        ],
        &[
            "fetch", "--from", from, "--out", "x", "--quote", "td.quote", "--root", "junk",
        ],
        &["show"],
        &["show", "x", "--store", "y"],
    ] {
        let (status, out, err) = run(&folder, arguments);
        assert_eq!(status, Some(2), "{arguments:?} {out} {err}");
    }
    let (status, _, err) = run(&folder, &["show", "none.json"]);
    assert_eq!(status, Some(1));
    assert!(err.contains("none.json"), "{err}");
    let (status, out, _) = run(&folder, &["show", "td.quote"]);
    assert_eq!(status, Some(1));
    assert!(out.contains("ZA-301"), "{out}");
}
