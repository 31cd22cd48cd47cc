//! The program: what it prints, and how it ends.

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use zipnet_measurements::Manifest;
use zipnet_measurements::drivers::TCG2_DXE;

use crate::vectors::{Td, path};

pub fn measure(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zipnet-measure"))
        .args(arguments)
        .output()
        .unwrap()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("initrd"), b"an initramfs").unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
        self.path(name)
    }

    /// A verb with all files, then more arguments.
    pub fn run(&self, verb: &str, more: &[&str]) -> Output {
        let firmware = path("tdvf/guid-table.fd").display().to_string();
        let kernel = path("kernel/kernel.bz").display().to_string();
        let initrd = self.path("initrd");
        let mut arguments = vec![
            verb,
            "--firmware",
            &firmware,
            "--kernel",
            &kernel,
            "--initrd",
            &initrd,
            "--cmdline",
            "console=ttyS0 quiet",
            "--firmware-like",
            "debian-2025.02-8+deb13u1",
        ];
        arguments.extend(more);
        measure(&arguments)
    }
}

pub const SHAPE: [&str; 4] = ["--cpus", "2", "--memory", "2G"];

#[test]
fn predict_prints_every_register_with_its_events() {
    let files = Files::new();
    let output = files.run("predict", &[SHAPE.as_slice(), &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = json(&output);
    for register in ["mrtd", "rtmr0", "rtmr1", "rtmr2"] {
        assert_eq!(found[register].as_str().unwrap().len(), 96, "{register}");
    }
    assert_eq!(found["reasons"], serde_json::json!({}));
    let events = found["events"].as_array().unwrap();
    assert_eq!(events.len(), 4 + 13 + 5 + 2);
    for event in events {
        assert!(event["source"].is_string() && event["depends_on"].is_array());
        assert!(event["digest"].is_string() || event["reason"].is_string());
    }
    // The golden firmware is not the build that it is taken to be like.
    for register in ["mrtd", "rtmr0", "rtmr1", "rtmr2"] {
        let standing = &found["standing"][register];
        assert_eq!(standing["confirmed"], false, "{register}");
        let like = standing["evidence"]
            .as_str()
            .unwrap()
            .contains("like debian-2025.02");
        assert_eq!(like, register != "mrtd", "{standing}");
    }
    let human = files.run("predict", &SHAPE);
    let human = text(&human.stdout);
    assert!(human.contains(found["rtmr0"].as_str().unwrap()), "{human}");
    assert!(human.contains("RTMR0 is unconfirmed"), "{human}");
}

#[test]
fn what_is_not_given_is_null_with_a_reason() {
    let firmware = path("tdvf/guid-table.fd").display().to_string();
    let output = measure(&["predict", "--firmware", &firmware, "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let found = json(&output);
    assert!(found["mrtd"].is_string());
    for register in ["rtmr0", "rtmr1", "rtmr2"] {
        assert_eq!(found[register], Value::Null);
        let reason = found["reasons"][register].as_str().unwrap();
        assert!(
            reason.contains("nobody has looked at this firmware"),
            "{reason}"
        );
    }
    let like = ["--firmware-like", "debian-2025.02-8+deb13u1"];
    let firmware = ["predict", "--firmware", &firmware, "--json"];
    let found = json(&measure(&[firmware.as_slice(), &like].concat()));
    assert_eq!(found["reasons"]["rtmr1"], "the kernel is not given");
    let reason = found["reasons"]["rtmr0"].as_str().unwrap();
    assert!(
        reason.contains("the amount of memory is not given"),
        "{reason}"
    );
}

#[test]
fn a_whole_table_of_shapes_takes_less_than_a_second() {
    let files = Files::new();
    let shapes = [
        "--cpus",
        "1,2,4,8,16,32",
        "--memory",
        "512M,1G,2G,4G,8G,16G,32G",
        "--json",
    ];
    // Other tests may have the processors for a while, not five times over.
    let mut output = None;
    let quick = (0..5).any(|_| {
        let start = Instant::now();
        output = Some(files.run("predict", &shapes));
        start.elapsed() < Duration::from_secs(1)
    });
    assert!(quick, "a table takes a second or more");
    let output = output.unwrap();
    let found = json(&output);
    let shapes = found["shapes"].as_array().unwrap();
    assert_eq!(shapes.len(), 42);
    let mut rtmr0: Vec<_> = shapes
        .iter()
        .map(|s| s["rtmr0"].as_str().unwrap())
        .collect();
    rtmr0.sort_unstable();
    rtmr0.dedup();
    assert_eq!(rtmr0.len(), 42, "every shape has its own RTMR0");
}

#[test]
fn explain_prints_a_table() {
    let files = Files::new();
    let output = files.run("explain", &SHAPE);
    let table = text(&output.stdout);
    let first = table.lines().next().unwrap();
    assert_eq!(
        first.split_whitespace().collect::<Vec<_>>(),
        ["register", "event", "digest", "depends", "on", "source"]
    );
    assert_eq!(table.lines().count(), 1 + 4 + 13 + 5 + 2);
    assert!(table.contains("TD HOB"));
    let many = files.run("explain", &["--cpus", "1,2", "--memory", "1G"]);
    assert_eq!(many.status.code(), Some(2));
}

#[test]
fn replay_prints_registers() {
    let files = Files::new();
    let td = Td::read("near-2025");
    let log = files.write("log", &td.log());
    let output = measure(&["replay", &log, "--json"]);
    let found = json(&output);
    let registers = td.registers.unwrap();
    assert_eq!(found["kind"], "td");
    assert_eq!(found["registers"]["rtmr0"], registers.rtmr0.to_string());
    assert_eq!(found["registers"]["rtmr2"], registers.rtmr2.to_string());
    let tpm = path("eventlog/tpm-qemu-10.0.2.log").display().to_string();
    let output = text(&measure(&["replay", &tpm, "--events"]).stdout);
    assert!(output.contains("pcr9 sha256"), "{output}");
    assert!(output.contains("EV_EVENT_TAG"), "{output}");
}

#[test]
fn diff_tells_by_its_status() {
    let files = Files::new();
    let predicted = |memory: &str| {
        let output = files.run("predict", &["--cpus", "2", "--memory", memory, "--json"]);
        files.write(&format!("{memory}.json"), &output.stdout)
    };
    let (a, b) = (predicted("2G"), predicted("4G"));
    let same = measure(&["diff", &a, &a]);
    assert_eq!(same.status.code(), Some(0));
    assert_eq!(text(&same.stdout), "same\n");
    let differs = measure(&["diff", &a, &b, "--json"]);
    assert_eq!(differs.status.code(), Some(1));
    let found = json(&differs);
    assert_eq!(found["same"], false);
    assert_eq!(found["differences"][0]["register"], "rtmr0");
    assert_eq!(found["differences"][0]["expected_event"]["event"], "TD HOB");
    assert_eq!(found["differences"][0]["cause"]["reproduced"], true);
    // A log and a quote of other TDs.
    let log = files.write("log", &Td::read("coco").log());
    let output = text(&measure(&["diff", &a, &log]).stdout);
    assert!(output.contains("RTMR0 differs from event 1 on"), "{output}");
    assert!(
        output.contains("found event     EV_EFI_HANDOFF_TABLES2  TdxTable"),
        "{output}"
    );
    let quotes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../attest/vectors/quotes");
    let quote = quotes.join("v4-uptodate.quote.bin").display().to_string();
    let output = measure(&["diff", &a, &quote]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("MRTD differs"));
}

#[test]
fn release_writes_what_a_policy_needs_and_what_changed() {
    let files = Files::new();
    let out = files.path("");
    let shapes = ["--cpus", "1,2", "--memory", "1G,4G", "--out", &out];
    let tools = ["--toolchain", "rustc=1.95.0"];
    let first = files.run(
        "release",
        &[shapes.as_slice(), &tools, &["--version", "0.1.0"]].concat(),
    );
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let path = files.path("0.1.0.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let ids: Vec<_> = manifest["shapes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["id"])
        .collect();
    assert_eq!(ids, ["1c1G", "1c4G", "2c1G", "2c4G"]);
    assert_eq!(manifest["toolchain"]["rustc"], "1.95.0");
    assert_eq!(manifest["changes"]["measurements_changed"], true);
    for file in ["firmware", "kernel", "initrd"] {
        assert_eq!(
            manifest["inputs"][file]["sha256"].as_str().unwrap().len(),
            64
        );
    }
    let whole = Manifest::from_json(&std::fs::read(&path).unwrap()).unwrap();
    let report = whole.report("2c4G").unwrap();
    assert_eq!(report.rtmr0, whole.shapes[3].rtmr0);
    // The same again, then with another initramfs.
    let again = |version: &str| {
        let more = ["--previous", &path, "--version", version];
        let output = files.run("release", &[shapes.as_slice(), &more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(again("0.1.1").contains("Measurements are the same as in 0.1.0."));
    files.write("initrd", b"another one");
    assert!(again("0.2.0").contains("Measurements changed since 0.1.0: rtmr2."));
    // Manifests, by shape and as a whole.
    let new = files.path("0.2.0.json");
    let output = measure(&["diff", &path, &new]);
    assert_eq!(output.status.code(), Some(1));
    let output = text(&output.stdout);
    assert_eq!(output.matches("differs").count(), 1, "{output}");
    assert!(output.contains("RTMR2 differs from event 2 on"), "{output}");
    assert!(
        output.contains("  in shapes 1c1G, 1c4G, 2c1G, 2c4G\n"),
        "{output}"
    );
    let other = [
        "--cpus",
        "4",
        "--memory",
        "1G",
        "--out",
        &out,
        "--version",
        "4c",
    ];
    assert_eq!(files.run("release", &other).status.code(), Some(0));
    let output = measure(&["diff", &path, &files.path("4c.json")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no shape in common"));
    let log = files.write("log", &Td::read("coco").log());
    let output = measure(&["diff", &path, &log]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("1c1G, 1c4G, 2c1G, 2c4G"));
}

/// A host that gives such a firmware a TPM chooses what runs behind the registers.
#[test]
fn d1_no_release_of_a_firmware_with_tcg2_and_parts_apart() {
    let files = Files::new();
    let mut firmware = std::fs::read(path("tdvf/guid-table.fd")).unwrap();
    let zeros = |window: &[u8]| window.iter().all(|byte| *byte == 0);
    let at = firmware.windows(16).position(zeros).unwrap();
    firmware[at..at + 16].copy_from_slice(&TCG2_DXE.0);
    let firmware = files.write("OVMF.fd", &firmware);
    let kernel = path("kernel/kernel.bz").display().to_string();
    let initrd = files.path("initrd");
    let output = measure(
        &[
            &["release", "--version", "0.1.0", "--firmware", &firmware],
            &[
                "--kernel",
                &kernel,
                "--initrd",
                &initrd,
                "--cmdline",
                "quiet",
            ][..],
            &["--firmware-like", "debian-2025.02-8+deb13u1"],
            &SHAPE,
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("Tcg2Dxe") && said.contains("--image"),
        "{said}"
    );
}
