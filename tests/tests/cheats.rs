//! Admitted aggregators that cheat: each is found by the servers, struck from
//! the instance, and replaced.
#![allow(missing_docs)]

use std::time::Duration;

use zipnet_tests::{
    cheat::{Cheat, Trick},
    cluster::{Cluster, Settings, UP},
    process::{TestResult, eventually},
};

/// How long it may take until an aggregator that cheats is struck.
const CAUGHT: Duration = Duration::from_mins(2);
/// Within how many rounds after that a message has landed. A round that is open is given up
/// if its aggregator is struck, and not for a leaf's sake.
const LANDED: usize = 3;
const LANDED_OF_LEAF: usize = 8;

/// What the cheat is in its rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Their aggregator.
    Root,
    /// A leaf of an honest one.
    Leaf,
}

/// A committee one of whose aggregators is about to cheat, with its clients.
fn trusting(part: Part) -> TestResult<(Cluster, Cheat)> {
    let clients = match part {
        Part::Root => 4,
        // Some are the leaf's, and some are not.
        Part::Leaf => 12,
    };
    let mut settings = Settings::default();
    if part == Part::Leaf {
        let leaves = ("ZIPNET_LEAVES".to_owned(), "2".to_owned());
        settings.variables.push(leaves);
    }
    let mut cluster = Cluster::new(settings)?;
    for index in 0..cluster.settings.servers {
        cluster.add_server(index)?;
    }
    for _ in 0..clients {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    if part == Part::Leaf {
        // Whose turn it is once, it stays.
        cluster.add_aggregator()?;
        cluster.finalize_another()?;
    }
    let cheat = Cheat::join(&cluster)?;
    let from = cluster.servers[0].process.lines().count();
    // All clients take part before it begins.
    eventually("a round of everybody", UP, || {
        let rounds = cluster.servers[0].finalized(from);
        let mut whole = rounds.iter().map(|round| round.participants);
        let whole = whole.any(|participants| participants == clients);
        (whole && cheat.served() > 0).then_some(())
    })?;
    Ok((cluster, cheat))
}

/// The trick is found and its aggregator struck by all servers, for one of the
/// reasons; another one then takes over.
fn is_caught(part: Part, trick: Trick, reasons: &[&str]) -> TestResult {
    let (mut cluster, cheat) = trusting(part)?;
    if part == Part::Root {
        cluster.add_aggregator()?;
    }
    assert_eq!(cheat.cheated(), 0);
    let marks: Vec<_> = cluster
        .servers
        .iter()
        .map(|server| server.process.lines().count())
        .collect();
    cheat.play(trick);
    // On a quiet machine more rounds than eight pass until the strike, and the cheat may leave
    // out this client in each.
    let publish = ["publish", "--now", "--json", "--attempts", "64"];
    let mut writer = cluster.client(&[&publish[..], &["said meanwhile"]].concat())?;
    let mut struck_at = Vec::new();
    for (server, from) in cluster.servers.iter().zip(marks) {
        let (at, struck) = eventually("the cheat is struck", CAUGHT, || {
            let lines = server.process.lines().since(from);
            lines.into_iter().enumerate().find(|(_, line)| {
                line.contains("committee: an aggregator is struck") && line.contains(&cheat.short())
            })
        })?;
        struck_at.push(from + at);
        let named = reasons
            .iter()
            .any(|reason| struck.contains(&format!("reason=\"{reason}\"")));
        assert!(named, "{struck}");
    }
    assert!(cheat.cheated() > 0);
    let (_, landed) =
        writer.expect_json(0, "a receipt", CAUGHT, |value| value["event"] == "landed")?;
    let landed = landed["round"].as_u64().unwrap_or_default();
    let since = cluster.servers[0].finalized(struck_at[0]);
    let rounds = since.iter().filter(|round| round.number <= landed).count();
    println!("{part:?}, {trick:?}: a message landed {rounds} rounds after the strike");
    let most = match part {
        Part::Root => LANDED,
        Part::Leaf => LANDED_OF_LEAF,
    };
    assert!(rounds <= most, "{rounds} rounds after the strike");
    // Its rounds are over.
    let cheated = cheat.cheated();
    cluster.finalize_another()?;
    cluster.finalize_another()?;
    assert!(cheat.cheated() <= cheated + 1);
    let honest = cluster
        .aggregator
        .as_ref()
        .map(|process| process.lines().since(0));
    let folds = honest.is_some_and(|lines| {
        lines
            .iter()
            .any(|line| line.contains("forwarded aggregate"))
    });
    assert!(folds, "another aggregator took over");
    Ok(())
}

#[test]
fn a2_an_aggregator_that_adds_noise_is_struck_on_proof() -> TestResult {
    is_caught(Part::Root, Trick::Noise, &["noise"])
}

#[test]
fn a2_an_aggregator_that_drops_a_client_with_a_receipt_is_struck_on_proof() -> TestResult {
    is_caught(Part::Root, Trick::Drop, &["dropped"])
}

#[test]
fn a2_an_aggregator_that_shows_its_auditors_nothing_is_voted_out() -> TestResult {
    is_caught(Part::Root, Trick::Hide, &["vote"])
}

#[test]
fn a2_a_leaf_that_adds_noise_is_struck_on_proof() -> TestResult {
    is_caught(Part::Leaf, Trick::Noise, &["part-noise"])
}

#[test]
fn a2_a_leaf_that_drops_a_client_with_a_receipt_is_struck_on_proof() -> TestResult {
    is_caught(Part::Leaf, Trick::Drop, &["dropped"])
}

#[test]
fn a2_a_leaf_that_shows_its_auditors_nothing_is_voted_out() -> TestResult {
    is_caught(Part::Leaf, Trick::Hide, &["vote"])
}

/// Whom a leaf does not serve is served by the aggregator, in the same round.
fn keeps_nobody_out(trick: Trick) -> TestResult {
    let (cluster, cheat) = trusting(Part::Leaf)?;
    let everybody = cluster.clients.len();
    let from = cluster.servers[0].process.lines().count();
    cheat.play(trick);
    let rounds = eventually("rounds after the leaf served nobody", CAUGHT, || {
        let rounds = cluster.servers[0].finalized(from);
        (cheat.cheated() > 0 && rounds.len() >= 6).then_some(rounds)
    })?;
    for round in rounds {
        assert_eq!(round.participants, everybody, "in round {}", round.number);
    }
    Ok(())
}

#[test]
fn i19_a_leaf_that_refuses_its_clients_keeps_nobody_out() -> TestResult {
    keeps_nobody_out(Trick::Refuse)
}

#[test]
fn i19_a_leaf_whose_receipts_do_not_hold_keeps_nobody_out() -> TestResult {
    keeps_nobody_out(Trick::Junk)
}
