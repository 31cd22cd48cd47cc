//! A platform that is known changes how soon a verdict comes, never which.
#![allow(missing_docs, clippy::unwrap_used)]

use zipnet_attest::{
    Collateral, Genuine, Refusal, Rule, TrustRoot, genuine,
    simulation::{Platform, Td, World, WorldBuilder},
    warm::WarmVerifier,
};

const ISSUED: u64 = 1_767_225_600;
const NOW: u64 = ISSUED + 3600;

fn builder() -> WorldBuilder {
    World::builder(b"warm", ISSUED)
}

fn parts(world: &World) -> (TrustRoot, Collateral) {
    let root = TrustRoot::Other(world.root_der().to_vec());
    (root, Collateral::new(world.collateral().clone()).unwrap())
}

fn td(number: u8) -> Td {
    Td {
        mrtd: [number; 48],
        rtmr: [[number; 48]; 4],
        mr_config_id: [number; 48],
        report_data: [number; 64],
        ..Td::default()
    }
}

fn rule(verdict: Result<Genuine, Refusal>) -> Option<Rule> {
    verdict.err().map(|refusal| refusal.rule())
}

#[test]
fn a_known_platform_gives_the_same_answer_for_every_td() {
    let world = builder().build().unwrap();
    let (root, collateral) = parts(&world);
    let warm = WarmVerifier::new();
    for number in 1..20 {
        let quote = world.quote(&td(number));
        let found = warm.genuine(&root, &quote, &collateral, NOW).unwrap();
        let cold = genuine(&root, &quote, &collateral, NOW).unwrap();
        assert_eq!(format!("{found:?}"), format!("{cold:?}"));
        assert_eq!(warm.len(), 1);
    }
}

#[test]
fn no_changed_byte_passes_because_its_platform_is_known() {
    let world = builder().build().unwrap();
    let (root, collateral) = parts(&world);
    let warm = WarmVerifier::new();
    let quote = world.quote(&td(1));
    warm.genuine(&root, &quote, &collateral, NOW).unwrap();
    for at in (0..1200).chain((1200..quote.len()).step_by(37)) {
        let mut other = quote.clone();
        other[at] ^= 0x10;
        let known = rule(warm.genuine(&root, &other, &collateral, NOW));
        assert!(known.is_some(), "byte {at}");
        let cold = rule(genuine(&root, &other, &collateral, NOW));
        assert_eq!(cold, known, "byte {at}");
    }
}

#[test]
fn what_does_not_verify_is_not_remembered() {
    let world = builder().build().unwrap();
    let (root, collateral) = parts(&world);
    let warm = WarmVerifier::new();
    let mut quote = world.quote(&td(1));
    quote[200] ^= 1;
    for _ in 0..3 {
        assert!(warm.genuine(&root, &quote, &collateral, NOW).is_err());
    }
    assert!(warm.is_empty());
}

#[test]
fn za_206_a_signature_of_another_quote_is_refused() {
    let world = builder().build().unwrap();
    let (root, collateral) = parts(&world);
    let warm = WarmVerifier::new();
    let (one, two) = (world.quote(&td(1)), world.quote(&td(2)));
    warm.genuine(&root, &one, &collateral, NOW).unwrap();
    let mut mixed = two;
    mixed[636..700].copy_from_slice(&one[636..700]);
    let refused = warm.genuine(&root, &mixed, &collateral, NOW);
    assert_eq!(rule(refused), Some(Rule::QuoteSignature));
}

#[test]
fn dates_end_for_known_platforms_too() {
    let world = builder().build().unwrap();
    let (root, collateral) = parts(&world);
    let warm = WarmVerifier::new();
    let quote = world.quote(&td(1));
    warm.genuine(&root, &quote, &collateral, NOW).unwrap();
    for at in [ISSUED - 1, ISSUED + 31 * 86_400, u64::MAX / 2] {
        let cold = rule(genuine(&root, &quote, &collateral, at));
        assert!(cold.is_some());
        assert_eq!(rule(warm.genuine(&root, &quote, &collateral, at)), cold);
    }
    for at in [ISSUED, ISSUED + 30 * 86_400] {
        let cold = rule(genuine(&root, &quote, &collateral, at));
        assert_eq!(rule(warm.genuine(&root, &quote, &collateral, at)), cold);
    }
}

#[test]
fn other_collateral_or_another_root_is_another_question() {
    let good = builder().build().unwrap();
    let (root, collateral) = parts(&good);
    let warm = WarmVerifier::new();
    let quote = good.quote(&td(1));
    warm.genuine(&root, &quote, &collateral, NOW).unwrap();
    // The same keys, but the leaf is revoked by now; or rated otherwise.
    let (_, revoked) = parts(&builder().revoke_leaf().build().unwrap());
    let verdict = warm.genuine(&root, &quote, &revoked, NOW);
    assert_eq!(rule(verdict), Some(Rule::Revoked));
    let rated = Platform {
        tcb_status: "Revoked".to_owned(),
        ..Platform::default()
    };
    let (_, rated) = parts(&builder().platform(rated).build().unwrap());
    let verdict = warm.genuine(&root, &quote, &rated, NOW);
    assert_eq!(rule(verdict), Some(Rule::TcbRevoked));
    let verdict = warm.genuine(&TrustRoot::Intel, &quote, &collateral, NOW);
    assert!(verdict.is_err());
    assert!(warm.genuine(&root, &quote, &collateral, NOW).is_ok());
}
