//! `make bench`, end to end: 3 servers and an aggregator as processes on loopback,
//! clients in this one, each with keys, a socket and connections of its own. Prints the
//! latency of rounds, what each process uses of processor and memory, and the bytes on
//! each link.
//!
//! Clients answer at once here and the aggregator closes its fold with the
//! last of them, so the fold deadline is no part of the figures.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^53"
)]

mod readers;
mod timeline;

use std::{
    error::Error,
    io::Write as _,
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::{task::JoinSet, time::timeout};
use zipnet_node::{
    roles::client::{Client, Participation},
    settings::RelaySetting,
};
use zipnet_protocol::RoundParams;
use zipnet_tests::{
    cluster::{Cluster, Settings},
    embedded::client_settings,
    process::{Process, more_files},
    readers::places,
    server::{free_port, scrape},
};

/// Loads a committee with clients, and says what it costs.
#[derive(Debug, Parser)]
#[command(name = "zipnet-bench")]
struct Cli {
    /// Clients, each with keys, a socket and connections of its own
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// Those of them that always have something to say; the others cover
    #[arg(long, default_value_t = 0)]
    talkers: usize,
    /// From one opening to the next
    #[arg(long, default_value = "200ms")]
    period: String,
    /// Rounds that are measured
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Readers of an archive, whose traffic at the servers is measured after that
    #[arg(long, default_value_t = 0)]
    readers: usize,
    /// Where it runs, to be said
    #[arg(long, default_value = "loopback")]
    network: String,
}

/// Clients that start at once: each comes with a handshake to two servers and, when its
/// first round opens, to the aggregator.
const STARTING: usize = 25;
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

/// A committee for many clients, and where its aggregator's metrics are.
fn committee(cli: &Cli) -> BenchResult<(Cluster, SocketAddr)> {
    let settings = Settings {
        variables: [
            (
                "RUST_LOG".into(),
                "info,zipnet_node::committee=debug".into(),
            ),
            // All come from one address here.
            ("ZIPNET_DOOR_EACH_ADDRESS".into(), "100000".into()),
            ("ZIPNET_DOOR_STRANGERS".into(), "20000".into()),
        ]
        .into_iter()
        .chain(places(cli.readers))
        .collect(),
        min_participants: 2,
        period: cli.period.clone(),
        deadline: "60s".into(),
        fold_deadline: "30s".into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::new(settings)?;
    for index in 0..cluster.settings.servers {
        cluster.add_server(index)?;
    }
    let folding = free_port();
    let mut aggregator = cluster.aggregator_command()?;
    aggregator.env("ZIPNET_METRICS", folding.to_string());
    cluster.launch_aggregator(aggregator)?;
    Ok((cluster, folding))
}

async fn bench() -> BenchResult<()> {
    let cli = Cli::parse();
    more_files()?;
    let (mut cluster, folding) = committee(&cli)?;
    let empty = Use::of(&cluster);
    let started = Instant::now();
    let clients = join(&cluster, &cli).await?;
    say(&format!(
        "3 servers, 1 aggregator, {} clients of which {} talk; {}; {} rounds; all had started after {:.0} s",
        cli.clients,
        cli.talkers,
        cli.network,
        cli.rounds,
        started.elapsed().as_secs_f64()
    ));
    let mut talking = JoinSet::new();
    for client in clients.iter().take(cli.talkers) {
        let publisher = client.publisher();
        talking.spawn(async move { while publisher.publish(vec![7; 100]).await.is_ok() {} });
    }

    let mut reader = clients.first().ok_or("no client")?.reader();
    let mut warm = 0;
    while warm < WARM {
        let round = timeout(PATIENCE, reader.next())
            .await?
            .ok_or("the reader ended")??;
        // From when all are registered.
        warm += usize::from(round.participants() == cli.clients);
    }
    let marks: Vec<usize> = cluster
        .servers
        .iter()
        .map(|server| server.process.lines().count())
        .collect();
    let doors = || -> f64 {
        let servers = cluster.servers.iter().map(|server| server.metrics);
        let accepted = "zipnet_door_events_total{instance=\"zipnet.local.test\",what=\"accepted\"}";
        servers.chain([folding]).map(|at| sum(at, accepted)).sum()
    };
    let (before, used, handshakes) = (Bytes::read(&cluster), Use::of(&cluster), doors());
    let started = Instant::now();
    let mut participants = usize::MAX;
    for _ in 0..cli.rounds {
        let round = timeout(PATIENCE, reader.next())
            .await?
            .ok_or("the reader ended")??;
        participants = participants.min(round.participants());
    }
    let elapsed = started.elapsed();
    let (after, using, at_doors) = (Bytes::read(&cluster), Use::of(&cluster), doors());

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
        "| a second (period {}) | {:.2} |",
        cli.period,
        per(cli.rounds, elapsed)
    ));
    say(&format!("| fewest participants | {participants} |"));
    say(&format!(
        "| handshakes a round, at all doors | {:.2} |",
        (at_doors - handshakes) / cli.rounds as f64
    ));
    say("");
    let broadcast = RoundParams::default().broadcast_bytes();
    say(&format!(
        "| link | bytes a round | in broadcasts of {broadcast} B |"
    ));
    say("| --- | --- | --- |");
    for (link, bytes) in before.until(&after, &cli) {
        let round = bytes / cli.rounds as f64;
        say(&format!(
            "| {link} | {round:.0} | {:.2} |",
            round / broadcast as f64
        ));
    }
    say_use(&empty, &used, &using, &cli);
    if cli.readers > 0 {
        // It waits on conditions, as tests do.
        tokio::task::block_in_place(|| readers::measure(&mut cluster, cli.readers, cli.rounds))
            .map_err(|error| format!("{error:?}"))?;
    }
    talking.shutdown().await;
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

/// What processes have used: their names, resident bytes, seconds of processor time.
struct Use(Vec<(String, f64, f64)>);

impl Use {
    fn of(cluster: &Cluster) -> Self {
        let servers = cluster.servers.iter().map(|server| &server.process);
        let named = (1..).zip(servers);
        let named = named.map(|(number, process)| (format!("server {number}"), process));
        let aggregator = cluster.aggregator.iter();
        let aggregator = aggregator.map(|process| ("aggregator".to_owned(), process));
        let mut all: Vec<_> = named
            .chain(aggregator)
            .map(|(name, process): (String, &Process)| {
                let resident = process.resident().unwrap_or_default() as f64;
                (name, resident, seconds(&process.pid().to_string()))
            })
            .collect();
        all.push(("clients".to_owned(), 0.0, seconds("self")));
        Self(all)
    }
}

/// Processor time of a process, in seconds (proc(5), fields 14 and 15 of `stat`, in
/// hundredths).
fn seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn say_use(empty: &Use, before: &Use, after: &Use, cli: &Cli) {
    say("");
    say("| process | processor time a round | resident | of it for each client |");
    say("| --- | --- | --- | --- |");
    let (rounds, clients) = (cli.rounds as f64, cli.clients as f64);
    let mut each = 0.0;
    for ((empty, before), after) in empty.0.iter().zip(&before.0).zip(&after.0) {
        let time = (after.2 - before.2) / rounds * 1000.0;
        if after.1 == 0.0 {
            say(&format!("| {} | {time:.1} ms | | |", after.0));
            continue;
        }
        let of_client = (after.1 - empty.1) / clients;
        each += of_client;
        say(&format!(
            "| {} | {time:.1} ms | {:.0} MB | {:.1} KiB |",
            after.0,
            after.1 / 1e6,
            of_client / 1024.0
        ));
    }
    say(&format!("| together | | | {:.1} KiB |", each / 1024.0));
}

async fn join(cluster: &Cluster, cli: &Cli) -> BenchResult<Vec<Client>> {
    let mut starting = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..cli.clients {
        let settings = client_settings(cluster, RelaySetting::Embedded);
        let settings = settings.map_err(|error| format!("{error:?}"))?;
        while starting.len() >= STARTING {
            clients.extend(starting.join_next().await.transpose()?.transpose()?);
        }
        // All may talk; who says nothing covers.
        starting.spawn(Client::start(settings, Participation::Talk));
    }
    while let Some(client) = starting.join_next().await {
        clients.push(client??);
    }
    Ok(clients)
}

/// The sum of the series at an exporter whose lines begin so.
fn sum(at: SocketAddr, name: &str) -> f64 {
    let text = scrape(at).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Byte counters of the servers, by link.
struct Bytes(Vec<(&'static str, f64)>);

impl Bytes {
    fn read(cluster: &Cluster) -> Self {
        let sum = |name: &str| -> f64 {
            let servers = cluster.servers.iter();
            servers.map(|server| sum(server.metrics, name)).sum()
        };
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
                "servers to one client (headers, light record)",
                sum(
                    "zipnet_payload_bytes_total{instance=\"zipnet.local.test\",link=\"server-follower-light\"}",
                ),
            ),
            (
                "server to server, all six directions",
                sum("mosaik_groups_bonds_bytes_sent"),
            ),
        ])
    }

    /// What was added since; the first row is a constant of every round, the third is
    /// shared by all clients.
    fn until(&self, after: &Self, cli: &Cli) -> Vec<(&'static str, f64)> {
        let (rounds, clients) = (cli.rounds as f64, cli.clients as f64);
        self.0
            .iter()
            .zip(&after.0)
            .enumerate()
            .map(|(row, ((link, before), (_, after)))| {
                let bytes = match row {
                    0 => after * rounds,
                    2 => (after - before) / clients,
                    _ => after - before,
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
