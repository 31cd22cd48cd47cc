//! What `zipnet-server` takes.

use core::{net::SocketAddr, time::Duration};

use clap::Parser;
use zipnet_node::settings::{AggregatorName, CLIENTS_PER_PEER, ClientRules};

use crate::{
    args::{DoorArgs, NodeArgs, bytes, duration},
    attestation::{AttestationArgs, EvidenceArgs},
    secrets::CommitteeArgs,
    status::SocketArgs,
};

/// A zipnet committee server.
///
/// The first server of a deployment starts without --bootstrap; its log says
/// `bootstrap=PEERID@ip:port` for the others. `zipnet-server admit --aggregator PEERID`
/// prints what the aggregator takes as `ZIPNET_ADMISSION`; `zipnet-server invite --count N` makes
/// invites for clients, where `ZIPNET_CLIENTS` asks for them; `zipnet-server keys` prints the
/// public keys that follow from the secrets; `zipnet-server status` asks a running server on
/// this machine how it is.
#[derive(Debug, Parser)]
#[command(name = "zipnet-server", version)]
pub struct Cli {
    /// Network and name.
    #[command(flatten)]
    pub node: NodeArgs,
    /// The door.
    #[command(flatten)]
    pub door: DoorArgs,
    /// UDP address for the other servers of the committee, which nobody else needs to
    /// reach [default: a port that follows from the server's key, where --bind is]
    #[arg(long, env = "ZIPNET_MEMBER_BIND", value_name = "IP:PORT")]
    pub member_bind: Option<SocketAddr>,
    /// Addresses at which the other servers reach it there, besides those that it finds
    /// out; repeated or comma separated
    #[arg(
        long,
        env = "ZIPNET_MEMBER_ADDRESS",
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    pub member_address: Vec<SocketAddr>,
    /// How evidence is judged.
    #[command(flatten)]
    pub attestation: AttestationArgs,
    /// Where its own evidence comes from.
    #[command(flatten)]
    pub evidence: EvidenceArgs,
    /// The admission secret.
    #[command(flatten)]
    pub committee: CommitteeArgs,
    /// Fewest peers that take part in a round; the same on all servers
    #[arg(long, env = "ZIPNET_MIN_PARTICIPANTS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub min_participants: u32,
    /// Time from one round to the next
    #[arg(long, env = "ZIPNET_ROUND_PERIOD", value_name = "DURATION", default_value = "3s", value_parser = duration)]
    pub round_period: Duration,
    /// How long a round may take until it is given up
    #[arg(long, env = "ZIPNET_ROUND_DEADLINE", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub round_deadline: Duration,
    /// Number of servers the committee is meant to have; the same on all servers
    /// [default: as many as register]
    #[arg(long, env = "ZIPNET_COMMITTEE_SIZE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub committee_size: Option<u32>,
    /// Fewest servers of a round, more than half of the committee; the same on all
    /// servers [default: all of the committee, as any-trust wants it]
    #[arg(long, env = "ZIPNET_MIN_SERVERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub min_servers: Option<u32>,
    /// Finalized rounds to keep for readers that lag behind
    #[arg(long, env = "ZIPNET_RETAIN_ROUNDS", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub retain_rounds: u32,
    /// Most bytes of finalized rounds to keep, whatever their number; K, M and G stand
    /// for powers of 1024
    #[arg(long, env = "ZIPNET_RETAIN_BYTES", value_name = "BYTES", default_value = "512M", value_parser = bytes)]
    pub retain_bytes: usize,
    /// Peer ids of aggregators that need no admission, repeated or comma separated, or
    /// `any`; the same on all servers [default: only admitted ones]
    #[arg(
        long,
        env = "ZIPNET_AGGREGATORS",
        value_name = "PEERID",
        value_delimiter = ','
    )]
    pub aggregators: Vec<AggregatorName>,
    /// How many aggregators share out the clients of a round, each a part; the same on all
    /// servers. With 1, the aggregator whose turn it is takes all
    #[arg(long, env = "ZIPNET_LEAVES", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub leaves: u32,
    /// Most clients that one peer may register; the same on all servers
    #[arg(long, env = "ZIPNET_CLIENTS_PER_PEER", value_name = "N", default_value_t = CLIENTS_PER_PEER, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub clients_per_peer: u32,
    /// Which clients are admitted: `open`, whoever asks, or `invite`, whoever holds
    /// an invite that `zipnet-server invite` printed; the same on all servers
    #[arg(
        long,
        env = "ZIPNET_CLIENTS",
        value_name = "RULE",
        default_value_t = ClientRules::Open
    )]
    pub clients: ClientRules,
    /// Address to serve `/metrics`, `/healthz` and `/readyz` on [default: none]
    #[arg(long, env = "ZIPNET_METRICS", value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Where it tells its status.
    #[command(flatten)]
    pub status: SocketArgs,
}
