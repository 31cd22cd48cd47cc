//! Two leaves share out the clients of a round; one that is killed costs little.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use zipnet_tests::{
    cluster::{Cluster, ROUND, Settings},
    process::{Failed, Process, TestResult, eventually},
    server::Finalized,
};

const CLIENTS: usize = 6;

/// A deployment of two leaves, one of which is the aggregator as well.
fn tree() -> TestResult<Cluster> {
    let mut settings = Settings::default();
    settings
        .variables
        .push(("ZIPNET_LEAVES".to_owned(), "2".to_owned()));
    let mut cluster = Cluster::start(settings, CLIENTS)?;
    cluster.add_leaf()?;
    Ok(cluster)
}

fn first(cluster: &Cluster) -> TestResult<&Process> {
    let first = cluster.aggregator.as_ref();
    first.ok_or_else(|| Failed::because("no aggregator"))
}

fn said(process: &Process, from: usize, what: &str) -> usize {
    let lines = process.lines().since(from);
    lines.iter().filter(|line| line.contains(what)).count()
}

/// The rounds of the first server, from a line on.
fn rounds(cluster: &Cluster, from: usize) -> Vec<Finalized> {
    cluster.servers[0].finalized(from)
}

/// Waits until rounds of everybody come out, with a part of a leaf in each; says whether
/// the first aggregator is the leaf below.
fn settled(cluster: &Cluster) -> TestResult<bool> {
    let from = cluster.servers[0].process.lines().count();
    let (one, other) = (first(cluster)?, &cluster.leaves[0]);
    let (a, b) = (one.lines().count(), other.lines().count());
    eventually("rounds of everybody over two leaves", ROUND, || {
        let whole = rounds(cluster, from);
        let whole = whole.iter().filter(|round| round.participants == CLIENTS);
        let parts = said(one, a, "handed its part on") + said(other, b, "handed its part on");
        (whole.count() >= 3 && parts >= 3).then_some(())
    })?;
    Ok(said(one, a, "handed its part on") > 0)
}

#[test]
fn two_leaves_share_out_the_clients_and_every_message_lands() -> TestResult {
    let mut cluster = tree()?;
    settled(&cluster)?;
    let mut reader = cluster.client(&["watch", "--json"])?;
    for text in ["one", "two"] {
        let mut talker = cluster.client(&["publish", "--now", text])?;
        talker.expect("landed", ROUND)?;
        reader.expect(text, ROUND)?;
    }
    // Servers see one aggregate of a round.
    let totals: Vec<_> = cluster
        .servers
        .iter()
        .map(|server| server.metric("zipnet_audits_total{outcome=\"noise\""))
        .collect();
    assert!(
        totals
            .iter()
            .all(|total| total.is_none_or(|total| total < 1.0))
    );
    Ok(())
}

#[test]
fn a_leaf_that_is_killed_costs_its_clients_one_round_at_most() -> TestResult {
    let mut cluster = tree()?;
    let first_is_below = settled(&cluster)?;
    let from = cluster.servers[0].process.lines().count();
    let below = if first_is_below {
        first(&cluster)?
    } else {
        &cluster.leaves[0]
    };
    below.signal(Signal::SIGKILL);
    // Everybody is in again, through the aggregator that is left.
    let numbers = eventually("rounds of everybody without the leaf", ROUND, || {
        let rounds = rounds(&cluster, from);
        let mut whole = rounds.iter().filter(|round| round.participants == CLIENTS);
        // The first may have been on its way.
        let number = whole.nth(1)?.number;
        let all: BTreeSet<_> = rounds.iter().map(|round| round.number).collect();
        Some((number, all))
    })?;
    let (whole, all) = numbers;
    let begun = all.first().copied().unwrap_or(whole);
    assert!(whole <= begun + 4, "from r{begun} to r{whole}: {all:?}");
    let less = rounds(&cluster, from);
    let less = less.iter().filter(|round| round.number < whole);
    let less = less.filter(|round| round.participants < CLIENTS).count();
    assert!(less <= 1, "{less} rounds lacked clients of the leaf");
    cluster.finalize_another()?;
    Ok(())
}
