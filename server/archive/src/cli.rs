//! What `zipnet-archive` takes.

use core::net::SocketAddr;

use clap::{Command, CommandFactory as _, Parser};
use zipnet_cli::{
    args::{NodeArgs, TrustArgs},
    attestation::AttestationArgs,
};

use crate::objects::Place;

/// The archive of a zipnet deployment: follows the committee, keeps every finalized record with the
/// evidence of its time, and serves both over HTTP. It holds no secret of the committee, and whoever
/// reads from it verifies everything.
#[derive(Debug, Parser)]
#[command(name = "zipnet-archive", version)]
pub struct Cli {
    /// Network and name.
    #[command(flatten)]
    pub node: NodeArgs,
    /// How the committee is known.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// How evidence is judged.
    #[command(flatten)]
    pub attestation: AttestationArgs,
    /// Where the records are kept: a folder, or `s3://BUCKET/PREFIX` with the keys, region and
    /// endpoint of `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and `AWS_ENDPOINT`
    #[arg(long, env = "ZIPNET_ARCHIVE_STORE", value_name = "DIR|URL")]
    pub archive_store: Place,
    /// Address to serve them on, over HTTP
    #[arg(
        long,
        env = "ZIPNET_ARCHIVE_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8420"
    )]
    pub archive_listen: SocketAddr,
    /// Connections at once
    #[arg(long, env = "ZIPNET_ARCHIVE_CONNECTIONS", value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub archive_connections: u32,
    /// Connections at once of one address, which a CDN or a proxy has few of [default: a quarter of
    /// all]
    #[arg(long, env = "ZIPNET_ARCHIVE_CONNECTIONS_EACH", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub archive_connections_each: Option<u32>,
    /// Address to serve `/metrics`, `/healthz` and `/readyz` on [default: none]
    #[arg(long, env = "ZIPNET_METRICS", value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
}

/// The command line; the manual is made of the same.
#[must_use]
pub fn command() -> Command {
    Cli::command()
}
