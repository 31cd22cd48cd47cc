//! What a bare quote can break.

use zipnet_attest::{
    Collateral, Quote, Refusal, Rule, TrustRoot, genuine,
    simulation::{Platform, TcbSvns, Td, World},
    tcb::TcbRules,
};

use super::{ISSUED, NOW, builder, changed, intel, judge, on, vector, world};

const YEAR: u64 = 365 * 86_400;

// Offsets in a version 4 quote.
const MRTD: usize = 184;
const ATTESTATION_KEY: usize = 700;
const SIGNATURE_LENGTH: usize = 632;
const CERTIFICATION_TYPE: usize = 764;
const CERTIFICATION_LENGTH: usize = 766;
const QE_REPORT: usize = 770;
const CHAIN: usize = 1258;

/// The quote's last certificate, of the root, with another last character
/// before its padding.
fn other_root(quote: &mut [u8]) {
    let text = String::from_utf8_lossy(&quote[CHAIN..]).into_owned();
    let end = text.rfind("\n-----END").unwrap();
    let at = CHAIN + end - 8;
    quote[at] = if quote[at] == b'A' { b'B' } else { b'A' };
}

/// The genuine version 5 quote with another type of body.
fn body_of_type(kind: u8) -> Refusal {
    let mut quote = vector("v5-td15.quote.bin");
    quote[48] = kind;
    Quote::parse(&quote).unwrap_err()
}

pub fn forms() -> Vec<(Rule, Refusal)> {
    vec![
        (Rule::QuoteLength, changed(|quote| quote.resize(20_000, 0))),
        (Rule::QuoteVersion, changed(|quote| quote[0] = 3)),
        (Rule::QuoteKeyType, changed(|quote| quote[2] = 3)),
        (Rule::QuoteTee, changed(|quote| quote[4] = 0)),
        (Rule::QuoteVendor, changed(|quote| quote[12] ^= 1)),
        (Rule::QuoteBody, body_of_type(9)),
        (Rule::QuoteTruncated, changed(|quote| quote.truncate(2000))),
        (Rule::QuoteTrailing, changed(|quote| quote.extend([0, 1]))),
        (
            Rule::QuoteUndecodable,
            changed(|quote| quote[CERTIFICATION_LENGTH + 2] = 0xff),
        ),
        (
            Rule::CertificationType,
            changed(|quote| quote[CERTIFICATION_TYPE + 1] = 1),
        ),
        (
            Rule::CertificationTrailing,
            changed(|quote| {
                quote[SIGNATURE_LENGTH] += 1;
                quote.push(0);
            }),
        ),
        (
            Rule::ChainForm,
            changed(|quote| *quote.last_mut().unwrap() = b' '),
        ),
    ]
}

pub fn genuineness() -> Vec<(Rule, Refusal)> {
    let good = builder().build().unwrap();
    let other = World::builder(b"another", ISSUED).build().unwrap();
    let quote = good.quote(&Td::default());
    let decades = builder()
        .collateral_window(ISSUED, ISSUED + 30 * YEAR)
        .build()
        .unwrap();
    let rogue = on(Platform {
        qe_mrsigner: [0x66; 32],
        ..Platform::default()
    });
    let mut module = Platform::default();
    module.tee_tcb_svn[1] = 1;
    let mut required = module.svns();
    required.tee_tcb_svn[0] += 1;
    module.required = Some(required);
    vec![
        (
            Rule::CertificateChain,
            judge(&good, &other.quote(&Td::default()), &good, NOW).unwrap_err(),
        ),
        (
            Rule::Revoked,
            world(&builder().revoke_leaf().build().unwrap(), &Td::default()),
        ),
        (
            Rule::CertificateDates,
            judge(&decades, &quote, &decades, ISSUED + 25 * YEAR).unwrap_err(),
        ),
        (
            Rule::QeSignature,
            changed(|quote| quote[QE_REPORT + 64] ^= 1),
        ),
        (
            Rule::QeBinding,
            changed(|quote| quote[ATTESTATION_KEY] ^= 1),
        ),
        (Rule::QuoteSignature, changed(|quote| quote[MRTD] ^= 1)),
        (Rule::QeIdentity, world(&rogue, &Td::default())),
        (Rule::ModuleIdentity, world(&on(module), &Td::default())),
        (Rule::ChainRoot, changed(|quote| other_root(quote))),
    ]
}

pub fn collateral() -> Vec<(Rule, Refusal)> {
    let good = builder().build().unwrap();
    let quote = good.quote(&Td::default());
    let root = TrustRoot::Other(good.root_der().to_vec());
    let mut tampered = good.collateral().clone();
    let evaluation = format!(
        "\"tcbEvaluationDataNumber\":{}",
        Platform::default().tcb_eval
    );
    assert!(tampered.tcb_info.contains(&evaluation));
    tampered.tcb_info = tampered
        .tcb_info
        .replace(&evaluation, "\"tcbEvaluationDataNumber\":99");
    let tampered = Collateral::new(tampered).unwrap();
    let model = on(Platform {
        fmspc: *b"others",
        ..Platform::default()
    });
    let pce = on(Platform {
        tcb_pce_id: [0, 1],
        ..Platform::default()
    });
    let found = judge(&good, &quote, &good, NOW).unwrap();
    let demanding = TcbRules {
        min_evaluation: found.evaluation() + 1,
        ..TcbRules::default()
    };
    vec![
        (
            Rule::CollateralForm,
            Collateral::from_json(b"{}").unwrap_err(),
        ),
        (
            Rule::CollateralFuture,
            intel(
                "v4-uptodate.quote.bin",
                "v4-uptodate.collateral.json",
                1_748_736_000,
            ),
        ),
        (
            Rule::CollateralExpired,
            intel(
                "v4-uptodate.quote.bin",
                "v4-uptodate.collateral.json",
                1_754_006_400,
            ),
        ),
        (
            Rule::CollateralSignature,
            genuine(&root, &quote, &tampered, NOW).unwrap_err(),
        ),
        (
            Rule::CollateralFmspc,
            judge(&good, &quote, &model, NOW).unwrap_err(),
        ),
        (Rule::CollateralPceId, world(&pce, &Td::default())),
        (
            Rule::CollateralEvaluation,
            demanding.check(&found).unwrap_err(),
        ),
    ]
}

pub fn tcb() -> Vec<(Rule, Refusal)> {
    let rated = |status: &str| {
        on(Platform {
            tcb_status: status.to_owned(),
            advisories: vec!["INTEL-SA-00001".to_owned()],
            ..Platform::default()
        })
    };
    let mut low = Platform::default();
    low.required = Some(TcbSvns {
        pce_svn: low.pce_svn + 1,
        ..low.svns()
    });
    let advised = rated("UpToDate");
    let quote = advised.quote(&Td::default());
    let found = judge(&advised, &quote, &advised, NOW).unwrap();
    let rejecting = TcbRules {
        reject_advisories: vec!["INTEL-SA-00001".to_owned()],
        ..TcbRules::default()
    };
    // In whatever case somebody wrote it down (f9).
    let lower = TcbRules {
        reject_advisories: vec!["intel-sa-00001".to_owned()],
        ..TcbRules::default()
    };
    assert_eq!(lower.check(&found).unwrap_err().rule(), Rule::TcbAdvisory);
    vec![
        (Rule::TcbUnknown, world(&on(low), &Td::default())),
        (Rule::TcbRevoked, world(&rated("Revoked"), &Td::default())),
        (Rule::TcbStatus, world(&rated("OutOfDate"), &Td::default())),
        (Rule::TcbAdvisory, rejecting.check(&found).unwrap_err()),
    ]
}

pub fn launch() -> Vec<(Rule, Refusal)> {
    let good = builder().build().unwrap();
    let with = |td_attributes| {
        let td = Td {
            td_attributes,
            ..Td::default()
        };
        world(&good, &td)
    };
    vec![
        (Rule::Debug, with([1, 0, 0, 0x10, 0, 0, 0, 0])),
        (Rule::Launch, with([0; 8])),
        (
            Rule::ServiceTd,
            intel(
                "v5-servicetd.quote.bin",
                "fmspc-90c06f.collateral.json",
                1_773_964_800,
            ),
        ),
    ]
}
