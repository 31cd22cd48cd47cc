//! What `make image` has built: parts, sizes, sums, what is in the initramfs,
//! and what firmware measures of it.
#![allow(missing_docs)]

use std::{fmt::Write as _, fs, process::Command, time::Duration};

use zipnet_image::{Flavor, compare, newc::Entry};
use zipnet_measurements::{
    Manifest, Register,
    diff::with_log,
    digest::sha256,
    eventlog::{EventLog, LogKind},
};
use zipnet_tests::{
    guest::{Image, SHAPE},
    process::{Failed, Process, TestResult, binary},
    tpm::Boot,
};

const LIMIT: Duration = Duration::from_mins(1);

/// Words of the simulated Intel that are in a program only if its code is.
const SIMULATED: [&[u8]; 3] = [
    b"zipnet simulated SGX Root CA",
    b"The simulated Intel could not be made",
    b"anybody can make the same evidence",
];

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

/// The initramfs of a flavor.
fn archive(image: &Image) -> TestResult<zipnet_image::newc::Archive> {
    let bytes = fs::read(image.folder.join("zipnet-initramfs.cpio.zst"))?;
    Ok(compare::open(&bytes)?)
}

#[test]
fn i9_no_simulation_is_in_the_production_image() -> TestResult {
    let local = archive(&Image::of("local")?)?;
    let production = archive(&Image::of("production")?)?;
    let programs = ["init", "usr/bin/zipnet-server"];
    for words in SIMULATED {
        let has = |archive: &zipnet_image::newc::Archive| {
            programs
                .iter()
                .any(|name| contains(archive.get(*name).map_or(&[], Entry::data), words))
        };
        let shown = words.escape_ascii();
        assert!(has(&local), "the local image does not say {shown}");
        assert!(!has(&production), "the production image says {shown}");
    }
    for name in programs {
        assert!(
            production
                .get(name)
                .is_some_and(|entry| entry.data().len() > 1_000_000),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn an_image_has_nothing_but_what_is_listed() -> TestResult {
    let listed = include_str!("image-files.txt");
    for flavor in ["production", "local"] {
        let mut text = String::new();
        for (name, entry) in &archive(&Image::of(flavor)?)? {
            let (kind, mode) = match entry {
                Entry::Folder { mode } => ('d', mode),
                Entry::File { mode, .. } => ('-', mode),
                Entry::Device { mode, .. } => ('c', mode),
            };
            writeln!(text, "{kind} {mode:04o} /{name}")?;
        }
        assert_eq!(text, listed, "{flavor}: see tests/tests/image-files.txt");
    }
    Ok(())
}

#[test]
fn sums_and_sizes_hold() -> TestResult {
    for flavor in [Flavor::Production, Flavor::Local] {
        let image = Image::of(flavor.name())?;
        let mut seen = 0;
        for line in fs::read_to_string(image.folder.join("SHA256SUMS"))?.lines() {
            let (sum, name) = line.split_once("  ").unwrap_or_default();
            let bytes = fs::read(image.folder.join(name))?;
            assert_eq!(sum, sha256(&bytes).to_string(), "{name}");
            seen += 1;
        }
        assert_eq!(fs::read_dir(&image.folder)?.count(), seen + 1);
        let size = |name: &str| Ok::<_, Failed>(fs::metadata(image.folder.join(name))?.len());
        let initramfs = size("zipnet-initramfs.cpio.zst")?;
        let whole = size("zipnet-image.efi")? + size("zipnet-ovmf.fd")?;
        println!("{flavor}: initramfs {initramfs} bytes, image {whole} bytes");
        assert!(initramfs <= flavor.max_initramfs() as u64, "{initramfs}");
        assert!(whole <= flavor.max_image() as u64, "{whole}");
    }
    Ok(())
}

/// The command that reads the files again comes to the registers of the manifest.
#[test]
fn the_manifest_is_what_zipnet_measure_says() -> TestResult {
    let image = Image::of("production")?;
    let file = |name: &str| image.folder.join(name);
    let mut command = Command::new(binary("zipnet-measure")?);
    command.arg("predict").arg("--json");
    command.arg("--firmware").arg(file("zipnet-ovmf.fd"));
    command.arg("--image").arg(file("zipnet-image.efi"));
    command.args(["--cpus", "1", "--memory", "1G"]);
    let output = command.output()?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let said = said.get(0).unwrap_or(&said);
    let registers = image.registers(SHAPE).unwrap_or_default();
    let names = ["mrtd", "rtmr0", "rtmr1", "rtmr2"];
    for (name, register) in names.iter().zip(registers.split(',')) {
        assert_eq!(said[name], register, "{name}");
        if *name != "rtmr0" {
            let hex = fs::read_to_string(file(&format!("zipnet-{name}.hex")))?;
            assert_eq!(hex.trim_end(), register, "{name}");
        }
    }
    Ok(())
}

/// What was released is read, checked against its own events, and gives a policy
/// that names all of its shapes.
#[test]
fn released_manifests_give_policies() -> TestResult {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../measurements/releases");
    let mut seen = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let manifest = Manifest::from_json(&fs::read(&path)?)?;
        let name = format!("{}.json", manifest.version);
        assert_eq!(
            path.file_name().and_then(|name| name.to_str()),
            Some(&*name)
        );
        let mut command = Command::new(binary("zipnet-attest")?);
        command.args(["policy", "new", "--xfam", "e702060000000000"]);
        command.args(["--evaluation", "20", "--any-platform", "--manifest"]);
        let output = command.arg(&path).output()?;
        assert!(output.status.success(), "{output:?}");
        let policy: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let shapes = policy["images"][0]["shapes"].as_array().map_or(0, Vec::len);
        assert_eq!(shapes, manifest.shapes.len(), "{name}");
        seen += 1;
    }
    assert!(seen > 0, "{folder} has no release");
    Ok(())
}

/// Boots the image with a TPM and a firmware that drives one, and reads the log that it
/// wrote out of the guest's memory: image, kernel, command line, initramfs and the ends of
/// boot services have the digests of the manifest, in its order.
///
/// And that although the host says what other boot stubs take for more of a command line:
/// load options, text in SMBIOS tables and `fw_cfg`, and a disk with an extension to the
/// image. (An initramfs beside it: D1 of `make attack`.)
#[test]
fn d1_what_a_host_adds_changes_nothing_that_runs() -> TestResult {
    let image = Image::of("production")?;
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    for place in [
        "EFI/Linux/zipnet-image.efi.extra.d",
        "loader/addons",
        "loader/credentials",
    ] {
        fs::create_dir_all(disk.join(place))?;
        fs::copy(
            image.folder.join("zipnet-cmdline"),
            disk.join(place).join("more.addon.efi"),
        )?;
    }
    let boot = Boot {
        kernel: image.folder.join("zipnet-image.efi"),
        extra: [
            "-append",
            "init=/host module.sig_enforce=0",
            "-smbios",
            "type=11,value=io.systemd.stub.kernel-cmdline-extra=init=/host",
            "-smbios",
            "type=11,value=io.systemd.boot.kernel-cmdline-extra=init=/host",
            "-fw_cfg",
            "name=etc/boot/cmdline,string=init=/host",
            "-fw_cfg",
            "name=opt/io.systemd.credentials/host,string=host",
            "-fw_cfg",
            "name=opt/org.tianocore/EnableLegacyLoader,string=yes",
            "-drive",
            &format!(
                "file=fat:{},if=virtio,format=raw,readonly=on",
                disk.display()
            ),
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    let log = boot.measured(&image, "zipnet-init")?;
    let log = EventLog::parse(&log)?;
    let mut report = image
        .manifest
        .report(SHAPE)
        .ok_or_else(|| Failed::because("the manifest has no such shape"))?;
    report
        .events
        .retain(|event| event.register != Register::Rtmr0);
    let differences = with_log(&report, &log, LogKind::Tpm);
    assert!(differences.is_empty(), "{differences:#?}");
    // The comparison is of something.
    for number in 0..report.events.len() {
        let mut wrong = report.clone();
        if wrong.events[number].register == Register::Mrtd {
            continue;
        }
        wrong.events[number].digest = None;
        assert_eq!(with_log(&wrong, &log, LogKind::Tpm).len(), 1, "{number}");
    }
    Ok(())
}

/// The launcher refuses in one line what it cannot start.
#[test]
fn the_launcher_says_what_would_be_right() -> TestResult {
    let image = Image::of("local")?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config");
    fs::write(&config, "ZIPNET_INSTANCE=zipnet.local.test\n")?;
    let shown = config.display().to_string();
    let run = |launcher: Command, status: i32, parts: &[&str]| {
        let (ended, lines) = Process::run("the launcher", launcher, LIMIT)?;
        assert_eq!(ended.code(), Some(status), "{lines:?}");
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in parts {
            assert!(lines[0].contains(part), "{lines:?}");
        }
        Ok::<_, Failed>(())
    };
    let rows: [(&[&str], i32, &[&str]); 11] = [
        (&[], 2, &["--config is missing"]),
        (&["--config", "/nowhere"], 2, &["/nowhere", "--config"]),
        (&["--config", &shown, "--cpus", "many"], 2, &["--cpus many"]),
        (
            &["--config", &shown, "--memory", "2"],
            2,
            &["--memory 2", "2G"],
        ),
        (
            &["--config", &shown, "--accel", "warp"],
            2,
            &["warp", "tdx"],
        ),
        (
            &["--config", &shown, "--forward", "4400"],
            2,
            &["--forward 4400"],
        ),
        (&["--frobnicate"], 2, &["--frobnicate", "--help"]),
        // What would be more of QEMU's options.
        (
            &["--config", &shown, "--mac", "52:54:00:12:34:56,host=x"],
            2,
            &["--mac"],
        ),
        (&["--config", &shown, "--tap", "t,x=y"], 2, &["--tap"]),
        (
            &["--config", &shown, "--quotes", "unix:/a\"}"],
            2,
            &["--quotes"],
        ),
        (
            &["--config", &shown, "--quotes", "vsock:2:a"],
            2,
            &["--quotes", "vsock:CID:PORT"],
        ),
    ];
    for (arguments, status, parts) in rows {
        let mut launcher = image.launcher(folder.path());
        launcher.args(arguments);
        run(launcher, status, parts)?;
    }
    let mut no_qemu = image.launcher(folder.path());
    no_qemu
        .args(["--config", &shown])
        .env("QEMU", "/nowhere/qemu");
    run(no_qemu, 1, &["/nowhere/qemu", "QEMU"])?;
    let mut no_folder = image.launcher(folder.path());
    no_folder
        .args(["--config", &shown])
        .env("TMPDIR", "/nowhere");
    run(no_folder, 1, &["/nowhere", "TMPDIR"])?;
    // This machine is no TDX host, or the test is of no use on it.
    let mut tdx = image.launcher(folder.path());
    tdx.args(["--config", &shown, "--accel", "tdx"]);
    run(tdx, 1, &["TDX"])?;
    Ok(())
}

#[test]
fn a_launcher_that_is_damaged_or_has_no_room_says_so() -> TestResult {
    let image = Image::of("local")?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config");
    fs::write(&config, "ZIPNET_INSTANCE=zipnet.local.test\n")?;
    let shown = config.display().to_string();
    let original = fs::read(image.folder.join("zipnet-run-qemu.sh"))?;
    for (name, bytes) in [
        ("cut", original[..original.len() - 1000].to_vec()),
        ("cut in half", original[..original.len() / 2].to_vec()),
        ("flipped", {
            let mut bytes = original.clone();
            let at = bytes.len() - 1_000_000;
            bytes[at] ^= 1;
            bytes
        }),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes)?;
        let mut launcher = Command::new("bash");
        launcher
            .arg(path)
            .args(["--config", &shown])
            .env("QEMU", image.program("qemu-system-x86_64"))
            .env("TMPDIR", folder.path());
        let (ended, lines) = Process::run("the launcher", launcher, LIMIT)?;
        assert_eq!(ended.code(), Some(1), "{lines:?}");
        assert!(
            lines.iter().any(|line| line.contains("damaged or cut")),
            "{name}: {lines:?}"
        );
    }
    // A full disk: nothing is left behind.
    let small = folder.path().join("small");
    fs::create_dir(&small)?;
    let mut full = Command::new("unshare");
    full.args(["--user", "--map-root-user", "--mount", "bash", "-c"])
        .arg("mount -t tmpfs -o size=1M none \"$1\" && TMPDIR=$1 \"$2\" --config \"$3\"; s=$?; ls \"$1\"; exit $s")
        .arg("bash")
        .arg(&small)
        .arg(image.folder.join("zipnet-run-qemu.sh"))
        .arg(&config)
        .env("QEMU", image.program("qemu-system-x86_64"));
    let (ended, lines) = Process::run("the launcher", full, LIMIT)?;
    assert_eq!(ended.code(), Some(1), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.contains("is the disk full?")),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("zipnet.")),
        "{lines:?}"
    );
    Ok(())
}
