//! What `zipnet-client` takes.

use core::{net::SocketAddr, time::Duration};

use clap::{Args, Command, CommandFactory as _, Parser, Subcommand};
use zipnet::{roles::client::PublishOptions, settings::BootstrapHint};
use zipnet_history::read::From;

use crate::{
    args::{self, NodeArgs, TrustArgs},
    attestation::AttestationArgs,
    invite::InviteArgs,
};

/// The command line; the manual is made of the same.
#[must_use]
pub fn command() -> Command {
    Cli::command()
}

/// A zipnet client: publishes anonymously, takes part silently, or reads.
#[derive(Debug, Parser)]
#[command(name = "zipnet-client", version)]
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
    /// Its invite.
    #[command(flatten)]
    pub invite: InviteArgs,
    /// Address of this machine's loopback to serve Prometheus metrics on; they
    /// tell how much this client says [default: none]
    #[arg(long, env = "ZIPNET_METRICS", value_name = "IP:PORT", value_parser = args::loopback)]
    pub metrics: Option<SocketAddr>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What a client does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take part for some rounds, publish one message, wait until it has landed,
    /// and take part for some more
    Publish {
        /// The message; standard input if absent
        message: Option<String>,
        /// How.
        #[command(flatten)]
        talk: TalkArgs,
    },
    /// Publish each line of standard input, and print what others publish; take
    /// part for some rounds more at the end of the input
    #[command(alias = "stream")]
    Chat {
        /// How.
        #[command(flatten)]
        talk: TalkArgs,
    },
    /// Take part silently, so that others have company
    Cover,
    /// Print what is published
    Watch {
        /// Fetch broadcasts alone, a third or less of the bytes; each is printed when the
        /// next round has proven it
        #[arg(long, conflicts_with = "archive")]
        light: bool,
        /// Where from.
        #[command(flatten)]
        history: HistoryArgs,
    },
    /// Print what a server shows of itself as JSON, without judging it;
    /// `zipnet-attest verify --live` does both
    Evidence {
        /// The server
        #[arg(value_name = "PEERID@IP:PORT")]
        server: BootstrapHint,
    },
}

/// Where to read.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// Address of an archive to read from instead of the committee, which then is not asked; all of
    /// it is verified, by the committee key that `ZIPNET_COMMITTEE` names
    #[arg(long, env = "ZIPNET_ARCHIVE", value_name = "URL")]
    pub archive: Option<String>,
    /// Round of the archive to begin with: `17` in its newest epoch, `EPOCH:17`, or `start` [default:
    /// the next one]
    #[arg(long, value_name = "ROUND", requires = "archive")]
    pub from: Option<From>,
    /// End when all is printed that the archive has
    #[arg(long, requires = "archive")]
    pub once: bool,
}

/// How to publish.
#[derive(Debug, Clone, Copy, Args)]
pub struct TalkArgs {
    /// In how many rounds a message is sealed at most; each is known to be lost
    /// before the next
    #[arg(long, value_name = "N", default_value_t = PublishOptions::default().attempts, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub attempts: u32,
    /// How long a message may take
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = args::duration)]
    pub deadline: Duration,
    /// Seal a message for one round only, whatever becomes of it
    #[arg(long)]
    pub at_most_once: bool,
    /// Do not take part for some rounds before and after: faster, and whoever
    /// sees this client come and go knows what it published
    #[arg(long)]
    pub now: bool,
}

impl TalkArgs {
    /// The same as the role takes it.
    #[must_use]
    pub const fn options(&self) -> PublishOptions {
        PublishOptions {
            attempts: self.attempts,
            deadline: self.deadline,
            at_most_once: self.at_most_once,
        }
    }
}
