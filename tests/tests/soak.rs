//! Five thousand rounds of a whole deployment in one process: the memory stays
//! bounded, because the replicated log is pruned and broadcasts are kept in a
//! ring.

#![allow(missing_docs)]

use std::{
    error::Error,
    fs,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;
use zipnet_node::{
    door::DoorOptions,
    health::{Health, Role},
    roles::{
        aggregator::{self, AggregatorSettings},
        client::{Client, ClientSettings, Participation},
        server::{self, ServerSettings},
    },
    settings::{
        AggregatorRules, BootstrapHint, ClientRules, NetworkSettings, RelaySetting, TransportSeed,
        TrustSettings,
    },
};
use zipnet_protocol::{CommitteeSecret, InstanceName, PeerKey, RoundParams, SigningSecret};
use zipnet_tests::server::{free_port, free_udp_port, scrape};

const ROUNDS: u64 = 5_000;
/// When memory is first looked at: rings are full and allocators warm by then.
const WARM: u64 = 1_500;
/// How much the process may grow after that: 6 KiB a round.
const GROWTH: u64 = (ROUNDS - WARM) * (6 << 10);
/// Longest wait for one round.
const PATIENCE: Duration = Duration::from_mins(1);

type TestResult = Result<(), Box<dyn Error>>;

fn network(
    seed: &str,
    bind: Option<std::net::SocketAddr>,
    bootstrap: &[BootstrapHint],
) -> NetworkSettings {
    NetworkSettings {
        universe: format!("zipnet soak {}", std::process::id()),
        seed: Some(TransportSeed::from_text(seed)),
        bootstrap: bootstrap.to_vec(),
        bind,
        relay: RelaySetting::Embedded,
    }
}

fn trust(name: &InstanceName) -> TrustSettings {
    TrustSettings {
        name: name.clone(),
        committee: Some(secret().committee_key(name).public()),
        required: Vec::new(),
        committee_size: Some(3),
        min_servers: None,
        min_participants: 2,
        aggregators: Vec::new(),
        authority: None,
    }
}

fn hint_of(seed: &str, address: std::net::SocketAddr) -> Result<BootstrapHint, Box<dyn Error>> {
    let seed = TransportSeed::from_text(seed);
    let key = SigningSecret::from_seed(seed.as_bytes()).peer_key();
    Ok(BootstrapHint {
        peer: zipnet_node::settings::PeerId::from_bytes(key.as_bytes())?,
        address: Some(address),
    })
}

fn secret() -> CommitteeSecret {
    CommitteeSecret::new(Zeroizing::new(b"the committee secret of the soak".to_vec()))
}

fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib << 10)
}

fn server_settings(
    network: NetworkSettings,
    name: &InstanceName,
    params: RoundParams,
    aggregator: PeerKey,
) -> ServerSettings {
    let door = DoorOptions {
        bind: network.bind,
        ..DoorOptions::default()
    };
    ServerSettings {
        door,
        member_bind: Some(free_udp_port()),
        member_addresses: Vec::new(),
        attestation: None,
        health: Health::new(Role::Server),
        status: None,
        network,
        name: name.clone(),
        secret: secret(),
        params,
        min_participants: 2,
        committee_size: Some(3),
        min_servers: None,
        period: Duration::from_millis(1),
        deadline: Duration::from_secs(10),
        retain: 64,
        retain_bytes: usize::MAX,
        clients_per_peer: 1,
        leaves: 0,
        clients: ClientRules::Open,
        aggregators: AggregatorRules {
            named: [aggregator].into(),
            any: false,
        },
    }
}

#[test]
fn i8_five_thousand_rounds_in_bounded_memory() -> TestResult {
    tokio::runtime::Runtime::new()?.block_on(soak())
}

async fn soak() -> TestResult {
    let name: InstanceName = "zipnet.soak.test".parse()?;
    let params = RoundParams::new(8, 64)?;
    let exporter = free_port();
    zipnet_cli::metrics::serve(exporter, &name, Health::new(Role::Server))?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();

    let first = free_udp_port();
    let hints = vec![hint_of("soak server 0", first)?];
    let seed = TransportSeed::from_text("soak aggregator");
    let aggregator_key = SigningSecret::from_seed(seed.as_bytes()).peer_key();
    for index in 0..3 {
        let network = network(
            &format!("soak server {index}"),
            Some(if index == 0 { first } else { free_udp_port() }),
            if index == 0 { &[] } else { &hints },
        );
        let settings = server_settings(network, &name, params, aggregator_key);
        let stop = stop.clone();
        tasks.spawn(async move {
            server::run(settings, stop)
                .await
                .map_err(|error| error.to_string())
        });
    }
    let settings = AggregatorSettings {
        network: network("soak aggregator", None, &hints),
        door: DoorOptions {
            bind: Some(free_udp_port()),
            ..DoorOptions::default()
        },
        trust: trust(&name),
        fold_deadline: Duration::from_secs(2),
        admission: None,
        health: Health::new(Role::Aggregator),
    };
    let stopping = stop.clone();
    tasks.spawn(async move {
        aggregator::run(settings, stopping)
            .await
            .map_err(|error| error.to_string())
    });

    let client = |seed: &'static str| ClientSettings {
        network: network(seed, Some(free_udp_port()), &hints),
        trust: trust(&name),
        params,
        invite: None,
    };
    let talker = Client::start(client("soak talker"), Participation::Talk).await?;
    let _cover = Client::start(client("soak cover"), Participation::Cover).await?;
    let mut reader = talker.reader();

    let started = Instant::now();
    let (mut rounds, mut warm, mut last_digest) = (0, 0, None);
    while rounds < ROUNDS {
        let done = timeout(PATIENCE, reader.next())
            .await?
            .ok_or("the reader ended")??;
        rounds += 1;
        // Each record names its predecessor: nothing was lost on the way.
        if let Some(last) = last_digest {
            assert_eq!(done.round().header().previous, last);
        }
        last_digest = Some(*done.digest());
        if rounds == WARM {
            warm = resident()?;
        }
        if rounds % 1000 == 0 {
            println!(
                "{rounds} rounds in {:.0} s, {} MiB resident, {} log entries in memory",
                started.elapsed().as_secs_f64(),
                resident()? >> 20,
                log_entries(exporter).unwrap_or(-1.0),
            );
        }
    }
    let grown = resident()?.saturating_sub(warm);
    let entries = log_entries(exporter).ok_or("no zipnet_log_entries metric")?;
    println!(
        "grown by {} KiB over {} rounds; log holds {entries} entries",
        grown >> 10,
        ROUNDS - WARM
    );
    assert!(grown < GROWTH, "the process grew by {grown} bytes");
    assert!(
        (0.0..64.0).contains(&entries),
        "the log holds {entries} entries"
    );
    stop.cancel();
    Ok(())
}

fn log_entries(exporter: std::net::SocketAddr) -> Option<f64> {
    scrape(exporter)?
        .lines()
        .find(|line| line.starts_with("zipnet_log_entries"))
        .and_then(|line| line.rsplit(' ').next())
        .and_then(|value| value.parse().ok())
}
