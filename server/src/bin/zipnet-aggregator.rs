//! The aggregator.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use zipnet_node::{
    health::{Health, Role},
    roles::aggregator::{self, AggregatorSettings},
};
use zipnet_server::{Failure, cli::aggregator::Cli, main_with, process::start_metrics};

fn main() -> ExitCode {
    main_with(|cli: &Cli| &cli.node, run)
}

async fn run(cli: Cli, stop: CancellationToken) -> Result<(), Failure> {
    cli.node.params()?;
    let settings = AggregatorSettings {
        network: cli.node.network()?,
        door: cli.door.options(cli.node.bind),
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
