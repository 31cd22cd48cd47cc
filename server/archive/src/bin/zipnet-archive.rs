//! The archive.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use zipnet::health::{Health, Role};
use zipnet_archive::{
    cli::Cli,
    follow::{self, ArchiveSettings},
    serve::Limits,
};
use zipnet_cli::{Failure, main_with, process::start_metrics};

fn main() -> ExitCode {
    main_with(|cli: &Cli| &cli.node, run)
}

async fn run(cli: Cli, stop: CancellationToken) -> Result<(), Failure> {
    cli.node.params()?;
    let connections = cli.archive_connections;
    let each = cli.archive_connections_each.unwrap_or(connections / 4);
    let settings = ArchiveSettings {
        network: cli.node.network()?,
        trust: cli
            .trust
            .trust(cli.node.instance, cli.attestation.authority()?),
        place: cli.archive_store,
        listen: cli.archive_listen,
        limits: Limits {
            connections: connections as usize,
            each: each.max(1) as usize,
            ..Limits::default()
        },
        health: Health::new(Role::Archive),
    };
    start_metrics(cli.metrics, &settings.trust.name, &settings.health)?;
    follow::run(settings, stop).await.map_err(Failure::runtime)
}
