//! For each rule one vector that breaks it, and only it: everything else about
//! the quote, its collateral and the time is in order.
#![allow(missing_docs, clippy::unwrap_used)]

mod bare;
mod dcap;
#[path = "../fixtures/mod.rs"]
mod fixtures;
#[path = "../provision/fixture.rs"]
#[allow(dead_code)]
mod giving;
mod provisioning;
mod whole;

use std::{collections::BTreeSet, fs, path::PathBuf};

use fixtures::ISSUED;
use zipnet_attest::{
    Collateral, Genuine, Refusal, Rule, TrustRoot, genuine,
    simulation::{Platform, Td, World, WorldBuilder},
    tcb::TcbRules,
};

const NOW: u64 = ISSUED + 3600;

fn builder() -> WorldBuilder {
    World::builder(b"rules", ISSUED)
}

fn on(platform: Platform) -> World {
    builder().platform(platform).build().unwrap()
}

fn judge(root: &World, quote: &[u8], collateral: &World, now: u64) -> Result<Genuine, Refusal> {
    let root = TrustRoot::Other(root.root_der().to_vec());
    let collateral = Collateral::new(collateral.collateral().clone())?;
    let found = genuine(&root, quote, &collateral, now)?;
    TcbRules::default().check(&found)?;
    Ok(found)
}

/// A world judged with its own root and collateral.
fn world(world: &World, td: &Td) -> Refusal {
    judge(world, &world.quote(td), world, NOW).unwrap_err()
}

/// A good quote with one change.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Refusal {
    let world = builder().build().unwrap();
    let mut quote = world.quote(&Td::default());
    change(&mut quote);
    judge(&world, &quote, &world, NOW).unwrap_err()
}

fn vector(name: &str) -> Vec<u8> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", "quotes"]
        .iter()
        .collect();
    fs::read(folder.join(name)).unwrap()
}

fn intel(quote: &str, collateral: &str, now: u64) -> Refusal {
    let collateral = Collateral::from_json(&vector(collateral)).unwrap();
    genuine(&TrustRoot::Intel, &vector(quote), &collateral, now).unwrap_err()
}

#[test]
fn a_good_world_breaks_no_rule() {
    let world = builder().build().unwrap();
    let found = judge(&world, &world.quote(&Td::default()), &world, NOW).unwrap();
    assert_eq!(found.quote().report.registers.mrtd, Td::default().mrtd);
    assert_eq!(found.fmspc(), Platform::default().fmspc);
}

#[test]
fn each_rule_is_broken_by_its_vector_and_named() {
    let vectors = [
        bare::forms(),
        bare::genuineness(),
        bare::collateral(),
        bare::tcb(),
        bare::launch(),
        whole::policies(),
        whole::statements(),
        provisioning::provisioning(),
    ];
    let mut broken = BTreeSet::new();
    for (rule, refusal) in vectors.into_iter().flatten() {
        assert_eq!(refusal.rule(), rule, "{refusal} {refusal:?}");
        let text = refusal.to_string();
        assert!(
            text.starts_with(&format!("ZA-{} is broken (", rule.number())),
            "{text}"
        );
        assert!(!refusal.found().is_empty(), "{text}");
        assert!(!refusal.expected().is_empty(), "{text}");
        broken.insert(rule);
    }
    // A process's own, not a verifier's: the node's tests break it.
    broken.insert(Rule::CollateralUnasked);
    let all: BTreeSet<_> = Rule::ALL.iter().copied().collect();
    assert_eq!(broken, all, "every rule has a vector");
}

#[test]
fn the_guide_lists_every_rule_in_its_words() {
    let guide: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "docs", "verifying.md"]
        .iter()
        .collect();
    let guide = fs::read_to_string(guide).unwrap();
    let listed = guide
        .lines()
        .filter(|line| line.starts_with("| ZA-"))
        .count();
    assert_eq!(listed, Rule::ALL.len());
    for rule in Rule::ALL {
        let row = format!("| {rule} | {} |", rule.title());
        assert!(guide.contains(&row), "{row}");
    }
}

/// Each check of Intel's library has its rule and a vector that is there.
#[test]
fn the_guide_names_a_vector_for_every_check_of_intels_library() {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect();
    let guide = fs::read_to_string(root.join("docs/verifying.md")).unwrap();
    let (_, section) = guide
        .split_once("## What of Intel's checks is done where")
        .unwrap();
    let (table, _) = section.split_once("\n\nNot done:").unwrap();
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, check, _, rule, vectors, _] = cells[..] else {
            panic!("{row}")
        };
        assert!(rule.contains("ZA-"), "{check}: {rule}");
        let named: Vec<_> = vectors.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{check} has no vector");
        for vector in named {
            let (file, function) = vector.split_once(": ").unwrap();
            let function = function.strip_suffix("()").unwrap();
            let places = [root.join("attest/tests").join(file), root.join(file)];
            let text = places.iter().find_map(|path| fs::read_to_string(path).ok());
            let text = text.unwrap_or_else(|| panic!("{check}: no {file}"));
            assert!(
                text.contains(&format!("fn {function}(")),
                "{check}: {vector}"
            );
        }
        rows += 1;
    }
    assert!(rows > 30, "{rows}");
}

#[test]
fn rule_numbers_are_distinct_and_rise() {
    assert!(
        Rule::ALL
            .windows(2)
            .all(|two| two[0].number() < two[1].number())
    );
}

#[test]
fn i9_a_simulated_quote_is_nothing_to_intels_root_and_the_reverse() {
    let world = builder().build().unwrap();
    let quote = world.quote(&Td::default());
    let simulated = Collateral::new(world.collateral().clone()).unwrap();
    assert!(genuine(&TrustRoot::Intel, &quote, &simulated, NOW).is_err());
    let root = TrustRoot::Other(world.root_der().to_vec());
    let genuine_quote = vector("v4-uptodate.quote.bin");
    let collateral = Collateral::from_json(&vector("v4-uptodate.collateral.json")).unwrap();
    let at = 1_750_377_600;
    assert!(genuine(&TrustRoot::Intel, &genuine_quote, &collateral, at).is_ok());
    assert!(genuine(&root, &genuine_quote, &collateral, at).is_err());
    assert!(genuine(&root, &genuine_quote, &simulated, NOW).is_err());
}
