//! Servers that leave in good order are missed, and come back by themselves.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use zipnet_tests::{
    cluster::{Cluster, LEAVE, ROUND, Settings, UP},
    process::{Process, TestResult, eventually},
    server::Server,
};

/// How soon rounds go on after a restart.
const BACK: Duration = Duration::from_secs(15);
/// How soon a departure is noticed.
const NOTICED: Duration = Duration::from_secs(15);
/// How long nothing is watched to make sure that nothing happens: several
/// round periods.
const QUIET: Duration = Duration::from_secs(5);

fn leaves(process: &mut Process, signal: Signal) -> TestResult {
    let asked = Instant::now();
    process.signal(signal);
    let status = process.wait(LEAVE)?;
    let took = asked.elapsed();
    assert!(
        status.success(),
        "{} on {signal}: {status}, last lines {:#?}",
        process.name(),
        process
            .lines()
            .since(process.lines().count().saturating_sub(8))
    );
    assert!(took <= LEAVE, "{} took {took:?}", process.name());
    println!("{} left on {signal} after {took:?}", process.name());
    Ok(())
}

/// How many rounds each server says it has finalized.
fn counts(cluster: &Cluster) -> Vec<usize> {
    let servers = cluster.servers.iter();
    servers.map(|server| server.finalized(0).len()).collect()
}

fn missing(server: &Server, who: &str) -> Option<f64> {
    let text = zipnet_tests::server::scrape(server.metrics)?;
    let name = format!("server=\"{who}\"");
    text.lines()
        .find(|line| line.starts_with("zipnet_roster_missing{") && line.contains(&name))?
        .rsplit(' ')
        .next()?
        .parse()
        .ok()
}

#[test]
fn every_binary_leaves_within_five_seconds_with_status_zero() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let mut others = vec![
        cluster.watcher()?,
        cluster.client(&["chat"])?,
        cluster.client(&["publish", "never to land, for want of servers"])?,
    ];
    cluster.finalize_another()?;
    let mut covers = cluster.clients.drain(..);
    for (client, signal) in covers
        .by_ref()
        .chain(others.drain(..))
        .zip([Signal::SIGTERM, Signal::SIGINT].into_iter().cycle())
    {
        let mut client = client;
        // One that was done before is no news here.
        if client.ended().is_none() {
            leaves(&mut client, signal)?;
        }
    }
    drop(covers);
    if let Some(aggregator) = &mut cluster.aggregator {
        leaves(aggregator, Signal::SIGINT)?;
    }
    for (server, signal) in
        cluster
            .servers
            .iter_mut()
            .zip([Signal::SIGTERM, Signal::SIGINT, Signal::SIGTERM])
    {
        leaves(&mut server.process, signal)?;
    }
    Ok(())
}

#[test]
fn a_process_leaves_within_five_seconds_while_it_still_waits_for_others() -> TestResult {
    let settings = Settings {
        servers: 1,
        ..Settings::default()
    };
    let mut cluster = Cluster::new(settings)?;
    cluster.add_server(0)?;
    let mut watcher = cluster.watcher()?;
    let mut cover = cluster.client(&["cover"])?;
    cover.expect("zipnet up", UP)?;
    leaves(&mut cluster.servers[0].process, Signal::SIGTERM)?;
    leaves(&mut watcher, Signal::SIGTERM)?;
    leaves(&mut cover, Signal::SIGINT)?;
    // Nobody is there to tell it the committee key.
    let mut lost = cluster.client(&["cover"])?;
    lost.expect("zipnet up", UP)?;
    leaves(&mut lost, Signal::SIGINT)?;
    Ok(())
}

#[test]
fn a_departed_server_stops_rounds_and_its_return_resumes_them() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    cluster.finalize_another()?;
    let who = eventually("exactly one leader", ROUND, || cluster.leader())?;
    // A follower goes first, the leader next.
    for gone in [(who + 1) % 3, who] {
        let name = cluster.servers[gone].short();
        let marks: Vec<_> = cluster
            .servers
            .iter()
            .map(|server| server.process.lines().count())
            .collect();
        leaves(&mut cluster.servers[gone].process, Signal::SIGTERM)?;
        let rest: Vec<_> = (0..3).filter(|position| *position != gone).collect();
        for &position in &rest {
            let server = &mut cluster.servers[position];
            let lines = server.process.lines().clone();
            let named = |line: &str| line.contains("servers are missing") && line.contains(&name);
            let line = eventually("a log line that names it", NOTICED, || {
                lines
                    .since(marks[position])
                    .into_iter()
                    .find(|line| named(line))
            })?;
            assert!(line.contains("; rounds wait: "), "{line}");
            eventually("a metric that names it", NOTICED, || {
                missing(server, &name).filter(|value| *value > 0.5)
            })?;
        }
        eventually("a leader among the rest", ROUND, || {
            cluster.leader().filter(|leader| *leader != gone)
        })?;
        // Any-trust: without it there are no rounds.
        let before = counts(&cluster);
        std::thread::sleep(QUIET);
        assert_eq!(before, counts(&cluster), "rounds went on without {name}");

        let restarted = Instant::now();
        cluster.restart_server(gone)?;
        let server = &mut cluster.servers[gone];
        // What it finalizes before that, the log only repeats to it.
        server.process.expect("submitted partial unblind", ROUND)?;
        server.process.expect("committee: round finalized", ROUND)?;
        let took = restarted.elapsed();
        println!("server {gone} back in a round {took:?} after its restart");
        assert!(took <= BACK, "rounds went on only after {took:?}");
        assert_eq!(cluster.servers[gone].short(), name);
        for &position in &rest {
            eventually("a metric that says it is back", NOTICED, || {
                missing(&cluster.servers[position], &name).filter(|value| *value < 0.5)
            })?;
        }
        cluster.finalize_another()?;
    }
    Ok(())
}
