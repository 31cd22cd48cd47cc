//! Servers whose clocks are a minute off. The C compiler that links Rust
//! programs makes the clock: a library that is loaded before the C library.
#![allow(missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use zipnet_tests::{
    cluster::{Cluster, LEAVE, ROUND, Settings},
    process::{Failed, TestResult},
    server::free_port,
};

/// How soon rounds go on after a restart.
const BACK: Duration = Duration::from_secs(15);

const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    const char *skew = getenv("CLOCK_SKEW");
    if (!failed && id == CLOCK_REALTIME && skew)
        at->tv_sec += atoi(skew);
    return failed;
}
"#;

/// Builds the library into a folder.
fn clock(folder: &Path) -> TestResult<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, CLOCK)?;
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failed::because(format!("cc: {text}")));
    }
    // A clock that does not work would make these tests pass for nothing.
    let date = Command::new("date")
        .arg("+%s")
        .env("LD_PRELOAD", &library)
        .env("CLOCK_SKEW", "1000000000")
        .output()?;
    let seconds: u64 = String::from_utf8_lossy(&date.stdout).trim().parse()?;
    assert!(seconds > 2_700_000_000, "the clock shows {seconds}");
    Ok(library)
}

/// Two servers with the right time and one that is off by `skew` seconds.
fn rounds_go_on(skew: &str) -> TestResult {
    let folder = tempfile::tempdir()?;
    let library = clock(folder.path())?.display().to_string();
    let mut cluster = Cluster::new(Settings::default())?;
    cluster.add_server(0)?;
    cluster.add_server(1)?;
    // The second server hears of it by gossip alone.
    let first = cluster.servers[0].hint.clone();
    let clock = [
        ("LD_PRELOAD", library.as_str()),
        ("CLOCK_SKEW", skew),
        ("ZIPNET_BOOTSTRAP", first.as_str()),
    ];
    let skewed = cluster.launch_server(2, "127.0.0.1:0", free_port(), &clock)?;
    cluster.servers.push(skewed);
    cluster.add_aggregator()?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    cluster.finalize_another()?;
    // It gave its partials, too: a round needs all three.
    let log = &mut cluster.servers[2].process;
    log.expect("submitted partial unblind", ROUND)?;
    cluster.finalize_another()?;
    Ok(())
}

#[test]
fn a_server_whose_clock_is_a_minute_ahead_takes_part_in_rounds() -> TestResult {
    rounds_go_on("60")
}

#[test]
fn a_server_whose_clock_is_a_minute_behind_takes_part_in_rounds() -> TestResult {
    rounds_go_on("-60")
}

#[test]
fn a_server_whose_clock_was_set_back_by_a_minute_is_let_in_again() -> TestResult {
    let folder = tempfile::tempdir()?;
    let library = clock(folder.path())?.display().to_string();
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    cluster.finalize_another()?;
    // Its boot number is now lower than the one that the others know.
    let address = cluster.servers[2].hint.split('@').nth(1).map(str::to_owned);
    let address = address.ok_or_else(|| Failed::because("no address in the hint"))?;
    let metrics = cluster.servers[2].metrics;
    cluster.servers[2].process.kill();
    let restarted = Instant::now();
    let clock = [("LD_PRELOAD", library.as_str()), ("CLOCK_SKEW", "-60")];
    cluster.servers[2] = cluster.launch_server(2, &address, metrics, &clock)?;
    let log = &mut cluster.servers[2].process;
    log.expect("submitted partial unblind", ROUND)?;
    log.expect("committee: round finalized", ROUND)?;
    let took = restarted.elapsed();
    println!("rounds went on {took:?} after the restart");
    assert!(took <= BACK, "rounds went on only after {took:?}");
    cluster.servers[2].process.terminate(LEAVE)?;
    Ok(())
}
