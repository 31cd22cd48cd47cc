//! `ZIPNET_MIN_SERVERS`: rounds that go on without a dead server, and who is served by
//! them.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use serde_json::Value;
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings},
    process::{Process, TestResult, eventually},
    server::Finalized,
};

/// The default of `ZIPNET_ROUND_PERIOD`: the bounds below are meant for it.
const PERIOD: Duration = Duration::from_secs(3);
/// How soon a restarted server stands for rounds again.
const BACK: Duration = Duration::from_secs(15);

fn committee(servers: usize, least: usize) -> Settings {
    Settings {
        servers,
        committee_size: Some(servers),
        period: "3s".into(),
        deadline: "15s".into(),
        variables: vec![("ZIPNET_MIN_SERVERS".into(), least.to_string())],
        ..Settings::default()
    }
}

/// A cluster that has finalized a round of everybody, with a reader.
fn running(settings: Settings) -> TestResult<(Cluster, Process)> {
    let mut cluster = Cluster::start(settings, 2)?;
    let reader = cluster.watcher()?;
    cluster.finalize_another()?;
    Ok((cluster, reader))
}

fn leader(cluster: &Cluster) -> TestResult<usize> {
    Ok(eventually("exactly one leader", ROUND, || {
        cluster.leader()
    })?)
}

/// The next round that the servers at these positions finalize from now on.
fn next_final(cluster: &mut Cluster, alive: &[usize]) -> TestResult<Duration> {
    let from: Vec<_> = cluster
        .servers
        .iter()
        .map(|s| s.process.lines().count())
        .collect();
    let started = Instant::now();
    for at in alive {
        let server = &mut cluster.servers[*at];
        server
            .process
            .expect_from(from[*at], "committee: round finalized", ROUND)?;
    }
    Ok(started.elapsed())
}

/// Every server has the same record of each number.
fn agree(cluster: &Cluster, before: &[Finalized]) {
    let ours = cluster
        .servers
        .iter()
        .flat_map(|server| server.finalized(0));
    let mut rounds: Vec<_> = ours.chain(before.iter().cloned()).collect();
    rounds.sort();
    rounds.dedup();
    for pair in rounds.windows(2) {
        assert_ne!(pair[0].number, pair[1].number, "two records: {pair:#?}");
    }
}

/// Kills a server; rounds go on without it within two periods, and with it once it is
/// back. Whoever reads sees how many servers there were.
fn goes_on_without(cluster: &mut Cluster, reader: &mut Process, gone: usize) -> TestResult {
    let servers = cluster.servers.len();
    let alive: Vec<_> = (0..servers).filter(|at| *at != gone).collect();
    let history = cluster.servers[gone].finalized(0);
    let seen = reader.lines().count();
    cluster.servers[gone].process.kill();
    let took = next_final(cluster, &alive)?;
    println!("server {gone} of {servers} killed: the next round was final after {took:?}");
    assert!(
        took <= 2 * PERIOD,
        "the next round was final only after {took:?}"
    );
    reader.expect_json(seen, "a round of fewer servers", ROUND, |value| {
        value["event"] == "round" && value["servers"] == servers - 1
    })?;

    let restarted = Instant::now();
    cluster.restart_server(gone)?;
    cluster.servers[gone]
        .process
        .expect("submitted partial unblind", ROUND)?;
    let back = restarted.elapsed();
    println!("server {gone} of {servers} signed again {back:?} after its restart");
    assert!(back <= BACK, "it signed only after {back:?}");
    reader.expect_json(seen, "a round of all servers", ROUND, |value| {
        value["event"] == "round" && value["servers"] == servers
    })?;
    agree(cluster, &history);
    Ok(())
}

#[test]
fn rounds_go_on_without_one_of_three_and_with_it_after_its_restart() -> TestResult {
    let (mut cluster, mut reader) = running(committee(3, 2))?;
    let leads = leader(&cluster)?;
    goes_on_without(&mut cluster, &mut reader, (leads + 1) % 3)?;
    let leads = leader(&cluster)?;
    goes_on_without(&mut cluster, &mut reader, leads)
}

#[test]
fn i7_a_restarted_server_signs_while_another_is_dead() -> TestResult {
    let (mut cluster, mut reader) = running(committee(5, 3))?;
    let leads = leader(&cluster)?;
    let (dead, restarted) = ((leads + 1) % 5, (leads + 2) % 5);
    goes_on_without(&mut cluster, &mut reader, dead)?;
    cluster.servers[dead].process.kill();
    cluster.servers[restarted].process.kill();
    let rest: Vec<_> = (0..5)
        .filter(|at| ![dead, restarted].contains(at))
        .collect();
    let took = next_final(&mut cluster, &rest)?;
    println!("two of five killed: the next round was final after {took:?}");
    // No round of all five can be: what it has forgotten, the other three tell it.
    let started = Instant::now();
    cluster.restart_server(restarted)?;
    let process = &mut cluster.servers[restarted].process;
    process.expect("have told up to which round", BACK)?;
    process.expect("submitted partial unblind", ROUND)?;
    let back = started.elapsed();
    println!("signed again {back:?} after its restart, with one of five dead");
    assert!(back <= BACK, "it signed only after {back:?}");
    agree(&cluster, &[]);
    Ok(())
}

/// A client that wants so many servers, with one line of JSON for each receipt.
fn publisher(cluster: &mut Cluster, least: Option<usize>, text: &str) -> TestResult<Process> {
    let mut command = cluster.client_command(&["--json", "publish", "--now", text])?;
    command.env_remove("ZIPNET_MIN_SERVERS");
    if let Some(least) = least {
        command.env("ZIPNET_MIN_SERVERS", least.to_string());
    }
    Ok(cluster.launch_client(command)?)
}

#[test]
fn i5_nobody_who_asked_for_all_servers_is_served_with_fewer() -> TestResult {
    let settings = committee(3, 2);
    // Enough clients for the floor without the one that wants all.
    let mut cluster = Cluster::start(settings, 4)?;
    let reader = cluster.watcher()?;
    cluster.finalize_another()?;
    let gone = (leader(&cluster)? + 1) % 3;
    let alive: Vec<_> = (0..3).filter(|at| *at != gone).collect();
    cluster.servers[gone].process.kill();
    next_final(&mut cluster, &alive)?;

    let seen = reader.lines().count();
    let mut any = publisher(&mut cluster, Some(2), "with two")?;
    let mut all = publisher(&mut cluster, None, "with three")?;
    let (_, receipt) =
        any.expect_json(0, "a receipt", ROUND, |value| value["event"] == "landed")?;
    assert_eq!(receipt["servers"], 2, "{receipt}");
    // It is registered by now, and rounds go on without it.
    for _ in 0..3 {
        next_final(&mut cluster, &alive)?;
    }
    let published = |value: &Value| value["event"] == "landed";
    assert!(
        !all.json_since(0).iter().any(published),
        "served with fewer than it asked for"
    );
    let shown = |value: &Value| value["messages"].to_string().contains("with three");
    assert!(!reader.json_since(seen).iter().any(shown));

    cluster.restart_server(gone)?;
    let (_, receipt) = all.expect_json(0, "a receipt", ROUND, published)?;
    assert_eq!(receipt["servers"], 3, "{receipt}");
    Ok(())
}

#[test]
fn i15_no_smaller_round_is_opened_that_too_few_clients_take_part_in() -> TestResult {
    let mut cluster = Cluster::start(committee(3, 2), 0)?;
    // Two of four want all servers, and nine tenths have to take part.
    for least in [Some("2"), Some("2"), None, None] {
        let mut command = cluster.client_command(&["cover"])?;
        command.env_remove("ZIPNET_MIN_SERVERS");
        if let Some(least) = least {
            command.env("ZIPNET_MIN_SERVERS", least);
        }
        let client = cluster.launch_client(command)?;
        cluster.clients.push(client);
    }
    let whole = |server: &zipnet_tests::server::Server| {
        server
            .finalized(0)
            .into_iter()
            .find(|round| round.participants == 4)
    };
    eventually("a round of all four", ROUND, || whole(&cluster.servers[0]))?;
    let gone = (leader(&cluster)? + 1) % 3;
    let leads = leader(&cluster)?;
    cluster.servers[gone].process.kill();
    let from = cluster.servers[leads].process.lines().count();
    cluster.servers[leads]
        .process
        .expect_from(from, "take part in rounds of 2 servers", ROUND)?;
    let of_two = |round: &Finalized| round.participants < 4;
    assert!(!cluster.servers[leads].finalized(from).iter().any(of_two));
    cluster.restart_server(gone)?;
    cluster.finalize_another()?;
    Ok(())
}
