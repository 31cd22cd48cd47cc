//! Policies: who may make them, and what the command line does with them.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../fixtures/mod.rs"]
mod fixtures;
mod manifest;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use fixtures::{ISSUED, statement};
use minisign::KeyPair;
use serde_json::{Value, json};
use zipnet_attest::{
    Collateral, Evidence, Policy, PolicyKeys,
    signed::SignedPolicyError,
    simulation::{Platform, Td, World},
};

fn policy(serial: u64) -> String {
    let world = World::builder(b"policy", ISSUED).build().unwrap();
    fixtures::policy(&world, serial).to_string()
}

fn key() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn sign(key: &KeyPair, bytes: &str) -> String {
    let signature = minisign::sign(None, &key.sk, bytes.as_bytes(), Some("test"), None);
    signature.unwrap().into_string()
}

fn keys(of: &[&KeyPair], threshold: usize) -> Result<PolicyKeys, SignedPolicyError> {
    let texts: Vec<_> = of.iter().map(|key| key.pk.to_base64()).collect();
    PolicyKeys::new(&texts, threshold)
}

#[test]
fn enough_signatures_in_any_order_open_a_policy() {
    let (one, two, three) = (key(), key(), key());
    let keys = keys(&[&one, &two, &three], 2).unwrap();
    let text = policy(7);
    for signers in [[&one, &two], [&three, &one], [&two, &three]] {
        let signatures = signers.map(|key| sign(key, &text)).concat();
        let signed = keys.open(text.as_bytes(), &signatures, 7).unwrap();
        assert_eq!(signed.policy().serial, 7);
    }
}

#[test]
fn a_missing_signature_or_one_key_twice_is_too_few() {
    let (one, two, stranger) = (key(), key(), key());
    let keys = keys(&[&one, &two], 2).unwrap();
    let text = policy(1);
    let of_one = sign(&one, &text);
    for signatures in [
        String::new(),
        of_one.clone(),
        of_one.clone() + &sign(&one, &text),
        of_one.clone() + &sign(&stranger, &text),
        of_one.clone() + &sign(&two, &policy(2)),
    ] {
        let error = keys.open(text.as_bytes(), &signatures, 0).unwrap_err();
        let few = matches!(error, SignedPolicyError::Few { found, threshold: 2 } if found < 2);
        assert!(few, "{error}");
    }
}

#[test]
fn a_key_that_is_named_twice_is_refused_under_another_id_too() {
    let (one, two) = (key(), key());
    let same = keys(&[&one, &two, &one], 2).unwrap_err();
    assert!(matches!(
        same,
        SignedPolicyError::SameKey {
            first: 1,
            second: 3
        }
    ));
    let mut bytes = one.pk.to_bytes();
    bytes[3] ^= 0xff;
    let renamed = minisign::PublicKey::from_bytes(&bytes).unwrap();
    let texts = [one.pk.to_base64(), renamed.to_base64()];
    let same = PolicyKeys::new(&texts, 2).unwrap_err();
    assert!(matches!(same, SignedPolicyError::SameKey { .. }), "{same}");
}

#[test]
fn senseless_keys_and_thresholds_are_refused() {
    let one = key();
    assert!(matches!(
        keys(&[&one], 0),
        Err(SignedPolicyError::Threshold { .. })
    ));
    assert!(matches!(
        keys(&[&one], 2),
        Err(SignedPolicyError::Threshold { .. })
    ));
    for text in ["", "RW", "nonsense", &"A".repeat(56)] {
        let error = PolicyKeys::new(&[text.to_owned()], 1).unwrap_err();
        assert!(matches!(error, SignedPolicyError::Key { number: 1, .. }));
    }
}

#[test]
fn every_changed_byte_of_a_signed_policy_is_refused() {
    let one = key();
    let keys = keys(&[&one], 1).unwrap();
    let text = policy(3);
    let signature = sign(&one, &text);
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        let error = keys.open(&changed, &signature, 0).unwrap_err();
        assert!(matches!(error, SignedPolicyError::Few { found: 0, .. }));
    }
}

#[test]
fn a_lower_serial_than_seen_is_refused() {
    let one = key();
    let keys = keys(&[&one], 1).unwrap();
    let text = policy(3);
    let signature = sign(&one, &text);
    let error = keys.open(text.as_bytes(), &signature, 4).unwrap_err();
    assert!(matches!(
        error,
        SignedPolicyError::Serial {
            found: 3,
            newest: 4
        }
    ));
}

#[test]
fn junk_signatures_are_errors() {
    let one = key();
    let keys = keys(&[&one], 1).unwrap();
    let text = policy(1);
    let many = sign(&one, &text).repeat(65);
    let error = keys.open(text.as_bytes(), &many, 0).unwrap_err();
    assert!(matches!(error, SignedPolicyError::Many));
    let good = sign(&one, &text);
    for cut in 0..good.trim_end().len() {
        assert!(
            keys.open(text.as_bytes(), &good[..cut], 0).is_err(),
            "{cut}"
        );
    }
}

/// Runs `zipnet-attest` and yields its status and what it said.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_policy_is_made_signed_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let world = World::builder(b"policy", ISSUED).build().unwrap();
    fs::write(at.join("quote.bin"), world.quote(&Td::default())).unwrap();
    let (status, text) = run(
        at,
        &[
            "policy",
            "new",
            "--quote",
            "quote.bin",
            "--image",
            "1.4.0",
            "--evaluation",
            "20",
            "--any-platform",
        ],
    );
    assert_eq!(status, Some(0), "{text}");
    // Each field is explained beside the policy.
    let (policy, said): (Vec<_>, Vec<_>) = text.lines().partition(|line| !line.starts_with("# "));
    for field in [
        "issued",
        "tcb.track standard, evaluations 20 to 20",
        "platforms null",
        "servers null",
        "td.attributes 0000001000000000",
        "td.mr_seam null",
        "tcb.sgx_types",
        "max_statement_hours",
    ] {
        let mut lines = said.iter();
        assert!(lines.any(|line| line.contains(field)), "{field}: {text}");
    }
    fs::write(at.join("policy.json"), policy.join("\n")).unwrap();
    let (one, two) = (key(), key());
    for (name, key) in [("one.key", &one), ("two.key", &two)] {
        let secret = key.sk.to_box(None).unwrap().into_string();
        fs::write(at.join(name), secret).unwrap();
    }
    let named = [one.pk.to_base64(), two.pk.to_base64()].join(",");
    let sign = |key| {
        run(
            at,
            &["policy", "sign", "--policy", "policy.json", "--key", key],
        )
    };
    let check = |more: &[&str]| {
        let common = [
            "policy",
            "check",
            "--policy",
            "policy.json",
            "--key",
            &named,
        ];
        run(at, &[&common[..], more].concat())
    };
    assert_eq!(sign("one.key").0, Some(0));
    assert_eq!(check(&[]).0, Some(0));
    let (status, text) = check(&["--threshold", "2"]);
    assert_eq!(status, Some(1));
    assert!(text.contains("1 of the policy's keys signed"), "{text}");
    assert_eq!(sign("two.key").0, Some(0));
    assert_eq!(check(&["--threshold", "2"]).0, Some(0));
    assert_eq!(check(&["--newest", "2"]).0, Some(1));
    assert_eq!(check(&["--threshold", "3"]).0, Some(2));
    let (status, text) = run(at, &["policy", "show", "--policy", "policy.json"]);
    assert_eq!(status, Some(0));
    assert!(
        text.contains("image 1.4.0") && text.contains("any platform"),
        "{text}"
    );
}

/// What `minisign -G -W` of Debian 12 (0.11-1) writes: a checksum of zeros.
const DEBIAN: (&str, &str) = (
    "untrusted comment: minisign encrypted secret key\n\
     RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1m8zaFO/QGyuvVTSa/7ODRYnFaJ42n/x7hYp5Xh70xdZ\
     MDD0BfCMiz9YKah9FNkJgQFPCr1/SSZNJseLpvzLqIVETonOW2jqAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    "RWTWbzNoU79AbD9YKah9FNkJgQFPCr1/SSZNJseLpvzLqIVETonOW2jq",
);

#[test]
fn a_key_that_debians_minisign_made_signs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("policy.json"), policy(1)).unwrap();
    let sign = [
        "policy",
        "sign",
        "--policy",
        "policy.json",
        "--key",
        "a.key",
    ];
    // Neither another checksum nor a password is looked over.
    let last = DEBIAN.0.replace("AAAA=", "AAAB=");
    for wrong in [&*last, &DEBIAN.0.replace("RWQAAE", "RWRTY0"), "x\nRWQA\n"] {
        fs::write(at.join("a.key"), wrong).unwrap();
        let (status, text) = run(at, &sign);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("without a password"), "{text}");
    }
    fs::write(at.join("a.key"), DEBIAN.0).unwrap();
    assert_eq!(run(at, &sign).0, Some(0));
    let check = [
        "policy",
        "check",
        "--policy",
        "policy.json",
        "--key",
        DEBIAN.1,
    ];
    let (status, text) = run(at, &check);
    assert_eq!(status, Some(0), "{text}");
}

/// Evidence of a server in a world.
fn evidence(world: &World, mrtd: [u8; 48]) -> Vec<u8> {
    let statement = statement();
    let td = Td {
        mrtd,
        report_data: statement.report_data(),
        ..Td::default()
    };
    let quote = world.quote(&td);
    Evidence { statement, quote }.encode()
}

#[test]
fn simulating_a_policy_names_who_would_be_refused_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let world = World::builder(b"policy", ISSUED).build().unwrap();
    fs::write(at.join("root.der"), world.root_der()).unwrap();
    fs::write(at.join("quote.bin"), world.quote(&Td::default())).unwrap();
    let collateral = Collateral::new(world.collateral().clone()).unwrap();
    fs::write(at.join("collateral.json"), collateral.to_json()).unwrap();
    let policy = fixtures::policy(&world, 1);
    fs::write(at.join("policy.json"), policy.to_string()).unwrap();
    fs::write(at.join("good"), evidence(&world, Td::default().mrtd)).unwrap();
    fs::write(at.join("other"), evidence(&world, [0x77; 48])).unwrap();
    fs::write(at.join("junk"), vec![0; 100_000]).unwrap();
    let time = (ISSUED + 3600).to_string();
    let simulate = |root, of: &[&str]| {
        let common = [
            "policy",
            "simulate",
            "--policy",
            "policy.json",
            "--collateral",
            "collateral.json",
            "--at",
            &time,
            "--root",
            root,
        ];
        run(at, &[&common[..], of].concat())
    };
    let (status, text) = simulate("root.der", &["good"]);
    assert_eq!(status, Some(0), "{text}");
    let (status, text) = simulate("root.der", &["good", "other"]);
    assert_eq!(status, Some(1));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["verdict"], "accept");
    assert_eq!(lines[0]["image"], "1.4.0");
    assert_eq!(lines[1]["evidence"], "other");
    assert_eq!(lines[1]["rule"], "ZA-601");
    // The goal is a second on two idle cores; this bound is for busy ones.
    let many = vec!["good"; 1000];
    let started = Instant::now();
    let (status, text) = simulate("root.der", &many);
    let took = started.elapsed();
    println!("1,000 evidence files in {took:?}");
    assert_eq!((status, text.lines().count()), (Some(0), 1000));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let evidence = |of, more: &[&str]| {
        let common = [
            "verify",
            "--json",
            "--policy",
            "policy.json",
            "--collateral",
            "collateral.json",
            "--at",
            &time,
            "--root",
            "root.der",
            "--evidence",
            of,
        ];
        let (status, text) = run(at, &[&common[..], more].concat());
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let peer = "03".repeat(32);
    let (status, answer) = evidence("good", &["--peer", &peer]);
    assert_eq!(status, Some(0), "{answer}");
    assert_eq!(answer["shape"], "small");
    assert_eq!(answer["tcb_status"], "UpToDate");
    let not_compared = json!(["instance", "server", "x25519", "signing", "config"]);
    assert_eq!(answer["not_compared"], not_compared);
    let (status, answer) = evidence("good", &["--peer", &"04".repeat(32)]);
    assert_eq!((status, &answer["rule"]), (Some(1), &json!("ZA-706")));
    let (status, answer) = evidence("other", &[]);
    assert_eq!((status, &answer["rule"]), (Some(1), &json!("ZA-601")));
    // I9: the policy names the simulation's root, and takes no other.
    assert_eq!(simulate("intel", &["good"]).0, Some(2));
    let (status, text) = simulate("root.der", &["junk"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("junk is longer than"), "{text}");
}

#[test]
fn i9_root_keys_and_threshold_are_the_anchor_and_the_order_of_keys_is_not() {
    use zipnet_attest::{PolicyKeys, TrustBase, TrustRoot};
    let keys = [key(), key(), key()].map(|key| key.pk.to_base64());
    let base = |root, keys: &[String], threshold| {
        *TrustBase::new(root, PolicyKeys::new(keys, threshold).unwrap()).anchor()
    };
    let ours = base(TrustRoot::Intel, &keys, 2);
    let mut turned = keys.clone();
    turned.reverse();
    assert_eq!(base(TrustRoot::Intel, &turned, 2), ours);
    for other in [
        base(TrustRoot::Intel, &keys, 1),
        base(TrustRoot::Intel, &keys[..2], 2),
        base(TrustRoot::Other(vec![1]), &keys, 2),
        base(TrustRoot::Other(vec![2]), &keys, 2),
    ] {
        assert_ne!(other, ours);
    }
}

#[test]
fn f9_a_bare_quote_is_asked_for_its_attributes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let world = World::builder(b"policy", ISSUED).build().unwrap();
    // PKS: harmless to dcap-qvl, and not what a TD of ours has.
    let mut td = Td::default();
    td.td_attributes[3] |= 0x40;
    fs::write(at.join("quote.bin"), world.quote(&td)).unwrap();
    fs::write(at.join("root.der"), world.root_der()).unwrap();
    let collateral = Collateral::new(world.collateral().clone()).unwrap();
    fs::write(at.join("collateral.json"), collateral.to_json()).unwrap();
    let when = (ISSUED + 60).to_string();
    let verify = |more: &[&str]| {
        let common = [
            "verify",
            "--quote",
            "quote.bin",
            "--root",
            "root.der",
            "--collateral",
            "collateral.json",
            "--at",
            &when,
        ];
        run(at, &[&common[..], more].concat())
    };
    let (status, text) = verify(&[]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("ZA-502"), "{text}");
    let (status, text) = verify(&["--attributes", "0000005000000000"]);
    assert_eq!(status, Some(0), "{text}");
    let id = hex::encode(Platform::default().platform_instance_id);
    assert!(text.contains(&format!("platform  {id}")), "{text}");
}

#[test]
fn a_policy_ends_with_its_last_window_and_an_image_with_its_own() {
    let mut policy = Policy::from_json(policy(1).as_bytes()).unwrap();
    let id = policy.images[0].id.clone();
    policy.images[0].not_after = Some(ISSUED + 100);
    assert_eq!(policy.image_ends(&id), Some(ISSUED + 100));
    assert_eq!(policy.ends(), Some(ISSUED + 100));
    let mut next = policy.images[0].clone();
    next.id = "next".into();
    next.not_after = Some(ISSUED + 200);
    policy.images.push(next);
    assert_eq!(policy.image_ends(&id), Some(ISSUED + 100));
    assert_eq!(policy.ends(), Some(ISSUED + 200));
    // One window without an end is enough for the policy.
    policy.images[1].not_after = None;
    assert_eq!((policy.ends(), policy.image_ends("next")), (None, None));
    // What is not listed has ended.
    assert_eq!(policy.image_ends("another"), Some(0));
}
