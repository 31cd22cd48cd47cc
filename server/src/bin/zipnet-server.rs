//! A committee server.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use zipnet_node::{
    health::{Health, Role},
    roles::server::{self, ServerSettings},
    settings::instance,
};
use zipnet_protocol::SigningSecret;
use zipnet_server::{
    Failure,
    admit::Admit,
    cli::server::Cli,
    invite::Invites,
    keys::Keys,
    main_with,
    process::{start_metrics, verb},
    secrets,
    status::Ask,
};

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
        .or_else(|| verb("invite", Invites::run))
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
    let attestation = cli.evidence.server(&cli.attestation, &secret)?;
    let secret = secrets::committee_secret(&secret);
    if let (Some(min), Some(size)) = (cli.min_servers, cli.committee_size)
        && min > size
    {
        return Err(Failure::usage(Contradiction::MinServers { min, size }));
    }
    let cli_has_no_seed = cli.node.secret.is_none() && cli.node.secret_file.is_none();
    let settings = ServerSettings {
        network: cli.node.network()?,
        door: cli.door.options(cli.node.bind),
        member_bind: cli.member_bind,
        member_addresses: cli.member_address,
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
        leaves: cli.leaves,
        clients: cli.clients,
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
