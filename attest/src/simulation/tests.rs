//! `dcap-qvl` accepts a world under its own root, and refuses everything that is wrong in it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod refused;
mod worlds;

use super::{Platform, Td, World, WorldBuilder, time::DAY};
use dcap_qvl::{
    PckCertFlag, QuoteClaims, QuoteCollateralV3, QuotePolicy, TcbStatus, verify::QuoteVerifier,
};

/// 2026-01-01T00:00:00Z
const ISSUED: u64 = 1_767_225_600;
const NOW: u64 = ISSUED + 3600;

// Offsets in a version 4 quote, as tabled in `quote` and `quoting_enclave`.
const MRTD: usize = 184;
const REPORT_DATA: usize = 568;
const ATTESTATION_KEY: usize = 700;
const QE_REPORT: usize = 770;

fn builder() -> WorldBuilder {
    World::builder(b"tests", ISSUED)
}

fn world() -> World {
    builder().build().unwrap()
}

fn on(platform: Platform) -> World {
    builder().platform(platform).build().unwrap()
}

fn td() -> Td {
    Td {
        report_data: [0xda; 64],
        ..Td::default()
    }
}

/// Only `UpToDate`, but what every genuine server has: SMT, dynamic platform, cached keys.
fn policy(now: u64) -> QuotePolicy {
    QuotePolicy::strict(now)
        .allow_smt(true)
        .allow_dynamic_platform(true)
        .allow_cached_keys(true)
}

fn verify(
    verifier: &QuoteVerifier,
    quote: &[u8],
    collateral: &QuoteCollateralV3,
    now: u64,
) -> Result<QuoteClaims, String> {
    verifier
        .verify_with_policy(quote, collateral, now, &policy(now))
        .map_err(|error| format!("{error:#}"))
}

/// Verifies a quote of `td` in `world` under the world's own root.
fn verify_td(world: &World, td: &Td, now: u64) -> Result<QuoteClaims, String> {
    let verifier = QuoteVerifier::new(world.root_der().to_vec());
    verify(&verifier, &world.quote(td), world.collateral(), now)
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, String>, reason: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(reason), "{error:?} lacks {reason:?}");
}

#[test]
fn own_root_accepts_and_claims_are_the_worlds() {
    let platform = Platform {
        advisories: vec!["INTEL-DOC-10001".to_owned()],
        ..Platform::default()
    };
    let world = on(platform.clone());
    let td = td();
    let claims = verify_td(&world, &td, NOW).unwrap();

    assert_eq!(claims.tcb.status, TcbStatus::UpToDate);
    assert_eq!(claims.tcb.advisory_ids, platform.advisories);
    assert_eq!(claims.tcb.eval_data_number, platform.tcb_eval);
    assert_eq!(claims.qe.tcb_eval_data_number, platform.tcb_eval);
    assert_eq!(claims.qe.report.mr_signer, Platform::QE_MRSIGNER);
    assert_eq!(claims.earliest_issue_date, ISSUED - DAY);
    assert_eq!(claims.latest_issue_date, ISSUED);
    assert_eq!(claims.earliest_expiration_date, ISSUED + 30 * DAY);
    assert_eq!(claims.platform.tcb_date_tag, ISSUED - 200 * DAY);

    let pck = claims.platform.pck;
    assert_eq!(pck.ppid, platform.ppid);
    assert_eq!(pck.cpu_svn, platform.cpu_svn);
    assert_eq!(pck.pce_svn, platform.pce_svn);
    assert_eq!(pck.pce_id, platform.pce_id);
    assert_eq!(pck.fmspc, platform.fmspc);
    assert_eq!(pck.sgx_type, 1);
    assert_eq!(
        pck.platform_instance_id,
        Some(platform.platform_instance_id)
    );
    for flag in [pck.dynamic_platform, pck.cached_keys, pck.smt_enabled] {
        assert_eq!(flag, PckCertFlag::True);
    }

    let report = claims.report.as_td10().unwrap();
    assert_eq!(report.tee_tcb_svn, platform.tee_tcb_svn);
    assert_eq!(report.mr_seam, td.mrseam);
    assert_eq!(report.td_attributes, td.td_attributes);
    assert_eq!(report.xfam, td.xfam);
    assert_eq!(report.mr_td, td.mrtd);
    assert_eq!(report.mr_config_id, td.mr_config_id);
    assert_eq!(report.mr_owner, td.mr_owner);
    assert_eq!(report.mr_owner_config, td.mr_owner_config);
    assert_eq!(
        [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3],
        td.rtmr
    );
    assert_eq!(report.report_data, td.report_data);
}

#[test]
fn tdx_module_with_an_identity_is_accepted() {
    let mut platform = Platform::default();
    platform.tee_tcb_svn[1] = 1;
    verify_td(&on(platform), &td(), NOW).unwrap();
}

#[test]
fn largest_pce_svn_is_accepted() {
    for pce_svn in [0, 0x7f, 0x80, 0xff, 0x100, 0x7fff] {
        let world = on(Platform {
            pce_svn,
            ..Platform::default()
        });
        let claims = verify_td(&world, &td(), NOW).unwrap();
        assert_eq!(claims.platform.pck.pce_svn, pce_svn);
    }
}

#[test]
fn collateral_window_is_kept() {
    let world = builder()
        .collateral_window(ISSUED + 5 * DAY, ISSUED + 6 * DAY)
        .build()
        .unwrap();
    assert_refused(
        verify_td(&world, &td(), ISSUED + 5 * DAY - 1),
        "TCBInfo issue date is in the future",
    );
    verify_td(&world, &td(), ISSUED + 5 * DAY).unwrap();
    verify_td(&world, &td(), ISSUED + 6 * DAY - 1).unwrap();
    assert_refused(verify_td(&world, &td(), ISSUED + 6 * DAY + 1), "CrlExpired");
}

#[test]
fn pce_id_mismatch_is_left_to_the_caller() {
    let world = on(Platform {
        tcb_pce_id: [0, 1],
        ..Platform::default()
    });
    let claims = verify_td(&world, &td(), NOW).unwrap();
    assert_eq!(claims.platform.pck.pce_id, [0, 0]);
    assert!(world.collateral().tcb_info.contains(r#""pceId":"0001""#));
}
