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

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^53"
)]

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
    lines::Lines,
    process::Process,
    server::scrape,
};

const NODES: usize = 10;
const CLIENTS: usize = 100;
const ROUNDS: usize = 60;
/// Rounds before the first that counts: connections and caches are warm then.
const WARM: usize = 10;
const PATIENCE: Duration = Duration::from_mins(3);

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
    // A relay for each of a hundred clients would be dialled by all others.
    let relay = EmbeddedRelay::start().await?;
    let settings = Settings {
        variables: vec![("ZIPNET_RELAY".into(), relay.url().to_string())],
        // Clients of one node count once.
        min_participants: NODES,
        period: std::env::var("BENCH_PERIOD").unwrap_or("200ms".into()),
        deadline: "60s".into(),
        fold_deadline: "30s".into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::new(settings)?;
    cluster.populate(0)?;
    let clients = join(&cluster, &relay).await?;
    say(&format!(
        "3 servers, 1 aggregator, {CLIENTS} clients on {NODES} nodes, loopback; {ROUNDS} rounds"
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

    let mut latencies: Vec<Duration> = cluster
        .servers
        .iter()
        .zip(marks)
        .flat_map(|(server, mark)| latencies(server.process.lines(), mark))
        .collect();
    latencies.sort();
    let at = |share: usize| {
        let index = (latencies.len() * share / 100).min(latencies.len().saturating_sub(1));
        latencies
            .get(index)
            .copied()
            .unwrap_or_default()
            .as_secs_f64()
            * 1000.0
    };
    say("");
    say("| round, from open to finalized | |");
    say("| --- | --- |");
    say(&format!("| p50 | {:.1} ms |", at(50)));
    say(&format!("| p99 | {:.1} ms |", at(99)));
    say(&format!(
        "| p99 : p50 | {:.2} |",
        at(99) / at(50).max(f64::MIN_POSITIVE)
    ));
    say(&format!(
        "| rounds a second (period 200 ms) | {:.2} |",
        per(ROUNDS, elapsed)
    ));
    say(&format!(
        "| fewest participants of a round | {participants} |"
    ));
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

/// Times from `opening round` to `round finalized` in a server's log.
fn latencies(lines: &Lines, from: usize) -> Vec<Duration> {
    let mut opened = None;
    let mut found = Vec::new();
    for line in lines.since(from) {
        let Some(at) = line.split_whitespace().next().and_then(seconds_of_day) else {
            continue;
        };
        if line.contains("committee: opening round") {
            opened = Some(at);
        } else if line.contains("committee: round finalized")
            && let Some(start) = opened.take()
        {
            found.push(Duration::from_secs_f64((at - start).max(0.0)));
        }
    }
    found
}

/// `2026-01-02T03:04:05.678Z` as seconds of its day.
fn seconds_of_day(stamp: &str) -> Option<f64> {
    let (_, time) = stamp.trim_end_matches('Z').split_once('T')?;
    let mut parts = time.split(':').map(str::parse::<f64>);
    let (hours, minutes, seconds) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    Some((hours * 60.0 + minutes) * 60.0 + seconds)
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
