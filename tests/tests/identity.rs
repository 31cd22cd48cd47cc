//! Who is who: one process for each identity, one committee for each secret,
//! and clients that trust whom they were told to trust.
#![allow(missing_docs)]

use std::{thread, time::Duration};

use serde_json::Value;
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings, UP},
    process::{Failed, Process, TestResult, eventually},
    server::{Finalized, free_port},
};

/// How long is watched for what must not happen.
const QUIET: Duration = Duration::from_secs(10);

/// How long two processes with one identity may run side by side.
const TWIN: Duration = Duration::from_secs(20);

fn is_round(value: &Value) -> bool {
    value["event"] == "round"
}

/// I2: all that servers and readers say, one record for each round.
fn one_record_for_each_round(rounds: impl Iterator<Item = Finalized>) {
    let mut rounds: Vec<_> = rounds.collect();
    rounds.sort();
    rounds.dedup();
    for pair in rounds.windows(2) {
        assert_ne!(pair[0].number, pair[1].number, "two records: {pair:#?}");
    }
}

fn committee_key(process: &mut Process) -> TestResult<String> {
    let found = process
        .lines()
        .find(0, UP, |line| line.contains(" committee="));
    let line = found.map(|(_, line)| line).unwrap_or_default();
    match line.rsplit("committee=").next() {
        Some(key) if key.len() == 64 => Ok(key.to_owned()),
        _ => Err(Failed::because(format!("no committee key in {line:?}"))),
    }
}

#[test]
fn i2_a_second_process_with_a_servers_secret_makes_no_second_record() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    cluster.finalize_another()?;
    // The same seed, another port, as a copied configuration would have it.
    let mut twin = cluster.launch_server(1, "127.0.0.1:0", free_port(), &[])?;
    assert_eq!(twin.peer(), cluster.servers[1].peer());
    // Either one of both notices, or the twin is never let in.
    let ended = eventually("one of both ends", TWIN, || {
        let first = cluster.servers[1].process.ended();
        first.or_else(|| twin.process.ended())
    });
    let histories: Vec<_> = cluster
        .servers
        .iter()
        .chain([&twin])
        .flat_map(|server| server.finalized(0))
        .collect();
    if let Ok(status) = ended {
        assert_eq!(status.code(), Some(1));
        let one = cluster.servers[1].process.lines().since(0).join("\n");
        let other = twin.process.lines().since(0).join("\n");
        let sentence = "one process for each ZIPNET_SECRET would be right";
        assert!(
            one.contains(sentence) || other.contains(sentence),
            "{one}\n{other}"
        );
        // The survivor serves on.
        if cluster.servers[1].process.ended().is_some() {
            cluster.servers[1] = twin;
        }
    }
    cluster.finalize_another()?;
    let after = cluster
        .servers
        .iter()
        .flat_map(|server| server.finalized(0));
    one_record_for_each_round(after.chain(histories));
    Ok(())
}

/// The servers of an operator, each with hints to those of `other` as well,
/// and the committee key, which its clients pin.
fn operator(
    secret: &str,
    seeds: [usize; 2],
    other: Option<&Cluster>,
) -> TestResult<(Cluster, String)> {
    let settings = Settings {
        servers: 2,
        committee_size: Some(2),
        secret: secret.into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::new(settings)?;
    let hints = |cluster: &Cluster| {
        let others = other.map(Cluster::bootstrap).unwrap_or_default();
        [others, cluster.bootstrap()].join(",")
    };
    for index in seeds {
        let bootstrap = hints(&cluster);
        let extra = [("ZIPNET_BOOTSTRAP", bootstrap.as_str())];
        let server = cluster.launch_server(index, "127.0.0.1:0", free_port(), &extra)?;
        cluster.servers.push(server);
    }
    let key = committee_key(&mut cluster.servers[0].process)?;
    cluster.settings.variables = vec![
        ("ZIPNET_BOOTSTRAP".into(), hints(&cluster)),
        ("ZIPNET_COMMITTEE".into(), key.clone()),
    ];
    Ok((cluster, key))
}

fn rounds(reader: &Process) -> Vec<Value> {
    let said = reader.json_since(0);
    said.into_iter().filter(is_round).collect()
}

#[test]
fn two_committees_of_one_name_and_two_secrets_do_not_disturb_each_other() -> TestResult {
    let (mut one, one_key) = operator("the secret of the first", [4, 5], None)?;
    // Same universe, same name, bootstrapped to the first one's servers.
    let (mut two, two_key) = operator("the secret of the second", [6, 7], Some(&one))?;
    assert_ne!(one_key, two_key);
    for cluster in [&mut one, &mut two] {
        start_others(cluster)?;
    }
    let (mut one_reader, mut two_reader) = (one.watcher()?, two.watcher()?);
    one.finalize_another()?;
    two.finalize_another()?;
    let given_up = |one: &Cluster, two: &Cluster| -> Vec<_> {
        let servers = one.servers.iter().chain(&two.servers);
        servers
            .map(|server| server.metric("zipnet_rounds_force_advanced_total"))
            .collect()
    };
    // A round may have been given up while clients were still looking around.
    let before = given_up(&one, &two);
    let mut writer = one.client(&["publish", "--now", "for the first only"])?;
    assert!(writer.wait(ROUND)?.success());
    one_reader.expect_json(0, "the message", ROUND, |round| {
        round["messages"].to_string().contains("for the first only")
    })?;
    two.finalize_another()?;
    two_reader.expect_json(0, "a round of the second", ROUND, is_round)?;
    let (ones, twos) = (rounds(&one_reader), rounds(&two_reader));
    assert!(!ones.is_empty() && !twos.is_empty());
    for round in &ones {
        assert!(twos.iter().all(|other| other["record"] != round["record"]));
        assert!(twos.iter().all(|other| other["epoch"] != round["epoch"]));
    }
    assert!(!format!("{twos:?}").contains("for the first only"));
    for server in one.servers.iter().chain(&two.servers) {
        eventually("two registered servers, none of the other's", ROUND, || {
            let size = server.metric("zipnet_server_registry_size")?;
            (1.5..2.5).contains(&size).then_some(())
        })?;
    }
    assert_eq!(before, given_up(&one, &two), "rounds were given up");
    Ok(())
}

fn start_others(cluster: &mut Cluster) -> TestResult {
    cluster.add_aggregator()?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    Ok(())
}

#[test]
fn i5_a_client_with_another_committee_key_gets_nothing() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let mut stranger = cluster.client_command(&["--json", "watch"])?;
    // A key that is a point, and nobody's here.
    stranger.env("ZIPNET_COMMITTEE", cluster.servers[0].peer());
    let stranger = Process::start("a client of another committee", stranger, None)?;
    let mut reader = cluster.watcher()?;
    cluster.finalize_another()?;
    reader.expect_json(0, "a round", ROUND, is_round)?;
    cluster.finalize_another()?;
    assert!(rounds(&stranger).is_empty(), "{:?}", rounds(&stranger));
    Ok(())
}

#[test]
fn i5_a_client_seals_nothing_for_a_roster_without_a_server_that_it_requires() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let mut reader = cluster.watcher()?;
    let mut picky = cluster.client_command(&["publish", "--now", "not for these servers"])?;
    // No server of this committee.
    let stranger = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
    picky.env("ZIPNET_REQUIRE_SERVERS", stranger);
    let mut picky = Process::start("a client that requires a stranger", picky, None)?;
    let line = picky.expect("which this process requires", ROUND)?;
    assert!(line.contains(" WARN ") && line.contains(stranger), "{line}");
    cluster.finalize_another()?;
    cluster.finalize_another()?;
    thread::sleep(QUIET);
    assert!(picky.ended().is_none(), "{:#?}", picky.lines().since(0));
    let (at, _) = reader.expect_json(0, "a round", ROUND, is_round)?;
    reader.expect_json(at, "another round", ROUND, is_round)?;
    for round in rounds(&reader) {
        assert!(round["participants"].as_u64() <= Some(2), "{round}");
        assert!(!round["messages"].to_string().contains("not for these"));
    }
    Ok(())
}
