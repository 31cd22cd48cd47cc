//! `confirm`, with a launcher of the test's that says what a guest would.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;
use zipnet_measurements::{Digest384, Manifest, Register, Report, eventlog::EventKind};

use crate::{
    cli::{Files, measure, text},
    vectors::{add, log_header},
};

/// A release, the console of a TD of it, and where things are.
struct Bench {
    files: Files,
    report: Report,
    console: Vec<String>,
    /// What it says if it is given a TPM.
    with_tpm: &'static str,
}

impl Bench {
    fn new() -> Self {
        let files = Files::new();
        let out = files.path("");
        let more = [
            "--cpus",
            "2",
            "--memory",
            "2G",
            "--version",
            "0.1.0",
            "--out",
            &out,
        ];
        assert_eq!(files.run("release", &more).status.code(), Some(0));
        let manifest = Manifest::from_json(&fs::read(files.path("0.1.0.json")).unwrap()).unwrap();
        let report = manifest.report("2c2G").unwrap();
        let mut console = vec![
            "zipnet-init 0.1.0 (production) on Linux".to_owned(),
            "clock: goes by tsc at the 2000 MHz that the processor tells".to_owned(),
        ];
        let log = log(&report);
        console.extend(
            log.chunks(100)
                .map(|part| format!("event log: {}", hex::encode(part))),
        );
        console.push("attestation: configfs-tsm (provider tdx_guest)".to_owned());
        for register in Register::ALL {
            let digest = report.register(register).unwrap();
            console.push(format!("measurement: {register:<5} {digest}"));
        }
        console.push(format!("measurement: RTMR3 {}", Digest384::ZERO));
        Self {
            files,
            report,
            console,
            with_tpm: "error: This machine has a TPM, tpm0",
        }
    }

    /// Replaces a line of the console.
    fn says(&mut self, beginning: &str, line: &str) {
        let at = self
            .console
            .iter()
            .position(|old| old.starts_with(beginning));
        line.clone_into(&mut self.console[at.unwrap()]);
    }

    /// What the command says: status, and the rows of its file.
    fn confirm(&self, more: &[&str]) -> (Option<i32>, Vec<(String, String, String)>) {
        let script = format!(
            "#!/bin/sh\ncase $* in *tpm-crb*) echo '{}'; exit;; esac\ncat <<'END'\n{}\nEND\nexec sleep 60\n",
            self.with_tpm,
            self.console.join("\n")
        );
        let launcher = self.files.write("launcher", script.as_bytes());
        fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)).unwrap();
        let (manifest, out) = (self.files.path("0.1.0.json"), self.files.path("confirmed"));
        let arguments = [
            &[
                "confirm",
                &manifest,
                "--launcher",
                &launcher,
                "--config",
                "/dev/null",
            ][..],
            &["--out", &out],
            more,
        ];
        let output = measure(&arguments.concat());
        let said = text(&output.stderr);
        assert!(said.is_empty(), "{said}");
        let record: Value = serde_json::from_slice(&fs::read(out).unwrap()).unwrap();
        let word = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = record["rows"].as_array().unwrap().iter();
        let rows = rows.map(|row| {
            (
                word(row, "what"),
                word(row, "verdict"),
                word(row, "because"),
            )
        });
        (output.status.code(), rows.collect())
    }
}

/// A log of just the predicted events.
fn log(report: &Report) -> Vec<u8> {
    let mut log = log_header();
    for (index, register) in [
        (1, Register::Rtmr0),
        (2, Register::Rtmr1),
        (3, Register::Rtmr2),
    ] {
        for event in report.events_of(register) {
            let kind = EventKind::from_name(&event.kind).unwrap();
            add(&mut log, index, kind, &event.digest.unwrap(), b"");
        }
    }
    log
}

fn of<'a>(rows: &'a [(String, String, String)], what: &str) -> (&'a str, &'a str) {
    let row = rows.iter().find(|row| row.0.contains(what));
    row.map(|row| (row.1.as_str(), row.2.as_str())).unwrap()
}

#[test]
fn a_boot_as_predicted_confirms_everything() {
    let bench = Bench::new();
    let (status, rows) = bench.confirm(&["--tpm", "/a/socket"]);
    for (what, verdict, because) in &rows {
        assert_eq!(verdict, "confirmed", "{what}: {because}");
    }
    assert_eq!(status, Some(0));
    assert_eq!(rows.len(), 9);
    // Without that boot, one thing is left open.
    let (status, rows) = bench.confirm(&[]);
    assert_eq!(status, Some(1));
    assert_eq!(of(&rows, "D1").0, "not-seen");
    assert_eq!(rows.iter().filter(|row| row.1 == "confirmed").count(), 8);
}

/// That a guest with a TPM ended for another reason is neither good nor bad news.
#[test]
fn d1_a_boot_with_a_tpm_is_judged_by_what_it_shows() {
    let mut bench = Bench::new();
    for (says, verdict) in [
        (
            "measurement: RTMR2 000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
            "wrong",
        ),
        ("error: there is no memory", "not-seen"),
        ("", "not-seen"),
    ] {
        bench.with_tpm = says;
        let (status, rows) = bench.confirm(&["--tpm", "/a/socket"]);
        assert_eq!((status, of(&rows, "D1").0), (Some(1), verdict), "{says}");
    }
}

#[test]
fn what_is_not_as_predicted_is_wrong_and_said_how() {
    let mut bench = Bench::new();
    let other = bench.report.mrtd_other_order.unwrap();
    bench.says("measurement: MRTD", &format!("measurement: MRTD  {other}"));
    bench.says(
        "measurement: RTMR2",
        &format!("measurement: RTMR2 {}", Digest384::ZERO),
    );
    bench.says("measurement: RTMR3", &format!("measurement: RTMR3 {other}"));
    bench.says("clock: ", "clock: goes by hyperv_clocksource_msr");
    let (status, rows) = bench.confirm(&[]);
    assert_eq!(status, Some(1));
    for (what, because) in [
        ("MRTD", "the other order"),
        ("RTMR2", "was predicted"),
        ("RTMR3", &other.to_string()),
        ("event log", "other registers"),
        ("D2", "hyperv"),
    ] {
        let (verdict, said) = of(&rows, what);
        assert_eq!(verdict, "wrong", "{what}");
        assert!(said.contains(because), "{what}: {said}");
    }
    for what in ["starts as a TD", "RTMR0", "RTMR1"] {
        assert_eq!(of(&rows, what).0, "confirmed", "{what}");
    }
}

#[test]
fn a_guest_that_is_no_td_confirms_nothing() {
    let mut bench = Bench::new();
    bench.says("attestation: ", "attestation: simulated: it proves nothing");
    let (status, rows) = bench.confirm(&["--tpm", "/a/socket"]);
    assert_eq!(status, Some(1));
    for (what, verdict, _) in &rows {
        assert_eq!(verdict, "not-seen", "{what}");
    }
    // Nor does one that does not come up.
    bench.console = vec!["error: This machine could not be set up".to_owned()];
    let (_, rows) = bench.confirm(&[]);
    assert!(
        of(&rows, "starts as a TD")
            .1
            .contains("could not be set up")
    );
    assert!(rows.iter().all(|row| row.1 == "not-seen"));
}
