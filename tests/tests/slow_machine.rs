//! What the scripts say of a mirror or registry that does not answer and of a disk that
//! fills up while something is built: one line, and the next try goes on.
#![allow(missing_docs)]

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use zipnet_tests::process::{Process, TestResult};

/// Of all, one builds a few crates.
const LIMIT: Duration = Duration::from_mins(4);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where somebody listens who never answers, as long as the other half is kept.
fn silence() -> TestResult<(SocketAddr, mpsc::Receiver<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (keep, kept) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if keep.send(connection).is_err() {
                return;
            }
        }
    });
    Ok((address, kept))
}

/// A script of the repository, in it, without settings of cargo that tests get.
fn script(name: &str) -> Command {
    let mut command = Command::new(repository().join("scripts").join(name));
    command.current_dir(repository());
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
}

#[test]
fn a_mirror_that_does_not_answer_is_one_line() -> TestResult {
    let (address, _kept) = silence()?;
    let folder = tempfile::tempdir()?;
    let mut packages = script("packages.sh");
    packages
        .arg(repository().join("image/reproduce.lock"))
        .arg(folder.path())
        .env("ZIPNET_PACKAGES", folder.path().join("cache"))
        .env("ZIPNET_MIRROR_PATIENCE", "2");
    for mirror in ["ZIPNET_DEBIAN_MIRROR", "ZIPNET_DEBIAN_SECURITY_MIRROR"] {
        packages.env(mirror, format!("http://{address}/debian"));
    }
    let (status, lines) = Process::run("scripts/packages.sh", packages, LIMIT)?;
    assert_eq!(status.code(), Some(1), "{lines:?}");
    // What it does, and what came of it.
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for part in [
        &*address.to_string(),
        "the next try goes on",
        "is the mirror reachable",
    ] {
        assert!(lines[1].contains(part), "{part}: {lines:#?}");
    }
    Ok(())
}

#[test]
fn a_registry_that_does_not_answer_is_one_line() -> TestResult {
    let (address, _kept) = silence()?;
    let folder = tempfile::tempdir()?;
    let mut fetch = script("progress.sh");
    fetch
        .args(["build", "cargo", "fetch", "--locked", "--config"])
        .arg("source.crates-io.replace-with=\"silent\"")
        .arg("--config")
        .arg(format!(
            "source.silent.registry=\"sparse+http://{address}/\""
        ))
        .env("CARGO_HOME", folder.path())
        .env("CARGO_HTTP_TIMEOUT", "2")
        .env("CARGO_NET_RETRY", "1");
    let (status, lines) = Process::run("cargo fetch", fetch, LIMIT)?;
    assert_eq!(status.code(), Some(101), "{lines:?}");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in [
        "build: the registry of crates does not answer",
        "the next try goes on",
    ] {
        assert!(lines[0].contains(part), "{part}: {lines:#?}");
    }
    Ok(())
}

/// An error about a line of code that speaks of disks or registries is that error.
#[test]
fn what_the_compiler_says_comes_through_whatever_it_quotes() -> TestResult {
    let words = [
        "error[E0425]: cannot find value `x`",
        "  --> tests/tests/recipe.rs:1:2",
        "1 | assert!(said.contains(\"No space left on device\"), \"failed to fetch\");",
    ];
    let mut progress = script("progress.sh");
    progress.args([
        "build",
        "sh",
        "-c",
        "printf '%s\\n' \"$@\" >&2; exit 101",
        "sh",
    ]);
    progress.args(words);
    let (status, lines) = Process::run("scripts/progress.sh", progress, LIMIT)?;
    assert_eq!(status.code(), Some(101), "{lines:?}");
    assert_eq!(lines, words);
    Ok(())
}

/// A few crates are built on a disk that is too small for them, and then again when it
/// has grown. Libraries are listed between the tries and after them.
const TWO_TRIES: &str = r#"
    folder=$1
    shift
    list() { find "$folder" -name '*.rlib' -printf "$1 %f %T@\n"; }
    mount -t tmpfs -o size=9m none "$folder"
    status=0
    "$@" || status=$?
    echo "first: $status"
    list before
    mount -o remount,size=600m "$folder"
    status=0
    "$@" || status=$?
    echo "second: $status"
    list after
    "$@"
"#;

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_build_is_one_line_and_the_next_try_goes_on() -> TestResult
{
    let disk = tempfile::tempdir()?;
    let mut build = Command::new("unshare");
    build
        .args(["--mount", "sh", "-euc", TWO_TRIES, "sh"])
        .arg(disk.path());
    let progress = script("progress.sh");
    build.arg(progress.get_program()).current_dir(repository());
    build.args([
        "build",
        "cargo",
        "build",
        "--locked",
        "--offline",
        "--lib",
        "--jobs",
        "1",
    ]);
    build.args(["--no-default-features", "--package", "zipnet-measurements"]);
    for (name, _) in progress.get_envs() {
        build.env_remove(name);
    }
    build.env("CARGO_TARGET_DIR", disk.path());
    let (status, lines) = Process::run("a build on a small disk", build, LIMIT)?;
    assert!(status.success(), "{lines:#?}");
    let of = |head: &str| -> Vec<&str> {
        let mine = lines.iter().filter_map(|line| line.strip_prefix(head));
        mine.collect()
    };
    assert_eq!(
        (of("first: "), of("second: ")),
        (vec!["101"], vec!["0"]),
        "{lines:#?}"
    );
    let said: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("the disk is full"))
        .collect();
    assert_eq!(said.len(), 1, "{lines:#?}");
    assert!(
        said[0].contains("the next try goes on from there"),
        "{said:?}"
    );
    let compiled = lines
        .iter()
        .filter(|line| line.contains("crates compiled in"));
    assert_eq!(compiled.count(), 2, "{lines:#?}");
    // Nothing else is said but how far a slow build is, nothing at all where nothing is
    // to be done, and what the first try had built was not built again.
    let (before, after) = (of("before "), of("after "));
    let slow = of("build: step ").len();
    assert_eq!(
        lines.len(),
        slow + 5 + before.len() + after.len(),
        "{lines:#?}"
    );
    assert!(after.len() > before.len(), "{lines:#?}");
    let kept = before.iter().filter(|library| after.contains(library));
    assert!(kept.count() > 0, "{lines:#?}");
    Ok(())
}
