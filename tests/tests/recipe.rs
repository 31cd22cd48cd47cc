//! What the recipe of the image says of inputs that are missing, damaged or of
//! another version. Nothing is installed, and no image is replaced.
#![allow(missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use zipnet_tests::process::{Process, TestResult, binary};

/// Lists of packages may have to be fetched.
const LIMIT: Duration = Duration::from_mins(3);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The small package of `make reproduce`.
fn small_lock() -> TestResult<String> {
    Ok(fs::read_to_string(
        repository().join("image/reproduce.lock"),
    )?)
}

/// Runs `scripts/packages.sh` on a lock file with a cache of its own.
fn packages(folder: &Path, lock: &str) -> TestResult<(bool, String)> {
    fs::write(folder.join("lock"), lock)?;
    let mut command = Command::new(repository().join("scripts/packages.sh"));
    command
        .arg(folder.join("lock"))
        .arg(folder.join("unpacked"))
        .env("ZIPNET_PACKAGES", folder.join("cache"));
    let (status, lines) = Process::run("scripts/packages.sh", command, LIMIT)?;
    Ok((status.success(), lines.join("\n")))
}

#[test]
fn a_lock_file_that_is_none_is_refused() -> TestResult {
    let folder = tempfile::tempdir()?;
    for lock in [
        "a-root bookworm package 1.0\n",
        "../up bookworm package 1.0 0\n",
    ] {
        let (good, said) = packages(folder.path(), lock)?;
        assert!(!good);
        assert!(
            said.contains("ROOT SUITES PACKAGE VERSION SHA-256"),
            "{said}"
        );
    }
    let mut command = Command::new(repository().join("scripts/packages.sh"));
    command.args(["/nowhere/lock", "/nowhere/else"]);
    let (status, lines) = Process::run("scripts/packages.sh", command, LIMIT)?;
    assert!(!status.success());
    assert_eq!(
        lines,
        ["packages: /nowhere/lock is missing: it lists the packages to fetch"]
    );
    Ok(())
}

#[test]
fn a_version_that_has_gone_is_named_with_the_command_that_renews_it() -> TestResult {
    let folder = tempfile::tempdir()?;
    let lock = small_lock()?;
    let version = lock
        .lines()
        .last()
        .and_then(|line| line.split_whitespace().nth(3))
        .unwrap_or_default()
        .to_owned();
    let (good, said) = packages(folder.path(), &lock.replace(&version, "0.0-0"))?;
    assert!(!good, "{said}");
    assert!(said.contains("gone from the mirror"), "{said}");
    assert!(said.contains("scripts/packages.sh --renew"), "{said}");
    assert!(said.contains("libfaketime=0.0-0"), "{said}");
    Ok(())
}

#[test]
fn a_damaged_package_is_fetched_again_and_another_one_refused() -> TestResult {
    let folder = tempfile::tempdir()?;
    let lock = small_lock()?;
    let (good, said) = packages(folder.path(), &lock)?;
    assert!(good, "{said}");
    // What was kept is damaged: it is not unpacked.
    let archives = folder.path().join("cache/faketime-only/archives");
    let package = fs::read_dir(&archives)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .unwrap_or_default();
    let mut bytes = fs::read(&package)?;
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
    fs::write(&package, bytes)?;
    fs::remove_dir_all(folder.path().join("unpacked"))?;
    let (good, said) = packages(folder.path(), &lock)?;
    assert!(good && said.contains("fetching"), "{said}");
    // The mirror's is not the locked one.
    let sum = lock.split_whitespace().last().unwrap_or_default();
    let other = lock.replace(sum, &"0".repeat(64));
    let (good, said) = packages(folder.path(), &other)?;
    assert!(!good, "{said}");
    assert!(said.contains("has another SHA-256"), "{said}");
    Ok(())
}

#[test]
fn an_image_is_not_built_of_missing_or_damaged_inputs() -> TestResult {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("out"))?;
    fs::write(at("out/kept"), "kept")?;
    let build = |parts: &[&str]| {
        let mut command = Command::new(binary("zipnet-image")?);
        command.arg("build").arg("--repository").arg(repository());
        for option in ["inputs", "target", "out"] {
            command.arg(format!("--{option}")).arg(at(option));
        }
        let (status, lines) = Process::run("zipnet-image", command, LIMIT)?;
        let said = lines.join("\n");
        assert_eq!(status.code(), Some(1), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(fs::read_to_string(at("out/kept"))?, "kept");
        TestResult::Ok(())
    };
    build(&["inputs"])?;
    let boot = at("inputs/kernel-only/boot");
    fs::create_dir_all(&boot)?;
    build(&["0 files vmlinuz-*", "one would be right"])?;
    fs::write(boot.join("vmlinuz-1"), "no kernel")?;
    build(&["OVMF.fd"])?;
    let firmware = at("inputs/firmware-only/usr/share/ovmf");
    fs::create_dir_all(&firmware)?;
    fs::write(firmware.join("OVMF.fd"), [0; 4096])?;
    build(&[
        "The firmware is none that a TD starts from",
        "image/inputs.lock",
    ])?;
    Ok(())
}
