//! What a running deployment says of itself: health, readiness, status, metrics, logs.
#![allow(missing_docs)]

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;
use zipnet_node::{
    metrics::table::{self, Kind},
    status::{EvidenceStatus, Status},
};
use zipnet_tests::{
    archive::Archive,
    cluster::{Cluster, LEAVE, ROUND, Settings, UP},
    netns::Namespaces,
    process::{Failed, Process, TestResult, command, eventually},
    server::{free_port, get, scrape},
};

/// How long a process may take to notice.
const NOTICED: Duration = Duration::from_secs(20);

/// Waits until `/readyz` at an address says yes, or a reason that begins so.
fn readyz(address: SocketAddr, wanted: &str, limit: Duration) -> TestResult {
    let mut last = String::new();
    let told = eventually(&format!("/readyz says {wanted}"), limit, || {
        let (status, body) = get(address, "/readyz")?;
        let says = body.lines().any(|line| line.starts_with(wanted));
        let fits = (status == 200) == (body == "ready\n");
        last = body;
        (says && fits).then_some(())
    });
    told.map_err(|error| Failed::because(format!("{error}; it said {last:?}")))
}

fn status(cluster: &Cluster, index: usize, arguments: &[&str]) -> TestResult<String> {
    let mut command = command("zipnet-server")?;
    command.arg("status").args(arguments).env(
        "ZIPNET_STATE",
        cluster.logs().join(format!("state-{index}")),
    );
    let (ended, lines) = Process::run("zipnet-server status", command, NOTICED)?;
    assert!(ended.success(), "{lines:?}");
    Ok(lines.join("\n"))
}

/// The names and kinds of a scrape.
fn families(text: &str) -> BTreeSet<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// What a healthy committee, its aggregator and clients that say nothing have no series of.
const QUIET: &[&str] = &[
    // Nobody publishes through a process that is scraped.
    "zipnet_message_attempts",
    // Nothing is refused, nobody is at fault, nothing fails.
    "zipnet_partials_refused_total",
    "zipnet_rounds_not_certified_total",
    "zipnet_peers_refused_total",
    "zipnet_refused_by_peers_total",
    "zipnet_commands_refused_total",
    "zipnet_strikes_total",
    "zipnet_server_provisioned_total",
    "mosaik_functions_calls_failed",
    "mosaik_functions_calls_rejected",
    "mosaik_discovery_peers_departed",
    // Nobody was away.
    "zipnet_records_fetched_total",
    // By chance.
    "zipnet_audits_total",
    "mosaik_groups_raft_elections",
    "mosaik_discovery_catalog_syncs",
    "mosaik_discovery_peers_updated",
    "mosaik_groups_raft_committee_non_voters",
];

#[test]
fn a_committee_says_how_it_is() -> TestResult {
    let mut cluster = Cluster::new(Settings::default())?.attested()?;
    cluster.add_server(0)?;
    cluster.add_server(1)?;
    let aggregator = free_port();
    let mut command = cluster.aggregator_command()?;
    command.env("ZIPNET_METRICS", aggregator.to_string());
    cluster.launch_aggregator(command)?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    let first = cluster.servers[0].metrics;

    // A server is missing: alive, and not ready, and it says why.
    readyz(first, "roster: server bundles missing (have 2, need 3", UP)?;
    assert_eq!(get(first, "/healthz"), Some((200, "healthy\n".into())));
    let (code, elsewhere) = get(first, "/").unwrap_or_default();
    assert_eq!(code, 404, "{elsewhere}");

    cluster.add_server(2)?;
    cluster.finalize_another()?;
    for server in &cluster.servers {
        readyz(server.metrics, "ready", ROUND)?;
    }
    readyz(aggregator, "ready", NOTICED)?;
    assert_eq!(get(aggregator, "/healthz"), Some((200, "healthy\n".into())));

    let json = status(&cluster, 1, &["--json"])?;
    let told: Status = serde_json::from_str(&json)?;
    assert_eq!(told.committee_size, 3);
    assert_eq!(told.peer, cluster.servers[0].peer());
    assert_eq!((told.unhealthy, told.not_ready), (Vec::new(), Vec::new()));
    assert_eq!((told.servers.len(), told.clients), (3, 2));
    for server in &told.servers {
        assert!(server.here);
        let evidence = server.evidence.as_ref();
        assert!(
            matches!(evidence, Some(EvidenceStatus::Holds { .. })),
            "{server:?}"
        );
    }
    let leader = told.leader.unwrap_or_default();
    assert!(told.servers.iter().any(|server| server.peer == leader));
    let [newest, ..] = told.rounds.as_slice() else {
        return Err(Failed::because("no round is shown"));
    };
    assert_eq!(
        (newest.servers, newest.participants, newest.empty),
        (3, 2, 64)
    );
    let people = status(&cluster, 1, &[])?;
    assert!(people.contains("ready      yes"), "{people}");

    let folder = tempfile::tempdir()?;
    let archive = Archive::start(&mut cluster, folder.path())?;
    eventually("the archive has a record", ROUND, || archive.newest())?;
    the_metrics_are_those_of_the_table(&cluster, &[aggregator, archive.metrics])?;

    // One is gone without a word.
    cluster.servers[2].process.kill();
    readyz(first, "away: registered servers away", NOTICED)?;
    let told: Status = serde_json::from_str(&status(&cluster, 1, &["--json"])?)?;
    assert!(told.not_ready.iter().any(|why| why.reason == "away"));
    assert!(told.servers.iter().any(|server| !server.here));
    Ok(())
}

fn the_metrics_are_those_of_the_table(cluster: &Cluster, others: &[SocketAddr]) -> TestResult {
    let addresses = cluster.servers.iter().map(|server| server.metrics);
    let mut seen = BTreeSet::new();
    for address in addresses.chain(others.iter().copied()) {
        let text = scrape(address).ok_or_else(|| Failed::because("no metrics"))?;
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            assert!(line.contains(r#"instance="zipnet.local.test""#), "{line}");
        }
        seen.extend(families(&text));
    }
    for (name, kind) in &seen {
        let listed = table::find(name).map(|metric| metric.kind.name());
        assert_eq!(listed, Some(kind.as_str()), "{name}");
    }
    let quiet: BTreeSet<_> = QUIET.iter().copied().collect();
    let missing: Vec<_> = table::TABLE
        .iter()
        .filter(|metric| !quiet.contains(metric.name))
        .filter(|metric| !seen.iter().any(|(name, _)| name == metric.name))
        .map(|metric| metric.name)
        .collect();
    assert!(
        missing.is_empty(),
        "in the table and never seen: {missing:?}"
    );
    assert!(
        table::TABLE
            .iter()
            .any(|metric| metric.kind == Kind::Histogram)
    );
    Ok(())
}

/// A server in a namespace without anything around it.
fn alone(namespaces: &Namespaces, variables: &[(&str, &str)]) -> TestResult<Process> {
    let path = zipnet_tests::process::binary("zipnet-server")?;
    let mut command = namespaces.command(0, &path);
    zipnet_tests::process::clean(&mut command);
    command
        .env("ZIPNET_INSTANCE", "acme.mainnet")
        .env("ZIPNET_COMMITTEE_SECRET", "the committee secret of a test")
        .env("ZIPNET_SECRET", "alone")
        .env("ZIPNET_COMMITTEE_SIZE", "1")
        .env("ZIPNET_RELAY", "embedded")
        .env("ZIPNET_BIND", format!("{}:0", namespaces.address(Some(0))))
        .envs(variables.iter().copied());
    Ok(Process::start("alone", command, None)?)
}

fn says_nothing_of_endpoints(process: &Process) {
    for line in process.lines().since(0) {
        assert!(!line.contains("Endpoint dropped"), "{line}");
    }
}

#[test]
fn without_the_internet_a_node_says_so_once_and_shortly() -> TestResult {
    let namespaces = Namespaces::new(1)?;
    let mut process = alone(&namespaces, &[])?;
    process.expect("iroh's directory in the internet is not reached", UP)?;
    assert!(process.terminate(LEAVE)?.success());
    let lines = process.lines().since(0);
    let told = lines.iter().filter(|line| line.contains("internet"));
    assert_eq!(told.count(), 1, "{lines:#?}");
    for line in &lines {
        assert!(line.len() < 500 && !line.contains("pkarr"), "{line}");
        assert!(!line.contains("not namespaced"), "{line}");
    }
    says_nothing_of_endpoints(&process);
    // Nothing is lost to whoever asks for it.
    let mut process = alone(&namespaces, &[("RUST_LOG", "debug")])?;
    process.expect("pkarr", UP)?;
    process.terminate(LEAVE)?;
    Ok(())
}

#[test]
fn a_server_that_is_stopped_hard_or_early_closes_its_endpoint() -> TestResult {
    let namespaces = Namespaces::new(1)?;
    // It waits for a relay that never answers.
    let nowhere = [("ZIPNET_RELAY", "http://127.0.0.1:9")];
    let mut process = alone(&namespaces, &nowhere)?;
    process.expect("spawning zipnet server", UP)?;
    assert!(process.terminate(LEAVE)?.success());
    says_nothing_of_endpoints(&process);
    // It is told twice.
    let mut process = alone(&namespaces, &[])?;
    process.expect("bootstrap=", UP)?;
    process.signal(Signal::SIGTERM);
    process.expect("server leaving", UP)?;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(LEAVE)?.code(), Some(1));
    says_nothing_of_endpoints(&process);
    Ok(())
}

#[test]
fn a_log_of_json_is_json_to_its_last_line() -> TestResult {
    let namespaces = Namespaces::new(1)?;
    let json = [("ZIPNET_LOG_FORMAT", "json")];
    let mut process = alone(&namespaces, &json)?;
    process.expect("bootstrap=", UP)?;
    assert!(process.terminate(LEAVE)?.success());
    let bad = [json[0], ("ZIPNET_STATUS", "/nowhere/status.sock")];
    let mut refused = alone(&namespaces, &bad)?;
    assert_eq!(refused.wait(UP)?.code(), Some(1));
    let (ran, refused) = (process.lines().since(0), refused.lines().since(0));
    for line in ran.iter().chain(&refused) {
        let object: Value = serde_json::from_str(line)?;
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        assert!(
            text("level").is_some() && text("message").is_some(),
            "{line}"
        );
    }
    let last = refused.last().map(String::as_str).unwrap_or_default();
    assert!(
        last.contains("Could not make the status socket /nowhere/status.sock"),
        "{last}"
    );
    Ok(())
}
