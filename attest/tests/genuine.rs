//! Genuine quotes against Intel's root: the verdicts that their publishers
//! and other verifiers agree on.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use zipnet_attest::{Collateral, Quote, quote::MAX_QUOTE};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", "quotes"]
        .iter()
        .collect()
}

fn expected() -> Vec<Value> {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn quotes() -> Vec<(String, Vec<u8>)> {
    let mut quotes: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "bin"))
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    quotes.sort();
    assert_eq!(quotes.len(), 6);
    quotes
}

/// Runs `zipnet-attest verify` and yields its exit status and answer.
fn verify(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .args(["verify", "--json"])
        .args(arguments)
        .current_dir(folder())
        .output()
        .unwrap();
    let answer = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), answer)
}

#[test]
fn every_genuine_quote_gets_its_verdict() {
    for case in expected() {
        let at = case["now_unix"].to_string();
        let (status, answer) = verify(&[
            "--quote",
            case["quote"].as_str().unwrap(),
            "--collateral",
            case["collateral"].as_str().unwrap(),
            "--at",
            &at,
        ]);
        let accepted = case["verdict"] == "accept";
        let verdict = if accepted { "accept" } else { "refuse" };
        assert_eq!(answer["verdict"], verdict, "{case} {answer}");
        assert_eq!(answer["tcb_status"], case["tcb_status"], "{case} {answer}");
        assert_eq!(status, Some(i32::from(!accepted)), "{case}");
        assert_eq!(answer["rule"].is_null(), accepted, "{case} {answer}");
    }
}

#[test]
fn each_refused_quote_is_refused_by_the_rule_that_it_breaks() {
    let rules: Vec<_> = expected()
        .iter()
        .map(|case| {
            let at = case["now_unix"].to_string();
            let quote = case["quote"].as_str().unwrap();
            let collateral = case["collateral"].as_str().unwrap();
            let (_, answer) = verify(&["--quote", quote, "--collateral", collateral, "--at", &at]);
            answer["rule"].as_str().unwrap_or("").to_owned()
        })
        .collect();
    let expected = [
        "", "ZA-303", "ZA-302", "ZA-403", "", "", "ZA-501", "ZA-503", "ZA-504",
    ];
    assert_eq!(rules, expected);
}

#[test]
fn collateral_comes_back_from_its_json() {
    for name in ["v4-uptodate.collateral.json", "v5-td15ex.collateral.json"] {
        let read = Collateral::from_json(&fs::read(folder().join(name)).unwrap()).unwrap();
        assert_eq!(
            Collateral::from_json(read.to_json().as_bytes()).unwrap(),
            read
        );
    }
}

/// Makes a quote over 64 bytes of 0xab in a simulated world.
fn simulate(folder: &std::path::Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .args([
            "quote",
            "--report-data",
            &"ab".repeat(64),
            "--out",
            "td.quote",
        ])
        .args(["--simulated", "test", "--at", "1767225600"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn i9_a_simulated_quote_is_accepted_under_its_own_root_only() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (quote, collateral) = (file("td.quote"), file("td.collateral.json"));
    let (root, at) = (file("td.root.der"), "1767229200");
    let common = ["--quote", &quote, "--collateral", &collateral, "--at", at];
    let (status, answer) = verify(&[&common[..], &["--root", &root]].concat());
    assert_eq!(status, Some(0), "{answer}");
    assert_eq!(answer["report_data"], "ab".repeat(64));
    let (status, answer) = verify(&common);
    assert_eq!(status, Some(1));
    assert_eq!(answer["rule"], "ZA-304", "{answer}");
}

#[test]
fn a_machine_that_is_no_td_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("tsm");
    let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .args(["quote", "--report-data", &"00".repeat(64), "--out", "quote"])
        .arg("--tsm")
        .arg(&missing)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("run in a TD"), "{text}");
    assert!(!folder.path().join("quote").exists());
}

#[test]
fn without_collateral_nothing_is_decided() {
    let (status, answer) = verify(&["--quote", "v4-uptodate.quote.bin"]);
    assert_eq!(status, Some(3));
    assert_eq!(answer["verdict"], "undecided");
}

#[test]
fn an_out_of_date_platform_is_accepted_only_by_who_says_so() {
    let common = [
        "--quote",
        "v4-uptodate.quote.bin",
        "--collateral",
        "v4-outofdate.collateral.json",
        "--at",
        "1786665600",
    ];
    let (_, answer) = verify(&common);
    assert_eq!(
        answer["advisories"].as_array().unwrap().len(),
        4,
        "{answer}"
    );
    let accept = [&common[..], &["--accept-tcb", "UpToDate,OutOfDate"]].concat();
    assert_eq!(verify(&accept).0, Some(0));
}

#[test]
fn genuine_quotes_parse_and_their_padding_is_no_part_of_them() {
    for (name, bytes) in quotes() {
        let quote = Quote::parse(&bytes).unwrap();
        assert!(quote.length <= bytes.len(), "{name}");
        let bare = &bytes[..quote.length];
        assert_eq!(Quote::parse(bare).unwrap(), quote, "{name}");
        let padded = [bare, &[0; 3000]].concat();
        assert_eq!(Quote::parse(&padded).unwrap(), quote, "{name}");
    }
}

#[test]
fn every_truncation_of_a_genuine_quote_is_refused() {
    for (name, bytes) in quotes() {
        let length = Quote::parse(&bytes).unwrap().length;
        for cut in 0..length {
            assert!(Quote::parse(&bytes[..cut]).is_err(), "{name} cut to {cut}");
        }
    }
}

#[test]
fn our_parser_agrees_with_dcap_qvl_field_by_field() {
    for (name, bytes) in quotes() {
        let ours = Quote::parse(&bytes).unwrap();
        let theirs = dcap_qvl::quote::Quote::parse(&bytes).unwrap();
        let report = theirs.report.as_td10().unwrap();
        let us = &ours.report;
        assert_eq!(ours.version, theirs.header.version, "{name}");
        assert_eq!(us.registers.mrtd, report.mr_td, "{name}");
        let rtmr = [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3];
        assert_eq!(us.registers.rtmr, rtmr, "{name}");
        assert_eq!(us.report_data, report.report_data, "{name}");
        assert_eq!(us.td_attributes, report.td_attributes, "{name}");
        assert_eq!(us.xfam, report.xfam, "{name}");
        assert_eq!(us.mr_config_id, report.mr_config_id, "{name}");
        assert_eq!(us.mr_owner, report.mr_owner, "{name}");
        assert_eq!(us.mr_owner_config, report.mr_owner_config, "{name}");
        assert_eq!(us.mr_seam, report.mr_seam, "{name}");
        assert_eq!(us.mr_signer_seam, report.mr_signer_seam, "{name}");
        assert_eq!(us.seam_attributes, report.seam_attributes, "{name}");
        assert_eq!(us.tee_tcb_svn, report.tee_tcb_svn, "{name}");
        let service = theirs.report.as_td15().map(|report| report.mr_service_td);
        assert_eq!(us.mr_service_td, service, "{name}");
    }
}

/// What tdx-quote reads, if it can: it panics on some quotes.
fn second_opinion(bytes: &[u8]) -> Option<tdx_quote::Quote> {
    let read = std::panic::catch_unwind(|| tdx_quote::Quote::from_bytes(bytes));
    read.ok()?.ok()
}

#[test]
fn our_parser_agrees_with_tdx_quote_wherever_that_can_read() {
    let mut read = 0;
    for (name, bytes) in quotes() {
        let ours = Quote::parse(&bytes).unwrap();
        let Some(theirs) = second_opinion(&bytes) else {
            continue;
        };
        read += 1;
        let us = &ours.report;
        let rtmr = [
            theirs.rtmr0(),
            theirs.rtmr1(),
            theirs.rtmr2(),
            theirs.rtmr3(),
        ];
        assert_eq!(us.registers.mrtd, theirs.mrtd(), "{name}");
        assert_eq!(us.registers.rtmr, rtmr, "{name}");
        assert_eq!(us.report_data, theirs.report_input_data(), "{name}");
        let body = &theirs.body;
        assert_eq!(us.tee_tcb_svn, body.tee_tcb_svn, "{name}");
        assert_eq!(us.mr_seam, body.mrseam, "{name}");
        assert_eq!(us.mr_signer_seam, body.mrsignerseam, "{name}");
        assert_eq!(us.seam_attributes, body.seamattributes, "{name}");
        assert_eq!(us.td_attributes, body.tdattributes, "{name}");
        assert_eq!(us.xfam, body.xfam, "{name}");
        assert_eq!(us.mr_config_id, body.mrconfigid, "{name}");
        assert_eq!(us.mr_owner, body.mrowner, "{name}");
        assert_eq!(us.mr_owner_config, body.mrownerconfig, "{name}");
    }
    // It refuses version 5.
    assert_eq!(read, 3);
}

#[test]
fn a_bad_argument_is_one_line_and_status_2() {
    for arguments in [
        &["verify", "--quote"][..],
        &["verify", "--quote", "x", "--accept-tcb", "Revoked"],
        &["verify", "--quote", "x", "--at", "soon"],
        &["nonsense"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let (quote, root) = ("v4-uptodate.quote.bin", "expected.json");
    let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .args(["verify", "--quote", quote, "--root", root])
        .current_dir(folder())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("holds no certificate"), "{text}");
}

#[test]
fn a_file_that_is_not_there_or_too_long_is_one_line_and_status_1() {
    let long = tempfile::NamedTempFile::new().unwrap();
    fs::write(long.path(), vec![0; MAX_QUOTE + 1]).unwrap();
    for quote in ["/nowhere/quote.bin", long.path().to_str().unwrap()] {
        let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
            .args(["show", "--quote", quote])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{quote}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.starts_with("error: ") && text.contains(quote),
            "{text}"
        );
    }
}
