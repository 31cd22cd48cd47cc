//! Quotes that were changed on their way: what is refused, by which rule, and
//! that nothing else may change.
#![allow(missing_docs, clippy::unwrap_used)]

mod bits;
mod left;

use std::{fs, path::PathBuf};

use serde_json::Value;
use zipnet_attest::{
    Collateral, Genuine, Refusal, TrustRoot, WarmVerifier, genuine, origin,
    simulation::{Td, World},
};

/// When the simulated world was issued: 2026-01-01T00:00:00Z
const ISSUED: u64 = 1_767_225_600;

/// A good quote, and what it is verified with.
struct Good {
    quote: Vec<u8>,
    root: TrustRoot,
    collateral: Collateral,
    now: u64,
}

fn vectors() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors"].iter().collect()
}

impl Good {
    fn genuine(quote: &str, collateral: &str, now: u64) -> Self {
        let read = |name: &str| fs::read(vectors().join("quotes").join(name)).unwrap();
        Self {
            quote: read(quote),
            root: TrustRoot::Intel,
            collateral: Collateral::from_json(&read(collateral)).unwrap(),
            now,
        }
    }

    fn of_tdx_1_0() -> Self {
        let collateral = "v4-uptodate.collateral.json";
        Self::genuine("v4-uptodate.quote.bin", collateral, 1_750_377_600)
    }

    fn of_tdx_1_5() -> Self {
        let collateral = "v5-td15ex.collateral.json";
        Self::genuine("v5-td15ex.quote.bin", collateral, 1_791_504_000)
    }

    fn simulated() -> Self {
        let world = World::builder(b"changed", ISSUED).build().unwrap();
        Self {
            quote: world.quote(&Td::default()),
            root: TrustRoot::Other(world.root_der().to_vec()),
            collateral: Collateral::new(world.collateral().clone()).unwrap(),
            now: ISSUED + 3600,
        }
    }

    fn judge(&self, quote: &[u8]) -> Result<Genuine, Refusal> {
        let verdict = genuine(&self.root, quote, &self.collateral, self.now);
        let origin = origin(&self.root, quote, self.now);
        assert!(origin.is_ok() || verdict.is_err(), "{origin:?}");
        verdict
    }

    /// The same verdict, sooner where only the TD's part differs.
    fn judge_by(&self, warm: &WarmVerifier, quote: &[u8]) -> Result<Genuine, Refusal> {
        warm.genuine(&self.root, quote, &self.collateral, self.now)
    }
}

/// The quote with bytes removed and inserted at places of the original.
fn edited(quote: &[u8], edits: &Value) -> Vec<u8> {
    let mut quote = quote.to_vec();
    for edit in edits.as_array().unwrap().iter().rev() {
        let number = |name: &str| usize::try_from(edit[name].as_u64().unwrap()).unwrap();
        let insert = hex::decode(edit["insert"].as_str().unwrap()).unwrap();
        let at = number("at");
        quote.splice(at..at + number("remove"), insert);
    }
    quote
}

#[test]
fn each_change_of_bytes_that_nobody_signed_is_refused_by_its_rule() {
    let text = fs::read_to_string(vectors().join("changed-quotes.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let good = Good::genuine(
        vectors["quote"].as_str().unwrap(),
        vectors["collateral"].as_str().unwrap(),
        vectors["now_unix"].as_u64().unwrap(),
    );
    good.judge(&good.quote).unwrap();
    let changes = vectors["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 35);
    for change in changes {
        let quote = edited(&good.quote, &change["edits"]);
        let refusal = good.judge(&quote).unwrap_err();
        let what = &change["what"];
        assert_eq!(
            refusal.rule().to_string(),
            change["rule"],
            "{what}: {refusal}"
        );
        assert_ne!(refusal.found(), refusal.expected(), "{what}: {refusal}");
    }
}
