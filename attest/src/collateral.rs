//! What Intel publishes about a model of platform: TCB info, QE identity,
//! revocation lists and the certificates that signed them.
//!
//! All of it is signed by Intel, so any path may carry it; nothing here is
//! verified before [`crate::genuine`] has used it.

use dcap_qvl::QuoteCollateralV3;
use serde::{Deserialize, Serialize};

use crate::rules::{Refusal, Rule};

/// Longest collateral that is read, in bytes. Intel's has about 25,000.
pub const MAX_COLLATERAL: usize = 512 << 10;

/// Collateral in the `QuoteCollateralV3` JSON form, as dcap-qvl, PCCS clients
/// and others write it. Not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    pub(crate) parts: QuoteCollateralV3,
    pub(crate) pce_id: [u8; 2],
    fmspc: String,
    /// When the older of TCB info and QE identity was issued.
    pub(crate) issued: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Json {
    pck_crl_issuer_chain: String,
    root_ca_crl: Hex,
    pck_crl: Hex,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: Hex,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: Hex,
    /// The chain of one platform. Not used: a quote brings its own, and this
    /// one would take its place.
    #[serde(default, rename = "pck_certificate_chain", skip_serializing)]
    _pck_certificate_chain: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Hex(#[serde(with = "hex::serde")] Vec<u8>);

/// Whom the TCB info is about.
#[derive(Deserialize)]
struct TcbInfo {
    fmspc: String,
    /// dcap-qvl does not compare this.
    #[serde(rename = "pceId")]
    pce_id: String,
}

/// When a part of the collateral is in force, in Intel's words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    issue_date: String,
    next_update: String,
}

/// When a part was issued, seconds since 1970.
fn issued(part: &str) -> Result<u64, Refusal> {
    let form = || Rule::CollateralForm.refuse("a part without", "an issueDate in RFC 3339");
    let window: Window = serde_json::from_str(part).map_err(|error| form().because(error))?;
    let date =
        humantime::parse_rfc3339(&window.issue_date).map_err(|error| form().because(error))?;
    let since = date.duration_since(std::time::UNIX_EPOCH);
    since
        .map(|since| since.as_secs())
        .map_err(|error| form().because(error))
}

impl Collateral {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-301.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_COLLATERAL {
            return Err(Rule::CollateralForm.refuse(
                format!("{} bytes", bytes.len()),
                format!("at most {MAX_COLLATERAL}"),
            ));
        }
        let json: Json = serde_json::from_slice(bytes).map_err(|error| {
            Rule::CollateralForm
                .refuse("other JSON", "the fields of QuoteCollateralV3")
                .because(error)
        })?;
        Self::new(QuoteCollateralV3 {
            pck_crl_issuer_chain: json.pck_crl_issuer_chain,
            root_ca_crl: json.root_ca_crl.0,
            pck_crl: json.pck_crl.0,
            tcb_info_issuer_chain: json.tcb_info_issuer_chain,
            tcb_info: json.tcb_info,
            tcb_info_signature: json.tcb_info_signature.0,
            qe_identity_issuer_chain: json.qe_identity_issuer_chain,
            qe_identity: json.qe_identity,
            qe_identity_signature: json.qe_identity_signature.0,
            pck_certificate_chain: None,
        })
    }

    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        let parts = &self.parts;
        let json = Json {
            pck_crl_issuer_chain: parts.pck_crl_issuer_chain.clone(),
            root_ca_crl: Hex(parts.root_ca_crl.clone()),
            pck_crl: Hex(parts.pck_crl.clone()),
            tcb_info_issuer_chain: parts.tcb_info_issuer_chain.clone(),
            tcb_info: parts.tcb_info.clone(),
            tcb_info_signature: Hex(parts.tcb_info_signature.clone()),
            qe_identity_issuer_chain: parts.qe_identity_issuer_chain.clone(),
            qe_identity: parts.qe_identity.clone(),
            qe_identity_signature: Hex(parts.qe_identity_signature.clone()),
            _pck_certificate_chain: None,
        };
        // Strings and bytes have no way to fail.
        serde_json::to_string(&json).unwrap_or_default()
    }

    /// Takes collateral in its parts; a PCK certificate chain among them is
    /// dropped.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-301 if the TCB info names no PCE, or a part no date.
    pub fn new(mut parts: QuoteCollateralV3) -> Result<Self, Refusal> {
        parts.pck_certificate_chain = None;
        let form = |found: &str| Rule::CollateralForm.refuse(found, "TCB info with a pceId");
        let info: TcbInfo = serde_json::from_str(&parts.tcb_info)
            .map_err(|error| form("other TCB info").because(error))?;
        let mut pce_id = [0; 2];
        hex::decode_to_slice(&info.pce_id, &mut pce_id)
            .map_err(|error| form("another pceId").because(error))?;
        let issued = issued(&parts.tcb_info)?.min(issued(&parts.qe_identity)?);
        Ok(Self {
            parts,
            pce_id,
            fmspc: info.fmspc,
            issued,
        })
    }

    /// The model of platform that it is of, in Intel's words.
    pub(crate) fn fmspc(&self) -> String {
        self.fmspc.escape_debug().take(64).collect()
    }

    /// When TCB info and QE identity are in force, for people.
    pub(crate) fn windows(&self) -> String {
        let window = |name: &str, json: &str| match serde_json::from_str::<Window>(json) {
            Ok(Window {
                issue_date,
                next_update,
            }) => format!("{name} {issue_date} to {next_update}"),
            Err(_) => format!("{name} without dates"),
        };
        let tcb = window("TCB info", &self.parts.tcb_info);
        let qe = window("QE identity", &self.parts.qe_identity);
        format!("{tcb}, {qe}")
    }
}
