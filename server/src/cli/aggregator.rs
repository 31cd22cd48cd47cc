//! What `zipnet-aggregator` takes.

use core::{net::SocketAddr, time::Duration};

use clap::Parser;
use zipnet_protocol::Admission;

use crate::{
    args::{DoorArgs, NodeArgs, TrustArgs, duration},
    attestation::AttestationArgs,
};

/// The aggregator of a zipnet deployment. It never holds the committee secret.
#[derive(Debug, Parser)]
#[command(name = "zipnet-aggregator", version)]
pub struct Cli {
    /// Network and name.
    #[command(flatten)]
    pub node: NodeArgs,
    /// The door.
    #[command(flatten)]
    pub door: DoorArgs,
    /// How the committee is known.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// How evidence is judged.
    #[command(flatten)]
    pub attestation: AttestationArgs,
    /// How long to collect the envelopes of a round, at most
    #[arg(long, env = "ZIPNET_FOLD_DEADLINE", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub fold_deadline: Duration,
    /// Admission of this aggregator, as `zipnet-server admit` prints it
    #[arg(long, env = "ZIPNET_ADMISSION", value_name = "HEX")]
    pub admission: Option<Admission>,
    /// Address to serve `/metrics`, `/healthz` and `/readyz` on [default: none]
    #[arg(long, env = "ZIPNET_METRICS", value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
}
