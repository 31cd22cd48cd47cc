//! The bytes of a world, its times, and the options that make none.

use super::{ISSUED, MRTD, NOW, QE_REPORT, REPORT_DATA, builder, td, verify_td, world};
use crate::simulation::{
    Platform, SimulationError, World,
    time::{DAY, iso8601, x509_time},
};
use der::Encode;
use sha2::{Digest, Sha256};

/// SHA-256 over root, every part of the collateral and one quote.
fn digest(world: &World) -> String {
    let collateral = world.collateral();
    let quote = world.quote(&td());
    let parts: [&[u8]; 11] = [
        world.root_der(),
        collateral.pck_crl_issuer_chain.as_bytes(),
        &collateral.root_ca_crl,
        &collateral.pck_crl,
        collateral.tcb_info_issuer_chain.as_bytes(),
        collateral.tcb_info.as_bytes(),
        &collateral.tcb_info_signature,
        collateral.qe_identity_issuer_chain.as_bytes(),
        collateral.qe_identity.as_bytes(),
        &collateral.qe_identity_signature,
        &quote,
    ];
    assert_eq!(collateral.pck_certificate_chain, None);
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// The digest is fixed: all nodes of a network must agree on it, whatever their build. It changes
/// only together with the derivation's version string.
#[test]
fn world_is_deterministic() {
    assert_eq!(
        digest(&world()),
        "6aad4706a1b28ca400fbe6d1b9916e48b50ae2f4994efbcf9a836b1a45787c61"
    );
    let other_seed = World::builder(b"test", ISSUED).build().unwrap();
    let other_time = World::builder(b"tests", ISSUED + 1).build().unwrap();
    let other_option = builder().revoke_leaf().build().unwrap();
    for other in [other_seed, other_time, other_option] {
        assert_ne!(digest(&world()), digest(&other));
    }
}

#[test]
fn quote_has_the_documented_layout() {
    let world = world();
    let td = td();
    let quote = world.quote(&td);
    assert_eq!(quote[MRTD..MRTD + 48], td.mrtd);
    assert_eq!(quote[REPORT_DATA..REPORT_DATA + 64], td.report_data);
    assert_eq!(quote[QE_REPORT..QE_REPORT + 16], world.platform().cpu_svn);
    assert_eq!(
        quote[QE_REPORT + 128..QE_REPORT + 160],
        Platform::QE_MRSIGNER
    );
    let signature_data = u32::from_le_bytes(quote[632..636].try_into().unwrap());
    assert_eq!(quote.len() - 636, signature_data as usize);
    assert!(quote[1258..].starts_with(b"-----BEGIN CERTIFICATE-----"));
}

#[test]
fn certificates_outlive_2049() {
    // 2045-06-01: valid to 2065, which takes GeneralizedTime.
    let issued = 2_379_888_000;
    let world = World::builder(b"tests", issued).build().unwrap();
    verify_td(&world, &td(), issued).unwrap();
}

#[test]
fn impossible_times_are_errors() {
    let build = |issued| World::builder(b"tests", issued).build();
    // The certificates would begin before 1970, the TCB level would date from before 1970.
    assert!(matches!(build(0), Err(SimulationError::TimeOutOfRange)));
    assert!(matches!(build(DAY), Err(SimulationError::TimeOutOfRange)));
    assert!(matches!(
        build(u64::MAX),
        Err(SimulationError::TimeOutOfRange)
    ));
    assert!(matches!(build(u64::MAX / 2), Err(SimulationError::Der(_))));
    for (from, to) in [(NOW, NOW), (NOW, NOW - 1)] {
        let error = builder().collateral_window(from, to).build().unwrap_err();
        assert!(matches!(
            error,
            SimulationError::EmptyCollateralWindow { .. }
        ));
    }
}

#[test]
fn iso8601_is_right() {
    for (unix, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_709_210_096, "2024-02-29T12:34:56Z"),
        (1_740_787_199, "2025-02-28T23:59:59Z"),
        (1_740_787_200, "2025-03-01T00:00:00Z"),
        (1_767_225_599, "2025-12-31T23:59:59Z"),
        (ISSUED, "2026-01-01T00:00:00Z"),
        (1_835_395_200, "2028-02-29T00:00:00Z"),
        (4_107_542_399, "2100-02-28T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(iso8601(unix).unwrap(), expected);
    }
    assert!(iso8601(u64::MAX).is_err());
}

#[test]
fn x509_time_changes_its_type_in_2050() {
    const UTC_TIME: u8 = 23;
    const GENERALIZED_TIME: u8 = 24;
    let tag = |unix| x509_time(unix).unwrap().to_der().unwrap()[0];
    assert_eq!(tag(2_524_607_999), UTC_TIME);
    assert_eq!(tag(2_524_608_000), GENERALIZED_TIME);
}
