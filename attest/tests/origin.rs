//! Where quotes come from: what is refused without any collateral, and that it
//! is refused by the rule that `genuine` names.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, ops::Range, path::PathBuf, sync::LazyLock};

use proptest::prelude::*;
use serde_json::Value;
use zipnet_attest::{
    Ca, Collateral, Origin, Platforms, Quote, Refusal, Rule, TrustRoot, genuine, origin,
    simulation::{Platform, Td, World},
};

/// When the simulated worlds were issued: 2026-01-01T00:00:00Z
const ISSUED: u64 = 1_767_225_600;
const NOW: u64 = ISSUED + 3600;
const DAY: u64 = 86_400;

// Offsets in a version 4 quote, after header and report.
const LENGTH: usize = 632;
const SIGNATURE: usize = 636;
const CERTIFICATION_LENGTH: usize = 766;
const QE_REPORT: usize = 770;
const QE_SIGNATURE: usize = 1154;
const AUTHENTICATION: usize = 1220;
const CHAIN_LENGTH: usize = 1254;
const CHAIN: usize = 1258;

/// A quote of a simulated world, and what it is verified with.
struct Good {
    world: World,
    root: TrustRoot,
    quote: Vec<u8>,
    collateral: Collateral,
}

impl Good {
    fn of(seed: &[u8]) -> Self {
        let world = World::builder(seed, ISSUED).build().unwrap();
        Self {
            root: TrustRoot::Other(world.root_der().to_vec()),
            quote: world.quote(&Td::default()),
            collateral: Collateral::new(world.collateral().clone()).unwrap(),
            world,
        }
    }

    fn origin(&self, quote: &[u8]) -> Result<Origin, Refusal> {
        origin(&self.root, quote, NOW)
    }

    /// The rule of [`origin`], which has to be that of [`genuine`].
    fn rule(&self, quote: &[u8]) -> Option<Rule> {
        let rule = self.origin(quote).err().map(|refusal| refusal.rule());
        let with_collateral = genuine(&self.root, quote, &self.collateral, NOW);
        assert_eq!(rule, with_collateral.err().map(|refusal| refusal.rule()));
        rule
    }

    /// The quote with a bit flipped.
    fn flipped(&self, at: usize, bit: usize) -> Vec<u8> {
        let mut quote = self.quote.clone();
        quote[at] ^= 1 << bit;
        quote
    }

    /// The certificates of PCK, CA and root, PEM.
    fn chain(&self) -> Vec<&str> {
        certificates(std::str::from_utf8(&self.quote[CHAIN..]).unwrap())
    }
}

static GOOD: LazyLock<Good> = LazyLock::new(|| Good::of(b"origin"));

fn certificates(chain: &str) -> Vec<&str> {
    let chain = chain.split_inclusive("-----END CERTIFICATE-----\n");
    chain.collect()
}

/// Makes all lengths those of what is there.
fn mend(quote: &mut [u8]) {
    let whole = quote.len();
    for (at, from) in [
        (LENGTH, SIGNATURE),
        (CERTIFICATION_LENGTH, QE_REPORT),
        (CHAIN_LENGTH, CHAIN),
    ] {
        if let Some(length) = whole.checked_sub(from) {
            let length = u32::try_from(length).unwrap();
            quote[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
    }
}

fn with_chain(quote: &[u8], chain: [&str; 3]) -> Vec<u8> {
    let mut quote = [&quote[..CHAIN], chain.concat().as_bytes()].concat();
    mend(&mut quote);
    quote
}

fn vector(name: &str) -> Vec<u8> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", "quotes"]
        .iter()
        .collect();
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn every_genuine_quote_comes_from_where_it_says() {
    let cases: Vec<Value> = serde_json::from_slice(&vector("expected.json")).unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let quote = vector(case["quote"].as_str().unwrap());
        let now = case["now_unix"].as_u64().unwrap();
        let found = origin(&TrustRoot::Intel, &quote, now).unwrap();
        assert_eq!(*found.quote(), Quote::parse(&quote).unwrap(), "{case}");
        assert_eq!(found.platforms(), Platforms::of_quote(&quote).unwrap());
        assert_eq!(found.platforms().ca, Ca::Platform, "{case}");
        assert!(found.platform_instance().is_some(), "{case}");
        // Nothing to another root of the time.
        let world = World::builder(b"another", now).build().unwrap();
        let other = TrustRoot::Other(world.root_der().to_vec());
        let refusal = origin(&other, &quote, now).unwrap_err();
        assert_eq!(refusal.rule(), Rule::CertificateChain, "{case}");
    }
}

#[test]
fn a_simulated_quote_comes_from_its_world() {
    let found = GOOD.origin(&GOOD.quote).unwrap();
    let platform = Platform::default();
    assert_eq!(found.platforms().fmspc, platform.fmspc);
    assert_eq!(
        found.platform_instance(),
        Some(platform.platform_instance_id)
    );
    assert_eq!(found.quote().report.registers.mrtd, Td::default().mrtd);
    let refusal = origin(&TrustRoot::Intel, &GOOD.quote, NOW).unwrap_err();
    assert_eq!(refusal.rule(), Rule::CertificateChain);
}

#[test]
fn what_only_collateral_tells_is_not_asked() {
    let builder = || World::builder(b"origin", ISSUED);
    let rogue = Platform {
        qe_mrsigner: [0x66; 32],
        tcb_status: "Revoked".to_owned(),
        ..Platform::default()
    };
    for builder in [
        builder().revoke_leaf().revoke_platform_ca(),
        builder().platform(rogue),
    ] {
        let world = builder.build().unwrap();
        GOOD.origin(&world.quote(&Td::default())).unwrap();
    }
}

#[test]
fn za_204_to_206_each_signature_is_checked() {
    let other = Good::of(b"another");
    let spliced = |part: Range<usize>| {
        let mut quote = GOOD.quote.clone();
        quote[part.clone()].copy_from_slice(&other.quote[part]);
        mend(&mut quote);
        quote
    };
    for (quote, rule) in [
        // The TD's report, and its signature.
        (GOOD.flipped(200, 0), Rule::QuoteSignature),
        (GOOD.flipped(SIGNATURE, 3), Rule::QuoteSignature),
        // The QE's, and its signature.
        (GOOD.flipped(QE_REPORT, 0), Rule::QeSignature),
        (GOOD.flipped(QE_REPORT + 320, 7), Rule::QeSignature),
        (GOOD.flipped(QE_SIGNATURE + 40, 1), Rule::QeSignature),
        (GOOD.flipped(AUTHENTICATION, 0), Rule::QeBinding),
        // Signed by another attestation key; certified by another PCK.
        (spliced(SIGNATURE..CERTIFICATION_LENGTH), Rule::QeBinding),
        (spliced(SIGNATURE..CHAIN_LENGTH), Rule::QeSignature),
    ] {
        assert_eq!(GOOD.rule(&quote), Some(rule));
    }
}

#[test]
fn za_201_and_209_certificates_lead_from_the_pck_by_its_ca_to_the_root() {
    let other = Good::of(b"another");
    let (ours, theirs) = (GOOD.chain(), other.chain());
    let [leaf, ca, root] = ours[..] else { panic!() };
    let signing = certificates(&GOOD.world.collateral().tcb_info_issuer_chain)[0];
    for (chain, rule) in [
        ([leaf, ca, root], None),
        ([leaf, ca, theirs[2]], Some(Rule::ChainRoot)),
        (
            [theirs[0], theirs[1], theirs[2]],
            Some(Rule::CertificateChain),
        ),
        ([theirs[0], theirs[1], root], Some(Rule::CertificateChain)),
        ([theirs[0], ca, root], Some(Rule::CertificateChain)),
        ([leaf, theirs[1], root], Some(Rule::CertificateChain)),
        // Each in a place that is not its own.
        ([ca, ca, root], Some(Rule::CertificateChain)),
        ([ca, root, root], Some(Rule::CertificateChain)),
        ([leaf, leaf, root], Some(Rule::CertificateChain)),
        ([leaf, root, root], Some(Rule::CertificateChain)),
        ([leaf, signing, root], Some(Rule::CertificateChain)),
        // The root did issue it, but not for a platform.
        ([signing, root, root], Some(Rule::QuoteUndecodable)),
    ] {
        assert_eq!(GOOD.rule(&with_chain(&GOOD.quote, chain)), rule);
    }
}

#[test]
fn za_201_a_root_is_a_root() {
    let ca = pem::parse(GOOD.chain()[1]).unwrap().into_contents();
    for root in [ca, b"no certificate".to_vec(), Vec::new()] {
        let refusal = origin(&TrustRoot::Other(root), &GOOD.quote, NOW).unwrap_err();
        assert_eq!(refusal.rule(), Rule::CertificateChain);
    }
}

#[test]
fn za_203_every_certificate_is_in_force() {
    let quote = vector("v4-uptodate.quote.bin");
    // 2025-02-06 to 2032-02-06; 2018-05-21 to 2033-05-21; five minutes before
    // that to 2049-12-31.
    let [pck, ca, root] = [
        (1_738_884_351, 1_959_722_751, "signer of the QE report"),
        (1_526_899_810, 2_000_285_410, "PCK CA"),
        (1_526_899_510, 2_524_607_999, "root"),
    ];
    for at in [pck.0, pck.1] {
        origin(&TrustRoot::Intel, &quote, at).unwrap();
    }
    for (from, to, whose) in [pck, ca, root] {
        for at in [from - 1, to + 1] {
            let refusal = origin(&TrustRoot::Intel, &quote, at).unwrap_err();
            assert_eq!(refusal.rule(), Rule::CertificateDates, "{at}");
            assert!(refusal.found().contains(whose), "{refusal}");
        }
    }
    for at in [0, ISSUED - DAY - 1, ISSUED + 7305 * DAY + 1, u64::MAX] {
        let refusal = origin(&GOOD.root, &GOOD.quote, at).unwrap_err();
        assert_eq!(refusal.rule(), Rule::CertificateDates, "{at}");
    }
}

#[test]
fn one_bit_of_every_byte_is_refused_as_with_collateral() {
    for at in 0..GOOD.quote.len() {
        let quote = GOOD.flipped(at, at % 8);
        // Of two wrongs in a certificate, date and signature, either is named.
        if at < CHAIN {
            assert!(GOOD.rule(&quote).is_some(), "byte {at}");
        } else {
            assert!(GOOD.origin(&quote).is_err(), "byte {at}");
        }
    }
}

#[test]
fn every_truncation_is_refused_whatever_the_lengths_say() {
    for cut in 0..GOOD.quote.len() {
        let mut quote = GOOD.quote[..cut].to_vec();
        assert!(GOOD.origin(&quote).is_err(), "cut to {cut}");
        mend(&mut quote);
        assert!(GOOD.origin(&quote).is_err(), "cut to {cut} and mended");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(GOOD.origin(&bytes).is_err());
    }

    #[test]
    fn any_bytes_in_a_quote_change_no_report(
        at in any::<prop::sample::Index>(),
        removed in 0..200_usize,
        inserted in proptest::collection::vec(any::<u8>(), 0..200),
        mended: bool,
    ) {
        let mut quote = GOOD.quote.clone();
        let from = at.index(quote.len());
        let to = quote.len().min(from + removed);
        quote.splice(from..to, inserted);
        if mended && quote.len() >= CHAIN {
            mend(&mut quote);
        }
        if let Ok(found) = GOOD.origin(&quote) {
            prop_assert_eq!(&found.quote().report, &Quote::parse(&GOOD.quote).unwrap().report);
        }
    }

    #[test]
    fn no_flipped_bit_is_accepted(at in any::<prop::sample::Index>(), bit in 0..8_usize) {
        let at = at.index(GOOD.quote.len());
        prop_assert!(GOOD.origin(&GOOD.flipped(at, bit)).is_err());
    }
}
