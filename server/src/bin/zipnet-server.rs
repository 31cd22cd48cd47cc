//! A committee server.

use core::{net::SocketAddr, time::Duration};
use std::process::ExitCode;

use clap::Parser;
use tokio_util::sync::CancellationToken;
use zipnet_node::{
    health::{Health, Role},
    roles::server::{self, ServerSettings},
    settings::{AggregatorName, CLIENTS_PER_PEER, instance},
};
use zipnet_protocol::SigningSecret;
use zipnet_server::{
    Failure,
    admit::Admit,
    args::{NodeArgs, bytes, duration},
    attestation::{AttestationArgs, EvidenceArgs},
    keys::Keys,
    main_with,
    process::{start_metrics, verb},
    secrets::{self, CommitteeArgs},
    status::{Ask, SocketArgs},
};

/// A zipnet committee server.
///
/// The first server of a deployment starts without --bootstrap; its log says
/// `bootstrap=PEERID@ip:port` for the others. `zipnet-server admit --aggregator PEERID`
/// prints what the aggregator takes as `ZIPNET_ADMISSION`; `zipnet-server keys` prints the
/// public keys that follow from the secrets; `zipnet-server status` asks a running server on
/// this machine how it is.
#[derive(Debug, Parser)]
#[command(name = "zipnet-server", version)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    attestation: AttestationArgs,
    #[command(flatten)]
    evidence: EvidenceArgs,
    #[command(flatten)]
    committee: CommitteeArgs,
    /// Fewest peers that take part in a round; the same on all servers
    #[arg(long, env = "ZIPNET_MIN_PARTICIPANTS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=65536))]
    min_participants: u32,
    /// Time from one round to the next
    #[arg(long, env = "ZIPNET_ROUND_PERIOD", value_name = "DURATION", default_value = "3s", value_parser = duration)]
    round_period: Duration,
    /// How long a round may take until it is given up
    #[arg(long, env = "ZIPNET_ROUND_DEADLINE", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    round_deadline: Duration,
    /// Number of servers the committee is meant to have; the same on all servers
    /// [default: as many as register]
    #[arg(long, env = "ZIPNET_COMMITTEE_SIZE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    committee_size: Option<u32>,
    /// Fewest servers of a round, more than half of the committee; the same on all
    /// servers [default: all of the committee, as any-trust wants it]
    #[arg(long, env = "ZIPNET_MIN_SERVERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    min_servers: Option<u32>,
    /// Finalized rounds to keep for readers that lag behind
    #[arg(long, env = "ZIPNET_RETAIN_ROUNDS", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    retain_rounds: u32,
    /// Most bytes of finalized rounds to keep, whatever their number; K, M and G stand
    /// for powers of 1024
    #[arg(long, env = "ZIPNET_RETAIN_BYTES", value_name = "BYTES", default_value = "512M", value_parser = bytes)]
    retain_bytes: usize,
    /// Peer ids of aggregators that need no admission, repeated or comma separated, or
    /// `any`; the same on all servers [default: only admitted ones]
    #[arg(
        long,
        env = "ZIPNET_AGGREGATORS",
        value_name = "PEERID",
        value_delimiter = ','
    )]
    aggregators: Vec<AggregatorName>,
    /// Most clients that one peer may register; the same on all servers
    #[arg(long, env = "ZIPNET_CLIENTS_PER_PEER", value_name = "N", default_value_t = CLIENTS_PER_PEER, value_parser = clap::value_parser!(u32).range(1..=65536))]
    clients_per_peer: u32,
    /// Address to serve `/metrics`, `/healthz` and `/readyz` on [default: none]
    #[arg(long, env = "ZIPNET_METRICS", value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    status: SocketArgs,
}

/// Settings that contradict each other.
#[derive(Debug, thiserror::Error)]
enum Contradiction {
    #[error(
        "ZIPNET_MIN_SERVERS is {min}, more than ZIPNET_COMMITTEE_SIZE, which is {size}; at most {size} would be right"
    )]
    MinServers { min: u32, size: u32 },
}

fn main() -> ExitCode {
    verb("admit", Admit::run)
        .or_else(|| verb("keys", Keys::run))
        .or_else(|| verb("status", Ask::run))
        .unwrap_or_else(|| main_with(|cli: &Cli| &cli.node, run))
}

async fn run(cli: Cli, stop: CancellationToken) -> Result<(), Failure> {
    let secret = cli.committee.secret()?;
    if secret.expose().len() < 16 {
        tracing::warn!(
            "ZIPNET_COMMITTEE_SECRET has fewer than 16 characters; the committee key is public, so a short secret can be guessed"
        );
    }
    let attestation = cli.attestation.server(&cli.evidence, &secret)?;
    let secret = secrets::committee_secret(&secret);
    if let (Some(min), Some(size)) = (cli.min_servers, cli.committee_size)
        && min > size
    {
        return Err(Failure::usage(Contradiction::MinServers { min, size }));
    }
    let cli_has_no_seed = cli.node.secret.is_none() && cli.node.secret_file.is_none();
    let settings = ServerSettings {
        network: cli.node.network()?,
        params: cli.node.params()?,
        name: cli.node.instance,
        secret,
        min_participants: cli.min_participants,
        committee_size: cli.committee_size,
        min_servers: cli.min_servers,
        period: cli.round_period,
        deadline: cli.round_deadline,
        retain: cli.retain_rounds as usize,
        retain_bytes: cli.retain_bytes,
        aggregators: cli.aggregators.into_iter().collect(),
        clients_per_peer: cli.clients_per_peer,
        health: Health::new(Role::Server),
        status: cli.status.socket(cli.attestation.state()),
        attestation,
    };
    if let Some(seed) = &settings.network.seed {
        let attestation = settings.attestation.as_ref();
        let instance = instance(
            settings.name.clone(),
            settings.secret.committee_key(&settings.name).public(),
            attestation.map(|with| &*with.authority),
        );
        let peer = SigningSecret::from_seed(seed.as_bytes()).peer_key();
        tracing::info!(
            server = %instance.server_id(&peer).short(),
            "spawning zipnet server"
        );
    }
    if cli_has_no_seed {
        tracing::warn!(
            "ZIPNET_SECRET is not set: after a restart this server is a stranger, and a complete committee takes no \
             strangers until all of its servers have started over"
        );
    }
    if settings.min_participants == 1 {
        tracing::warn!(
            "ZIPNET_MIN_PARTICIPANTS is 1: a round with one participant gives no anonymity at all"
        );
    }
    if settings.aggregators.any {
        tracing::warn!(
            "ZIPNET_AGGREGATORS is `any`: whoever likes is an aggregator, and an aggregator chooses who takes part in a \
             round and finds out by that who writes what"
        );
    }
    if settings.attestation.is_none() {
        tracing::warn!(
            "ZIPNET_ATTESTATION is `none`: nobody can tell what this server or the others run; whoever operates them \
             may read their keys"
        );
    }
    if settings.committee_size.is_none() {
        tracing::warn!(
            "ZIPNET_COMMITTEE_SIZE is not set: the committee is whoever registers, so majorities count against that"
        );
    }
    start_metrics(cli.metrics, &settings.name, &settings.health)?;
    server::run(settings, stop).await.map_err(Failure::runtime)
}
