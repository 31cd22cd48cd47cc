//! Records that readers get from servers that were not there when they were made.
#![allow(missing_docs)]

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings},
    process::{TestResult, eventually},
};

/// How soon a restarted server has what it missed.
const FETCHED: Duration = Duration::from_secs(30);

fn numbers(rounds: &[Value]) -> Vec<u64> {
    let of_rounds = rounds.iter().filter(|value| value["event"] == "round");
    of_rounds
        .filter_map(|value| value["round"].as_u64())
        .collect()
}

/// A reader is away while all servers are restarted, one after the other: nobody who
/// was there for the rounds that it missed is there any more.
#[test]
fn i6_a_reader_depends_on_no_server_that_stayed() -> TestResult {
    let mut cluster = Cluster::start(Settings::default(), 2)?;
    let mut reader = cluster.watcher()?;
    let witness = cluster.watcher()?;
    let (_, first) = reader.expect_json(0, "a round", ROUND, |value| value["event"] == "round")?;
    reader.signal(Signal::SIGSTOP);
    cluster.finalize_another()?;
    cluster.finalize_another()?;
    for position in 0..3 {
        cluster.servers[position].process.kill();
        cluster.restart_server(position)?;
        let server = &mut cluster.servers[position].process;
        server.expect("fetched records that this server missed", FETCHED)?;
        // Not a line of the restarted server alone: it repeats what the log had.
        cluster.finalize_another()?;
    }
    let epoch = first["epoch"].clone();
    let seen = eventually("another reader to have the rounds", ROUND, || {
        let seen = numbers(&witness.json_since(0));
        (seen.len() > 5).then_some(seen)
    })?;
    let last = *seen.last().unwrap_or(&0);
    reader.signal(Signal::SIGCONT);
    eventually("the reader to catch up", ROUND, || {
        numbers(&reader.json_since(0)).contains(&last).then_some(())
    })?;
    // It has what the one has that never slept, and in one chain.
    let rounds: Vec<Value> = reader
        .json_since(0)
        .into_iter()
        .filter(|value| value["event"] == "round")
        .collect();
    for pair in rounds.windows(2) {
        assert_eq!(pair[0]["epoch"], epoch);
        assert_eq!(pair[1]["previous"], pair[0]["record"], "a hole: {pair:#?}");
    }
    // The one that never slept may have come a round later.
    let from = seen.first().copied().unwrap_or(0);
    let got: Vec<_> = numbers(&rounds)
        .into_iter()
        .filter(|&number| number >= from)
        .collect();
    assert_eq!(got[..seen.len()], seen[..]);
    Ok(())
}
