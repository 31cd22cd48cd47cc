//! The client.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;
use zipnet::{
    health::{Health, Role},
    roles::client::{
        Client, ClientSettings, Lagged, Linger, Participation, PublishOptions, Publisher, Receipt,
        evidence::{self, Shown},
    },
};
use zipnet_cli::{
    Failure,
    client::{Cli, HistoryArgs, Verb},
    history, main_with,
    process::start_metrics,
};
use zipnet_history::{index::Fate, read::Item};
use zipnet_protocol::FinalizedRound;

/// Fewest participants that a round must ask for before this client talks in it,
/// unless it is set: whoever is alone in a round is its author.
const COMPANY: u32 = 2;
/// Longest input that is read before it is refused as too long for any slot.
const MAX_INPUT: u64 = 1 << 17;

/// Standard input or output failed.
#[derive(Debug, thiserror::Error)]
#[error("Could not read standard input")]
struct InputError(#[source] std::io::Error);

fn main() -> ExitCode {
    main_with(|cli: &Cli| &cli.node, run)
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
    if let Verb::Watch { history, .. } = &cli.verb
        && history.archive.is_some()
    {
        return tokio::select! {
            read = read_archive(&cli, history) => read,
            () = stop.cancelled() => Ok(()),
        };
    }
    let participation = match cli.verb {
        Verb::Publish { .. } | Verb::Chat { .. } => Participation::Talk,
        Verb::Cover => Participation::Cover,
        Verb::Watch { light: true, .. } => Participation::Watch,
        Verb::Watch { .. } | Verb::Evidence { .. } => Participation::Audit,
    };
    let params = cli.node.params()?;
    let network = cli.node.network()?;
    // An over-long message is a matter of usage: say so before joining.
    let message = match &cli.verb {
        Verb::Publish { message, .. } => {
            let bytes = match message {
                Some(text) => text.clone().into_bytes(),
                None => read_all().await?,
            };
            zipnet_protocol::Message::new(bytes.clone(), &params).map_err(Failure::usage)?;
            Some(bytes)
        }
        _ => None,
    };
    let mut trust = cli
        .trust
        .trust(cli.node.instance.clone(), cli.attestation.authority()?);
    if participation == Participation::Talk && cli.trust.min_participants.is_none() {
        trust.min_participants = COMPANY;
    }
    let settings = ClientSettings {
        network,
        params,
        trust,
        invite: cli.invite.invite()?,
    };
    let health = Health::new(Role::Client);
    start_metrics(cli.metrics, &settings.trust.name, &health)?;
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
        Verb::Publish { talk, .. } => {
            let mut stay = (!talk.now).then(|| client.linger());
            match &mut stay {
                Some(stay) => linger(stay, "before the message is published").await,
                None => warn_of_haste(),
            }
            let published = client
                .publisher()
                .publish_with(message.unwrap_or_default(), talk.options())
                .await;
            if let Ok(receipt) = &published {
                say_receipt(receipt, json);
            }
            // Whether it landed or not: it may have been seen.
            if let Some(stay) = stay {
                linger(&mut stay.behind(client), "before this client leaves").await;
            }
            published.map(|_| ()).map_err(Failure::runtime)
        }
        Verb::Cover => {
            let mut reader = client.reader();
            while reader.next().await.is_some() {}
            Ok(())
        }
        // Done by now.
        Verb::Evidence { .. } => Ok(()),
        Verb::Watch { .. } => {
            let mut reader = client.reader();
            while let Some(heard) = reader.next().await {
                say_heard(heard, json);
            }
            Ok(())
        }
        Verb::Chat { talk } => {
            let mut reader = client.reader();
            let listen = async {
                while let Some(heard) = reader.next().await {
                    say_heard(heard, json);
                }
                Ok(())
            };
            let talking = async {
                if talk.now {
                    warn_of_haste();
                }
                speak(client.publisher(), talk.options(), json).await?;
                if !talk.now {
                    linger(&mut client.linger(), "before this client leaves").await;
                }
                Ok(())
            };
            tokio::select! {
                outcome = talking => outcome,
                outcome = listen => outcome,
            }
        }
    }
}

/// Takes part for a random number of rounds, and says so on standard error.
async fn linger(stay: &mut Linger, why: &str) {
    while stay.left() > 0 {
        note(&format!(
            "taking part for {} more round(s) {why} (--now would not)",
            stay.left()
        ));
        if !stay.one_more().await {
            return;
        }
    }
}

fn warn_of_haste() {
    tracing::warn!(
        "--now: whoever sees this client come, talk and go knows what it published; without it, it takes part for some rounds before and after"
    );
}

/// Publishes each line of standard input until it ends.
async fn speak(publisher: Publisher, options: PublishOptions, json: bool) -> Result<(), Failure> {
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
        match publisher.publish_with(line, options).await {
            Ok(receipt) => say_receipt(&receipt, json),
            Err(error) => tracing::warn!(
                because = %zipnet::report::chain(&error),
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
            "epoch": receipt.epoch.to_string(),
            "round": receipt.round,
            "slot": receipt.slot,
            "record": receipt.record.to_string(),
            "attempts": receipt.attempts,
            "participants": receipt.participants,
            "servers": receipt.servers,
        })
        .to_string());
    } else {
        say(&format!(
            "landed: round r{} slot {} among {} participants, sealed {} time(s), unblinded by {} server(s), epoch {}, record {}",
            receipt.round,
            receipt.slot,
            receipt.participants,
            receipt.attempts,
            receipt.servers,
            receipt.epoch.short(),
            receipt.record
        ));
    }
}

/// Prints what an archive has, each record verified.
async fn read_archive(cli: &Cli, history: &HistoryArgs) -> Result<(), Failure> {
    let name = cli.node.instance.clone();
    let trust = (&cli.trust, &cli.attestation);
    let archive = history.archive.as_deref().unwrap_or_default();
    let mut items = history::read(
        archive,
        history.from,
        history.once,
        name,
        trust,
        cli.node.params()?,
    )?;
    while let Some(item) = items.recv().await {
        say_item(&item.map_err(Failure::runtime)?, cli.json);
    }
    Ok(())
}

fn say_item(item: &Item, json: bool) {
    let event = match item {
        Item::Round(checked) => {
            say_round(&checked.done, json, Some(checked.at));
            return;
        }
        Item::Epoch(epoch) => {
            tracing::warn!(epoch = %epoch.short(), "the archive goes on in another epoch");
            json!({"event": "epoch", "epoch": epoch.to_string()})
        }
        Item::Gap {
            after,
            before,
            said,
        } => {
            let said = said.map(Fate::word);
            tracing::warn!(
                after = after.map(|number| format!("r{number}")),
                before = %format_args!("r{before}"),
                said = said.unwrap_or("nothing"),
                "records are missing in the archive"
            );
            json!({"event": "gap", "after": after, "before": before, "said": said})
        }
        Item::Refused { number, error } => {
            let because = zipnet::report::chain(error);
            tracing::warn!(
                round = %format_args!("r{number}"),
                because,
                "a record of the archive is not shown"
            );
            json!({"event": "refused", "round": number, "because": because})
        }
    };
    if json {
        say(&event.to_string());
    }
}

fn say_heard(heard: Result<Arc<FinalizedRound>, Lagged>, json: bool) {
    let event = match heard {
        Ok(round) => return say_round(&round, json, None),
        Err(lagged @ Lagged::Slow { missed }) => {
            tracing::warn!(because = %lagged, "rounds are not shown");
            json!({"event": "lagged", "missed": missed})
        }
        // Whoever follows has said so.
        Err(Lagged::Gone { after, before }) => {
            json!({"event": "gap", "after": after, "before": before, "said": null})
        }
    };
    if json {
        say(&event.to_string());
    }
}

fn say_round(round: &Arc<FinalizedRound>, json: bool, at: Option<u64>) {
    let header = round.round().header();
    if json {
        let messages: Vec<_> = round
            .messages()
            .map(|(slot, bytes)| {
                json!({"slot": slot, "text": String::from_utf8_lossy(&bytes), "hex": hex::encode(&bytes)})
            })
            .collect();
        let mut event = json!({
            "event": "round",
            "round": header.number,
            "epoch": header.epoch.to_string(),
            "participants": round.participants(),
            "servers": round.servers(),
            "record": round.digest().to_string(),
            "previous": header.previous.to_string(),
            "messages": messages,
        });
        // By whose word: an archive's.
        if let (Some(at), Some(event)) = (at, event.as_object_mut()) {
            event.insert("at".to_owned(), at.into());
        }
        say(&event.to_string());
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

/// One line on standard error, for whoever waits.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "zipnet-client: {line}");
}
