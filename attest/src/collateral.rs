//! What Intel publishes about a model of platform: TCB info, QE identity,
//! revocation lists and the certificates that signed them.
//!
//! All of it is signed by Intel, so any path may carry it; nothing here is
//! verified before [`mod@crate::genuine`] has used it.

use dcap_qvl::QuoteCollateralV3;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::rules::{Refusal, Rule};

/// Longest collateral that is read, in bytes. Intel's has about 25,000.
pub const MAX_COLLATERAL: usize = 512 << 10;

const DAY: i64 = 86_400;

/// Collateral in the `QuoteCollateralV3` JSON form, as dcap-qvl, PCCS clients
/// and others write it. Not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    pub(crate) parts: QuoteCollateralV3,
    pub(crate) pce_id: [u8; 2],
    fmspc: String,
    /// From when to when the TCB info is in force.
    pub(crate) tcb_info: (u64, u64),
    /// From when to when the QE identity is.
    pub(crate) qe_identity: (u64, u64),
    /// The lower and the higher number of the TCB evaluation of TCB info and QE identity. Intel
    /// raises them one by one, so that they differ for some hours.
    pub(crate) evaluations: (u32, u32),
    /// The number of the QE identity.
    pub(crate) qe_evaluation: u32,
    /// SHA-256 of all parts.
    pub(crate) digest: [u8; 32],
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

/// What is read of TCB info and of QE identity; the latter names no platform.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    issue_date: Option<String>,
    next_update: Option<String>,
    tcb_evaluation_data_number: Option<u32>,
    fmspc: Option<String>,
    /// dcap-qvl does not compare this.
    pce_id: Option<String>,
}

impl Part {
    fn read(text: &str, name: &str) -> Result<Self, Refusal> {
        serde_json::from_str(text).map_err(|error| {
            Rule::CollateralForm
                .refuse(format!("another {name}"), "Intel's JSON")
                .because(error)
        })
    }

    /// From when to when it is in force, seconds since 1970.
    fn dates(&self) -> Result<(u64, u64), Refusal> {
        Ok((
            seconds(self.issue_date.as_deref())?,
            seconds(self.next_update.as_deref())?,
        ))
    }

    fn evaluation(&self) -> Result<u32, Refusal> {
        self.tcb_evaluation_data_number.ok_or_else(|| {
            Rule::CollateralForm
                .refuse("a part without its evaluation", "a tcbEvaluationDataNumber")
        })
    }
}

fn seconds(date: Option<&str>) -> Result<u64, Refusal> {
    let form = || {
        Rule::CollateralForm.refuse(
            "a part without its dates",
            "an issueDate and a nextUpdate in RFC 3339",
        )
    };
    let date = humantime::parse_rfc3339(date.ok_or_else(form)?);
    let date = date.map_err(|error| form().because(error))?;
    date.duration_since(std::time::UNIX_EPOCH)
        .map(|since| since.as_secs())
        .map_err(|error| form().because(error))
}

/// When a part of the collateral is in force, in its own words: not verified,
/// and no dates unless [`mod@crate::genuine`] has accepted them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// From here on.
    pub issue_date: String,
    /// Until here.
    pub next_update: String,
}

/// Whole days from one time to another, both in seconds, rounded down.
pub(crate) fn days_between(now: u64, end: u64) -> i64 {
    let seconds = i64::try_from(i128::from(end) - i128::from(now));
    seconds.unwrap_or(i64::MIN).div_euclid(DAY)
}

/// When a part expires, if it is in force. As with dcap-qvl, it is so on the
/// last second too.
pub(crate) fn in_force(
    (issued, expires): (u64, u64),
    name: &str,
    now: u64,
) -> Result<u64, Refusal> {
    let refuse = |rule: Rule| {
        rule.refuse(
            format!("a {name} from {issued} to {expires}"),
            format!("one that holds {now} (seconds since 1970)"),
        )
    };
    if now < issued {
        return Err(refuse(Rule::CollateralFuture));
    }
    if now > expires {
        return Err(refuse(Rule::CollateralExpired));
    }
    Ok(expires)
}

const fn parts(parts: &QuoteCollateralV3) -> [&[u8]; 9] {
    [
        parts.pck_crl_issuer_chain.as_bytes(),
        parts.root_ca_crl.as_slice(),
        parts.pck_crl.as_slice(),
        parts.tcb_info_issuer_chain.as_bytes(),
        parts.tcb_info.as_bytes(),
        parts.tcb_info_signature.as_slice(),
        parts.qe_identity_issuer_chain.as_bytes(),
        parts.qe_identity.as_bytes(),
        parts.qe_identity_signature.as_slice(),
    ]
}

/// Bytes of all parts: less than the JSON form has.
fn length(of: &QuoteCollateralV3) -> usize {
    parts(of)
        .map(<[u8]>::len)
        .into_iter()
        .fold(0, usize::saturating_add)
}

fn digest(of: &QuoteCollateralV3) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts(of) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
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
    /// [`Refusal`] of ZA-301 if the TCB info names no PCE, or a part no dates,
    /// or all of them are longer than [`MAX_COLLATERAL`].
    pub fn new(mut parts: QuoteCollateralV3) -> Result<Self, Refusal> {
        parts.pck_certificate_chain = None;
        let length = length(&parts);
        if length > MAX_COLLATERAL {
            return Err(Rule::CollateralForm.refuse(
                format!("{length} bytes"),
                format!("at most {MAX_COLLATERAL}"),
            ));
        }
        let form =
            |found: &str| Rule::CollateralForm.refuse(found, "TCB info with fmspc and pceId");
        let info = Part::read(&parts.tcb_info, "TCB info")?;
        let mut pce_id = [0; 2];
        hex::decode_to_slice(info.pce_id.as_deref().unwrap_or_default(), &mut pce_id)
            .map_err(|error| form("another pceId").because(error))?;
        let identity = Part::read(&parts.qe_identity, "QE identity")?;
        let (tcb_info, qe_identity) = (info.dates()?, identity.dates()?);
        let (one, other) = (info.evaluation()?, identity.evaluation()?);
        let fmspc = info.fmspc.ok_or_else(|| form("TCB info of no platform"))?;
        Ok(Self {
            digest: digest(&parts),
            parts,
            pce_id,
            fmspc,
            evaluations: (one.min(other), one.max(other)),
            qe_evaluation: other,
            tcb_info,
            qe_identity,
        })
    }

    /// When the older of TCB info and QE identity was issued.
    pub(crate) const fn issued(&self) -> u64 {
        let (info, identity) = (self.tcb_info.0, self.qe_identity.0);
        if info < identity { info } else { identity }
    }

    /// The model of platform that it is of, 6 bytes, if it is one.
    pub(crate) fn model(&self) -> Option<[u8; 6]> {
        let mut model = [0; 6];
        hex::decode_to_slice(&self.fmspc, &mut model).ok()?;
        Some(model)
    }

    /// The model of platform that it is of, in its own words, shortened. Not
    /// verified.
    #[must_use]
    pub fn fmspc(&self) -> String {
        self.fmspc.escape_debug().take(64).collect()
    }

    /// The PCE that it is of. Not verified.
    #[must_use]
    pub const fn pce_id(&self) -> [u8; 2] {
        self.pce_id
    }

    /// When the TCB info is in force, if it says so. Not verified.
    #[must_use]
    pub fn tcb_info_window(&self) -> Option<Window> {
        serde_json::from_str(&self.parts.tcb_info).ok()
    }

    /// When the QE identity is in force, if it says so. Not verified.
    #[must_use]
    pub fn qe_identity_window(&self) -> Option<Window> {
        serde_json::from_str(&self.parts.qe_identity).ok()
    }

    /// When TCB info and QE identity are in force, for people.
    pub(crate) fn windows(&self) -> String {
        let window = |name: &str, window: Option<Window>| match window {
            Some(Window {
                issue_date,
                next_update,
            }) => format!("{name} {issue_date} to {next_update}"),
            None => format!("{name} without dates"),
        };
        let tcb = window("TCB info", self.tcb_info_window());
        let qe = window("QE identity", self.qe_identity_window());
        format!("{tcb}, {qe}")
    }
}
