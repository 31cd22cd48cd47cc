//! What operators of the reference system look for when a server starts: log
//! lines, metrics, hints, warnings.
#![allow(missing_docs)]

use std::fs;

use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings, UP},
    process::{Failed, Process, TestResult, eventually},
    server::{Server, free_port, scrape},
};

/// What dashboards of the reference system and ours show.
const NAMES: &[&str] = &[
    "mosaik_groups_leader_is_local",
    "mosaik_groups_bonds",
    "mosaik_groups_committed_index",
    "zipnet_rounds_finalized_total",
    "zipnet_partials_submitted_total",
    "zipnet_client_registry_size",
    "zipnet_server_registry_size",
    "zipnet_rounds_force_advanced_total",
    "zipnet_partial_seconds_bucket",
    "zipnet_round_seconds_bucket",
];

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// The value of `name=` in a log line.
fn field<'a>(line: &'a str, name: &str) -> TestResult<&'a str> {
    line.split(' ')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        .ok_or_else(|| Failed::because(format!("no {name}= in {line:?}")))
}

fn says(process: &mut Process, parts: &[&str]) -> TestResult<String> {
    let found = process.lines().find(0, ROUND, |line| {
        parts.iter().all(|part| line.contains(part))
    });
    match found {
        Some((_, line)) => Ok(line),
        None => Err(Failed::because(format!(
            "{} has no line with {parts:?}:\n{}",
            process.name(),
            process.lines().since(0).join("\n")
        ))),
    }
}

#[test]
fn log_lines_and_their_targets_are_those_of_the_reference() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    cluster.finalize_another()?;
    let universe = format!("network=zipnet test {} ", std::process::id());
    for server in &mut cluster.servers {
        let peer = server.peer();
        let log = &mut server.process;
        let line = says(
            log,
            &[" INFO zipnet_server: spawning zipnet server server="],
        )?;
        assert!(is_hex(field(&line, "server")?, 10), "{line}");
        let line = says(
            log,
            &[" INFO zipnet_node::roles::common: zipnet up: ", &universe],
        )?;
        assert!(line.contains(" instance=zipnet.local.test "), "{line}");
        assert_eq!(field(&line, "peer")?, peer, "{line}");
        assert!(is_hex(field(&line, "role")?, 10), "{line}");
        let line = says(log, &[" INFO zipnet_node::roles::common: bootstrap="])?;
        assert!(is_hex(&peer, 64) && line.contains("@127.0.0.1:"), "{line}");
        says(
            log,
            &[" INFO zipnet_node::roles::server: server booting; waiting for collections + group"],
        )?;
        let line = says(
            log,
            &[" INFO zipnet_node::committee: committee: opening round at index I_"],
        )?;
        let index = line.rsplit("I_").next().unwrap_or_default();
        assert!(index.parse::<u64>().is_ok(), "{line}");
        let line = says(
            log,
            &[" INFO zipnet_node::roles::server: submitted partial unblind at I_"],
        )?;
        let index = line.rsplit("I_").next().unwrap_or_default();
        assert!(index.parse::<u64>().is_ok(), "{line}");
        let line = says(
            log,
            &[" INFO zipnet_node::committee: committee: round finalized round=r"],
        )?;
        assert!(
            field(&line, "participants")?.parse::<usize>().is_ok(),
            "{line}"
        );
        // I10: no secret in the log.
        let all = log.lines().since(0).join("\n");
        for secret in [&cluster.settings.secret, "server 0", "server 1", "server 2"] {
            assert!(!all.contains(secret), "{secret:?} is in the log:\n{all}");
        }
    }
    Ok(())
}

#[test]
fn metrics_have_the_names_and_labels_of_the_reference() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    cluster.finalize_another()?;
    let leader = eventually("exactly one leader", ROUND, || cluster.leader())?;
    let peers: Vec<_> = cluster.servers.iter().map(Server::peer).collect();
    for (position, server) in (0..).zip(&cluster.servers) {
        let mut absent = "";
        let complete = eventually("all series", ROUND, || {
            let text = scrape(server.metrics)?;
            let has = |name: &str| text.contains(&format!("\n{name}{{"));
            absent = NAMES.iter().find(|name| !has(name)).copied().unwrap_or("");
            absent.is_empty().then_some(text)
        });
        let text = complete.map_err(|_| Failed::because(format!("no {absent}")))?;
        let ours = |line: &&str| line.starts_with("zipnet_");
        for line in text.lines().filter(ours) {
            assert!(line.contains("instance=\"zipnet.local.test\""), "{line}");
        }
        eventually("the gauges of a healthy committee", ROUND, || {
            let is = |name: &str, wanted: f64| {
                server
                    .metric(name)
                    .is_some_and(|value| (value - wanted).abs() < 0.1)
            };
            let leads = if position == leader { 1.0 } else { 0.0 };
            (is("mosaik_groups_leader_is_local", leads)
                && is("zipnet_client_registry_size", 2.0)
                && is("zipnet_server_registry_size", 3.0))
            .then_some(())
        })?;
        let others = peers.iter().filter(|peer| **peer != server.peer());
        for other in others {
            eventually("a bond with each other server", ROUND, || {
                let text = scrape(server.metrics)?;
                let mut lines = text.lines();
                lines
                    .find(|line| line.starts_with("mosaik_groups_bonds{") && line.contains(other))
                    .filter(|line| line.ends_with(" 1"))
                    .map(|_| ())
            })?;
        }
        let finalized = server
            .metric("zipnet_rounds_finalized_total")
            .unwrap_or(0.0);
        let submitted = server
            .metric("zipnet_partials_submitted_total")
            .unwrap_or(0.0);
        assert!(
            finalized >= 1.0 && submitted >= 1.0,
            "{finalized} {submitted}"
        );
    }
    Ok(())
}

#[test]
fn a_hint_without_an_address_works_once_another_hint_reaches() -> TestResult {
    let mut cluster = Cluster::new(Settings::default())?;
    cluster.add_server(0)?;
    cluster.add_server(1)?;
    // The second is known by its id alone; the first tells where it is.
    let hints = format!("{},{}", cluster.servers[1].peer(), cluster.servers[0].hint);
    let extra = [("ZIPNET_BOOTSTRAP", hints.as_str())];
    let third = cluster.launch_server(2, "127.0.0.1:0", free_port(), &extra)?;
    cluster.servers.push(third);
    cluster.add_aggregator()?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    cluster.finalize_another()?;
    Ok(())
}

#[test]
fn one_server_without_bootstrap_starts_a_universe_and_warns_of_what_is_weak() -> TestResult {
    let settings = Settings {
        servers: 1,
        committee_size: None,
        min_participants: 1,
        instance: "mixer".into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::start(settings, 1)?;
    cluster.finalize_another()?;
    let server = &mut cluster.servers[0];
    let log = &mut server.process;
    says(
        log,
        &[" WARN ", "ZIPNET_MIN_PARTICIPANTS is 1", "no anonymity"],
    )?;
    says(
        log,
        &[
            " WARN ",
            "mixer is not namespaced",
            "flat namespace",
            "<org>.<purpose>.<env>",
        ],
    )?;
    says(log, &[" WARN ", "ZIPNET_COMMITTEE_SIZE is not set"])?;
    eventually("one registered server", ROUND, || {
        let size = server.metric("zipnet_server_registry_size")?;
        (0.5..1.5).contains(&size).then_some(())
    })?;
    Ok(())
}

#[test]
fn secrets_come_from_files_and_a_flag_beats_its_variable() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (committee, seed) = (folder.path().join("committee"), folder.path().join("seed"));
    let mut cluster = Cluster::new(Settings::default())?;
    cluster.add_server(0)?;
    cluster.add_server(1)?;
    fs::write(&committee, format!("{}\n", cluster.settings.secret))?;
    fs::write(&seed, "server 2\n")?;
    let metrics = free_port();
    let mut command = cluster.server_command(2, "127.0.0.1:0", metrics)?;
    command
        .env_remove("ZIPNET_COMMITTEE_SECRET")
        .env_remove("ZIPNET_SECRET")
        .env("ZIPNET_COMMITTEE_SECRET_FILE", &committee)
        .env("ZIPNET_SECRET_FILE", &seed)
        // Wrong, unless a flag says otherwise.
        .env("ZIPNET_INSTANCE", "zipnet.wrong.test")
        .env("ZIPNET_COMMITTEE_SIZE", "64")
        .args(["--instance", "zipnet.local.test", "--committee-size", "3"]);
    let third = cluster.launch_server_as(2, metrics, command)?;
    cluster.servers.push(third);
    cluster.add_aggregator()?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    cluster.finalize_another()?;

    // The same seed in hexadecimal digits and as text makes other identities;
    // the same text makes the same one, from a file or not.
    let from_file = cluster.servers[2].peer();
    cluster.servers[2].process.terminate(UP)?;
    cluster.restart_server(2)?;
    assert_eq!(cluster.servers[2].peer(), from_file);
    Ok(())
}
