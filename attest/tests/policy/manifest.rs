//! `policy new --manifest`: policies of releases, by the real binary, and what
//! they accept.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Value, json};
use zipnet_attest::{
    Collateral, Evidence,
    simulation::{Td, World},
};
use zipnet_measurements::{
    Inputs, Kernel, Manifest, Report, Shape,
    digest::sha384,
    machine::FROZEN,
    mrtd::{EXPECTED, MeasuredFirmware},
    predict,
    profile::PROFILES,
    release::{InputFile, ReleaseInputs},
    tdvf::Firmware,
};

use crate::fixtures::{ISSUED, in_world, statement};

const CMDLINE: &str = "console=ttyS0 quiet";
/// That of [`Td::default`].
const XFAM: &str = "e702060000000000";

/// The release of the golden files with this initramfs, for each number of
/// processors with 2 GiB. QEMU's tables are known for powers of two.
fn release(version: &str, initrd: &[u8], cpus: &[u32]) -> Manifest {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../measurements/vectors");
    let firmware = fs::read(vectors.join("tdvf/guid-table.fd")).unwrap();
    let kernel = fs::read(vectors.join("kernel/kernel.bz")).unwrap();
    let parsed = Firmware::parse(&firmware).unwrap();
    let measured = MeasuredFirmware::new(&parsed);
    let read = Kernel::parse(&kernel).unwrap();
    let report = |cpus| {
        let memory = 2 << 30;
        let shape = Shape { cpus, memory };
        let inputs = Inputs {
            firmware: &measured,
            profile: PROFILES.first(),
            order: EXPECTED,
            unified: Some(sha384(initrd)),
            kernel: Some(&read),
            initrd: Some((sha384(initrd), initrd.len() as u64)),
            cmdline: Some(CMDLINE),
            shape: Some(shape),
        };
        let acpi = FROZEN.acpi(shape).map_err(|error| error.to_string());
        let prediction = predict(&inputs, acpi.as_ref().map_err(Clone::clone));
        Report::new(&inputs, prediction, Vec::new())
    };
    let inputs = ReleaseInputs {
        firmware: InputFile::new("OVMF.fd", &firmware),
        firmware_profile: None,
        unified: Some(InputFile::new("image.efi", initrd)),
        kernel: InputFile::new("vmlinuz", &kernel),
        initrd: InputFile::new("initramfs.cpio", initrd),
        cmdline: CMDLINE.to_owned(),
    };
    let reports = cpus.iter().map(|cpus| report(*cpus)).collect();
    Manifest::new(version, inputs, BTreeMap::new(), &FROZEN, reports, None).unwrap()
}

/// A TD with the registers of a release and this RTMR0.
fn td(release: &Manifest, rtmr0: [u8; 48]) -> Td {
    Td {
        mrtd: release.mrtd.0,
        rtmr: [rtmr0, release.rtmr1.0, release.rtmr2.0, [0; 48]],
        ..Td::default()
    }
}

fn rtmr0(release: &Manifest, shape: usize) -> [u8; 48] {
    release.shapes[shape].rtmr0.unwrap().0
}

/// A folder with files, in which the binary runs.
struct Bench {
    dir: tempfile::TempDir,
    world: World,
}

/// How a run ended, what it printed, and what it said beside that.
type Ran = (Option<i32>, String, String);

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            world: World::builder(b"manifest", ISSUED).build().unwrap(),
        }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn manifest(&self, name: &str, manifest: &Manifest) {
        self.write(name, serde_json::to_vec(manifest).unwrap());
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
            .args(arguments)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code();
        let said = text(output.stderr);
        // What the fields of the policy mean has a test of its own.
        let said = said.lines().filter(|line| !line.starts_with("# "));
        let said: Vec<_> = said.collect();
        (code, text(output.stdout), said.join("\n"))
    }

    fn policy(&self, manifest: &str, more: &[&str]) -> Ran {
        let new = [
            "policy",
            "new",
            "--manifest",
            manifest,
            "--evaluation",
            "20",
            "--any-platform",
        ];
        self.run(&[&new, more].concat())
    }

    /// The policy, for this simulated world instead of Intel's.
    fn simulated(&self, text: &str) -> Value {
        in_world(&self.world, serde_json::from_str(text).unwrap())
    }

    /// What the policy in `policy.json` does with a TD.
    fn verdict(&self, policy: &Value, td: &Td) -> Value {
        self.write("policy.json", policy.to_string());
        self.write("root.der", self.world.root_der());
        let collateral = Collateral::new(self.world.collateral().clone()).unwrap();
        self.write("collateral.json", collateral.to_json());
        let statement = statement();
        let td = Td {
            report_data: statement.report_data(),
            ..td.clone()
        };
        let quote = self.world.quote(&td);
        self.write("evidence", Evidence { statement, quote }.encode());
        let at = (ISSUED + 3600).to_string();
        let (_, printed, said) = self.run(&[
            "policy",
            "simulate",
            "--policy",
            "policy.json",
            "--collateral",
            "collateral.json",
            "--root",
            "root.der",
            "--at",
            &at,
            "evidence",
        ]);
        serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{said}"))
    }
}

#[test]
fn a_policy_of_a_manifest_accepts_its_tuples_and_no_mixture() {
    let bench = Bench::new();
    let old = release("0.1.0", b"an initramfs", &[1, 2]);
    let new = release("0.2.0", b"another one", &[4]);
    bench.manifest("0.1.0.json", &old);
    bench.manifest("0.2.0.json", &new);
    let more = ["--xfam", XFAM, "--serial", "3"];
    let (status, first, said) = bench.policy("0.1.0.json", &more);
    assert_eq!(status, Some(0), "{said}");
    let (status, second, _) =
        bench.policy("0.2.0.json", &[&more[..], &["--image", "next"]].concat());
    assert_eq!(status, Some(0));
    // As during an update: both releases are accepted.
    let mut policy = bench.simulated(&first);
    let next = bench.simulated(&second)["images"][0].clone();
    policy["images"].as_array_mut().unwrap().push(next);
    assert_eq!(policy["serial"], 3);
    for (release, shape, image, name) in [
        (&old, 0, "0.1.0", "1c2G"),
        (&old, 1, "0.1.0", "2c2G"),
        (&new, 0, "next", "4c2G"),
    ] {
        let verdict = bench.verdict(&policy, &td(release, rtmr0(release, shape)));
        assert_eq!(verdict["verdict"], "accept", "{verdict}");
        assert_eq!(
            (&verdict["image"], &verdict["shape"]),
            (&json!(image), &json!(name))
        );
    }
    // RTMR0 of one shape, and the rest of another; every register is listed.
    for mixed in [
        td(&old, rtmr0(&new, 0)),
        td(&new, rtmr0(&old, 0)),
        Td {
            rtmr: [rtmr0(&old, 0), old.rtmr1.0, new.rtmr2.0, [0; 48]],
            ..td(&old, [0; 48])
        },
    ] {
        let verdict = bench.verdict(&policy, &mixed);
        assert_eq!(verdict["rule"], "ZA-601", "{verdict}");
    }
}

#[test]
fn what_is_unconfirmed_is_said_and_a_reference_boot_confirms_it() {
    let bench = Bench::new();
    let release = release("0.1.0", b"an initramfs", &[1, 2]);
    bench.manifest("m.json", &release);
    bench.write(
        "quote",
        bench.world.quote(&td(&release, rtmr0(&release, 1))),
    );
    let (status, printed, said) = bench.policy("m.json", &["--xfam", XFAM]);
    assert_eq!(status, Some(0), "{said}");
    let image = &bench.simulated(&printed)["images"][0];
    assert_eq!(image["shapes"].as_array().unwrap().len(), 2);
    let lines: Vec<_> = said.lines().collect();
    // RTMR1 and RTMR2 too: the golden firmware is only taken to be a known build.
    assert_eq!(lines.len(), 4, "{said}");
    assert!(
        lines[0].starts_with("note: MRTD is unconfirmed: "),
        "{said}"
    );
    assert!(lines[1].starts_with("note: RTMR0 of 1c2G, 2c2G is unconfirmed: "));
    assert!(
        lines
            .iter()
            .all(|line| line.contains("--reference SHAPE=QUOTE"))
    );
    // The quote has no name, but the RTMR0 of one of the shapes, and an XFAM.
    let (status, printed, said) = bench.policy("m.json", &["--reference", "quote"]);
    assert_eq!(status, Some(0), "{said}");
    let policy = bench.simulated(&printed);
    assert_eq!(policy["td"]["xfam"], json!([XFAM]));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("Registers of 2c2G") && lines[0].contains("not verified"));
    assert!(lines[1].contains("RTMR0 of 1c2G is unconfirmed"), "{said}");
    // Only the shape that was seen: nothing is left open but the quote itself.
    let only = ["--reference", "2c2G=quote", "--shape", "2c2G"];
    let (status, printed, said) = bench.policy("m.json", &only);
    assert_eq!((status, said.lines().count()), (Some(0), 1), "{said}");
    let image = &bench.simulated(&printed)["images"][0];
    assert_eq!(image["shapes"].as_array().unwrap().len(), 1);
    // A manifest that does not say how it was checked is not believed.
    let mut silent = release;
    silent.standing.clear();
    bench.manifest("silent.json", &silent);
    let (_, _, said) = bench.policy("silent.json", &["--xfam", XFAM]);
    assert_eq!(said.matches("does not say how it was checked").count(), 4);
}

#[test]
fn a_shape_without_rtmr0_takes_a_reference_boot() {
    let bench = Bench::new();
    let release = release("0.1.0", b"an initramfs", &[2, 3]);
    assert_eq!(release.shapes[1].rtmr0, None);
    bench.manifest("m.json", &release);
    let seen = [0x42; 48];
    bench.write("quote", bench.world.quote(&td(&release, seen)));
    let (status, printed, said) = bench.policy("m.json", &["--xfam", XFAM]);
    assert_eq!((status, printed.as_str()), (Some(2), ""), "{said}");
    assert!(
        said.contains("RTMR0 of 3c2G has no value in the manifest ("),
        "{said}"
    );
    assert!(said.contains("not seen with 3 processors"), "{said}");
    assert!(said.contains("--reference 3c2G=FILE"), "{said}");
    // Which shape it was is not guessed.
    let (status, _, said) = bench.policy("m.json", &["--reference", "quote"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("in which of 2c2G, 3c2G"), "{said}");
    for more in [
        &["--reference", "3c2G=quote"][..],
        &["--reference", "quote", "--shape", "3c2G"],
    ] {
        let (status, printed, said) = bench.policy("m.json", more);
        assert_eq!(status, Some(0), "{said}");
        let policy = bench.simulated(&printed);
        let verdict = bench.verdict(&policy, &td(&release, seen));
        assert_eq!(verdict["shape"], "3c2G", "{verdict}");
    }
}

#[test]
fn reference_boots_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let release = release("0.1.0", b"an initramfs", &[1, 2, 3]);
    bench.manifest("m.json", &release);
    let good = td(&release, rtmr0(&release, 0));
    let with = |rtmr: [[u8; 48]; 4]| Td {
        rtmr,
        ..good.clone()
    };
    let [zero, one, two, three] = good.rtmr;
    let debug = [1, 0, 0, 0x10, 0, 0, 0, 0];
    for (name, td, status, says) in [
        (
            "mrtd",
            Td {
                mrtd: [9; 48],
                ..good.clone()
            },
            1,
            "differs in MRTD;",
        ),
        (
            "rtmr1",
            with([zero, [9; 48], two, three]),
            1,
            "differs in RTMR1;",
        ),
        (
            "both",
            with([zero, [9; 48], [9; 48], three]),
            1,
            "in RTMR1, RTMR2;",
        ),
        (
            "other",
            with([rtmr0(&release, 1), one, two, three]),
            1,
            "would be right for 1c2G",
        ),
        (
            "none",
            with([[0; 48], one, two, three]),
            1,
            "measured nothing into RTMR0",
        ),
        (
            "extended",
            with([zero, one, two, [9; 48]]),
            1,
            "an RTMR3 that its guest has extended",
        ),
        (
            "debug",
            Td {
                td_attributes: debug,
                ..good.clone()
            },
            1,
            "in debug mode",
        ),
    ] {
        bench.write(name, bench.world.quote(&td));
        let reference = format!("1c2G={name}");
        let more = ["--shape", "1c2G,2c2G", "--reference", &reference];
        let (found, printed, said) = bench.policy("m.json", &more);
        assert_eq!(
            (found, printed.as_str()),
            (Some(status), ""),
            "{name}: {said}"
        );
        assert!(said.contains(says), "{name}: {said}");
    }
}

#[test]
fn arguments_and_files_of_a_new_policy_that_are_no_good() {
    let bench = Bench::new();
    let release = release("0.1.0", b"an initramfs", &[1, 2, 3]);
    bench.manifest("m.json", &release);
    for (name, rtmr0) in [("seen", [7; 48]), ("again", [8; 48])] {
        bench.write(name, bench.world.quote(&td(&release, rtmr0)));
    }
    bench.write("junk", b"junk");
    bench.write("empty.json", b"{}");
    let mut apart = release.clone();
    apart.inputs.unified = None;
    bench.manifest("apart.json", &apart);
    for (manifest, more, status, says) in [
        ("m.json", &["--shape", "1c2G"][..], 2, "which XFAM"),
        (
            "m.json",
            &["--shape", "8c2G"],
            2,
            "has no shape 8c2G; it has 1c2G, 2c2G, 3c2G",
        ),
        (
            "m.json",
            &["--reference", "3c2G=seen", "--reference", "3c2G=again"],
            1,
            "be right for 3c2G",
        ),
        (
            "m.json",
            &["--reference", "junk"],
            1,
            "junk is no quote: ZA-102",
        ),
        (
            "m.json",
            &["--reference", "nowhere"],
            1,
            "Could not read nowhere",
        ),
        ("m.json", &["--xfam", "e7"], 2, "expected 16 hex digits"),
        (
            "apart.json",
            &["--xfam", XFAM],
            1,
            "does not cover command line and initramfs",
        ),
        (
            "m.json",
            &["--quote", "seen", "--image", "x"],
            2,
            "cannot be used with",
        ),
        (
            "empty.json",
            &["--xfam", XFAM],
            1,
            "because: The manifest is not of the format",
        ),
    ] {
        let (found, printed, said) = bench.policy(manifest, more);
        assert_eq!(
            (found, printed.as_str()),
            (Some(status), ""),
            "{more:?}: {said}"
        );
        assert!(said.contains(says), "{more:?}: {said}");
    }
    // What --quote asks for has stayed.
    assert_eq!(bench.run(&["policy", "new", "--quote", "seen"]).0, Some(2));
    assert_eq!(bench.run(&["policy", "new", "--image", "x"]).0, Some(2));
}
