//! Whom the committee lets fold (A3): admitted aggregators, one for each round,
//! and another one when it falls silent.
#![allow(missing_docs)]

use std::{process::Command, time::Duration};

use nix::sys::signal::Signal;
use zipnet_node::settings::TransportSeed;
use zipnet_protocol::SigningSecret;
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings, UP},
    process::{Failed, Process, TestResult, clean, command, eventually},
};

/// Another aggregator.
const SECOND: &str = "the second aggregator";
const LIMIT: Duration = Duration::from_secs(20);

fn peer(transport: &str) -> String {
    let seed = TransportSeed::from_text(transport);
    let key = SigningSecret::from_seed(seed.as_bytes());
    key.peer_key().to_string()
}

/// A deployment without aggregator, with two clients.
fn waiting() -> TestResult<Cluster> {
    let mut cluster = Cluster::new(Settings::default())?;
    for index in 0..cluster.settings.servers {
        cluster.add_server(index)?;
    }
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    Ok(cluster)
}

/// The command of an aggregator with a transport secret.
fn aggregator(cluster: &Cluster, transport: &str) -> TestResult<Command> {
    let mut command = cluster.aggregator_command()?;
    command
        .env("ZIPNET_SECRET", transport)
        .env_remove("ZIPNET_ADMISSION");
    Ok(command)
}

#[test]
fn a3_an_aggregator_that_nobody_admitted_folds_nothing_until_it_is() -> TestResult {
    let mut cluster = waiting()?;
    let mut outsider = {
        let command = aggregator(&cluster, "an outsider")?;
        let mut process = Process::start("outsider", command, None)?;
        process.expect("the committee does not deal with this aggregator", UP)?;
        process
    };
    let said = outsider.lines().since(0);
    let advice = "zipnet-server admit --aggregator";
    assert!(said.iter().any(|line| line.contains(advice)), "{said:#?}");
    assert!(cluster.servers[0].finalized(0).is_empty());

    // The committee's operator admits one by the verb.
    let ours = cluster.settings.aggregator();
    let mut admit = command("zipnet-server")?;
    clean(&mut admit);
    admit
        .args(["admit", "--aggregator", &peer(&ours)])
        .env("ZIPNET_INSTANCE", &cluster.settings.instance)
        .env("ZIPNET_COMMITTEE_SECRET", &cluster.settings.secret);
    let (status, lines) = Process::run("admit", admit, LIMIT)?;
    assert!(status.success(), "{lines:#?}");
    let [admission] = lines.as_slice() else {
        return Err(Failed::because(format!("not one line: {lines:#?}")));
    };
    assert_eq!(*admission, cluster.settings.admission(&ours)?);
    let mut command = aggregator(&cluster, &ours)?;
    command.env("ZIPNET_ADMISSION", admission);
    cluster.launch_aggregator(command)?;
    cluster.finalize_another()?;
    assert!(
        !outsider
            .lines()
            .since(0)
            .iter()
            .any(|line| line.contains("forwarded aggregate")),
        "the outsider was there all the time"
    );
    outsider.kill();
    Ok(())
}

#[test]
fn a3_named_aggregators_need_no_admission() -> TestResult {
    let mut settings = Settings::default();
    let named = ("ZIPNET_AGGREGATORS".to_owned(), peer(SECOND));
    settings.variables.push(named);
    let mut cluster = Cluster::new(settings)?;
    for index in 0..cluster.settings.servers {
        cluster.add_server(index)?;
    }
    let command = aggregator(&cluster, SECOND)?;
    cluster.launch_aggregator(command)?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    cluster.finalize_another()?;
    Ok(())
}

#[test]
fn a6_of_two_aggregators_one_that_falls_silent_is_replaced_after_one_round() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let mut command = aggregator(&cluster, SECOND)?;
    command.env("ZIPNET_ADMISSION", cluster.settings.admission(SECOND)?);
    let mut second = Process::start("second aggregator", command, None)?;
    second.expect("the committee deals with this aggregator", UP)?;
    cluster.finalize_another()?;

    // Whoever folds now is stopped in the middle of it.
    let first = cluster
        .aggregator
        .as_ref()
        .ok_or_else(|| Failed::because("no aggregator"))?;
    let folds = |process: &Process, from: usize| {
        let lines = process.lines().since(from);
        lines
            .iter()
            .any(|line| line.contains("forwarded aggregate"))
    };
    let (from, from_second) = (first.lines().count(), second.lines().count());
    let first_folds = eventually("one of them folds", ROUND, || {
        if folds(first, from) {
            Some(true)
        } else {
            folds(&second, from_second).then_some(false)
        }
    })?;
    let silent = if first_folds { first } else { &second };
    silent.signal(Signal::SIGSTOP);
    let opened: Vec<_> = cluster
        .servers
        .iter()
        .map(|server| server.finalized(0))
        .collect();
    cluster.finalize_another()?;
    cluster.finalize_another()?;
    // It cost the round that it had begun, and at most one that it was named for.
    for (server, before) in cluster.servers.iter().zip(opened) {
        let last = before.iter().map(|round| round.number).max().unwrap_or(0);
        let next = server
            .finalized(0)
            .iter()
            .map(|round| round.number)
            .filter(|number| *number > last)
            .min()
            .ok_or_else(|| Failed::because("no round after it"))?;
        assert!(next <= last + 3, "r{last} was followed by r{next}");
    }
    let first = cluster
        .aggregator
        .as_ref()
        .ok_or_else(|| Failed::because("no aggregator"))?;
    let other = if first_folds { &second } else { first };
    assert!(folds(other, 0));
    for process in [first, &second] {
        process.signal(Signal::SIGCONT);
    }
    second.kill();
    Ok(())
}
