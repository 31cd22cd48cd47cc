//! One defect per test, and the reason that `dcap-qvl` gives for refusing it.

use super::{
    ATTESTATION_KEY, ISSUED, MRTD, NOW, QE_REPORT, REPORT_DATA, assert_refused, builder, on,
    policy, td, verify, verify_td, world,
};
use crate::simulation::{
    Platform, TcbSvns, Td, World, WorldBuilder,
    certificates::{PCK_SERIAL, PLATFORM_CA_SERIAL, TCB_SIGNING_SERIAL},
    time::DAY,
};
use dcap_qvl::{TcbStatus, verify::QuoteVerifier};
use der::Decode;
use x509_cert::crl::CertificateList;

// ---- wrong root ----

#[test]
fn intels_root_refuses() {
    let world = world();
    let verifier = QuoteVerifier::new_prod();
    assert_refused(
        verify(&verifier, &world.quote(&td()), world.collateral(), NOW),
        "Failed to parse root CA CRL: InvalidCrlSignatureForPublicKey",
    );
}

#[test]
fn another_seeds_root_refuses() {
    let world = world();
    let other = World::builder(b"other", ISSUED).build().unwrap();
    let verifier = QuoteVerifier::new(other.root_der().to_vec());
    let quote = world.quote(&td());
    assert_refused(
        verify(&verifier, &quote, world.collateral(), NOW),
        "Failed to parse root CA CRL: InvalidCrlSignatureForPublicKey",
    );
    // Also when the collateral is that root's own, so that only the quote is foreign.
    assert_refused(
        verify(&verifier, &quote, other.collateral(), NOW),
        "Failed to verify certificate chain: InvalidSignatureForPublicKey",
    );
}

// ---- altered quotes ----

#[track_caller]
fn assert_flip_refused(offset: usize, reason: &str) {
    let world = world();
    let mut quote = world.quote(&td());
    quote[offset] ^= 1;
    let verifier = QuoteVerifier::new(world.root_der().to_vec());
    assert_refused(verify(&verifier, &quote, world.collateral(), NOW), reason);
}

#[test]
fn flipped_report_data_is_refused() {
    assert_flip_refused(REPORT_DATA, "ISV enclave report signature is invalid");
}

#[test]
fn flipped_mrtd_is_refused() {
    assert_flip_refused(MRTD, "ISV enclave report signature is invalid");
}

#[test]
fn flipped_qe_report_is_refused() {
    assert_flip_refused(QE_REPORT, "Signature is invalid for qe_report");
}

#[test]
fn flipped_attestation_key_is_refused() {
    assert_flip_refused(ATTESTATION_KEY, "QE report hash mismatch");
}

// ---- time ----

#[test]
fn a_month_later_is_refused() {
    assert_refused(verify_td(&world(), &td(), ISSUED + 31 * DAY), "CrlExpired");
}

#[test]
fn before_issue_is_refused() {
    let world = world();
    assert_refused(
        verify_td(&world, &td(), ISSUED - 1),
        "TCBInfo issue date is in the future",
    );
}

// ---- TD attributes ----

#[track_caller]
fn assert_attributes_refused(td_attributes: [u8; 8], reason: &str) {
    let td = Td {
        td_attributes,
        ..td()
    };
    assert_refused(verify_td(&world(), &td, NOW), reason);
}

#[test]
fn debug_td_is_refused() {
    assert_attributes_refused([1, 0, 0, 0x10, 0, 0, 0, 0], "Debug mode is enabled");
}

#[test]
fn td_without_sept_ve_disable_is_refused() {
    assert_attributes_refused([0; 8], "SEPT_VE_DISABLE is not enabled");
}

#[test]
fn migratable_td_is_refused() {
    assert_attributes_refused([0, 0, 0, 0x30, 0, 0, 0, 0], "TD migration is enabled");
}

// ---- revocation ----

/// Serial numbers in the root CA CRL and in the PCK CRL.
fn revoked_serials(world: &World) -> [Vec<u32>; 2] {
    let collateral = world.collateral();
    [&collateral.root_ca_crl, &collateral.pck_crl].map(|der| {
        let list: CertificateList = CertificateList::from_der(der).unwrap();
        let entries = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
        let serials = entries.iter().map(|entry| entry.serial_number.as_bytes());
        serials.map(|serial| u32::from(serial[0])).collect()
    })
}

/// `dcap-qvl` names no certificate in this error, so the CRLs tell which one it was.
#[track_caller]
fn assert_revoked(builder: WorldBuilder, root_ca_crl: &[u32], pck_crl: &[u32]) {
    let world = builder.build().unwrap();
    assert_eq!(revoked_serials(&world), [root_ca_crl, pck_crl]);
    assert_refused(
        verify_td(&world, &td(), NOW),
        "Failed to verify certificate chain: CertRevoked",
    );
}

#[test]
fn nothing_is_revoked_by_default() {
    assert!(revoked_serials(&world()).concat().is_empty());
}

#[test]
fn revoked_leaf_is_refused() {
    assert_revoked(builder().revoke_leaf(), &[], &[PCK_SERIAL]);
}

#[test]
fn revoked_platform_ca_is_refused() {
    assert_revoked(builder().revoke_platform_ca(), &[PLATFORM_CA_SERIAL], &[]);
}

#[test]
fn revoked_tcb_signer_is_refused() {
    assert_revoked(builder().revoke_tcb_signer(), &[TCB_SIGNING_SERIAL], &[]);
}

// ---- TCB ----

#[test]
fn out_of_date_is_refused_unless_the_policy_allows_it() {
    let world = on(Platform {
        tcb_status: "OutOfDate".to_owned(),
        advisories: vec!["INTEL-SA-00615".to_owned()],
        ..Platform::default()
    });
    assert_refused(
        verify_td(&world, &td(), NOW),
        "TCB status OutOfDate is not acceptable by policy",
    );

    // tcbDate lies 200 days back, and grace counts from there.
    let with_grace = |days| {
        let grace = std::time::Duration::from_secs(days * DAY);
        QuoteVerifier::new(world.root_der().to_vec())
            .verify_with_policy(
                &world.quote(&td()),
                world.collateral(),
                NOW,
                &policy(NOW)
                    .allow_status(TcbStatus::OutOfDate)
                    .platform_grace_period(grace),
            )
            .map_err(|error| format!("{error:#}"))
    };
    assert_refused(with_grace(100), "Platform TCB too old");
    let claims = with_grace(300).unwrap();
    assert_eq!(claims.tcb.status, TcbStatus::OutOfDate);
    assert_eq!(claims.tcb.advisory_ids, ["INTEL-SA-00615"]);
}

#[test]
fn revoked_status_is_refused() {
    let world = on(Platform {
        tcb_status: "Revoked".to_owned(),
        ..Platform::default()
    });
    assert_refused(
        verify_td(&world, &td(), NOW),
        "TCB status is invalid: Revoked",
    );
}

#[test]
fn unknown_status_is_refused() {
    let world = on(Platform {
        tcb_status: "Fine".to_owned(),
        ..Platform::default()
    });
    assert_refused(
        verify_td(&world, &td(), NOW),
        "Failed to decode TcbInfo: unknown variant `Fine`",
    );
}

#[test]
fn svn_below_every_level_is_refused() {
    let has = Platform::default().svns();
    let mut cpu = has;
    cpu.cpu_svn[15] += 1;
    let mut tee = has;
    tee.tee_tcb_svn[0] += 1;
    let pce = TcbSvns {
        pce_svn: has.pce_svn + 1,
        ..has
    };
    for required in [cpu, tee, pce] {
        let world = on(Platform {
            required: Some(required),
            ..Platform::default()
        });
        assert_refused(verify_td(&world, &td(), NOW), "No matching TCB level found");
    }
}

#[test]
fn module_svn_below_its_identity_is_refused() {
    let mut platform = Platform::default();
    platform.tee_tcb_svn[1] = 1;
    let mut required = platform.svns();
    required.tee_tcb_svn[0] += 1;
    platform.required = Some(required);
    assert_refused(
        verify_td(&on(platform), &td(), NOW),
        "TDX module ISVSVN 5 is below minimum",
    );
}

// ---- quoting enclave ----

#[test]
fn rogue_quoting_enclave_is_refused() {
    let world = on(Platform {
        qe_mrsigner: [0xbd; 32],
        ..Platform::default()
    });
    assert_refused(verify_td(&world, &td(), NOW), "QE MRSIGNER mismatch");
}

#[test]
fn old_quoting_enclave_is_refused() {
    let world = on(Platform {
        qe_isv_svn: Platform::QE_ISV_SVN - 1,
        ..Platform::default()
    });
    assert_refused(
        verify_td(&world, &td(), NOW),
        "QE ISVSVN 3 is below minimum",
    );
}
