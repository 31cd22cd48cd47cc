//! `make bench`, end to end: 3 servers and an aggregator as processes on
//! loopback, 100 clients on 10 nodes in this one. Prints the latency of rounds
//! and the bytes on each link.
//!
//! Not 100 nodes: each node of a mosaik universe compares its catalog with
//! each other, twice, and 100 of them keep two cores busy for minutes before
//! the first round.
//!
//! Clients answer at once here and the aggregator closes its fold with the
//! last of them, so the fold deadline is no part of the figures.
//!
//!     zipnet-bench [PERIOD [NETWORK]]
//!
//! PERIOD is the time from one opening to the next, as `200ms`, the default;
//! NETWORK is said of where it runs.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^53"
)]

mod timeline;

use std::{
    error::Error,
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};
use zipnet_node::{
    relay::EmbeddedRelay,
    roles::client::{Client, Participation},
    settings::RelaySetting,
};
use zipnet_protocol::RoundParams;
use zipnet_tests::{
    cluster::{Cluster, Settings},
    embedded::client_settings,
    process::Process,
    server::scrape,
};

const NODES: usize = 10;
const CLIENTS: usize = 100;
const ROUNDS: usize = 60;
/// Rounds before the first that counts: connections and caches are warm then.
const WARM: usize = 10;
const PATIENCE: Duration = Duration::from_mins(3);

use timeline::{STEPS, timelines};

type BenchResult<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(bench()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "error: {}",
                zipnet_node::report::chain(&*error)
            );
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> BenchResult<()> {
    let mut arguments = std::env::args().skip(1);
    let period = arguments.next().unwrap_or_else(|| "200ms".into());
    let network = arguments.next().unwrap_or_else(|| "loopback".into());
    // A relay for each of a hundred clients would be dialled by all others.
    let relay = EmbeddedRelay::start().await?;
    let settings = Settings {
        variables: vec![
            ("ZIPNET_RELAY".into(), relay.url().to_string()),
            (
                "RUST_LOG".into(),
                "info,zipnet_node::committee=debug".into(),
            ),
        ],
        // Clients of one node count once.
        min_participants: NODES,
        period: period.clone(),
        deadline: "60s".into(),
        fold_deadline: "30s".into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::new(settings)?;
    cluster.populate(0)?;
    let clients = join(&cluster, &relay).await?;
    say(&format!(
        "3 servers, 1 aggregator, {CLIENTS} clients on {NODES} nodes; {network}; {ROUNDS} rounds"
    ));

    let mut reader = clients.first().ok_or("no client")?.reader();
    let mut warm = 0;
    while warm < WARM {
        let round = timeout(PATIENCE, reader.next())
            .await?
            .ok_or("the reader ended")?;
        // From when all are registered.
        warm += usize::from(round.participants() == CLIENTS);
    }
    let marks: Vec<usize> = cluster
        .servers
        .iter()
        .map(|server| server.process.lines().count())
        .collect();
    let before = Bytes::read(&cluster);
    let started = Instant::now();
    let mut participants = usize::MAX;
    for _ in 0..ROUNDS {
        let round = timeout(PATIENCE, reader.next())
            .await?
            .ok_or("the reader ended")?;
        participants = participants.min(round.participants());
    }
    let elapsed = started.elapsed();
    let after = Bytes::read(&cluster);

    let timelines: Vec<_> = cluster
        .servers
        .iter()
        .zip(marks)
        .flat_map(|(server, mark)| timelines(server.process.lines(), mark))
        .collect();
    say_timelines(&timelines);
    say("");
    say("| rounds | |");
    say("| --- | --- |");
    say(&format!(
        "| a second (period {period}) | {:.2} |",
        per(ROUNDS, elapsed)
    ));
    say(&format!("| fewest participants | {participants} |"));
    say("");
    let broadcast = RoundParams::default().broadcast_bytes();
    say(&format!(
        "| link | bytes a round | in broadcasts of {broadcast} B |"
    ));
    say("| --- | --- | --- |");
    for (link, bytes) in before.until(&after) {
        let round = bytes / ROUNDS as f64;
        say(&format!(
            "| {link} | {round:.0} | {:.2} |",
            round / broadcast as f64
        ));
    }
    say_resident(&cluster);
    let mut leaving = JoinSet::new();
    for client in clients {
        leaving.spawn(client.leave());
    }
    while leaving.join_next().await.is_some() {}
    Ok(())
}

fn say_timelines(timelines: &[[Duration; STEPS.len()]]) {
    say("");
    say("| round, from its opening | p50 | p99 | p99 : p50 |");
    say("| --- | --- | --- | --- |");
    for (at, step) in STEPS.iter().enumerate() {
        let took = timelines.iter().filter_map(|steps| steps.get(at));
        let mut took: Vec<f64> = took.map(|time| time.as_secs_f64() * 1000.0).collect();
        took.sort_by(f64::total_cmp);
        let share = |percent: usize| {
            let index = (took.len() * percent / 100).min(took.len().saturating_sub(1));
            took.get(index).copied().unwrap_or_default()
        };
        let (p50, p99) = (share(50), share(99));
        let ratio = p99 / p50.max(f64::MIN_POSITIVE);
        say(&format!(
            "| {step} | {p50:.1} ms | {p99:.1} ms | {ratio:.2} |"
        ));
    }
}

fn say_resident(cluster: &Cluster) {
    say("");
    say("| resident memory after that | MB |");
    say("| --- | --- |");
    let resident = |process: &Process| process.resident().unwrap_or_default() as f64 / 1e6;
    for (number, server) in (1..).zip(&cluster.servers) {
        say(&format!(
            "| server {number} | {:.0} |",
            resident(&server.process)
        ));
    }
    if let Some(aggregator) = &cluster.aggregator {
        say(&format!("| aggregator | {:.0} |", resident(aggregator)));
    }
}

async fn join(cluster: &Cluster, relay: &EmbeddedRelay) -> BenchResult<Vec<Client>> {
    let mut starting = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..NODES {
        let relay = RelaySetting::Url(relay.url().clone());
        let settings = client_settings(cluster, relay).map_err(|error| format!("{error:?}"))?;
        starting.spawn(Client::start(settings, Participation::Cover));
    }
    while let Some(client) = starting.join_next().await {
        clients.push(client??);
    }
    for index in NODES..CLIENTS {
        let host = clients.get(index % NODES).ok_or("no node")?;
        clients.push(host.another(Participation::Cover)?);
    }
    Ok(clients)
}

/// Byte counters of the servers, by link.
struct Bytes(Vec<(&'static str, f64)>);

impl Bytes {
    fn read(cluster: &Cluster) -> Self {
        let sum = |name: &str| -> f64 {
            cluster
                .servers
                .iter()
                .filter_map(|server| scrape(server.metrics))
                .flat_map(|text| {
                    text.lines()
                        .filter(|line| line.starts_with(name))
                        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                        .collect::<Vec<_>>()
                })
                .sum()
        };
        let nodes = NODES as f64;
        Self(vec![
            (
                "client to aggregator, one client",
                RoundParams::default().broadcast_bytes() as f64,
            ),
            (
                "aggregator to server",
                sum(
                    "zipnet_payload_bytes_total{instance=\"zipnet.local.test\",link=\"aggregator-server\"}",
                ),
            ),
            (
                "server to one follower (header, record)",
                sum(
                    "zipnet_payload_bytes_total{instance=\"zipnet.local.test\",link=\"server-follower\"}",
                ) / (nodes + 1.0),
            ),
            (
                "server to server, all six directions",
                sum("mosaik_groups_bonds_bytes_sent"),
            ),
        ])
    }

    /// What was added since; the first row is a constant of every round.
    fn until(&self, after: &Self) -> Vec<(&'static str, f64)> {
        let rounds = ROUNDS as f64;
        self.0
            .iter()
            .zip(&after.0)
            .enumerate()
            .map(|(row, ((link, before), (_, after)))| {
                let bytes = if row == 0 {
                    after * rounds
                } else {
                    after - before
                };
                (*link, bytes)
            })
            .collect()
    }
}

fn per(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
