//! An archive of a real committee: killed, started again, read by whoever does not trust it.
#![allow(missing_docs)]

use std::time::Duration;

use serde_json::Value;
use zipnet_tests::{
    archive::Archive,
    browser::Browser,
    cluster::{Cluster, ROUND, Settings},
    process::{Failed, Process, TestResult, eventually},
    server::{get, scrape},
};

/// How long a reader may take over what an archive has.
const READ: Duration = Duration::from_mins(1);

fn rounds(events: &[Value]) -> Vec<(u64, &str, &str)> {
    let rounds = events.iter().filter(|event| event["event"] == "round");
    rounds
        .filter_map(|event| {
            Some((
                event["round"].as_u64()?,
                event["record"].as_str()?,
                event["previous"].as_str()?,
            ))
        })
        .collect()
}

/// All that a reader prints of an archive, from a round on.
fn history(cluster: &Cluster, archive: &Archive, from: &str) -> TestResult<Vec<Value>> {
    let url = archive.url();
    let arguments = [
        "--json",
        "watch",
        "--archive",
        &url,
        "--from",
        from,
        "--once",
    ];
    let mut command = cluster.client_command(&arguments)?;
    command
        .env("ZIPNET_COMMITTEE", cluster.settings.committee()?)
        // It asks nobody else.
        .env_remove("ZIPNET_BOOTSTRAP");
    let (status, lines) = Process::run("reader", command, READ)?;
    if !status.success() {
        return Err(Failed::because(lines.join("\n")));
    }
    let events = lines.iter().filter(|line| line.starts_with('{'));
    Ok(events
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn wait_for(archive: &Archive, number: u64) -> TestResult {
    let what = format!("the archive to have round {number}");
    let reached = || {
        archive
            .newest()
            .filter(|newest| *newest >= number)
            .map(|_| ())
    };
    Ok(eventually(&what, ROUND, reached)?)
}

fn last_round(process: &Process) -> u64 {
    let events = process.json_since(0);
    rounds(&events).last().map_or(0, |(number, ..)| *number)
}

#[test]
fn an_archive_that_was_killed_has_everything_and_a_reader_verifies_it_all() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::start_attested(Settings::default(), 2)?;
    let mut archive = Archive::start(&mut cluster, folder.path())?;
    let mut witness = cluster.watcher()?;
    witness.expect_json(0, "a round", ROUND, |event| event["event"] == "round")?;
    let mut talker = cluster.client(&["publish", "--now", "said into an archive"])?;
    talker.expect("landed:", ROUND)?;
    wait_for(&archive, last_round(&witness))?;
    // Killed, away for some rounds, and back.
    archive.process.kill();
    for _ in 0..4 {
        cluster.finalize_another()?;
    }
    archive.restart(&mut cluster)?;
    let there = last_round(&witness) + 2;
    wait_for(&archive, there)?;
    eventually("the archive to have no gap", ROUND, || {
        let metrics = scrape(archive.metrics)?;
        metrics
            .lines()
            .any(|line| line.starts_with("zipnet_archive_gaps") && line.ends_with(" 0"))
            .then_some(())
    })?;
    eventually("the archive to be ready", ROUND, || {
        let (status, _) = get(archive.metrics, "/readyz")?;
        (status == 200).then_some(())
    })?;

    let events = history(&cluster, &archive, "1")?;
    let read = rounds(&events);
    assert_eq!(events.len(), read.len(), "nothing but rounds: {events:#?}");
    for pair in read.windows(2) {
        assert_eq!(pair[1].2, pair[0].1, "a hole: {pair:?}");
    }
    let seen = witness.json_since(0);
    for round in rounds(&seen).iter().filter(|(number, ..)| *number <= there) {
        assert!(read.contains(round), "{round:?} is missing");
    }
    let said = |event: &Value| {
        event["messages"]
            .to_string()
            .contains("said into an archive")
    };
    assert_eq!(events.iter().filter(|event| said(event)).count(), 1);
    // From a later round on.
    let later = history(&cluster, &archive, &there.to_string())?;
    assert_eq!(rounds(&later)[0].0, there);
    Ok(())
}

#[test]
fn a_browser_shows_what_was_said_and_what_comes() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let archive = Archive::start(&mut cluster, &folder.path().join("archive"))?;
    let mut say = |text: &str| -> TestResult {
        let mut talker = cluster.client(&["publish", "--now", text])?;
        talker.expect("landed:", ROUND)?;
        Ok(())
    };
    say("<img src=x onerror=alert(1)> & <b>bold</b>")?;
    let mut page = Browser::show(
        &format!("{}/", archive.url()),
        &folder.path().join("browser"),
    )?;
    let mut shows = |text: &str| -> TestResult<String> {
        let what = format!("the page to show {text:?}");
        let mut seen = String::new();
        let found = eventually(&what, ROUND, || {
            seen = page.html().ok()?;
            seen.contains(text).then(|| seen.clone())
        });
        found.map_err(|error| {
            Failed::because(format!(
                "{error}; it shows {seen}, of {:?}",
                archive.get("/head")
            ))
        })
    };
    shows("&lt;img src=x onerror=alert(1)&gt; &amp; &lt;b&gt;bold&lt;/b&gt;")?;
    shows("data-live=\"yes\"")?;
    say("said while somebody looks on")?;
    let html = shows("said while somebody looks on")?;
    assert!(
        !html.contains("<b>bold") && !html.contains("<img"),
        "{html}"
    );
    Ok(())
}
