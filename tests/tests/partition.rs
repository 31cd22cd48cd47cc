//! Servers that are cut off from each other, in network namespaces. Needs
//! root and iproute2.
#![allow(missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings},
    netns::Namespaces,
    process::{Failed, Process, TestResult, eventually},
};

/// How long a server is cut off.
const CUT: Duration = Duration::from_secs(15);
/// What was in flight when the cable was pulled may still land.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// Whom to cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Leader,
    Follower,
}

/// A cluster in namespaces whose servers have all been in a round, a reader of
/// it, and the position of the server to cut off.
fn running(min_servers: Option<u32>, who: Who) -> TestResult<(Cluster, Process, usize)> {
    let mut settings = Settings::default();
    if let Some(servers) = min_servers {
        settings
            .variables
            .push(("ZIPNET_MIN_SERVERS".into(), servers.to_string()));
    }
    let namespaces = Namespaces::new(3)?;
    let mut cluster = Cluster::new(settings)?.within(namespaces);
    cluster.populate(2)?;
    let reader = cluster.watcher()?;
    // The first rounds may be of two servers. One that was in none yet gives its
    // first partial in a round of all three only (0006), and would wait for the
    // server that is cut off.
    for server in &mut cluster.servers {
        server.process.expect("submitted partial unblind", ROUND)?;
    }
    cluster.finalize_another()?;
    let leader = eventually("exactly one leader", ROUND, || cluster.leader())?;
    let victim = match who {
        Who::Leader => leader,
        Who::Follower => (leader + 1) % 3,
    };
    println!("server {leader} leads; server {victim} is to be cut off");
    Ok((cluster, reader, victim))
}

fn cut(cluster: &Cluster, position: usize, off: bool) -> TestResult {
    let namespaces = cluster
        .namespaces()
        .ok_or_else(|| Failed::because("the cluster has no namespaces"))?;
    if off {
        namespaces.cut(position)?;
    } else {
        namespaces.heal(position)?;
    }
    Ok(())
}

fn finalized(cluster: &Cluster) -> Vec<usize> {
    let servers = cluster.servers.iter();
    servers.map(|server| server.finalized(0).len()).collect()
}

/// I7: over all logs, one record for each round number. The committee never
/// started over, so that there is one epoch.
fn one_record_for_each_round(cluster: &Cluster, reader: &Process) {
    let mut records: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for round in cluster
        .servers
        .iter()
        .flat_map(|server| server.finalized(0))
    {
        records
            .entry(round.number)
            .or_default()
            .insert(round.record);
    }
    for (number, digests) in &records {
        assert_eq!(digests.len(), 1, "round {number}: {digests:?}");
    }
    let rounds: Vec<Value> = reader
        .json_since(0)
        .into_iter()
        .filter(|value| value["event"] == "round")
        .collect();
    for pair in rounds.windows(2) {
        assert_eq!(pair[0]["epoch"], pair[1]["epoch"], "the epoch changed");
        assert_eq!(pair[0]["record"], pair[1]["previous"], "the chain broke");
    }
    for round in &rounds {
        let digest = round["record"].as_str().unwrap_or_default();
        let number = round["round"].as_u64().unwrap_or_default();
        let logged = records.get(&number).into_iter().flatten().next();
        if let Some(logged) = logged {
            assert!(digest.starts_with(logged), "{round} but {logged}");
        }
    }
    println!("{} rounds, each with one record", records.len());
}

/// After healing, all three finalize the same rounds again.
fn heals(cluster: &mut Cluster, reader: &Process, victim: usize) -> TestResult {
    let since = Instant::now();
    cut(cluster, victim, false)?;
    cluster.finalize_another()?;
    println!(
        "all three finalize again {:?} after healing",
        since.elapsed()
    );
    cluster.finalize_another()?;
    // The same last round everywhere, not merely some round each.
    let last = |cluster: &Cluster| -> Vec<_> {
        let servers = cluster.servers.iter();
        servers
            .map(|server| server.finalized(0).into_iter().next_back())
            .collect()
    };
    eventually("the same newest record on all three", ROUND, || {
        let newest = last(cluster);
        let first = newest.first()?.clone()?;
        newest
            .iter()
            .all(|other| other.as_ref() == Some(&first))
            .then_some(())
    })?;
    one_record_for_each_round(cluster, reader);
    Ok(())
}

fn majority_goes_on(who: Who) -> TestResult {
    let (mut cluster, reader, victim) = running(Some(2), who)?;
    let started = Instant::now();
    cut(&cluster, victim, true)?;
    thread::sleep(IN_FLIGHT);
    let at_cut = finalized(&cluster);
    for position in (0..3).filter(|position| *position != victim) {
        let what = format!("three more rounds at server {position} of the majority");
        eventually(&what, ROUND, || {
            let have = cluster.servers[position].finalized(0).len();
            (have >= at_cut[position] + 3).then_some(())
        })?;
    }
    println!(
        "the majority went on: three rounds {:?} after the cut",
        started.elapsed()
    );
    thread::sleep(CUT.saturating_sub(started.elapsed()));
    assert_eq!(
        finalized(&cluster)[victim],
        at_cut[victim],
        "the server that was cut off finalized rounds"
    );
    heals(&mut cluster, &reader, victim)
}

fn nobody_goes_on(who: Who) -> TestResult {
    let (mut cluster, reader, victim) = running(None, who)?;
    cut(&cluster, victim, true)?;
    thread::sleep(IN_FLIGHT);
    let at_cut = finalized(&cluster);
    thread::sleep(CUT);
    assert_eq!(finalized(&cluster), at_cut, "rounds without all servers");
    heals(&mut cluster, &reader, victim)
}

#[test]
fn i7_a_majority_goes_on_without_a_follower_that_is_cut_off() -> TestResult {
    majority_goes_on(Who::Follower)
}

#[test]
fn i7_a_majority_goes_on_without_a_leader_that_is_cut_off() -> TestResult {
    majority_goes_on(Who::Leader)
}

#[test]
fn i7_by_default_nobody_goes_on_without_a_follower_that_is_cut_off() -> TestResult {
    nobody_goes_on(Who::Follower)
}

#[test]
fn i7_by_default_nobody_goes_on_without_a_leader_that_is_cut_off() -> TestResult {
    nobody_goes_on(Who::Leader)
}
