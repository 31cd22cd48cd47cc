//! The rules of verification. Each has a number that never changes its
//! meaning; numbers that are missing are not used yet. For each, a test in
//! `tests/rules.rs` breaks it and no other.

use core::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal;)*) => {
        /// A rule that evidence can break.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(
                #[doc = $title]
                $(#[$doc])*
                $name,
            )*
        }

        impl Rule {
            /// All rules, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its number, `101` of ZA-101.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// What it says, as the start of a sentence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

rules! {
    // 1xx: the form of a quote.
    QuoteLength = 101, "The quote has a sensible length";
    QuoteVersion = 102, "The quote is of version 4 or 5";
    QuoteKeyType = 103, "The attestation key is ECDSA over P-256";
    QuoteTee = 104, "The quote is of a TD";
    QuoteVendor = 105, "The quoting enclave is Intel's";
    QuoteBody = 106, "The report has the size of its type";
    QuoteTruncated = 107, "The quote is whole";
    QuoteTrailing = 108, "Nothing but padding follows the quote";
    QuoteUndecodable = 109, "The quote and its certification data decode";
    CertificationType = 110, "The certification data is of type 6, that inside of it of type 5";
    CertificationTrailing = 111, "Nothing follows the certification data, nor that inside of it";
    ChainForm = 112, "The PCK chain is PCK, CA and root in plain PEM";

    // 2xx: the quote is genuine.
    CertificateChain = 201, "Every certificate chain leads to the trusted root";
    Revoked = 202, "No certificate is revoked";
    CertificateDates = 203, "All certificates are in force";
    QeSignature = 204, "The PCK key signed the quoting enclave's report";
    QeBinding = 205, "The quoting enclave's report names the attestation key";
    QuoteSignature = 206, "The attestation key signed the quote";
    QeIdentity = 207, "The quoting enclave is the one that Intel describes";
    ModuleIdentity = 208, "The TDX module is one that Intel describes";
    ChainRoot = 209, "The root in the PCK chain is the trusted one, byte for byte";

    // 3xx: collateral.
    CollateralForm = 301, "The collateral decodes";
    CollateralFuture = 302, "The collateral is issued already";
    CollateralExpired = 303, "The collateral, revocation lists included, has not expired";
    CollateralSignature = 304, "The collateral is signed under the trusted root";
    CollateralFmspc = 305, "The collateral is of this model of platform (FMSPC)";
    CollateralPceId = 306, "The collateral is of this platform's PCE";
    CollateralAge = 307, "The collateral is young enough for the policy";
    CollateralEvaluation = 308, "The collateral's TCB evaluation is recent enough for the policy";
    CollateralTrack = 309, "The collateral's TCB evaluation is of the policy's track";
    CollateralChain = 310, "The chain beside the PCK CRL is that of the quote";
    CollateralUnasked = 311, "The process's own source has answered for this model of platform";

    // 4xx: the platform's TCB.
    TcbUnknown = 401, "The platform is at a TCB level that Intel lists";
    TcbRevoked = 402, "The platform's TCB level is not revoked";
    TcbStatus = 403, "The policy accepts the platform's TCB status";
    TcbAdvisory = 404, "The policy accepts the platform's advisories";
    PlatformFlags = 405, "The policy accepts SMT, dynamic platforms and cached keys";
    PlatformUnlisted = 406, "The platform is on the policy's list";
    SgxType = 407, "The policy accepts how the platform protects its memory (SGX type)";
    ServerUnlisted = 408, "The peer is a server of the policy, if it names servers";
    ServerPlatform = 409, "The server runs on a platform that the policy names for it";
    PlatformExpected = 410, "The guest runs on a platform that its giver expects";

    // 5xx: how the TD was launched.
    Debug = 501, "The TD is not in debug mode";
    Attributes = 502, "TDATTRIBUTES are exactly the policy's";
    Launch = 503, "TDATTRIBUTES let nobody profile, migrate or trick the TD";
    ServiceTd = 504, "No service TD is bound";
    Xfam = 505, "XFAM is one of the policy's";
    ConfigId = 506, "MRCONFIGID is the policy's";
    Owner = 507, "MROWNER is the policy's";
    OwnerConfig = 508, "MROWNERCONFIG is the policy's";
    Module = 509, "MRSEAM is on the policy's list, if it has one";

    // 6xx: measurements.
    Measurements = 601, "The measurements are those of one image and shape of the policy";
    ImageWindow = 602, "The image is in its time of use";

    // 7xx: the statement.
    StatementForm = 701, "The statement decodes";
    ReportData = 702, "REPORTDATA is the SHA-512 of the statement";
    StatementInstance = 703, "The statement is of this instance";
    StatementRole = 704, "The statement is of a server";
    StatementServer = 705, "The statement is of this server id";
    StatementPeer = 706, "The statement is of the peer that shows it";
    StatementKey = 707, "The statement names the X25519 key of the bundle";
    StatementSigning = 708, "The statement names the committee signing key of the bundle";
    StatementFuture = 709, "The statement is in force already";
    StatementExpired = 710, "The statement is still in force";
    StatementLifetime = 711, "The statement is not for longer than the policy allows";
    StatementConfig = 712, "The statement names this configuration";
    StatementNonce = 713, "The statement holds the nonce of whoever asked";
    EvidenceForm = 714, "The evidence decodes";
    StatementAnchor = 715, "The statement is under this trust root and these policy keys";
}

impl Rule {
    /// A refusal by this rule.
    #[must_use]
    pub fn refuse(self, found: impl fmt::Display, expected: impl fmt::Display) -> Refusal {
        Refusal {
            rule: self,
            found: found.to_string(),
            expected: expected.to_string(),
            source: None,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZA-{}", self.number())
    }
}

/// Why evidence is refused: the rule, what was found and what is expected.
#[derive(Debug, thiserror::Error)]
#[error("{rule} is broken ({title}): found {found}; expected {expected}", title = rule.title())]
pub struct Refusal {
    rule: Rule,
    found: String,
    expected: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Refusal {
    /// The rule that was broken.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// What was found.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What would have been right.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// With the error of a library underneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Two are the same if they say the same; what is underneath is not compared.
impl PartialEq for Refusal {
    fn eq(&self, other: &Self) -> bool {
        (self.rule, &self.found, &self.expected) == (other.rule, &other.found, &other.expected)
    }
}

impl Eq for Refusal {}
