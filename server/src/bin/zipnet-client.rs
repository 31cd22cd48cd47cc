//! The client.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;
use zipnet_node::{
    roles::client::{
        Client, ClientSettings, Participation, Publisher, Receipt,
        evidence::{self, Shown},
    },
    settings::BootstrapHint,
};
use zipnet_protocol::FinalizedRound;
use zipnet_server::{
    Failure,
    args::{NodeArgs, TrustArgs},
    attestation::AttestationArgs,
    main_with,
};

/// Longest input that is read before it is refused as too long for any slot.
const MAX_INPUT: u64 = 1 << 17;

/// A zipnet client: publishes anonymously, takes part silently, or reads.
#[derive(Debug, Parser)]
#[command(name = "zipnet-client", version)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    attestation: AttestationArgs,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Publish one message and wait until it has landed
    Publish {
        /// The message; standard input if absent
        message: Option<String>,
    },
    /// Publish each line of standard input, and print what others publish
    #[command(alias = "stream")]
    Chat,
    /// Take part silently, so that others have company
    Cover,
    /// Print what is published
    Watch,
    /// Print what a server shows of itself as JSON, without judging it;
    /// `zipnet-attest verify --live` does both
    Evidence {
        /// The server
        #[arg(value_name = "PEERID@IP:PORT")]
        server: BootstrapHint,
    },
}

/// Standard input or output failed.
#[derive(Debug, thiserror::Error)]
#[error("Could not read standard input")]
struct InputError(#[source] std::io::Error);

fn main() -> ExitCode {
    main_with(|cli: &Cli| &cli.node.relay, run)
}

async fn run(cli: Cli, stop: CancellationToken) -> Result<(), Failure> {
    if let Verb::Evidence { server } = &cli.verb {
        let network = cli.node.network()?;
        return tokio::select! {
            shown = evidence::fetch(&network, &cli.node.instance, server) => {
                say_shown(&shown.map_err(Failure::runtime)?);
                Ok(())
            }
            () = stop.cancelled() => Ok(()),
        };
    }
    let participation = match cli.verb {
        Verb::Publish { .. } | Verb::Chat => Participation::Talk,
        Verb::Cover => Participation::Cover,
        Verb::Watch | Verb::Evidence { .. } => Participation::Watch,
    };
    let params = cli.node.params()?;
    // An over-long message is a matter of usage: say so before joining.
    let message = match &cli.verb {
        Verb::Publish { message } => {
            let bytes = match message {
                Some(text) => text.clone().into_bytes(),
                None => read_all().await?,
            };
            zipnet_protocol::Message::new(bytes.clone(), &params).map_err(Failure::usage)?;
            Some(bytes)
        }
        _ => None,
    };
    let settings = ClientSettings {
        network: cli.node.network()?,
        params,
        trust: cli
            .trust
            .trust(cli.node.instance.clone(), cli.attestation.authority()?),
    };
    let client = tokio::select! {
        client = Client::start(settings, participation) => client.map_err(Failure::runtime)?,
        () = stop.cancelled() => return Ok(()),
    };
    let outcome = tokio::select! {
        outcome = act(&client, cli.verb, message, cli.json) => outcome,
        () = stop.cancelled() => Ok(()),
    };
    client.leave().await;
    outcome
}

async fn act(
    client: &Client,
    verb: Verb,
    message: Option<Vec<u8>>,
    json: bool,
) -> Result<(), Failure> {
    match verb {
        Verb::Publish { .. } => {
            let receipt = client
                .publisher()
                .publish(message.unwrap_or_default())
                .await
                .map_err(Failure::runtime)?;
            say_receipt(&receipt, json);
            Ok(())
        }
        Verb::Cover => {
            let mut reader = client.reader();
            while reader.next().await.is_some() {}
            Ok(())
        }
        // Done by now.
        Verb::Evidence { .. } => Ok(()),
        Verb::Watch => {
            let mut reader = client.reader();
            while let Some(round) = reader.next().await {
                say_round(&round, json);
            }
            Ok(())
        }
        Verb::Chat => {
            let mut reader = client.reader();
            let listen = async {
                while let Some(round) = reader.next().await {
                    say_round(&round, json);
                }
                Ok(())
            };
            tokio::select! {
                outcome = speak(client.publisher(), json) => outcome,
                outcome = listen => outcome,
            }
        }
    }
}

/// Publishes each line of standard input until it ends.
async fn speak(publisher: Publisher, json: bool) -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin());
    loop {
        let mut line = Vec::new();
        let read = (&mut lines)
            .take(MAX_INPUT)
            .read_until(b'\n', &mut line)
            .await
            .map_err(|error| Failure::runtime(InputError(error)))?;
        if read == 0 {
            return Ok(());
        }
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        if line.is_empty() {
            continue;
        }
        match publisher.publish(line).await {
            Ok(receipt) => say_receipt(&receipt, json),
            Err(error) => tracing::warn!(
                because = %zipnet_node::report::chain(&error),
                "a line was not sent"
            ),
        }
    }
}

async fn read_all() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    tokio::io::stdin()
        .take(MAX_INPUT)
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| Failure::runtime(InputError(error)))?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(bytes)
}

/// The evidence, with what the transport and the bundle say to compare it with.
fn say_shown(shown: &Shown) {
    let server = &shown.server;
    say(&json!({
        "instance": hex::encode(shown.instance.id().as_bytes()),
        "server": hex::encode(server.id().as_bytes()),
        "peer": hex::encode(server.peer().as_bytes()),
        "x25519": hex::encode(server.dh().as_bytes()),
        "signing": hex::encode(server.signing().as_bytes()),
        "evidence": hex::encode(&shown.credential.evidence),
        "collateral": String::from_utf8_lossy(&shown.credential.collateral),
    })
    .to_string());
}

fn say_receipt(receipt: &Receipt, json: bool) {
    if json {
        say(&json!({
            "event": "landed",
            "round": receipt.round,
            "slot": receipt.slot,
            "attempts": receipt.attempts,
            "participants": receipt.participants,
        })
        .to_string());
    } else {
        say(&format!(
            "landed: round r{} slot {} among {} participants, sealed {} time(s)",
            receipt.round, receipt.slot, receipt.participants, receipt.attempts
        ));
    }
}

fn say_round(round: &Arc<FinalizedRound>, json: bool) {
    let header = round.round().header();
    if json {
        let messages: Vec<_> = round
            .messages()
            .map(|(slot, bytes)| {
                json!({"slot": slot, "text": String::from_utf8_lossy(&bytes), "hex": hex::encode(&bytes)})
            })
            .collect();
        say(&json!({
            "event": "round",
            "round": header.number,
            "epoch": header.epoch.to_string(),
            "participants": round.participants(),
            "record": round.digest().to_string(),
            "previous": header.previous.to_string(),
            "messages": messages,
        })
        .to_string());
    } else {
        for (slot, bytes) in round.messages() {
            say(&format!(
                "r{} slot {slot}: {}",
                header.number,
                printable(&bytes)
            ));
        }
    }
}

/// Text for a terminal: what strangers send must not steer it.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .flat_map(|c| {
            let escaped: Vec<char> = if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            };
            escaped
        })
        .collect()
}

/// One line on standard output, at once: it may be a pipe. A closed pipe is
/// somebody else's end.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
