//! What a client publishes is what every reader and every server gets.
#![allow(missing_docs)]

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::timeout;
use zipnet::{Builder, FinalizedRound, Zipnet};
use zipnet_node::{
    roles::client::{Client, Participation},
    settings::RelaySetting,
};
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings, UP},
    embedded::{client_settings, uri},
    process::{Failed, Process, TestResult},
    server::scrape,
};

/// Bytes that fit into a slot of default size.
const LIMIT: usize = 240;

fn number(value: &Value, field: &str) -> TestResult<u64> {
    value[field]
        .as_u64()
        .ok_or_else(|| Failed::because(format!("no number {field} in {value}")))
}

fn is_round(value: &Value) -> bool {
    value["event"] == "round"
}

fn says(round: &Value, text: &str) -> bool {
    let mut messages = round["messages"].as_array().into_iter().flatten();
    is_round(round) && messages.any(|message| message["text"] == text)
}

/// The round and slot in which a reader saw a message, and the position after.
fn seen(reader: &mut Process, from: usize, text: &str) -> TestResult<(usize, u64, u64)> {
    let what = format!("a round with the message {text:?}");
    let (at, round) = reader.expect_json(from, &what, ROUND, |round| says(round, text))?;
    let messages = round["messages"].as_array().cloned().unwrap_or_default();
    let slots: Vec<_> = messages
        .iter()
        .filter(|message| message["text"] == text)
        .collect();
    match slots.as_slice() {
        [one] => Ok((at, number(&round, "round")?, number(one, "slot")?)),
        several => Err(Failed::because(format!(
            "{text:?} is in {} slots of {round}",
            several.len()
        ))),
    }
}

#[test]
fn a_reader_sees_a_message_in_the_round_and_slot_of_its_receipt() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 3)?;
    let mut reader = cluster.watcher()?;
    // Cover takes part: all three are in a round before anybody talks.
    let (at, _) = reader.expect_json(0, "a round with 3 participants", ROUND, |round| {
        is_round(round) && round["participants"] == 3
    })?;

    let mut writer = cluster.client(&["publish", "--now", "the first words"])?;
    let status = writer.wait(ROUND)?;
    assert!(status.success(), "{status}: {:#?}", writer.lines().since(0));
    let receipt = writer.expect("landed: round r", UP)?;
    let (_, round, slot) = seen(&mut reader, at, "the first words")?;
    assert!(
        receipt.starts_with(&format!("landed: round r{round} slot {slot} among ")),
        "seen in r{round} slot {slot}, but: {receipt}"
    );

    // A message from standard input, and the receipt as JSON.
    let mut writer = cluster.client(&["publish", "--now", "--json"])?;
    writer.tell("from standard input");
    writer.close_stdin();
    let status = writer.wait(ROUND)?;
    assert!(status.success(), "{status}: {:#?}", writer.lines().since(0));
    let (_, receipt) =
        writer.expect_json(0, "a receipt", UP, |value| value["event"] == "landed")?;
    let (_, round, slot) = seen(&mut reader, at, "from standard input")?;
    assert_eq!(
        (number(&receipt, "round")?, number(&receipt, "slot")?),
        (round, slot)
    );
    // The writer hides among the three that cover.
    assert!(number(&receipt, "participants")? >= 2, "{receipt}");
    Ok(())
}

#[test]
fn two_lines_of_a_chat_land_in_two_rounds_in_their_order() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let mut reader = cluster.watcher()?;
    reader.expect_json(0, "a round", ROUND, is_round)?;
    let mut chat = cluster.client(&["--json", "chat", "--now"])?;
    chat.tell("one");
    chat.tell("two");
    let (at, first, slot) = seen(&mut reader, 0, "one")?;
    let (_, second, _) = seen(&mut reader, at, "two")?;
    assert!(first < second, "r{first} is not before r{second}");
    let (next, receipt) =
        chat.expect_json(0, "a receipt", ROUND, |value| value["event"] == "landed")?;
    assert_eq!(
        (number(&receipt, "round")?, number(&receipt, "slot")?),
        (first, slot)
    );
    let (_, receipt) =
        chat.expect_json(next, "a receipt", ROUND, |value| value["event"] == "landed")?;
    assert_eq!(number(&receipt, "round")?, second);
    // It reads what it wrote, too.
    seen(&mut chat, 0, "two")?;
    chat.close_stdin();
    let status = chat.wait(Duration::from_secs(10))?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn i6_records_chain_and_every_server_finalizes_the_same_ones() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 3)?;
    let mut reader = cluster.watcher()?;
    let (mut at, mut last) = reader.expect_json(0, "a round", ROUND, is_round)?;
    for _ in 0..4 {
        let (next, round) = reader.expect_json(at, "the next round", ROUND, is_round)?;
        assert_eq!(round["previous"], last["record"], "{last} then {round}");
        assert_eq!(round["epoch"], last["epoch"]);
        assert!(number(&round, "round")? > number(&last, "round")?);
        (at, last) = (next, round);
    }
    let wanted = number(&last, "round")?;
    let mut logs = Vec::new();
    for server in &mut cluster.servers {
        let text = format!("committee: round finalized round=r{wanted} ");
        server.process.expect(&text, ROUND)?;
        let mut rounds = server.finalized(0);
        rounds.retain(|round| round.number <= wanted);
        logs.push(rounds);
    }
    assert!(logs.iter().all(|log| *log == logs[0]), "{logs:#?}");
    // What readers get is what servers say.
    for round in reader.json_since(0).iter().filter(|value| is_round(value)) {
        let (number, record) = (number(round, "round")?, round["record"].as_str());
        let logged = logs[0].iter().find(|logged| logged.number == number);
        if let (Some(logged), Some(record)) = (logged, record) {
            assert!(record.starts_with(&logged.record), "{round} but {logged:?}");
        } else {
            assert!(number > wanted, "no server has logged {round}");
        }
    }
    Ok(())
}

#[test]
fn the_longest_message_lands_and_a_longer_one_is_refused_with_the_limit() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let mut reader = cluster.watcher()?;
    // It yields what comes after it has begun.
    reader.expect_json(0, "a round", ROUND, is_round)?;
    let longest = "x".repeat(LIMIT);
    let mut writer = cluster.client(&["publish", "--now", &longest])?;
    let longer = cluster.client_command(&["publish", &"y".repeat(LIMIT + 1)])?;
    let (status, lines) = Process::run("the refused client", longer, UP)?;
    assert_eq!(status.code(), Some(2), "{lines:#?}");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in ["error:", "241", "240"] {
        assert!(lines[0].contains(part), "no {part} in {:?}", lines[0]);
    }
    let status = writer.wait(ROUND)?;
    assert!(status.success(), "{status}: {:#?}", writer.lines().since(0));
    seen(&mut reader, 0, &longest)?;

    // In a chat, the refused line costs the next one nothing.
    let mut chat = cluster.client(&["chat"])?;
    chat.tell("z".repeat(LIMIT + 1));
    chat.tell("after the refused one");
    chat.expect("a line was not sent", ROUND)?;
    seen(&mut reader, 0, "after the refused one")?;
    let refused = |round: &Value| {
        let text = round["messages"].to_string();
        text.contains("yyyy") || text.contains("zzzz")
    };
    assert!(!reader.json_since(0).iter().any(refused));
    Ok(())
}

#[test]
fn clients_of_one_node_take_part_each_for_itself() -> TestResult {
    // To the floor they are one peer, so one has to be enough.
    let settings = Settings {
        min_participants: 1,
        ..Settings::default()
    };
    let cluster = Cluster::start(settings, 0)?;
    let settings = client_settings(&cluster, RelaySetting::Embedded)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let first = Client::start(settings, Participation::Cover).await?;
        let second = first.another(Participation::Talk)?;
        let third = first.another(Participation::Cover)?;
        let mut reader = third.reader();
        let all = async {
            while let Some(Ok(round)) = reader.next().await {
                if round.participants() == 3 {
                    return;
                }
            }
        };
        timeout(ROUND, all).await?;
        let publisher = second.publisher();
        let receipt = timeout(ROUND, publisher.publish(b"one of three".to_vec())).await??;
        assert_eq!(receipt.participants, 3);
        let round = timeout(ROUND, reader.next()).await?.transpose()?;
        assert_eq!(round.map(|round| round.participants()), Some(3));
        // The node stays until the last of them leaves.
        first.leave().await;
        third.leave().await;
        second.leave().await;
        let ended = async { while reader.next().await.is_some() {} };
        timeout(ROUND, ended).await?;
        Ok(())
    })
}

#[test]
fn a_reader_from_a_round_gets_what_servers_still_keep() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    for _ in 0..6 {
        cluster.finalize_another()?;
    }
    let uri = uri(&cluster)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let builder = || Builder::try_from(&uri);
        for builder in [builder()?.reading(), builder()?.auditing()] {
            let zipnet = Zipnet::connect(builder).await?;
            let mut reader = zipnet.reader().from(2)?;
            let mut last: Option<Arc<FinalizedRound>> = None;
            for at in 0..8 {
                let next = timeout(ROUND, reader.next()).await?;
                let done = next.ok_or_else(|| Failed::because("the reader ended"))??;
                let header = done.round().header();
                match &last {
                    Some(last) => assert_eq!(header.previous, *last.digest(), "{at}"),
                    // That there is no second one if there is none, it knows as well.
                    None => assert!(header.number <= 4, "{}", header.number),
                }
                last = Some(done);
            }
            zipnet.leave().await;
        }
        let talks = Zipnet::connect(&uri).await?;
        assert!(talks.reader().from(2).is_err(), "it asks for the past");
        talks.leave().await;
        Ok(())
    })
}

/// What servers have pushed to those who read lightly, in bytes.
fn pushed(cluster: &Cluster) -> TestResult<f64> {
    let mut all = 0.0;
    for server in &cluster.servers {
        let text = scrape(server.metrics).ok_or_else(|| Failed::because("no metrics"))?;
        let lines = text.lines().filter(|line| {
            line.starts_with("zipnet_payload_bytes_total")
                && line.contains("link=\"server-follower-light\"")
        });
        for line in lines {
            all += line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?;
        }
    }
    Ok(all)
}

#[test]
fn a_light_reader_prints_what_an_auditor_prints_for_a_broadcast_a_round() -> TestResult {
    const ROUNDS: u32 = 20;
    let mut cluster = Cluster::start(Settings::default(), 3)?;
    let mut auditor = cluster.watcher()?;
    let mut light = cluster.client(&["--json", "watch", "--light"])?;
    let (mut at, first) = light.expect_json(0, "a round with 3 participants", ROUND, |round| {
        is_round(round) && round["participants"] == 3
    })?;
    let mut writer = cluster.client(&["publish", "--now", "read by both"])?;
    let (next, round, slot) = seen(&mut light, at, "read by both")?;
    assert_eq!(seen(&mut auditor, 0, "read by both")?.1, round);
    writer.expect(&format!("landed: round r{round} slot {slot} among "), ROUND)?;
    writer.wait(ROUND)?;
    at = next;
    // One after another in both, the same.
    let before = pushed(&cluster)?;
    let mut last = Value::Null;
    for _ in 0..ROUNDS {
        (at, last) = light.expect_json(at, "the next round", ROUND, is_round)?;
    }
    let after = pushed(&cluster)?;
    let from = number(&first, "round")?;
    let until = number(&last, "round")?;
    auditor.expect_json(0, "the last round", ROUND, |round| *round == last)?;
    let rounds = |process: &Process| -> Vec<Value> {
        let all = process.json_since(0).into_iter().filter(is_round);
        let within = all.filter(|round| {
            let number = round["round"].as_u64().unwrap_or_default();
            (from..=until).contains(&number)
        });
        within.collect()
    };
    assert_eq!(rounds(&light), rounds(&auditor));
    // Three that cover and this one; the bound is loose by one round.
    let broadcast = 16_384.0;
    let each = (after - before) / 4.0 / f64::from(ROUNDS) / broadcast;
    assert!(
        each <= 1.05 * (1.0 + 1.0 / f64::from(ROUNDS)),
        "{each} broadcasts"
    );
    Ok(())
}
