//! Hostile files through the program: status 2, and what is wrong with which file.

use serde_json::Value;
use zipnet_measurements::machine::FROZEN;

use crate::{
    cli::{Files, SHAPE, json, measure, text},
    guest::Guest,
    vectors::{Td, path, read},
};

/// A manifest that somebody has changed by hand is refused by what it says.
#[test]
fn manifests_that_contradict_themselves() {
    let files = Files::new();
    let out = files.path("");
    let release = |more: &[&str]| {
        let common = ["--out", &out, "--version", "0.1.0"];
        files.run("release", &[common.as_slice(), more].concat())
    };
    let written = release(&["--cpus", "1,2", "--memory", "1G"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    let good: Value =
        serde_json::from_slice(&std::fs::read(files.path("0.1.0.json")).unwrap()).unwrap();
    let other = "ab".repeat(48);
    let changes: [(&str, Value, &str); 9] = [
        ("/rtmr1", other.clone().into(), "RTMR1 is abab"),
        ("/rtmr2", "00".repeat(48).into(), "RTMR2 is all zeros"),
        ("/mrtd", "00".repeat(48).into(), "MRTD is all zeros"),
        ("/mrtd", Value::Null, "not of the format"),
        ("/shapes/1/rtmr0", other.into(), "RTMR0 of 2c1G is abab"),
        (
            "/shapes/1/events/3/digest",
            Value::Null,
            "RTMR0 of 2c1G is ",
        ),
        ("/shapes/1/id", "1c1G".into(), "2c1G would be right"),
        ("/shapes", Value::Array(vec![]), "0 shapes; 1 to 256"),
        ("/format", 2.into(), "format 2; 1 is known"),
    ];
    for (place, value, says) in changes {
        let mut edited = good.clone();
        *edited.pointer_mut(place).unwrap() = value;
        let path = files.write("edited.json", edited.to_string().as_bytes());
        let output = measure(&["diff", &path, &path, "--shape", "1c1G"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{place}: {said}");
        assert!(said.contains(says), "{place}: {said}");
    }
    // RTMR1 of a kernel that QEMU patches is another one for each amount of memory.
    let shapes = ["--cpus", "1", "--memory", "1G,2G"];
    let patched = release(&[shapes.as_slice(), &["--qemu-patches-kernel"]].concat());
    assert_eq!(patched.status.code(), Some(2));
    assert!(text(&patched.stderr).contains("without --qemu-patches-kernel"));
    let twice = release(&["--cpus", "1,1", "--memory", "1G"]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("Shape 1c1G is named twice"));
}

#[test]
fn bad_input_is_one_line_with_the_offset() {
    let files = Files::new();
    let firmware = std::fs::read(path("tdvf/guid-table.fd")).unwrap();
    let cut = files.write("cut.fd", &firmware[..0x3000]);
    let output = measure(&["predict", "--firmware", &cut]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("cut.fd cannot be used"), "{said}");
    assert!(
        said.contains("because: The firmware has no TDX metadata"),
        "{said}"
    );
    assert!(said.contains("0x2fe0"), "{said}");
    let missing = measure(&["predict", "--firmware", "/nonexistent"]);
    assert_eq!(missing.status.code(), Some(2));
    let log = files.write("log", b"no log");
    let output = measure(&["replay", &log]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("Truncated at offset"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(measure(&["predict"]).status.code(), Some(2));
    assert_eq!(
        files.run("predict", &["--memory", "2"]).status.code(),
        Some(2)
    );
}

/// One line and its causes, with status 2.
fn is_refused(arguments: &[&str], says: &str) {
    let output = measure(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{says}: {said}");
    assert!(output.stdout.is_empty(), "{says}");
    assert!(said.lines().count() <= 3, "{said}");
    assert!(said.contains(says), "{says}: {said}");
}

#[test]
fn every_kind_of_file_is_refused_with_its_offset() {
    let files = Files::new();
    let firmware = path("tdvf/guid-table.fd").display().to_string();
    let mut kernel = read("kernel/kernel.bz");
    kernel.truncate(0x1800);
    let kernel = files.write("kernel", &kernel);
    let more = ["--kernel", &kernel];
    let predict = ["predict", "--firmware", &firmware];
    is_refused(
        &[&predict[..], &more].concat(),
        "of the PE image, at offset 0x1",
    );
    let setup = files.write("setup", &[0; 0x1000]);
    is_refused(
        &[&predict[..], &["--kernel", &setup]].concat(),
        "offset 0x202 holds 00000000",
    );
    // The machine's tables by --acpi, then a loader that names one twice.
    let machine = FROZEN.acpi(Guest::default().shape).unwrap();
    files.write("rsdp", &machine.rsdp);
    files.write("tables", &machine.tables);
    files.write("loader", &machine.loader);
    let dir = files.path("");
    let acpi = [
        "--acpi",
        &dir,
        "--firmware-like",
        "debian-2025.02-8+deb13u1",
    ];
    let given = json(&measure(
        &[&predict[..], &acpi, &SHAPE, &["--json"]].concat(),
    ));
    let known = json(&measure(
        &[&predict[..], &acpi[2..], &SHAPE, &["--json"]].concat(),
    ));
    assert!(given["rtmr0"].is_string());
    assert_eq!(given["rtmr0"], known["rtmr0"]);
    files.write("loader", &machine.loader.repeat(2));
    is_refused(
        &[&predict[..], &acpi, &SHAPE].concat(),
        "overlap at offset 0x",
    );
    files.write("loader", &[0; 128]);
    is_refused(&[&predict[..], &acpi, &SHAPE].concat(), "names no table");
    // What `diff` and `replay` take.
    let report = files.write(
        "report",
        &measure(&[&predict[..], &["--json"]].concat()).stdout,
    );
    let mut quote = vec![0; 400];
    quote[..8].copy_from_slice(&[4, 0, 2, 0, 0x81, 0, 0, 0]);
    let quote = files.write("quote", &quote);
    is_refused(
        &["diff", &report, &quote],
        "Truncated at offset 0x178: RTMR0",
    );
    let mut log = Td::read("coco").log();
    log.truncate(300);
    let log = files.write("log", &log);
    is_refused(&["diff", &report, &log], "Truncated at offset 0x");
    is_refused(&["replay", &log], "Truncated at offset 0x");
    let broken = files.write("broken", b"{\"format\":1}");
    is_refused(
        &["diff", &report, &broken],
        "The manifest is not of the format",
    );
    let broken = files.write("broken", b"{\"mrtd\":1}");
    is_refused(
        &["diff", &broken, &report],
        "The prediction is not of the format",
    );
    is_refused(&["replay", &files.path("initrd")], "offset 0x");
}

#[test]
fn the_ccel_table_is_not_the_log() {
    let files = Files::new();
    let mut table = b"CCEL".to_vec();
    table.extend(56_u32.to_le_bytes());
    table.resize(36, 0);
    table.extend([2, 0, 0, 0]);
    table.extend(0x1_0000_u64.to_le_bytes());
    table.extend(0x7f00_0000_u64.to_le_bytes());
    let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    table[9] = sum.wrapping_neg();
    let good = files.write("CCEL", &table);
    is_refused(&["replay", &good], "tables/data/CCEL would be right");
    is_refused(&["replay", &good], "up to 0x10000 bytes at 0x7f000000");
    let cut = files.write("cut", &table[..50]);
    is_refused(&["replay", &cut], "The CCEL table is broken at offset 0x4");
}

#[test]
fn long_lists_and_words_for_terminals() {
    let files = Files::new();
    let firmware = path("tdvf/guid-table.fd").display().to_string();
    let printed = measure(&["predict", "--firmware", &firmware, "--json"]).stdout;
    let report: Value = serde_json::from_slice(&printed).unwrap();
    let good = files.write("good", &printed);
    for (place, says) in [
        ("/events", "257 events; at most 256"),
        ("/early_memory/ranges", "257 ranges of early memory"),
    ] {
        let mut long = report.clone();
        let list = long.pointer_mut(place).unwrap().as_array_mut().unwrap();
        let first = list[0].clone();
        list.resize(257, first);
        let long = files.write("long", long.to_string().as_bytes());
        is_refused(&["diff", &good, &long], says);
    }
    let mut loud = report;
    loud["events"][0]["event"] = "\u{1b}[2Jsame".into();
    loud["mrtd"] = "ab".repeat(48).into();
    let loud = files.write("loud", loud.to_string().as_bytes());
    let output = measure(&["diff", &good, &loud]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(
        said.contains("\u{fffd}[2Jsame") && !said.contains('\u{1b}'),
        "{said:?}"
    );
}
