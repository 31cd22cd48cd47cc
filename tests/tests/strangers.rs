//! Strangers at the doors of a committee whose clients go on (I19).
#![allow(missing_docs)]

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};
use zipnet_door::{Doors, Reach, frame};
use zipnet_node::{
    settings::BootstrapHint,
    wire::{Call, EnvelopeCall, FollowCall, HelloCall},
};
use zipnet_tests::{
    cluster::{Cluster, Settings},
    process::TestResult,
};

/// Rounds that are timed.
const ROUNDS: usize = 8;
/// Strangers that come and say nothing, at each door.
const SILENT: usize = 60;
/// Strangers that send the largest frames that there are, again and again.
const LOUD: usize = 6;
/// How much slower rounds may be.
const SLOWER: f64 = 1.5;
/// How much a process may grow by them.
const GROWTH: u64 = 64 << 20;

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

async fn knock(hint: &BootstrapHint) -> TestResult<Arc<Doors>> {
    let bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let doors = Doors::open(&zipnet_node::entropy::fresh()?, bind, &Reach::Direct).await?;
    doors.learn(hint.peer, hint.address, None);
    Ok(doors)
}

/// Comes, asks one thing or nothing that is answered, and stays.
async fn silent(hint: BootstrapHint) {
    let Ok(doors) = knock(&hint).await else {
        return;
    };
    let hello = postcard::to_stdvec(&()).unwrap_or_default();
    let call = doors.call(hint.peer, HelloCall::KIND, &hello, HelloCall::MAX_REPLY);
    let _ = timeout(Duration::from_secs(5), call).await;
    // A stream on which the answer is never read.
    let follow = (Option::<u8>::None, Option::<u8>::None, 20_000_u32);
    let follow = postcard::to_stdvec(&follow).unwrap_or_default();
    let stream = doors.stream(hint.peer, FollowCall::KIND, &follow, FollowCall::MAX_REPLY);
    let _stream = timeout(Duration::from_secs(5), stream).await;
    std::future::pending::<()>().await;
}

/// Sends the largest frame that a door may take, whether this one does or not.
async fn loud(hint: BootstrapHint, sent: Arc<AtomicU64>) {
    let body = vec![0xa5; EnvelopeCall::MAX_REQUEST as usize - frame::HEAD];
    loop {
        let Ok(doors) = knock(&hint).await else {
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

#[test]
fn i19_strangers_slow_nobody_down_and_fill_no_memory() -> TestResult {
    let settings = Settings {
        period: "1s".into(),
        ..Settings::default()
    };
    let mut cluster = Cluster::start(settings, 4)?;
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
    let runtime = tokio::runtime::Runtime::new()?;
    let guard = runtime.enter();
    let mut strangers = JoinSet::new();
    let sent = Arc::new(AtomicU64::new(0));
    for hint in &hints {
        for _ in 0..SILENT {
            strangers.spawn(silent(hint.clone()));
        }
    }
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
    let besieged = rounds(&mut cluster)?;
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
        "{ROUNDS} rounds took {quiet:.1?}, besieged {besieged:.1?} ({slower:.2} times); {} frames of 1 MiB; grown by {:?} KiB",
        sent.load(Ordering::Relaxed),
        grown.iter().map(|bytes| bytes >> 10).collect::<Vec<_>>()
    );
    assert!(sent.load(Ordering::Relaxed) > 0, "nobody was loud");
    assert!(slower <= SLOWER, "rounds took {slower:.2} times as long");
    assert!(grown.iter().all(|bytes| *bytes < GROWTH), "{grown:?}");
    runtime.shutdown_background();
    Ok(())
}
