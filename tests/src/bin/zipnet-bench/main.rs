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

mod growth;
mod links;
mod readers;
mod site;
mod timeline;
mod usage;

use std::{
    error::Error,
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::{task::JoinSet, time::timeout};
use zipnet_node::{
    roles::client::{Client, Participation, Reader},
    settings::RelaySetting,
};
use zipnet_tests::{cluster::Cluster, embedded::client_settings, process::more_files};

use self::{
    growth::{Stage, say_growth},
    links::{Bytes, say_links},
    site::Site,
    timeline::{STEPS, timelines},
    usage::{Use, say_use},
};

/// Loads a committee with clients, and says what it costs.
#[derive(Debug, Parser)]
#[command(name = "zipnet-bench")]
struct Cli {
    /// Clients, each with keys, a socket and connections of its own. Of several numbers,
    /// ascending, each is measured after more have come
    #[arg(long, default_values_t = [100], value_delimiter = ',')]
    clients: Vec<usize>,
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
    /// Aggregators that share out the clients
    #[arg(long, default_value_t = 1)]
    leaves: usize,
    /// How long they wait for clients, if not all come
    #[arg(long, default_value = "30s")]
    fold_deadline: String,
    /// Where it runs, to be said
    #[arg(long, default_value = "loopback")]
    network: String,
}

/// Clients that start at once: each comes with a handshake to two servers and, when its
/// first round opens, to the aggregator.
const STARTING: usize = 25;
/// Rounds before the first that counts: connections and caches are warm then. Those of so
/// many clients or more take long, and less of them is enough.
const WARM: usize = 10;
const MANY: (usize, usize) = (2000, 3);
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
    let cli = Cli::parse();
    more_files()?;
    let mut site = Site::new(&cli)?;
    let empty = Use::of(&site);
    let mut clients: Vec<Client> = Vec::new();
    let mut talking = JoinSet::new();
    let mut stages = Vec::new();
    for wanted in &cli.clients {
        let started = Instant::now();
        let more = wanted.saturating_sub(clients.len());
        clients.extend(join(&site.cluster, more).await?);
        say(&format!(
            "\n3 servers, {}, {wanted} clients of which {} talk; {}; {} rounds; {more} had started after {:.0} s",
            match cli.leaves {
                0 | 1 => "1 aggregator".to_owned(),
                leaves => format!("{leaves} leaves, one of them the aggregator"),
            },
            cli.talkers,
            cli.network,
            cli.rounds,
            started.elapsed().as_secs_f64()
        ));
        for client in clients.iter().take(cli.talkers).skip(talking.len()) {
            let publisher = client.publisher();
            talking.spawn(async move { while publisher.publish(vec![7; 100]).await.is_ok() {} });
        }
        let first = clients.first().ok_or("no client")?;
        stages.push(measure(&site, &cli, *wanted, &empty, first.reader()).await?);
    }
    if stages.len() > 1 {
        say_growth(&stages);
    }
    if cli.readers > 0 {
        // It waits on conditions, as tests do.
        let cluster = &mut site.cluster;
        tokio::task::block_in_place(|| readers::measure(cluster, cli.readers, cli.rounds))
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

/// Measures and prints so many rounds of so many clients.
async fn measure(
    site: &Site,
    cli: &Cli,
    clients: usize,
    empty: &Use,
    mut reader: Reader,
) -> BenchResult<Stage> {
    let warm = if clients < MANY.0 { WARM } else { MANY.1 };
    let mut warmed = 0;
    while warmed < warm {
        // From when all are registered.
        warmed += usize::from(next(&mut reader).await? == clients);
    }
    let servers = &site.cluster.servers;
    let marks: Vec<usize> = servers
        .iter()
        .map(|server| server.process.lines().count())
        .collect();
    let accepted = format!(
        "zipnet_door_events_total{{{},what=\"accepted\"}}",
        Site::LABEL
    );
    let doors = || site.at_servers(&accepted) + site.at_aggregators(&accepted);
    let (before, used, handshakes) = (Bytes::read(site), Use::of(site), doors());
    let started = Instant::now();
    let mut participants = usize::MAX;
    for _ in 0..cli.rounds {
        participants = participants.min(next(&mut reader).await?);
    }
    let elapsed = started.elapsed();
    let (after, using, at_doors) = (Bytes::read(site), Use::of(site), doors());

    let timelines: Vec<_> = servers
        .iter()
        .zip(marks)
        .flat_map(|(server, mark)| timelines(server.process.lines(), mark))
        .collect();
    say_timelines(&timelines);
    say("");
    say("| rounds | |");
    say("| --- | --- |");
    let each = elapsed.as_secs_f64() / cli.rounds as f64;
    say(&format!(
        "| a second (period {}) | {:.2} |",
        cli.period,
        1.0 / each
    ));
    say(&format!("| fewest participants | {participants} |"));
    say(&format!(
        "| handshakes a round, at all doors | {:.2} |",
        (at_doors - handshakes) / cli.rounds as f64
    ));
    let links = before.until(&after, cli.rounds, clients);
    say_links(&links);
    let taken = used.until(&using, empty, site.root(), cli.rounds);
    say_use(&taken, clients);
    let times = taken
        .iter()
        .map(|kind| (format!("processor, {}, ms", kind.name), kind.time));
    let links = links
        .iter()
        .map(|(link, bytes)| ((*link).to_owned() + ", bytes", *bytes));
    let whole = [("open to the next, ms".to_owned(), each * 1000.0)];
    Ok(Stage {
        clients,
        measured: whole.into_iter().chain(times).chain(links).collect(),
    })
}

/// How many took part in the next round.
async fn next(reader: &mut Reader) -> BenchResult<usize> {
    let round = timeout(PATIENCE, reader.next()).await?;
    Ok(round.ok_or("the reader ended")??.participants())
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

async fn join(cluster: &Cluster, wanted: usize) -> BenchResult<Vec<Client>> {
    let mut starting = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..wanted {
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

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
