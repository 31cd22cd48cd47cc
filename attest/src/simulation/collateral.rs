//! What the simulated Intel publishes about a platform: TCB info, QE identity, CRLs.
//!
//! Source: Intel Provisioning Certification Service API version 4, "TCB info V3" and "Enclave
//! identity V2". Hexadecimal is upper case there.

use super::{
    Platform, SimulationError,
    certificates::{Certificates, PCK_SERIAL, PLATFORM_CA_SERIAL, TCB_SIGNING_SERIAL},
    crl::crl,
    keys::Keys,
    time::{DAY, Window, iso8601},
};
use dcap_qvl::QuoteCollateralV3;
use hex::encode_upper as upper_hex;
use serde_json::{Value, json};

/// MRSIGNER of Intel's TDX module is zero, 48 bytes.
const TDX_MODULE_MRSIGNER: [u8; 48] = [0; 48];
/// SEAMATTRIBUTES of a production TDX module, 8 bytes.
const SEAM_ATTRIBUTES: [u8; 8] = [0; 8];
/// Every bit of SEAMATTRIBUTES counts, 8 bytes.
const SEAM_ATTRIBUTES_MASK: [u8; 8] = [0xff; 8];

/// ATTRIBUTES of the quoting enclave, 16 bytes: INIT and `PROVISION_KEY`.
const QE_ATTRIBUTES: [u8; 16] = [0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// As in Intel's identity, 16 bytes: all flags but MODE64BIT count, XFRM does not.
const QE_ATTRIBUTES_MASK: [u8; 16] = [
    0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// ISVPRODID of the TD quoting enclave.
pub(super) const QE_ISV_PROD_ID: u16 = 2;

/// Which certificates the CRLs list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Revoked {
    /// The PCK leaf, in the PCK CRL.
    pub(super) leaf: bool,
    /// The PCK platform CA, in the root CA CRL.
    pub(super) platform_ca: bool,
    /// The TCB signing certificate, in the root CA CRL.
    pub(super) tcb_signer: bool,
}

impl Revoked {
    fn by_root(self) -> Vec<u32> {
        let platform_ca = self.platform_ca.then_some(PLATFORM_CA_SERIAL);
        let tcb_signer = self.tcb_signer.then_some(TCB_SIGNING_SERIAL);
        platform_ca.into_iter().chain(tcb_signer).collect()
    }

    fn by_platform_ca(self) -> Vec<u32> {
        self.leaf.then_some(PCK_SERIAL).into_iter().collect()
    }
}

/// The collateral for quotes of `platform`: TCB info and QE identity valid throughout the first
/// window, CRLs throughout the second.
///
/// `pck_certificate_chain` stays empty: the chain travels in the quote, and a chain in shared
/// collateral would replace the quote's own.
pub(super) fn collateral(
    keys: &Keys,
    certificates: &Certificates,
    platform: &Platform,
    issued: u64,
    [window, lists]: [Window; 2],
    revoked: Revoked,
) -> Result<QuoteCollateralV3, SimulationError> {
    let dates = Dates::new(platform, issued, window)?;
    let tcb_info = tcb_info(platform, &dates).to_string();
    let qe_identity = qe_identity(platform, &dates).to_string();
    let Certificates {
        root, platform_ca, ..
    } = certificates;
    Ok(QuoteCollateralV3 {
        pck_crl_issuer_chain: certificates.platform_ca_chain()?,
        root_ca_crl: crl(root, &keys.root, lists, &revoked.by_root())?,
        pck_crl: crl(
            platform_ca,
            &keys.platform_ca,
            lists,
            &revoked.by_platform_ca(),
        )?,
        tcb_info_issuer_chain: certificates.tcb_signing_chain()?,
        tcb_info_signature: keys.tcb_signing.sign(tcb_info.as_bytes()).to_vec(),
        tcb_info,
        qe_identity_issuer_chain: certificates.tcb_signing_chain()?,
        qe_identity_signature: keys.tcb_signing.sign(qe_identity.as_bytes()).to_vec(),
        qe_identity,
        pck_certificate_chain: None,
    })
}

/// The dates in TCB info and QE identity, written out.
struct Dates {
    issue: String,
    next_update: String,
    tcb: String,
}

impl Dates {
    fn new(platform: &Platform, issued: u64, window: Window) -> Result<Self, SimulationError> {
        let tcb = platform
            .tcb_date_days_before
            .checked_mul(DAY)
            .and_then(|before| issued.checked_sub(before))
            .ok_or(SimulationError::TimeOutOfRange)?;
        Ok(Self {
            issue: iso8601(window.from)?,
            next_update: iso8601(window.to)?,
            tcb: iso8601(tcb)?,
        })
    }
}

// The keys of all objects below are in alphabetical order. `serde_json` sorts them, unless another
// crate enables its `preserve_order`: this way the signed bytes are the same in both cases.

fn tcb_info(platform: &Platform, dates: &Dates) -> Value {
    let required = platform.required.unwrap_or_else(|| platform.svns());
    let level = |tdx: &[u8; 16], status: &str, advisories: &[String]| {
        json!({
            "advisoryIDs": advisories,
            "tcb": {
                "pcesvn": required.pce_svn,
                "sgxtcbcomponents": components(&required.cpu_svn),
                "tdxtcbcomponents": components(tdx),
            },
            "tcbDate": dates.tcb,
            "tcbStatus": status,
        })
    };
    let mut levels = vec![level(
        &required.tee_tcb_svn,
        &platform.tcb_status,
        &platform.advisories,
    )];
    if let Some((status, advisories)) = &platform.below {
        levels.push(level(&[0; 16], status, advisories));
    }
    json!({
        "fmspc": upper_hex(platform.fmspc),
        "id": platform.tcb_info_id,
        "issueDate": dates.issue,
        "nextUpdate": dates.next_update,
        "pceId": upper_hex(platform.tcb_pce_id),
        "tcbEvaluationDataNumber": platform.tcb_eval,
        "tcbLevels": levels,
        "tcbType": 0,
        "tdxModule": {
            "attributes": upper_hex(SEAM_ATTRIBUTES),
            "attributesMask": upper_hex(SEAM_ATTRIBUTES_MASK),
            "mrsigner": upper_hex(TDX_MODULE_MRSIGNER),
        },
        "tdxModuleIdentities": tdx_module_identities(platform, dates),
        "version": 3,
    })
}

/// The 16 components of one TCB level.
fn components(svns: &[u8; 16]) -> Vec<Value> {
    svns.iter().map(|svn| json!({ "svn": svn })).collect()
}

/// Nothing for TDX 1.0; for later modules, verifiers look up the identity `TDX_xx` of the module's
/// major version and match the module's ISVSVN there instead of in the TCB level.
fn tdx_module_identities(platform: &Platform, dates: &Dates) -> Vec<Value> {
    let [_, major, ..] = platform.tee_tcb_svn;
    if major == 0 {
        return Vec::new();
    }
    let required = platform.required.unwrap_or_else(|| platform.svns());
    let [isv_svn, ..] = required.tee_tcb_svn;
    vec![json!({
        "attributes": upper_hex(SEAM_ATTRIBUTES),
        "attributesMask": upper_hex(SEAM_ATTRIBUTES_MASK),
        "id": format!("TDX_{major:02X}"),
        "mrsigner": upper_hex(TDX_MODULE_MRSIGNER),
        "tcbLevels": [{
            "tcb": { "isvsvn": isv_svn },
            "tcbDate": dates.tcb,
            "tcbStatus": "UpToDate",
        }],
    })]
}

fn qe_identity(platform: &Platform, dates: &Dates) -> Value {
    json!({
        "attributes": upper_hex(QE_ATTRIBUTES),
        "attributesMask": upper_hex(QE_ATTRIBUTES_MASK),
        "id": platform.qe_identity_id,
        "isvprodid": QE_ISV_PROD_ID,
        "issueDate": dates.issue,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "mrsigner": upper_hex(Platform::QE_MRSIGNER),
        "nextUpdate": dates.next_update,
        "tcbEvaluationDataNumber": platform.tcb_eval,
        "tcbLevels": [{
            "tcb": { "isvsvn": Platform::QE_ISV_SVN },
            "tcbDate": dates.tcb,
            "tcbStatus": "UpToDate",
        }],
        "version": 2,
    })
}
