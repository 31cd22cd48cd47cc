//! Strangers at the doors of a committee whose clients go on (I19). `ZIPNET_STRANGERS` and
//! `ZIPNET_STRANGERS_AMONG` say how many there are.
#![allow(missing_docs)]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, sync::Semaphore, task::JoinSet, time::timeout};
use zipnet_door::{Doors, Reach, frame};
use zipnet_node::{
    roles::client::{Client, Participation},
    settings::{BootstrapHint, RelaySetting},
    wire::{Call, EnvelopeCall, FollowCall, HelloCall},
};
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings},
    embedded::client_settings,
    process::{TestResult, eventually, more_files},
    server::scrape,
};

/// Rounds that are timed.
const ROUNDS: usize = 8;
/// Strangers that come and say nothing, where nothing else is said: at all doors together.
const SILENT: usize = 240;
/// Of them at one door that come from one address; the first do from that of the clients.
const OF_ADDRESS: usize = 60;
/// Strangers whose handshakes are under way at once.
const COMING: usize = 16;
/// Clients that cover, where nothing else is said.
const CLIENTS: usize = 4;
/// Strangers that send the largest frames that there are, again and again.
const LOUD: usize = 6;
/// How long all may take to come.
const COME: Duration = Duration::from_mins(4);
/// How much slower rounds may be.
const SLOWER: f64 = 1.5;
/// How much a process may grow by them, if they are few.
const GROWTH: u64 = 64 << 20;
/// And by each connection that a door lets strangers have, if they are many.
const CONNECTION: u64 = 256 << 10;
/// Most of these connections, where nothing else is set.
const PLACES: usize = 2_048;

/// How long the next rounds take.
fn rounds(cluster: &mut Cluster) -> TestResult<Duration> {
    cluster.finalize_another()?;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        cluster.finalize_another()?;
    }
    Ok(started.elapsed())
}

fn resident(cluster: &Cluster) -> Vec<u64> {
    let servers = cluster.servers.iter().map(|server| &server.process);
    let all = servers.chain(cluster.aggregator.iter());
    all.map(|process| process.resident().unwrap_or_default())
        .collect()
}

fn setting(name: &str, default: usize) -> TestResult<usize> {
    Ok(std::env::var(name).map_or(Ok(default), |text| text.parse())?)
}

/// Where the strangers of a door come from.
fn address(number: usize) -> IpAddr {
    match u16::try_from(number / OF_ADDRESS) {
        Ok(group @ 1..) => {
            let [high, low] = group.to_be_bytes();
            Ipv4Addr::new(127, 1, high, low).into()
        }
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

async fn knock(hint: &BootstrapHint, from: IpAddr) -> TestResult<Arc<Doors>> {
    let bind = Some(SocketAddr::new(from, 0));
    let doors = Doors::open(&zipnet_node::entropy::fresh()?, bind, &Reach::Direct).await?;
    doors.learn(hint.peer, hint.address, None);
    Ok(doors)
}

/// Comes, asks one thing or nothing that is answered, and stays.
async fn silent(hint: BootstrapHint, from: IpAddr, coming: Arc<Semaphore>, come: Arc<AtomicU64>) {
    let place = coming.acquire_owned().await;
    let Ok(doors) = knock(&hint, from).await else {
        return;
    };
    let hello = postcard::to_stdvec(&()).unwrap_or_default();
    let call = doors.call(hint.peer, HelloCall::KIND, &hello, HelloCall::MAX_REPLY);
    let _ = timeout(Duration::from_secs(5), call).await;
    // A stream on which the answer is never read.
    let follow = (
        Option::<u8>::None,
        Option::<u8>::None,
        20_000_u32,
        Option::<u8>::None,
    );
    let follow = postcard::to_stdvec(&follow).unwrap_or_default();
    let stream = doors.stream(hint.peer, FollowCall::KIND, &follow, FollowCall::MAX_REPLY);
    let _stream = timeout(Duration::from_secs(5), stream).await;
    come.fetch_add(1, Ordering::Relaxed);
    drop(place);
    std::future::pending::<()>().await;
}

/// Sends the largest frame that a door may take, whether this one does or not.
async fn loud(hint: BootstrapHint, sent: Arc<AtomicU64>) {
    let body = vec![0xa5; EnvelopeCall::MAX_REQUEST as usize - frame::HEAD];
    loop {
        let Ok(doors) = knock(&hint, Ipv4Addr::LOCALHOST.into()).await else {
            return;
        };
        for _ in 0..4 {
            let call = doors.call(
                hint.peer,
                EnvelopeCall::KIND,
                &body,
                EnvelopeCall::MAX_REPLY,
            );
            let _ = timeout(Duration::from_secs(2), call).await;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        doors.close().await;
    }
}

/// Sends what looks like the beginning of a handshake, from addresses that never
/// answer.
fn half_open(to: SocketAddr, stop: &AtomicBool) {
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0") else {
        return;
    };
    // A QUIC version 1 Initial with random ids, as long as one has to be; what is in it is
    // noise.
    let mut packet = vec![0x5a_u8; 1200];
    packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            number = number.wrapping_add(1);
            packet[6..14].copy_from_slice(&number.to_be_bytes());
            let _ = socket.send_to(&packet, to);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Clients in this process, which go on until they are dropped.
fn clients(cluster: &Cluster, runtime: &Runtime, number: usize) -> TestResult<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..number {
        let settings = client_settings(cluster, RelaySetting::Embedded)?;
        clients.push(runtime.block_on(Client::start(settings, Participation::Cover))?);
    }
    Ok(clients)
}

/// Connections of strangers at the servers' doors.
fn at_doors(cluster: &Cluster) -> Vec<String> {
    let of = |text: String| {
        let mut lines = text.lines().filter(|line| {
            line.starts_with("zipnet_door_connections") && line.contains("stranger")
        });
        Some(lines.next()?.rsplit(' ').next()?.to_owned())
    };
    let servers = cluster.servers.iter();
    servers
        .filter_map(|server| scrape(server.metrics).and_then(of))
        .collect()
}

#[test]
fn i19_strangers_slow_nobody_down_and_fill_no_memory() -> TestResult {
    more_files()?;
    let (number, members) = (
        setting("ZIPNET_STRANGERS", SILENT)?,
        setting("ZIPNET_STRANGERS_AMONG", CLIENTS)?,
    );
    let settings = Settings {
        period: "1s".into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::start(settings, members.min(CLIENTS))?;
    let runtime = Runtime::new()?;
    let _clients = clients(&cluster, &runtime, members.saturating_sub(CLIENTS))?;
    eventually("all clients to take part", ROUND, || {
        let last = cluster.servers.first()?.finalized(0).pop()?;
        (last.participants == members).then_some(())
    })?;
    let quiet = rounds(&mut cluster)?;
    let before = resident(&cluster);

    let hints = cluster.servers.iter().map(|server| server.hint.parse());
    let mut hints: Vec<BootstrapHint> = hints.collect::<Result<_, _>>()?;
    let aggregator = cluster.aggregator.as_ref().and_then(|process| {
        let lines = process.lines().since(0).into_iter();
        let mut hint = lines.filter_map(|line| Some(line.split_once("bootstrap=")?.1.to_owned()));
        hint.next_back()
    });
    hints.push(aggregator.unwrap_or_default().parse()?);
    let guard = runtime.enter();
    let mut strangers = JoinSet::new();
    let (sent, come) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let coming = Arc::new(Semaphore::new(COMING));
    let started = Instant::now();
    for at in 0..number {
        let hint = hints[at % hints.len()].clone();
        let from = address(at / hints.len());
        strangers.spawn(silent(hint, from, coming.clone(), come.clone()));
    }
    // Rounds while they come, which is when most is to be done, and once all are there.
    let mut slowest = Duration::ZERO;
    loop {
        let all = come.load(Ordering::Relaxed) >= number as u64;
        if all || started.elapsed() > COME {
            break;
        }
        slowest = slowest.max(rounds(&mut cluster)?);
    }
    let (took, there) = (started.elapsed(), at_doors(&cluster));
    for number in 0..LOUD {
        let hint = hints[number % hints.len()].clone();
        strangers.spawn(loud(hint, sent.clone()));
    }
    drop(guard);
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = hints
        .iter()
        .filter_map(|hint| hint.address)
        .map(|to| {
            let stop = stop.clone();
            std::thread::spawn(move || half_open(to, &stop))
        })
        .collect();
    let besieged = rounds(&mut cluster)?.max(slowest);
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        let _ = flood.join();
    }
    let after = resident(&cluster);
    let slower = besieged.as_secs_f64() / quiet.as_secs_f64();
    let grown: Vec<_> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.saturating_sub(*before))
        .collect();
    println!(
        "{members} clients; {} of {number} strangers had come after {took:.1?}, {there:?} of them at the servers' doors",
        come.load(Ordering::Relaxed)
    );
    println!(
        "{ROUNDS} rounds took {quiet:.1?}, while they came {slowest:.1?}, besieged {besieged:.1?} at most ({slower:.2} times); \
         {} frames of 1 MiB; grown by {:?} KiB",
        sent.load(Ordering::Relaxed),
        grown.iter().map(|bytes| bytes >> 10).collect::<Vec<_>>()
    );
    let places = number.div_ceil(hints.len()).min(PLACES) as u64;
    let most = GROWTH.max(places * CONNECTION);
    assert!(sent.load(Ordering::Relaxed) > 0, "nobody was loud");
    assert!(
        come.load(Ordering::Relaxed) >= number as u64,
        "they did not come"
    );
    assert!(slower <= SLOWER, "rounds took {slower:.2} times as long");
    assert!(
        grown.iter().all(|bytes| *bytes < most),
        "{grown:?}, {most} at most"
    );
    runtime.shutdown_background();
    Ok(())
}
