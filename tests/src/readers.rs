//! Many readers of an archive at once, each as a browser: a connection for events, and
//! one for a record that these name. And what servers push meanwhile.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    runtime::Runtime,
    sync::Semaphore,
};

use crate::{
    cluster::{Cluster, ROUND},
    process::{Failed, TestResult, eventually},
    server::scrape,
};

/// Connections that are made at once.
const COMING: usize = 64;
/// Time for all to come, or to be told of a round.
const TOLD: Duration = Duration::from_secs(30);

/// The variables by which an archive lets so many in from one address. Half of the
/// connections are for events.
#[must_use]
pub fn places(readers: usize) -> Vec<(String, String)> {
    let most = (2 * readers + COMING).to_string();
    [
        "ZIPNET_ARCHIVE_CONNECTIONS",
        "ZIPNET_ARCHIVE_CONNECTIONS_EACH",
    ]
    .map(|name| (name.to_owned(), most.clone()))
    .into()
}

/// What one reader has.
#[derive(Debug, Default)]
struct Seen {
    /// Whether it is subscribed.
    listens: bool,
    /// The rounds that it was told of.
    rounds: Vec<u64>,
    /// Whether it has the record of the first of them.
    record: bool,
    /// Why it is there no more.
    over: Option<String>,
}

/// Readers of an archive, until this is dropped.
#[derive(Debug)]
pub struct Readers {
    seen: Arc<Vec<Mutex<Seen>>>,
    runtime: Option<Runtime>,
}

impl Readers {
    /// Has so many readers come, and waits until all are subscribed.
    ///
    /// # Errors
    /// If they are not.
    pub fn start(archive: SocketAddr, number: usize) -> TestResult<Self> {
        let runtime = Runtime::new()?;
        let seen: Arc<Vec<Mutex<Seen>>> = Arc::new((0..number).map(|_| Mutex::default()).collect());
        let coming = Arc::new(Semaphore::new(COMING));
        for at in 0..number {
            let (seen, coming) = (seen.clone(), coming.clone());
            runtime.spawn(async move {
                let Some(seen) = seen.get(at) else { return };
                let read = read(archive, seen, &coming).await;
                let why = read
                    .err()
                    .map_or("it was cut".into(), |why| format!("{why:?}"));
                lock(seen).over = Some(why);
            });
        }
        let readers = Self {
            seen,
            runtime: Some(runtime),
        };
        readers.wait_for("be subscribed", |seen| seen.listens)?;
        Ok(readers)
    }

    /// Waits until every reader was told of all rounds behind one up to another, and has a
    /// record.
    ///
    /// # Errors
    /// If one was not.
    pub fn have(&self, after: u64, until: u64) -> TestResult {
        self.wait_for(&format!("have rounds {} to {until}", after + 1), |seen| {
            seen.record && (after + 1..=until).all(|number| seen.rounds.contains(&number))
        })
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&Seen) -> bool) -> TestResult {
        let missing = || self.seen.iter().filter(|seen| !holds(&lock(seen))).count();
        let all = eventually("all readers", TOLD, || (missing() == 0).then_some(()));
        all.map_err(|_| {
            let over = self.seen.iter().find_map(|seen| lock(seen).over.clone());
            Failed::because(format!(
                "{} of {} readers do not {what}; one says {over:?}",
                missing(),
                self.seen.len()
            ))
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(archive: SocketAddr, seen: &Mutex<Seen>, coming: &Semaphore) -> TestResult {
    let (mut lines, place) = {
        let place = coming.acquire().await?;
        let mut stream = TcpStream::connect(archive).await?;
        let asks = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(asks).await?;
        (BufReader::new(stream).lines(), place)
    };
    let mut place = Some(place);
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("retry: ") {
            place.take();
            lock(seen).listens = true;
        } else if let Some(id) = line.strip_prefix("id: ") {
            let (_, number) = id.split_once('-').unwrap_or_default();
            let number = number.parse()?;
            lock(seen).rounds.push(number);
        } else if let Some(data) = line.strip_prefix("data: ")
            && !lock(seen).record
        {
            let event: Value = serde_json::from_str(data)?;
            if event.get("path").is_some() {
                let _place = coming.acquire().await?;
                lock(seen).record = has_record(archive, &event).await?;
            }
        }
    }
    Ok(())
}

/// Whether the record that an event names is there whole.
async fn has_record(archive: SocketAddr, event: &Value) -> TestResult<bool> {
    let path = event["path"].as_str().unwrap_or_default();
    let mut stream = TcpStream::connect(archive).await?;
    let asks = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(asks.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let body = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = body.and_then(|at| bytes.get(at + 4..)).unwrap_or_default();
    let size = event["size"].as_u64().unwrap_or_default();
    Ok(size > 0 && u64::try_from(body.len())? == size)
}

/// What servers pushed to those who follow them, over some rounds.
#[derive(Debug, Clone, Copy)]
pub struct Pushed {
    /// The round before the first of them.
    pub after: u64,
    /// The last.
    pub until: u64,
    /// Bytes a round, of all servers.
    pub each: f64,
    /// Connections of strangers at the end, at all servers' doors.
    pub strangers: f64,
}

impl Pushed {
    /// Measures over the next rounds.
    ///
    /// # Errors
    /// If there are none.
    pub fn over(rounds: u64, cluster: &mut Cluster) -> TestResult<Self> {
        let (after, before) = rest(cluster)?;
        for _ in 1..rounds {
            cluster.finalize_another()?;
        }
        let (until, bytes) = rest(cluster)?;
        let count = u32::try_from(until.saturating_sub(after))?;
        if u64::from(count) < rounds {
            return Err(Failed::because(format!("{after} to {until} are too few")));
        }
        Ok(Self {
            after,
            until,
            each: (bytes - before) / f64::from(count),
            strangers: sum(cluster, |line| {
                line.starts_with("zipnet_door_connections") && line.contains("\"stranger\"")
            })?,
        })
    }
}

/// Waits until a round is finalized at all servers and pushed to all followers; the round, and
/// bytes that were pushed until then. So no round is counted in part.
fn rest(cluster: &mut Cluster) -> TestResult<(u64, f64)> {
    cluster.finalize_another()?;
    let mut last = None;
    let cluster = &*cluster;
    Ok(eventually("servers to rest", ROUND, || {
        let newest = |server: &crate::server::Server| Some(server.finalized(0).last()?.number);
        let mut rounds = cluster.servers.iter().map(newest);
        let number = rounds.next()??;
        let pushed = sum(cluster, |line| {
            line.starts_with("zipnet_payload_bytes_total")
                && line.contains("link=\"server-follower")
        });
        let now = Some((number, pushed.ok()?));
        let same = rounds.all(|other| other == Some(number)) && last == now;
        last = now;
        now.filter(|_| same)
    })?)
}

/// The sum of some series of all servers.
fn sum(cluster: &Cluster, is: impl Fn(&str) -> bool) -> TestResult<f64> {
    let mut all = 0.0;
    for server in &cluster.servers {
        let text = scrape(server.metrics).ok_or_else(|| Failed::because("no metrics"))?;
        for line in text.lines().filter(|line| is(line)) {
            all += line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?;
        }
    }
    Ok(all)
}
