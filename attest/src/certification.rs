//! What stands behind the report of a quote: the certificates that lead from
//! its attestation key to the root.
//!
//! Much of it is signed by nobody, and dcap-qvl passes over that: the type of
//! the outer data, bytes after the inner data, whatever PEM ignores, and the
//! root. So it would accept many forms of one quote. What is read here has one.
//!
//! Layout after the report and the length of all this, by Intel, "TDX DCAP
//! Quoting Library API", appendix A.3; integers are little endian:
//!
//! | bytes | field |
//! | ---: | --- |
//! | 64 | signature of header and report by the attestation key |
//! | 64 | attestation key |
//! | 2 | type of the certification data, 6 |
//! | 4 | its length, of all that follows |
//! | 384 | report of the quoting enclave |
//! | 64 | its signature by the PCK |
//! | 2 | length of the authentication data |
//! | | authentication data |
//! | 2 | type of the inner certification data, 5 |
//! | 4 | its length, of all that follows |
//! | | certificates of PCK, its CA and the root, in PEM |

use pem::{EncodeConfig, LineEnding, Pem};
use sha2::{Digest as _, Sha256};

use crate::{
    collateral::Collateral,
    quote::Quote,
    reader::Reader,
    root::TrustRoot,
    rules::{Refusal, Rule},
};

/// Certification data that has to be in its place.
struct Kind {
    number: u16,
    place: &'static str,
    meaning: &'static str,
}

const OUTER: Kind = Kind {
    number: 6,
    place: "certification data",
    meaning: "a QE report and what certifies it",
};

const INNER: Kind = Kind {
    number: 5,
    place: "inner certification data",
    meaning: "a PCK chain",
};

/// PEM as Intel writes it: lines of 64 characters, each ended by a line feed.
const PLAIN: EncodeConfig = EncodeConfig::new().set_line_ending(LineEnding::LF);

/// What a quote brings to be believed. Not verified.
pub(crate) struct Certification<'a> {
    /// Header and report.
    pub(crate) signed: &'a [u8],
    /// Of that, by the attestation key.
    pub(crate) signature: &'a [u8],
    pub(crate) attestation_key: &'a [u8],
    pub(crate) qe_report: [u8; 384],
    /// Of that, by the PCK.
    pub(crate) qe_signature: &'a [u8],
    /// The QE's authentication data.
    pub(crate) authentication: &'a [u8],
    /// The certificates of the PCK's CA and the root as they stand in the quote.
    above: &'a [u8],
    /// The certificate of the PCK, DER.
    pub(crate) leaf: Vec<u8>,
    /// The certificate of its CA, DER.
    pub(crate) ca: Vec<u8>,
    root: Vec<u8>,
}

impl<'a> Certification<'a> {
    /// Reads what stands behind the report of a quote.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-109 to ZA-112.
    pub(crate) fn read(quote: &Quote, bytes: &'a [u8]) -> Result<Self, Refusal> {
        let bytes = bytes.get(..quote.length).unwrap_or(bytes);
        let mut outer = Reader::new(bytes, Rule::QuoteUndecodable);
        let signed = outer.take(quote.signed_length(), "header and report")?;
        outer.u32("the length of the signature")?;
        let signature = outer.take(64, "the signature")?;
        let attestation_key = outer.take(64, "the attestation key")?;
        let outer = data(outer, &OUTER)?;

        let mut inner = Reader::new(outer, Rule::QuoteUndecodable);
        let qe_report = inner.array("the QE report")?;
        let qe_signature = inner.take(64, "the signature of the QE report")?;
        let length = inner.u16("the length of the QE's authentication data")?;
        let authentication = inner.take(length.into(), "the QE's authentication data")?;
        let chain = data(inner, &INNER)?;

        let [leaf, ca, root] = certificates(chain)?;
        // The certificates are in plain PEM, so that this is where the first ends.
        let first = pem::encode_config(&Pem::new("CERTIFICATE", leaf.as_slice()), PLAIN).len();
        let above = chain.get(first..).unwrap_or_default();
        Ok(Self {
            signed,
            signature,
            attestation_key,
            qe_report,
            qe_signature,
            authentication,
            above,
            leaf,
            ca,
            root,
        })
    }

    /// That the root in the chain is the trusted one. Nothing rests on it, and
    /// nobody would miss it: a chain leads to the trusted root or nowhere.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-209.
    pub(crate) fn check_root(&self, trusted: &TrustRoot) -> Result<(), Refusal> {
        if self.root == trusted.der() {
            return Ok(());
        }
        let name = |der: &[u8]| format!("a root with SHA-256 {}", hex::encode(Sha256::digest(der)));
        Err(Rule::ChainRoot.refuse(name(&self.root), name(trusted.der())))
    }

    /// That the chain beside the PCK CRL is the quote's own: nobody signs it as
    /// a whole, and dcap-qvl does not look at it, but whoever judges that list
    /// without a quote does. Collateral that is used with a quote has to be
    /// good enough to be kept.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-310.
    pub(crate) fn check_lists_chain(&self, collateral: &Collateral) -> Result<(), Refusal> {
        let shown = collateral.parts.pck_crl_issuer_chain.as_bytes();
        let above = self.above.strip_suffix(&[0]).unwrap_or(self.above);
        // As Intel has it; other forms of the same take longer.
        if shown.trim_ascii() == above.trim_ascii() {
            return Ok(());
        }
        let refuse = |found: String| Rule::CollateralChain.refuse(found, "its CA and the root");
        let read = pem::parse_many(shown)
            .map_err(|error| refuse("another chain".to_owned()).because(error))?;
        let read: Vec<_> = read.iter().map(Pem::contents).collect();
        if read == [self.ca.as_slice(), self.root.as_slice()] {
            return Ok(());
        }
        Err(refuse(format!("{} certificates, or others", read.len())))
    }
}

/// Type, length, data, and nothing else.
fn data<'a>(mut reader: Reader<'a>, kind: &Kind) -> Result<&'a [u8], Refusal> {
    let Kind {
        number,
        place,
        meaning,
    } = kind;
    let found = reader.u16("the type of certification data")?;
    if found != *number {
        return Err(Rule::CertificationType.refuse(
            format!("{place} of type {found:#06x}"),
            format!("type {number:#06x}, {meaning}"),
        ));
    }
    let length = reader.u32("the length of certification data")? as usize;
    let data = reader.take(length, place)?;
    let left = reader.rest().len();
    if left > 0 {
        return Err(Rule::CertificationTrailing.refuse(
            format!("{left} bytes after the {length} of the {place}"),
            "none",
        ));
    }
    Ok(data)
}

/// The certificates of PCK, CA and root. A NUL may end the chain, as it does in
/// genuine quotes.
fn certificates(chain: &[u8]) -> Result<[Vec<u8>; 3], Refusal> {
    let chain = chain.strip_suffix(&[0]).unwrap_or(chain);
    let read = pem::parse_many(chain).map_err(|error| {
        Rule::QuoteUndecodable
            .refuse("another PCK chain", "certificates in PEM")
            .because(error)
    })?;
    let read: Vec<_> = read.into_iter().map(Pem::into_contents).collect();
    let certificates = <[Vec<u8>; 3]>::try_from(read).map_err(|read| {
        Rule::ChainForm.refuse(
            format!("{} certificates", read.len()),
            "3: PCK, its CA and the root",
        )
    })?;
    let plain: String = certificates
        .iter()
        .map(|der| pem::encode_config(&Pem::new("CERTIFICATE", der.as_slice()), PLAIN))
        .collect();
    let plain = plain.as_bytes();
    if plain == chain {
        return Ok(certificates);
    }
    let same = plain.iter().zip(chain).take_while(|(a, b)| a == b).count();
    let then = |text: &[u8]| match text.get(same) {
        Some(byte) => format!("{byte:#04x} as byte {same} of the PCK chain"),
        None => format!("a PCK chain of {same} bytes"),
    };
    Err(Rule::ChainForm.refuse(then(chain), then(plain)))
}
