//! Servers whose clocks are a minute off, from their first breath on.
#![allow(missing_docs)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zipnet_tests::{
    cluster::{Cluster, LEAVE, ROUND, Settings},
    process::{Failed, TestResult},
    server::{Server, free_port},
};

/// How soon rounds go on after a restart.
const BACK: Duration = Duration::from_secs(15);
/// Seconds of a day.
const DAY: i64 = 86_400;

/// How many seconds ahead of this machine's clock a server's log is: a clock that does
/// not work would make these tests pass for nothing.
fn ahead(server: &Server) -> TestResult<i64> {
    let lines = server.process.lines().since(0);
    let line = lines.iter().find(|line| line.contains("bootstrap="));
    // 2026-11-27T16:23:20.123456Z
    let time = line.and_then(|line| line.split_once('T')?.1.get(..8));
    let time = time.ok_or_else(|| Failed::because("no time in the log"))?;
    let mut seconds = 0;
    for part in time.split(':') {
        seconds = seconds * 60 + part.parse::<i64>()?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let now = i64::try_from(now)? % DAY;
    // Between half a day behind and half a day ahead.
    Ok((seconds - now + DAY * 3 / 2) % DAY - DAY / 2)
}

/// Whether it is so, give or take what has passed since the line.
fn assert_ahead(server: &Server, by: i64) -> TestResult {
    let ahead = ahead(server)?;
    assert!(
        (by - 20..=by + 1).contains(&ahead),
        "{ahead} s ahead, not {by}"
    );
    Ok(())
}

/// Two servers with the right time and one that is off by `skew` seconds.
fn rounds_go_on(skew: i64) -> TestResult {
    let mut cluster = Cluster::new(Settings::default())?;
    cluster.add_server(0)?;
    cluster.add_server(1)?;
    // The second server hears of it by gossip alone.
    let first = cluster.servers[0].hint.clone();
    let (skewed, _clock) = cluster.launch_server_at_another_time(
        2,
        "127.0.0.1:0",
        free_port(),
        skew,
        &[("ZIPNET_BOOTSTRAP", first.as_str())],
    )?;
    assert_ahead(&skewed, skew)?;
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
    rounds_go_on(60)
}

#[test]
fn a_server_whose_clock_is_a_minute_behind_takes_part_in_rounds() -> TestResult {
    rounds_go_on(-60)
}

#[test]
fn a_server_whose_clock_was_set_back_by_a_minute_is_let_in_again() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    cluster.finalize_another()?;
    // Its boot number is now lower than the one that the others know.
    let address = cluster.servers[2].hint.split('@').nth(1).map(str::to_owned);
    let address = address.ok_or_else(|| Failed::because("no address in the hint"))?;
    let metrics = cluster.servers[2].metrics;
    cluster.servers[2].process.kill();
    let restarted = Instant::now();
    let (set_back, _clock) =
        cluster.launch_server_at_another_time(2, &address, metrics, -60, &[])?;
    assert_ahead(&set_back, -60)?;
    cluster.servers[2] = set_back;
    let log = &mut cluster.servers[2].process;
    log.expect("submitted partial unblind", ROUND)?;
    log.expect("committee: round finalized", ROUND)?;
    let took = restarted.elapsed();
    println!("rounds went on {took:?} after the restart");
    assert!(took <= BACK, "rounds went on only after {took:?}");
    cluster.servers[2].process.terminate(LEAVE)?;
    Ok(())
}
