//! Whether a quote is genuine: made by Intel's quoting enclave on a platform
//! that Intel has not revoked, and of a TD that was launched safely.
//!
//! dcap-qvl verifies signatures, certificates, revocation lists, TCB and QE
//! identity; this adds what it leaves out and gives each refusal its rule.

use dcap_qvl::{PckCertFlag, Policy, QuoteClaims, TcbStatus, verify::QuoteVerifier};

use crate::{
    certification::Certification,
    collateral::Collateral,
    quote::Quote,
    rules::{Refusal, Rule},
    tcb::SgxType,
};

pub use crate::root::TrustRoot;

/// A genuine quote. Only [`genuine`] makes one. What it does *not* say: that
/// the platform's TCB is up to date ([`Genuine::status`]), and that the TD runs
/// any particular software.
#[derive(Debug, Clone)]
pub struct Genuine {
    quote: Quote,
    claims: QuoteClaims,
    issued: u64,
    highest_evaluation: u32,
}

impl Genuine {
    /// Whether every date that was checked holds at another time too. On the
    /// last second parts of the collateral differ: then it has to be asked.
    pub(crate) const fn holds_at(&self, now: u64) -> bool {
        self.claims.latest_issue_date <= now && now < self.claims.earliest_expiration_date
    }

    /// The same platform with another TD, whose signature was checked. `None`
    /// if dcap-qvl cannot read the quote.
    pub(crate) fn of_another_td(mut self, quote: Quote, bytes: &[u8]) -> Option<Self> {
        let read = dcap_qvl::quote::Quote::parse(bytes).ok()?;
        self.claims.report = read.report;
        self.quote = quote;
        Some(self)
    }

    /// The quote.
    #[must_use]
    pub const fn quote(&self) -> &Quote {
        &self.quote
    }

    /// How Intel rates the platform.
    #[must_use]
    pub const fn status(&self) -> TcbStatus {
        self.claims.tcb.status
    }

    /// Intel's advisories that the platform is open to: those of the level at
    /// which the TD was launched, of the current one, and of the quoting enclave.
    #[must_use]
    pub fn advisories(&self) -> &[String] {
        &self.claims.tcb.advisory_ids
    }

    /// Number of the TCB evaluation that the rating is from.
    #[must_use]
    pub const fn evaluation(&self) -> u32 {
        self.claims.tcb.eval_data_number
    }

    /// The higher of the numbers that TCB info and QE identity have.
    #[must_use]
    pub const fn highest_evaluation(&self) -> u32 {
        self.highest_evaluation
    }

    /// How the platform protects its memory; `None` for a type that Intel's specification does
    /// not have.
    #[must_use]
    pub const fn sgx_type(&self) -> Option<SgxType> {
        SgxType::of(self.claims.platform.pck.sgx_type)
    }

    /// The model of the platform, 6 bytes.
    #[must_use]
    pub const fn fmspc(&self) -> [u8; 6] {
        self.claims.platform.pck.fmspc
    }

    /// The platform's own id, 16 bytes, if its certificate has one.
    #[must_use]
    pub const fn platform_instance(&self) -> Option<[u8; 16]> {
        self.claims.platform.pck.platform_instance_id
    }

    /// Whether hyperthreading is on, as the platform was registered.
    #[must_use]
    pub fn smt(&self) -> bool {
        self.claims.platform.pck.smt_enabled == PckCertFlag::True
    }

    /// Whether packages may be added to the platform.
    #[must_use]
    pub fn dynamic_platform(&self) -> bool {
        self.claims.platform.pck.dynamic_platform == PckCertFlag::True
    }

    /// Whether the platform's keys are cached by Intel's registration service.
    #[must_use]
    pub fn cached_keys(&self) -> bool {
        self.claims.platform.pck.cached_keys == PckCertFlag::True
    }

    /// When the older of TCB info and QE identity was issued, seconds since
    /// 1970.
    #[must_use]
    pub const fn issued(&self) -> u64 {
        self.issued
    }

    /// When the newest of all that was verified was issued, seconds since 1970: collateral,
    /// revocation lists, and the certificates of the platform. That time has passed.
    #[must_use]
    pub const fn latest_issued(&self) -> u64 {
        self.claims.latest_issue_date
    }

    /// When the first part of the collateral expires, seconds since 1970.
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.claims.earliest_expiration_date
    }
}

/// Judges nothing: that is the policy's job, with the claims in hand.
struct Claims;

impl Policy for Claims {
    fn validate(&self, _: &QuoteClaims) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Verifies that a quote is genuine, with the collateral of its platform, at a
/// time in seconds since 1970.
///
/// # Errors
/// [`Refusal`] of a rule of ZA-1xx to ZA-4xx, or of ZA-501, ZA-503, ZA-504.
pub fn genuine(
    root: &TrustRoot,
    bytes: &[u8],
    collateral: &Collateral,
    now: u64,
) -> Result<Genuine, Refusal> {
    verify(root, bytes, collateral, now, |_| Ok(()))
}

/// [`genuine`], with collateral every part of which is signed or known: also the
/// chain beside the PCK CRL, which dcap-qvl does not look at. Collateral that is
/// judged by has to be good enough to be kept, so that it is replaced when there
/// is something newer.
///
/// # Errors
/// As [`genuine`], or of ZA-310.
pub(crate) fn whole(
    root: &TrustRoot,
    bytes: &[u8],
    collateral: &Collateral,
    now: u64,
) -> Result<Genuine, Refusal> {
    verify(root, bytes, collateral, now, |certification| {
        certification.check_lists_chain(collateral)
    })
}

fn verify(
    root: &TrustRoot,
    bytes: &[u8],
    collateral: &Collateral,
    now: u64,
    besides: impl FnOnce(&Certification<'_>) -> Result<(), Refusal>,
) -> Result<Genuine, Refusal> {
    let quote = Quote::parse(bytes)?;
    root.check()?;
    let certification = Certification::read(&quote, bytes)?;
    let verifier = match root {
        TrustRoot::Intel => QuoteVerifier::new_prod(),
        TrustRoot::Other(der) => QuoteVerifier::new(der.clone()),
    };
    let signed = bytes.get(..quote.length).unwrap_or(bytes);
    let mut claims = verifier
        .verify_with_policy(signed, &collateral.parts, now, &Claims)
        .map_err(|error| refusal(error, &quote, collateral, now))?;
    // Last, so that a quote of another root is refused for what it is.
    certification.check_root(root)?;
    besides(&certification)?;
    // dcap-qvl compares the FMSPC, but not this.
    let pck = &claims.platform.pck.pce_id;
    if pck[..] != collateral.pce_id[..] {
        return Err(Rule::CollateralPceId.refuse(hex::encode(collateral.pce_id), hex::encode(pck)));
    }
    // dcap-qvl's union leaves out the level that the platform is at by now.
    let now = claims.platform.current_tcb_level.iter();
    for advisory in now.flat_map(|level| &level.advisory_ids) {
        if !claims.tcb.advisory_ids.contains(advisory) {
            claims.tcb.advisory_ids.push(advisory.clone());
        }
    }
    Ok(Genuine {
        quote,
        claims,
        issued: collateral.issued(),
        highest_evaluation: collateral.evaluations.1,
    })
}

/// Collateral whose every signed part has been verified: TCB info, QE identity
/// and both revocation lists. Only [`trusted`], with a genuine quote, and
/// [`trusted_alone`](crate::trusted_alone), without one, make one.
///
/// It borrows the very collateral that was verified, so that no other can take
/// its place.
#[derive(Debug, Clone, Copy)]
pub struct Trusted<'a> {
    collateral: &'a Collateral,
    at: u64,
    expires: u64,
}

impl<'a> Trusted<'a> {
    /// For who has verified all of it.
    pub(crate) const fn new(collateral: &'a Collateral, at: u64, expires: u64) -> Self {
        Self {
            collateral,
            at,
            expires,
        }
    }

    /// What was verified.
    #[must_use]
    pub const fn collateral(self) -> &'a Collateral {
        self.collateral
    }

    /// For which time it was verified, seconds since 1970.
    #[must_use]
    pub const fn at(self) -> u64 {
        self.at
    }

    /// When the first of everything that was verified expires, seconds since
    /// 1970: TCB info, QE identity, a revocation list or a certificate.
    #[must_use]
    pub const fn expires(self) -> u64 {
        self.expires
    }
}

/// [`genuine`], with the proof that the collateral is to be trusted as well,
/// as [`Store::put`](crate::Store::put) demands it.
///
/// # Errors
/// As [`genuine`].
pub fn trusted<'a>(
    root: &TrustRoot,
    bytes: &[u8],
    collateral: &'a Collateral,
    now: u64,
) -> Result<(Genuine, Trusted<'a>), Refusal> {
    let found = genuine(root, bytes, collateral, now)?;
    let expires = found.expires();
    Ok((found, Trusted::new(collateral, now, expires)))
}

/// What dcap-qvl 0.7.1 says, and which rule that is. The first line that fits
/// counts.
const SAYINGS: &[(&str, Rule)] = &[
    // Says of the quoting enclave what the next line says of the TD.
    ("QE report validation failed", Rule::QeIdentity),
    ("Debug mode is enabled", Rule::Debug),
    ("TD profiling is enabled", Rule::Launch),
    ("Reserved bits in TD attributes", Rule::Launch),
    ("TD migration is enabled", Rule::Launch),
    ("SERVTD_EXT is enabled", Rule::Launch),
    ("SEPT_VE_DISABLE is not enabled", Rule::Launch),
    ("Invalid MR service TD", Rule::ServiceTd),
    ("issue date is in the future", Rule::CollateralFuture),
    ("TCBInfo expired", Rule::CollateralExpired),
    ("QE Identity expired", Rule::CollateralExpired),
    (
        "Signature is invalid for tcb_info",
        Rule::CollateralSignature,
    ),
    (
        "Signature is invalid for qe_identity",
        Rule::CollateralSignature,
    ),
    (
        "must be issued directly by the root CA",
        Rule::CollateralSignature,
    ),
    ("Signature is invalid for qe_report", Rule::QeSignature),
    ("QE report hash mismatch", Rule::QeBinding),
    ("ISV enclave report signature", Rule::QuoteSignature),
    ("Fmspc mismatch", Rule::CollateralFmspc),
    ("TCB status is invalid: Revoked", Rule::TcbRevoked),
    ("No matching TCB level found", Rule::TcbUnknown),
    ("Unrecognized TCB status", Rule::TcbUnknown),
    ("QE MRSIGNER mismatch", Rule::QeIdentity),
    ("QE ISVPRODID mismatch", Rule::QeIdentity),
    ("QE MISCSELECT mismatch", Rule::QeIdentity),
    ("QE ATTRIBUTES mismatch", Rule::QeIdentity),
    ("from QE Identity", Rule::QeIdentity),
    ("TDX module", Rule::ModuleIdentity),
    ("InvalidCrlSignature", Rule::CollateralSignature),
    ("CertRevoked", Rule::Revoked),
    ("CertExpired", Rule::CertificateDates),
    ("CertNotValidYet", Rule::CertificateDates),
    ("CrlExpired", Rule::CollateralExpired),
    ("Failed to load root ca", Rule::CertificateChain),
    ("Failed to verify certificate chain", Rule::CertificateChain),
    (
        "Certificate chain is too short in quote",
        Rule::CertificateChain,
    ),
    ("Too many intermediate certificates", Rule::CertificateChain),
    (
        "Certificate chain is too short for",
        Rule::CollateralSignature,
    ),
    ("Failed to decode quote", Rule::QuoteUndecodable),
    ("in quote", Rule::QuoteUndecodable),
    ("PCK cert", Rule::QuoteUndecodable),
    ("from quote", Rule::QuoteUndecodable),
    ("QE auth data", Rule::QuoteUndecodable),
    ("TCB info in the collateral", Rule::CollateralForm),
    ("TcbInfo", Rule::CollateralForm),
    ("TCB Info", Rule::CollateralForm),
    ("QeIdentity", Rule::CollateralForm),
    ("QE Identity", Rule::CollateralForm),
    ("CRL", Rule::CollateralForm),
];

/// The rule of what dcap-qvl says, with values where they tell more.
fn refusal(error: anyhow::Error, quote: &Quote, collateral: &Collateral, now: u64) -> Refusal {
    let said = format!("{error:#}");
    let rule = SAYINGS
        .iter()
        .find(|(words, _)| said.contains(words))
        .map_or(Rule::QuoteUndecodable, |(_, rule)| *rule);
    let report = &quote.report;
    let (found, expected) = match rule {
        Rule::Debug | Rule::Launch => (
            hex::encode(report.td_attributes),
            "0000001000000000, SEPT_VE_DISABLE alone".to_owned(),
        ),
        Rule::ServiceTd => (
            report.mr_service_td.map(hex::encode).unwrap_or_default(),
            "zeros".to_owned(),
        ),
        Rule::CollateralFuture | Rule::CollateralExpired => (
            collateral.windows(),
            format!("windows that hold {now} (seconds since 1970)"),
        ),
        Rule::CollateralFmspc => (
            collateral.fmspc(),
            "the model that the quote's PCK certificate names".to_owned(),
        ),
        _ => differing(&said)
            .unwrap_or_else(|| (error.root_cause().to_string(), "a valid one".to_owned())),
    };
    rule.refuse(found, expected).because(error)
}

/// The values in `... expected A, got B`.
fn differing(said: &str) -> Option<(String, String)> {
    let (_, rest) = said.split_once("expected ")?;
    let (expected, found) = rest.split_once(", got ")?;
    Some((found.to_owned(), expected.to_owned()))
}
