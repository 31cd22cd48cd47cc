//! Collateral is verified without a quote.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use dcap_qvl::QuoteCollateralV3;
use zipnet_attest::{
    Ca, Collateral, Edition, Platforms, Rule, Store, TrustRoot,
    collateral::MAX_COLLATERAL,
    genuine,
    simulation::{Platform, Td, World, WorldBuilder},
    store::Put,
    trusted, trusted_alone,
};

/// 2026-01-01T00:00:00Z
const ISSUED: u64 = 1_767_225_600;
const NOW: u64 = ISSUED + 3600;
const DAY: u64 = 86_400;

fn builder() -> WorldBuilder {
    World::builder(b"alone", ISSUED)
}

fn rated(status: &str, tcb_eval: u32) -> World {
    let platform = Platform {
        tcb_status: status.to_owned(),
        tcb_eval,
        ..Platform::default()
    };
    builder().platform(platform).build().unwrap()
}

fn root(world: &World) -> TrustRoot {
    TrustRoot::Other(world.root_der().to_vec())
}

fn collateral(world: &World) -> Collateral {
    Collateral::new(world.collateral().clone()).unwrap()
}

/// The rule that collateral breaks under a world's root.
fn rule(world: &World, collateral: &Collateral, now: u64) -> Option<Rule> {
    let refusal = trusted_alone(&root(world), collateral, now).err()?;
    Some(refusal.rule())
}

/// The rule that changed parts break.
fn changed(world: &World, change: impl FnOnce(&mut QuoteCollateralV3)) -> Option<Rule> {
    let mut parts = world.collateral().clone();
    change(&mut parts);
    match Collateral::new(parts) {
        Ok(collateral) => rule(world, &collateral, NOW),
        Err(refusal) => Some(refusal.rule()),
    }
}

#[test]
fn what_a_world_publishes_is_trusted_with_and_without_a_quote() {
    let world = builder().build().unwrap();
    let collateral = collateral(&world);
    let quote = world.quote(&Td::default());
    let (_, by_quote) = trusted(&root(&world), &quote, &collateral, NOW).unwrap();
    let proof = trusted_alone(&root(&world), &collateral, NOW).unwrap();
    assert_eq!(proof.collateral(), &collateral);
    assert_eq!(proof.expires(), ISSUED + 30 * DAY);
    assert_eq!(proof.expires(), by_quote.expires());
}

#[test]
fn collateral_that_condemns_a_platform_is_trusted_and_replaces_what_praised_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (good, bad) = (rated("UpToDate", 20), rated("Revoked", 21));
    let quote = bad.quote(&Td::default());
    let condemning = collateral(&bad);
    let refusal = trusted(&root(&bad), &quote, &condemning, NOW).unwrap_err();
    assert_eq!(refusal.rule(), Rule::TcbRevoked);

    let praising = collateral(&good);
    let proof = trusted_alone(&root(&good), &praising, NOW).unwrap();
    assert_eq!(store.put(proof, None).unwrap(), Put::Stored);
    let proof = trusted_alone(&root(&bad), &condemning, NOW).unwrap();
    assert_eq!(store.put(proof, None).unwrap(), Put::Stored);
    let found = store.get(*b"SIMFMS", Ca::Platform).unwrap().unwrap();
    let refusal = genuine(&root(&good), &good.quote(&Td::default()), &found, NOW).unwrap_err();
    assert_eq!(refusal.rule(), Rule::TcbRevoked);
}

#[test]
fn each_rule_is_broken_by_its_own_fault() {
    let good = builder().build().unwrap();
    let other = World::builder(b"another", ISSUED).build().unwrap();
    let signer = builder().revoke_tcb_signer().build().unwrap();
    let platform_ca = builder().revoke_platform_ca().build().unwrap();
    let later = builder()
        .collateral_window(NOW + 1, NOW + DAY)
        .build()
        .unwrap();
    let earlier = builder()
        .collateral_window(ISSUED - DAY, NOW - 1)
        .build()
        .unwrap();
    for (world, of, now, expected) in [
        (&good, &other, NOW, Rule::CollateralSignature),
        (&signer, &signer, NOW, Rule::Revoked),
        (&platform_ca, &platform_ca, NOW, Rule::Revoked),
        (&later, &later, NOW, Rule::CollateralFuture),
        (&earlier, &earlier, NOW, Rule::CollateralExpired),
        (&good, &good, ISSUED + 30 * DAY, Rule::CollateralExpired),
        (&good, &good, ISSUED + 8000 * DAY, Rule::CertificateDates),
        (&good, &good, ISSUED - 2 * DAY, Rule::CertificateDates),
        (&good, &good, u64::MAX, Rule::CertificateDates),
    ] {
        assert_eq!(rule(world, &collateral(of), now), Some(expected));
    }
    // A revoked leaf is that platform's own affair.
    let leaf = builder().revoke_leaf().build().unwrap();
    assert_eq!(rule(&leaf, &collateral(&leaf), NOW), None);
    let junk = TrustRoot::Other(b"no certificate".to_vec());
    let refusal = trusted_alone(&junk, &collateral(&good), NOW).unwrap_err();
    assert_eq!(refusal.rule(), Rule::CertificateChain);
}

#[test]
fn each_part_of_another_world_is_refused() {
    let world = builder().build().unwrap();
    let other = World::builder(b"another", ISSUED).build().unwrap();
    let from = other.collateral();
    let rules = [
        changed(&world, |parts| {
            parts.root_ca_crl.clone_from(&from.root_ca_crl);
        }),
        changed(&world, |parts| parts.pck_crl.clone_from(&from.pck_crl)),
        // The root's list is no list of the PCK CA, nor the other way round.
        changed(&world, |parts| parts.pck_crl = parts.root_ca_crl.clone()),
        changed(&world, |parts| parts.root_ca_crl = parts.pck_crl.clone()),
        changed(&world, |parts| {
            parts
                .tcb_info_signature
                .clone_from(&from.tcb_info_signature);
        }),
        changed(&world, |parts| {
            parts.tcb_info_signature = parts.qe_identity_signature.clone();
        }),
        changed(&world, |parts| {
            parts
                .pck_crl_issuer_chain
                .clone_from(&from.pck_crl_issuer_chain);
        }),
        changed(&world, |parts| {
            parts
                .tcb_info_issuer_chain
                .clone_from(&from.tcb_info_issuer_chain);
        }),
        // A CA signs no TCB info, TCB signing no certificates.
        changed(&world, |parts| {
            parts.tcb_info_issuer_chain = parts.pck_crl_issuer_chain.clone();
        }),
        changed(&world, |parts| {
            parts.pck_crl_issuer_chain = parts.tcb_info_issuer_chain.clone();
        }),
        changed(&world, |parts| parts.pck_crl_issuer_chain.clear()),
        changed(&world, |parts| parts.qe_identity_issuer_chain.clear()),
        changed(&world, |parts| {
            parts.qe_identity_issuer_chain = parts.qe_identity_issuer_chain.repeat(3);
        }),
    ];
    let (signature, chain) = (Rule::CollateralSignature, Rule::CertificateChain);
    let expected = [
        signature,
        signature,
        Rule::CollateralForm,
        signature,
        signature,
        signature,
        chain,
        chain,
        chain,
        chain,
        chain,
        chain,
        chain,
    ];
    assert_eq!(rules, expected.map(Some));
}

#[test]
fn a_flipped_byte_anywhere_in_a_signed_part_is_refused() {
    let world = builder().build().unwrap();
    let bytes: [fn(&mut QuoteCollateralV3) -> &mut Vec<u8>; 4] = [
        |parts| &mut parts.root_ca_crl,
        |parts| &mut parts.pck_crl,
        |parts| &mut parts.tcb_info_signature,
        |parts| &mut parts.qe_identity_signature,
    ];
    for part in bytes {
        let length = part(&mut world.collateral().clone()).len();
        for at in 0..length {
            let found = changed(&world, |parts| part(parts)[at] ^= 1);
            assert!(found.is_some(), "{at}");
        }
    }
    let texts: [fn(&mut QuoteCollateralV3) -> &mut String; 2] =
        [|parts| &mut parts.tcb_info, |parts| &mut parts.qe_identity];
    for part in texts {
        let length = part(&mut world.collateral().clone()).len();
        for at in (0..length).step_by(3) {
            let found = changed(&world, |parts| flip(part(parts), at));
            assert!(found.is_some(), "{at}");
        }
    }
    let chains: [fn(&mut QuoteCollateralV3) -> &mut String; 3] = [
        |parts| &mut parts.tcb_info_issuer_chain,
        |parts| &mut parts.qe_identity_issuer_chain,
        |parts| &mut parts.pck_crl_issuer_chain,
    ];
    for part in chains {
        let chain = part(&mut world.collateral().clone()).clone();
        // Of the certificate of who signed; the root is there to be looked at.
        let end = chain.find("-----END").unwrap() - 5;
        // One kind of white space is as good as another there.
        let digits = (28..end).filter(|at| chain.as_bytes()[*at] > b' ');
        for at in digits.step_by(7) {
            let found = changed(&world, |parts| flip(part(parts), at));
            assert!(found.is_some(), "{at}");
        }
    }
}

/// Changes a character of ASCII to another one.
fn flip(text: &mut String, at: usize) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes[at] ^= 1;
    *text = String::from_utf8(bytes).unwrap();
}

#[test]
fn bytes_changed_or_cut_anywhere_are_no_panic() {
    let world = builder().build().unwrap();
    let quote = world.quote(&Td::default());
    let json = collateral(&world).to_json().into_bytes();
    let mut usable = 0;
    for at in (0..json.len()).step_by(3) {
        let mut flipped = json.clone();
        flipped[at] ^= 1 << (at % 7);
        for bytes in [&flipped[..], &json[..at]] {
            let Ok(collateral) = Collateral::from_json(bytes) else {
                continue;
            };
            // What is trusted alone has to be of use with a quote, or a shelf
            // could be filled with what is of none.
            if trusted_alone(&root(&world), &collateral, NOW).is_ok() {
                trusted(&root(&world), &quote, &collateral, NOW).unwrap();
                usable += 1;
            }
        }
    }
    // Some bytes mean nothing: of the roots in the chains, for instance.
    assert!(usable > 0);
    for at in (0..quote.len()).step_by(7) {
        let mut flipped = quote.clone();
        flipped[at] ^= 1 << (at % 8);
        let _ = Platforms::of_quote(&flipped);
        assert!(Platforms::of_quote(&quote[..at]).is_err(), "cut to {at}");
    }
}

fn vector(name: &str) -> Vec<u8> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", "quotes"]
        .iter()
        .collect();
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn genuine_collateral_is_trusted_while_it_is_in_force() {
    let complete: QuoteCollateralV3 =
        serde_json::from_slice(&vector("v4-uptodate.collateral.json")).unwrap();
    for (name, now, evaluation) in [
        ("v4-uptodate.collateral.json", 1_750_377_600, 17),
        ("v4-outofdate.collateral.json", 1_786_665_600, 19),
        ("v5-td15ex.collateral.json", 1_791_504_000, 20),
        ("fmspc-90c06f.collateral.json", 1_773_964_800, 18),
        ("v4-debug.collateral.json", 1_773_964_800, 18),
    ] {
        let mut parts: QuoteCollateralV3 = serde_json::from_slice(&vector(name)).unwrap();
        // Who wrote two of them down left out what no quote needs.
        if parts.pck_crl_issuer_chain.is_empty() {
            let bare = Collateral::new(parts.clone()).unwrap();
            let refusal = trusted_alone(&TrustRoot::Intel, &bare, now).unwrap_err();
            assert_eq!(refusal.rule(), Rule::CertificateChain, "{name}");
            parts
                .pck_crl_issuer_chain
                .clone_from(&complete.pck_crl_issuer_chain);
        }
        let collateral = Collateral::new(parts).unwrap();
        let proof = trusted_alone(&TrustRoot::Intel, &collateral, now).unwrap();
        let days = (proof.expires() - now) / DAY;
        let edition = Edition::of(&collateral).unwrap();
        assert!(days <= 30 && days.cast_signed() <= edition.days_left(now));
        assert_eq!(edition.evaluation, evaluation, "{name}");
        assert_eq!(edition.platforms.ca, Ca::Platform, "{name}");
        assert_eq!(edition.expires, proof.expires(), "{name}");
        // That is why lists are told apart by their dates.
        let numbers = [edition.pck_crl.number, edition.root_crl.number];
        assert_eq!(numbers, [1, 1], "{name}");
        let mut rules = Vec::new();
        for now in [now - 60 * DAY, now + 60 * DAY] {
            let refusal = trusted_alone(&TrustRoot::Intel, &collateral, now).unwrap_err();
            rules.push(refusal.rule());
        }
        let (early, late) = (Rule::CollateralFuture, Rule::CollateralExpired);
        assert_eq!(rules, [early, late], "{name}");
        // Another root under which nothing holds.
        let other = builder().build().unwrap();
        assert!(rule(&other, &collateral, now).is_some(), "{name}");
    }
}

#[test]
fn intels_root_is_the_one_that_dcap_qvl_has() {
    let ours = TrustRoot::Other(TrustRoot::Intel.der().to_vec());
    let collateral = Collateral::from_json(&vector("v4-uptodate.collateral.json")).unwrap();
    let quote = vector("v4-uptodate.quote.bin");
    genuine(&ours, &quote, &collateral, 1_750_377_600).unwrap();
}

#[test]
fn a_quote_says_which_collateral_it_needs() {
    let world = builder().build().unwrap();
    let found = Platforms::of_quote(&world.quote(&Td::default())).unwrap();
    assert_eq!(found.to_string(), "53494D464D53-platform");
    for (quote, name) in [
        ("v4-uptodate.quote.bin", "B0C06F000000-platform"),
        ("v5-td15.quote.bin", "90C06F000000-platform"),
        ("v4-debug.quote.bin", "50806F000000-platform"),
        ("v5-td15ex.quote.bin", "B0C06F000000-platform"),
    ] {
        let found = Platforms::of_quote(&vector(quote)).unwrap();
        assert_eq!(found.to_string(), name, "{quote}");
    }
}

#[test]
fn a_root_that_another_ca_issued_is_refused_and_no_panic() {
    let world = builder().build().unwrap();
    let chain = pem::parse_many(&world.collateral().pck_crl_issuer_chain).unwrap();
    let root = TrustRoot::Other(chain[0].contents().to_vec());
    let mut parts = world.collateral().clone();
    parts.root_ca_crl.clone_from(&parts.pck_crl);
    let collateral = Collateral::new(parts).unwrap();
    let quote = world.quote(&Td::default());
    let by_quote = genuine(&root, &quote, &collateral, NOW).unwrap_err();
    assert_eq!(by_quote.rule(), Rule::CertificateChain);
    let alone = trusted_alone(&root, &collateral, NOW).unwrap_err();
    assert_eq!(alone.rule(), Rule::CertificateChain);
}

#[test]
fn collateral_beyond_all_measure_is_refused_in_parts_too() {
    let world = builder().build().unwrap();
    let long = " ".repeat(MAX_COLLATERAL);
    let found = changed(&world, |parts| parts.tcb_info_issuer_chain.push_str(&long));
    assert_eq!(found, Some(Rule::CollateralForm));
}
