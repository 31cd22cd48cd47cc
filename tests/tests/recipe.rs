//! What the recipe of the image says of inputs that are missing, damaged or of
//! another version. Nothing is installed, and no image is replaced.
#![allow(missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use zipnet_tests::{
    guest::{self, Image, machine},
    process::{Process, TestResult, binary},
};

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
        for option in ["inputs", "firmware", "target", "out"] {
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
    build(&["firmware"])?;
    fs::write(at("firmware"), [0; 4096])?;
    build(&[
        "The firmware is none that a TD starts from",
        "scripts/firmware.sh",
    ])?;
    Ok(())
}

/// Runs a command to its end in a mount namespace of its own, where a folder is a
/// disk of this size. What is on that disk then is listed.
fn on_a_disk(
    folder: &Path,
    size: &str,
    command: &Command,
) -> TestResult<(Option<i32>, String, String)> {
    const SCRIPT: &str = r#"
        folder=$1 size=$2
        shift 2
        mount -t tmpfs -o "size=$size" none "$folder"
        mkdir "$folder/out"
        echo kept >"$folder/out/kept"
        status=0
        "$@" || status=$?
        echo "left: $(cd "$folder" && find . -mindepth 1 | sort | tr '\n' ' ')"
        exit "$status""#;
    let mut within = Command::new("unshare");
    within
        .args(["--mount", "sh", "-euc", SCRIPT, "sh"])
        .arg(folder)
        .arg(size);
    within.arg(command.get_program()).args(command.get_args());
    within.envs(
        command
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let (status, lines) = Process::run("a command on a small disk", within, LIMIT)?;
    let (left, said): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.starts_with("left: "));
    Ok((status.code(), said.join("\n"), left.join("\n")))
}

#[test]
fn a_full_disk_is_named_and_nothing_is_lost() -> TestResult {
    let disk = tempfile::tempdir()?;
    let at = |name: &str| disk.path().join(name);
    // Not a whole image, which was there before.
    let program = binary("zipnet-image")?;
    let folder = program.parent().unwrap_or(&program);
    let mut build = Command::new(&program);
    build
        .args(["build", "--repository"])
        .arg(repository())
        .arg("--inputs")
        .arg(machine())
        .arg("--firmware")
        .arg(Image::of("local")?.folder.join("zipnet-ovmf.fd"))
        .arg("--target")
        .arg(guest::target().join("image-build"))
        .arg("--programs")
        .arg(folder)
        .arg("--out")
        .arg(at("out"));
    let (status, said, left) = on_a_disk(disk.path(), "8m", &build)?;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("out.new/"), "{said}");
    assert_eq!(left.trim_end(), "left: ./out ./out/kept");

    let image = Image::of("local")?;
    let mut launcher = image.launcher(disk.path());
    let config = tempfile::NamedTempFile::new()?;
    launcher.arg("--config").arg(config.path());
    let (status, said, left) = on_a_disk(disk.path(), "8m", &launcher)?;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("is the disk full?"), "{said}");
    assert_eq!(left.trim_end(), "left: ./out ./out/kept");

    let mut packages = Command::new(repository().join("scripts/packages.sh"));
    packages
        .arg(repository().join("image/reproduce.lock"))
        .arg(at("out"));
    packages.env("ZIPNET_PACKAGES", at("cache"));
    let (status, said, _) = on_a_disk(disk.path(), "1m", &packages)?;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("is there room in"), "{said}");
    Ok(())
}
