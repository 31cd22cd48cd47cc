//! Processes that are killed, as by a power cut, and started again.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings},
    process::{Process, TestResult, eventually},
    server::scrape,
};

/// How soon rounds go on after a restart.
const BACK: Duration = Duration::from_secs(15);
/// How soon a crash is noticed: mosaik gives a silent peer up only after a
/// while.
const NOTICED: Duration = Duration::from_secs(45);

/// A cluster that has finalized a round, and the position of its leader.
fn running() -> TestResult<(Cluster, usize)> {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    cluster.finalize_another()?;
    let leader = eventually("exactly one leader", ROUND, || cluster.leader())?;
    Ok((cluster, leader))
}

/// Restarts a server and waits until all three have finalized a round in
/// which it took part.
fn comes_back(cluster: &mut Cluster, gone: usize) -> TestResult {
    let restarted = Instant::now();
    cluster.restart_server(gone)?;
    let server = &mut cluster.servers[gone];
    let submitted = server.process.expect("submitted partial unblind", ROUND);
    submitted?;
    server.process.expect("committee: round finalized", ROUND)?;
    let took = restarted.elapsed();
    println!("server {gone} back in a round {took:?} after its restart");
    assert!(took <= BACK, "rounds went on only after {took:?}");
    cluster.finalize_another()?;
    Ok(())
}

/// Everybody who has finalized a round number has the same record of it.
fn agree(cluster: &Cluster, before: &[zipnet_tests::server::Finalized]) {
    let mut rounds: Vec<_> = cluster
        .servers
        .iter()
        .flat_map(|server| server.finalized(0))
        .chain(before.iter().cloned())
        .collect();
    rounds.sort();
    rounds.dedup();
    for pair in rounds.windows(2) {
        assert_ne!(pair[0].number, pair[1].number, "two records: {pair:#?}");
    }
}

fn rest_names_it(cluster: &Cluster, gone: usize) -> TestResult {
    let name = cluster.servers[gone].short();
    let label = format!("server=\"{name}\"");
    for (_, server) in (0..).zip(&cluster.servers).filter(|(i, _)| *i != gone) {
        eventually("a log line that names the dead server", NOTICED, || {
            let lines = server.process.lines().since(0);
            let named =
                |line: &String| line.contains("servers are missing") && line.contains(&name);
            lines.into_iter().find(named)
        })?;
        eventually("zipnet_roster_missing of it is 1", NOTICED, || {
            let text = scrape(server.metrics)?;
            let is_it =
                |line: &&str| line.starts_with("zipnet_roster_missing{") && line.contains(&label);
            let line = text.lines().find(is_it)?.to_owned();
            line.ends_with(" 1").then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn a_killed_follower_is_named_and_rounds_go_on_after_its_restart() -> TestResult {
    let (mut cluster, leader) = running()?;
    let gone = (leader + 1) % 3;
    let history = cluster.servers[gone].finalized(0);
    cluster.servers[gone].process.kill();
    rest_names_it(&cluster, gone)?;
    comes_back(&mut cluster, gone)?;
    agree(&cluster, &history);
    Ok(())
}

#[test]
fn a_server_killed_at_once_before_its_restart_costs_no_more_than_the_bound() -> TestResult {
    let (mut cluster, leader) = running()?;
    // Nobody has noticed that it was gone when it is back with new keys.
    for gone in [(leader + 1) % 3, leader] {
        let history = cluster.servers[gone].finalized(0);
        cluster.servers[gone].process.kill();
        comes_back(&mut cluster, gone)?;
        agree(&cluster, &history);
    }
    Ok(())
}

#[test]
fn a_killed_leader_is_replaced_and_rounds_go_on_after_its_restart() -> TestResult {
    let (mut cluster, leader) = running()?;
    let history = cluster.servers[leader].finalized(0);
    cluster.servers[leader].process.kill();
    eventually("another leader", NOTICED, || {
        cluster.leader().filter(|position| *position != leader)
    })?;
    rest_names_it(&cluster, leader)?;
    comes_back(&mut cluster, leader)?;
    agree(&cluster, &history);
    Ok(())
}

/// Kills a server while a round is open that cannot end, because the
/// aggregator stands still.
fn killed_mid_round(cluster: &mut Cluster, gone: usize) -> TestResult {
    cluster.signal_aggregator(Signal::SIGSTOP);
    let server = &mut cluster.servers[gone];
    server
        .process
        .expect_new("committee: opening round", ROUND)?;
    server.process.kill();
    let history = server.finalized(0);
    let open = history.iter().map(|round| round.number).max().unwrap_or(0) + 1;
    cluster.signal_aggregator(Signal::SIGCONT);
    comes_back(cluster, gone)?;
    // The round that it left open was given up, not finished by others.
    for server in &cluster.servers {
        let finalized = server.finalized(0);
        assert!(finalized.iter().any(|round| round.number > open));
        let finished = finalized.iter().find(|round| round.number == open);
        assert!(finished.is_none(), "finished without it: {finished:?}");
    }
    agree(cluster, &history);
    Ok(())
}

#[test]
fn i2_a_follower_killed_mid_round_costs_that_round_only() -> TestResult {
    let (mut cluster, leader) = running()?;
    killed_mid_round(&mut cluster, (leader + 2) % 3)
}

#[test]
fn i2_a_leader_killed_mid_round_costs_that_round_only() -> TestResult {
    let (mut cluster, leader) = running()?;
    killed_mid_round(&mut cluster, leader)
}

#[test]
fn rounds_go_on_after_the_aggregator_was_killed_and_restarted() -> TestResult {
    let (mut cluster, _) = running()?;
    let restarted = Instant::now();
    cluster.restart_aggregator()?;
    cluster.finalize_another()?;
    let took = restarted.elapsed();
    println!("rounds went on {took:?} after the aggregator's restart");
    assert!(took <= BACK, "rounds went on only after {took:?}");
    Ok(())
}

fn is_round(value: &Value) -> bool {
    value["event"] == "round"
}

fn next_round(
    reader: &mut Process,
    from: usize,
    epoch: Option<&Value>,
) -> TestResult<(usize, Value)> {
    let found = reader.expect_json(from, "a round of a new epoch", ROUND, |value| {
        is_round(value) && Some(&value["epoch"]) != epoch
    })?;
    Ok(found)
}

#[test]
fn a_committee_killed_as_a_whole_starts_over_in_a_new_epoch() -> TestResult {
    let (mut cluster, _) = running()?;
    let mut reader = cluster.watcher()?;
    let mut chat = cluster.client(&["--json", "chat"])?;
    let (_, last) = next_round(&mut reader, 0, None)?;
    for server in &mut cluster.servers {
        server.process.kill();
    }
    // What was read until here belongs to the old epoch.
    let from = reader.lines().count();
    let restarted = Instant::now();
    for position in 0..3 {
        cluster.restart_server(position)?;
    }
    let (at, first) = next_round(&mut reader, from, Some(&last["epoch"]))?;
    println!("a round {:?} after the restart", restarted.elapsed());
    let number = first["round"].as_u64().unwrap_or(u64::MAX);
    // Rounds that nobody could finish yet may have been given up.
    assert!(
        number < last["round"].as_u64().unwrap_or(0).max(6),
        "{first}"
    );
    let zero = "0".repeat(64);
    assert_eq!(first["previous"], zero.as_str(), "{first}");
    // The same client goes on without a restart.
    chat.tell("after the restart");
    reader.expect_json(at, "the message", ROUND, |value| {
        value["epoch"] == first["epoch"]
            && value["messages"].to_string().contains("after the restart")
    })?;
    let old = |value: &Value| is_round(value) && value["epoch"] == last["epoch"];
    assert!(
        !reader.json_since(at).iter().any(old),
        "the old epoch is back"
    );
    Ok(())
}
