//! The aggregator.

use core::{net::SocketAddr, time::Duration};
use std::process::ExitCode;

use clap::Parser;
use tokio_util::sync::CancellationToken;
use zipnet_node::{
    health::{Health, Role},
    roles::aggregator::{self, AggregatorSettings},
};
use zipnet_protocol::Admission;
use zipnet_server::{
    Failure,
    args::{NodeArgs, TrustArgs, duration},
    attestation::AttestationArgs,
    main_with,
    process::start_metrics,
};

/// The aggregator of a zipnet deployment. It never holds the committee secret.
#[derive(Debug, Parser)]
#[command(name = "zipnet-aggregator", version)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    attestation: AttestationArgs,
    /// How long to collect the envelopes of a round, at most
    #[arg(long, env = "ZIPNET_FOLD_DEADLINE", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    fold_deadline: Duration,
    /// Admission of this aggregator, as `zipnet-server admit` prints it
    #[arg(long, env = "ZIPNET_ADMISSION", value_name = "HEX")]
    admission: Option<Admission>,
    /// Address to serve `/metrics`, `/healthz` and `/readyz` on [default: none]
    #[arg(long, env = "ZIPNET_METRICS", value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
}

fn main() -> ExitCode {
    main_with(|cli: &Cli| &cli.node, run)
}

async fn run(cli: Cli, stop: CancellationToken) -> Result<(), Failure> {
    cli.node.params()?;
    let settings = AggregatorSettings {
        network: cli.node.network()?,
        trust: cli
            .trust
            .trust(cli.node.instance, cli.attestation.authority()?),
        fold_deadline: cli.fold_deadline,
        admission: cli.admission,
        health: Health::new(Role::Aggregator),
    };
    start_metrics(cli.metrics, &settings.trust.name, &settings.health)?;
    aggregator::run(settings, stop)
        .await
        .map_err(Failure::runtime)
}
