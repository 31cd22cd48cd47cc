//! Checks of Intel's library that share a rule with another one: each has a vector too.

use zipnet_attest::{
    Collateral, Rule, TrustRoot,
    simulation::{Platform, Td},
    tcb::TcbRules,
    trusted_alone,
};

use super::{NOW, builder, judge, on, world};

#[test]
fn a_tdx_module_of_another_signer_or_with_attributes_is_refused() {
    let good = builder().build().unwrap();
    for byte in [0, 47] {
        let mut td = Td::default();
        td.mr_signer_seam[byte] = 1;
        assert_eq!(world(&good, &td).rule(), Rule::ModuleIdentity);
    }
    for byte in 0..8 {
        let mut td = Td::default();
        td.seam_attributes[byte] = 1;
        assert_eq!(world(&good, &td).rule(), Rule::ModuleIdentity);
    }
}

#[test]
fn a_quoting_enclave_of_a_version_below_every_level_is_refused() {
    let old = on(Platform {
        qe_isv_svn: Platform::QE_ISV_SVN - 1,
        ..Platform::default()
    });
    assert_eq!(world(&old, &Td::default()).rule(), Rule::QeIdentity);
}

#[test]
fn collateral_of_another_tee_or_enclave_is_refused_with_a_quote_and_without() {
    for platform in [
        Platform {
            tcb_info_id: "SGX".to_owned(),
            ..Platform::default()
        },
        Platform {
            qe_identity_id: "QE".to_owned(),
            ..Platform::default()
        },
    ] {
        let other = on(platform);
        assert_eq!(world(&other, &Td::default()).rule(), Rule::CollateralForm);
        let root = TrustRoot::Other(other.root_der().to_vec());
        let collateral = Collateral::new(other.collateral().clone()).unwrap();
        let refusal = trusted_alone(&root, &collateral, NOW).unwrap_err();
        assert_eq!(refusal.rule(), Rule::CollateralForm);
    }
}

/// A TD 1.5 on a platform in good standing that is at other versions by now; those below its
/// own are rated so.
fn now_at(svn: u8, status: &str) -> (Platform, Td) {
    let platform = Platform {
        below: Some((status.to_owned(), vec!["INTEL-SA-00002".to_owned()])),
        ..Platform::default()
    };
    let mut now = platform.tee_tcb_svn;
    now[0] = svn;
    let td = Td {
        tee_tcb_svn_2: Some(now),
        ..Td::default()
    };
    (platform, td)
}

#[test]
fn a_td_whose_platform_went_back_since_its_launch_is_refused() {
    let same = Platform::default().tee_tcb_svn[0];
    let (platform, td) = now_at(same, "Revoked");
    let good = on(platform);
    judge(&good, &good.quote(&td), &good, NOW).unwrap();
    let (platform, td) = now_at(same - 1, "Revoked");
    let refusal = world(&on(platform), &td);
    assert_eq!(refusal.rule(), Rule::TcbRevoked);
}

#[test]
fn f9_advisories_of_the_current_level_count() {
    let same = Platform::default().tee_tcb_svn[0];
    let (platform, td) = now_at(same - 1, "UpToDate");
    let behind = on(platform);
    let found = judge(&behind, &behind.quote(&td), &behind, NOW).unwrap();
    assert_eq!(found.advisories(), ["INTEL-SA-00002"]);
    let rejecting = TcbRules {
        reject_advisories: vec!["intel-sa-00002".to_owned()],
        ..TcbRules::default()
    };
    assert_eq!(
        rejecting.check(&found).unwrap_err().rule(),
        Rule::TcbAdvisory
    );
}
