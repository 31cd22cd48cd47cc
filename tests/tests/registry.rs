//! The client registry over real processes: what changes in it reaches the
//! aggregator as a change, clients see for themselves that they are listed, and
//! invites admit one client at a time.
#![allow(missing_docs)]

use std::path::Path;

use serde_json::Value;
use zipnet_tests::{
    cluster::{Cluster, LEAVE, ROUND, Settings, UP},
    process::{Failed, Process, TestResult, command, eventually},
    server::{free_port, scrape},
};

/// Waits for a round with so many participants.
fn participants(reader: &mut Process, from: usize, count: usize) -> TestResult<usize> {
    let what = format!("a round with {count} participants");
    let (at, _) = reader.expect_json(from, &what, ROUND, |round: &Value| {
        round["event"] == "round" && round["participants"] == count
    })?;
    Ok(at)
}

/// The value of the metric whose line has all of these.
fn counted(text: &str, parts: &[&str]) -> f64 {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .find(|line| parts.iter().all(|part| line.contains(part)))
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

#[test]
fn a4_a_client_more_reaches_the_aggregator_as_a_change() -> TestResult {
    let mut cluster = Cluster::new(Settings::default())?;
    for index in 0..cluster.settings.servers {
        cluster.add_server(index)?;
    }
    let metrics = free_port();
    let mut aggregator = cluster.aggregator_command()?;
    aggregator.env("ZIPNET_METRICS", metrics.to_string());
    cluster.launch_aggregator(aggregator)?;
    let mut reader = cluster.watcher()?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    let mut at = participants(&mut reader, 0, 2)?;
    let fetched = |how: &str| {
        let text = scrape(metrics).unwrap_or_default();
        counted(&text, &["zipnet_registries_fetched_total", how])
    };
    let whole = fetched("whole");
    assert!(whole >= 1.0, "the first one is fetched as a whole");
    for count in 3..=4 {
        let mut client = cluster.client(&["cover"])?;
        // It says so when it has seen the proof.
        client.expect("registered client=", ROUND)?;
        cluster.clients.push(client);
        at = participants(&mut reader, at, count)?;
    }
    let changes = fetched("changes");
    assert!(changes >= 2.0, "{changes} changes were fetched");
    assert!(
        fetched("whole") <= whole,
        "a client more was fetched with all the others"
    );
    // One that leaves is a change, too.
    let mut gone = cluster.clients.remove(0);
    gone.terminate(LEAVE)?;
    participants(&mut reader, at, 3)?;
    eventually("one more change", ROUND, || {
        (fetched("changes") > changes).then_some(())
    })?;
    Ok(())
}

/// Invites as an operator makes them.
fn invites(cluster: &Cluster, count: usize) -> TestResult<Vec<String>> {
    let settings = &cluster.settings;
    let mut verb = command("zipnet-server")?;
    verb.args(["invite", "--count", &count.to_string()])
        .env("ZIPNET_INSTANCE", &settings.instance)
        .env("ZIPNET_COMMITTEE_SECRET", &settings.secret);
    let (status, lines) = Process::run("zipnet-server invite", verb, UP)?;
    if !status.success() || lines.len() != count {
        return Err(Failed::because(format!("{status}: {} lines", lines.len())));
    }
    Ok(lines)
}

/// A client that covers, with an invite or without.
fn cover(cluster: &mut Cluster, invite: Option<&str>) -> TestResult<Process> {
    let mut command = cluster.client_command(&["cover"])?;
    command.env("RUST_LOG", "zipnet=debug");
    if let Some(invite) = invite {
        command.env("ZIPNET_INVITE", invite);
    }
    Ok(cluster.launch_client(command)?)
}

/// Whether any log in a folder holds a text.
fn is_logged(logs: &Path, text: &str) -> TestResult<bool> {
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        if path.is_file() && String::from_utf8_lossy(&std::fs::read(path)?).contains(text) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn i19_an_invite_admits_one_client_at_a_time_and_nobody_is_admitted_without() -> TestResult {
    let mut cluster = Cluster::new(Settings {
        variables: vec![("ZIPNET_CLIENTS".into(), "invite".into())],
        ..Settings::default()
    })?;
    cluster.populate(0)?;
    let tokens = invites(&cluster, 3)?;
    let mut reader = cluster.watcher()?;
    let mut clients = Vec::new();
    for token in &tokens {
        clients.push(cover(&mut cluster, Some(token))?);
    }
    let at = participants(&mut reader, 0, 3)?;
    let mut bare = cover(&mut cluster, None)?;
    bare.expect("The client shows no invite", ROUND)?;
    let mut second = cover(&mut cluster, Some(&tokens[0]))?;
    second.expect("the invite has admitted another client", ROUND)?;
    let now = reader.lines().since(0).len();

    // Once the first one has left, its invite admits the second.
    let mut first = clients.remove(0);
    first.terminate(LEAVE)?;
    second.expect("registered client=", ROUND)?;
    participants(&mut reader, now.max(at), 3)?;
    let more = |round: &Value| round["participants"].as_u64() > Some(3);
    let crowded = reader.json_since(0).into_iter().any(|round| more(&round));
    assert!(!crowded, "somebody takes part who is not invited");

    let mut wrong = cluster.client_command(&["cover"])?;
    wrong.env("ZIPNET_INVITE", &tokens[0][1..]);
    let (status, lines) = Process::run("zipnet-client", wrong, UP)?;
    assert_eq!(status.code(), Some(2), "{lines:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("192 hexadecimal digits would be right")),
        "{lines:?}"
    );
    for token in &tokens {
        let said = lines.iter().any(|line| line.contains(&token[1..]));
        assert!(!said && !is_logged(cluster.logs(), &token[..64])?);
    }
    Ok(())
}
