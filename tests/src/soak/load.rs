//! Many clients in one process: `zipnet-soak load`. Each publishes a message now
//! and then, and covers otherwise. What is sent, what becomes of it, and what each
//! node reads are lines of JSON on standard output.
//!
//! A message is unlike all others, so that whoever reads it knows whose it is: here,
//! unlike anywhere else, that is wanted.

use core::time::Duration;
use std::{io::Write as _, net::SocketAddr, sync::Arc};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use zipnet_node::{
    relay::EmbeddedRelay,
    roles::client::{Client, ClientSettings, Participation, PublishError, PublishOptions, Reader},
    settings::{RelaySetting, TransportSeed},
};
use zipnet_protocol::FinalizedRound;
use zipnet_server::{
    Failure,
    args::{NodeArgs, TrustArgs},
    attestation::AttestationArgs,
};

use crate::sim::rng::Rng;

/// Mean time between two messages of one client.
const PAUSE: Duration = Duration::from_mins(1);
/// How long a message may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// How long after the last message its fate may take to become known.
const SETTLING: Duration = Duration::from_secs(45);

/// Settings of a process of clients.
#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    attestation: AttestationArgs,
    /// Begins each message; unlike that of any other process
    #[arg(long)]
    name: String,
    /// What the nodes' transport identities are made of
    #[arg(long)]
    identity: String,
    /// How many nodes
    #[arg(long)]
    nodes: u16,
    /// How many clients on each
    #[arg(long)]
    clients: usize,
}

impl LoadArgs {
    /// Network and name.
    #[must_use]
    pub const fn node(&self) -> &NodeArgs {
        &self.node
    }
}

/// Runs the clients until standard input says `hush` and all fates are known, or
/// until `stop`.
///
/// # Errors
/// [`Failure`].
pub async fn run(args: LoadArgs, stop: CancellationToken) -> Result<(), Failure> {
    let authority = args.attestation.authority()?;
    let relay = EmbeddedRelay::start().await.map_err(Failure::runtime)?;
    let mut starting = JoinSet::new();
    for number in 0..args.nodes {
        let mut network = args.node.network()?;
        let identity = format!("soak {} node {number}", args.identity);
        network.seed = Some(TransportSeed::from_text(&identity));
        network.relay = RelaySetting::Url(relay.url().clone());
        network.bind = network
            .bind
            .map(|bind| SocketAddr::new(bind.ip(), bind.port().saturating_add(number)));
        let settings = ClientSettings {
            network,
            trust: args
                .trust
                .trust(args.node.instance.clone(), authority.clone()),
            params: args.node.params()?,
            invite: None,
        };
        starting.spawn(async move { (number, Client::start(settings, Participation::Talk).await) });
    }
    let mut clients = Vec::new();
    let mut reading = JoinSet::new();
    while let Some(started) = starting.join_next().await {
        let (number, first) = started.map_err(Failure::runtime)?;
        let first = first.map_err(Failure::runtime)?;
        reading.spawn(read(number, first.reader()));
        for _ in 1..args.clients {
            let another = first.another(Participation::Talk);
            clients.push(another.map_err(Failure::runtime)?);
        }
        clients.push(first);
    }
    say(&json!({"event": "up", "clients": clients.len()}));

    let hush = CancellationToken::new();
    let mut dice = Rng::new(u64::from(std::process::id()));
    let mut talking = JoinSet::new();
    for (number, client) in (0..).zip(&clients) {
        let talk = Talk {
            publisher: client.publisher(),
            prefix: format!("{}/{number}", args.name),
            dice: dice.fork(),
            hush: hush.clone(),
        };
        talking.spawn(talk.run());
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = hushed() => {
            hush.cancel();
            let all = async { while talking.join_next().await.is_some() {} };
            let settled = timeout(SETTLING, all).await.is_ok();
            say(&json!({"event": "hushed", "settled": settled}));
            stop.cancelled().await;
        }
    }
    let mut leaving = JoinSet::new();
    for client in clients {
        leaving.spawn(client.leave());
    }
    while leaving.join_next().await.is_some() {}
    Ok(())
}

/// Waits for the line `hush`, or for the end of the input.
async fn hushed() {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "hush" {
            return;
        }
    }
}

async fn read(node: u16, mut reader: Reader) {
    while let Some(heard) = reader.next().await {
        match heard {
            Ok(round) => say(&as_json(node, &round)),
            Err(lagged) => eprintln!("node {node}: {lagged}"),
        }
    }
}

/// As `zipnet-client --json` shows a round, with the node that read it.
fn as_json(node: u16, round: &Arc<FinalizedRound>) -> Value {
    let header = round.round().header();
    let messages: Vec<_> = round
        .messages()
        .map(|(slot, bytes)| json!({"slot": slot, "text": String::from_utf8_lossy(&bytes)}))
        .collect();
    json!({
        "event": "round",
        "node": node,
        "round": header.number,
        "epoch": header.epoch.to_string(),
        "participants": round.participants(),
        "record": round.digest().to_string(),
        "previous": header.previous.to_string(),
        "messages": messages,
    })
}

struct Talk {
    publisher: zipnet_node::roles::client::Publisher,
    prefix: String,
    dice: Rng,
    hush: CancellationToken,
}

impl Talk {
    async fn run(mut self) {
        let options = PublishOptions {
            deadline: DEADLINE,
            ..PublishOptions::default()
        };
        for number in 0_u64.. {
            // The law of messages that know nothing of each other.
            let pause = PAUSE.mul_f64(-(1.0 - self.dice.unit()).ln());
            tokio::select! {
                () = self.hush.cancelled() => return,
                () = sleep(pause) => {}
            }
            let length = self.dice.below(160);
            let text = format!("{}/{number} {}", self.prefix, "x".repeat(length));
            say(&json!({"event": "sent", "text": text}));
            let begun = Instant::now();
            let outcome = self
                .publisher
                .publish_with(text.clone().into_bytes(), options);
            let told = match outcome.await {
                Ok(receipt) => json!({
                    "event": "landed",
                    "text": text,
                    "epoch": receipt.epoch.to_string(),
                    "round": receipt.round,
                    "slot": receipt.slot,
                    "record": receipt.record.to_string(),
                    "attempts": receipt.attempts,
                    "seconds": begun.elapsed().as_secs_f64(),
                }),
                Err(error) => json!({
                    "event": match error {
                        PublishError::NotLanded { .. } => "not landed",
                        _ => "unknown",
                    },
                    "text": text,
                    "because": zipnet_node::report::chain(&error),
                }),
            };
            say(&told);
        }
    }
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
