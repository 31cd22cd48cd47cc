//! Where a quote comes from, as far as that can be told without collateral.
//!
//! Which collateral to fetch for a quote is written in the quote. So before a
//! stranger's quote leads to a request, it has to come from a platform that the
//! trusted root certifies: made-up ones would choose what is asked for.
//!
//! All signatures from the root down to the TD's report are verified here, in
//! the order of [`genuine`](fn@crate::genuine) and with its rules.

use core::ops::Range;

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use crate::{
    alone::root::Root,
    certification::Certification,
    ecdsa::{is_signed, is_signed_by_bare},
    platforms::{Certified, Platforms},
    quote::Quote,
    root::TrustRoot,
    rules::{Refusal, Rule},
};

/// Where a QE report names the attestation key: the first half of its
/// REPORTDATA, 32 of 64 bytes. Intel, "TDX DCAP Quoting Library API", appendix
/// A.3, "Enclave Report Body".
const NAMED: Range<usize> = 320..352;

/// Where a quote comes from: a platform that the trusted root certifies. Only
/// [`origin`] makes one.
///
/// What it does *not* say: that no certificate is revoked, that the platform's
/// TCB is up to date, and that the quoting enclave is Intel's. So only the
/// platform is authentic, not the TD: whoever owns a certified platform can run
/// an enclave of their own that quotes TDs which never were. All of that takes
/// collateral: [`genuine`](fn@crate::genuine).
#[derive(Debug, Clone)]
pub struct Origin {
    quote: Quote,
    certified: Certified,
}

impl Origin {
    /// The quote. What it says of a TD is the word of an enclave on the
    /// platform.
    #[must_use]
    pub const fn quote(&self) -> &Quote {
        &self.quote
    }

    /// Which platforms it is one of: the collateral to fetch.
    #[must_use]
    pub const fn platforms(&self) -> Platforms {
        self.certified.platforms
    }

    /// The platform's own id, 16 bytes, if its certificate has one.
    #[must_use]
    pub const fn platform_instance(&self) -> Option<[u8; 16]> {
        self.certified.instance
    }
}

/// Verifies where a quote comes from, at a time in seconds since 1970. As with
/// [`trusted_alone`](crate::trusted_alone), the dates of the root count.
///
/// # Errors
/// [`Refusal`] of ZA-101 to ZA-112, ZA-201, ZA-203 to ZA-206 or ZA-209.
pub fn origin(root: &TrustRoot, bytes: &[u8], now: u64) -> Result<Origin, Refusal> {
    let quote = Quote::parse(bytes)?;
    let certification = Certification::read(&quote, bytes)?;
    let pck = pck_key(root, &certification, now)?;
    let certified = Certified::by(&certification.leaf)?;
    check_signatures(&certification, &pck)?;
    // Last, as in `genuine`: a quote of another root is refused for what it is.
    certification.check_root(root)?;
    Ok(Origin { quote, certified })
}

/// The platform's key, if the root certifies it.
fn pck_key(
    root: &TrustRoot,
    certification: &Certification<'_>,
    now: u64,
) -> Result<Vec<u8>, Refusal> {
    let der = CertificateDer::from(root.der());
    let ca = CertificateDer::from(certification.ca.as_slice());
    let leaf = CertificateDer::from(certification.leaf.as_slice());
    // Refuses the roots that `TrustRoot::check` does.
    Root::load(&der, now)?.pck_ca(&ca)?.pck_key(&leaf)
}

/// From the platform's key to the TD's report.
fn check_signatures(certification: &Certification<'_>, pck: &[u8]) -> Result<(), Refusal> {
    let Certification {
        signed,
        signature,
        attestation_key,
        qe_report,
        qe_signature,
        authentication,
        ..
    } = certification;
    if !is_signed(pck, qe_report, qe_signature) {
        return Err(Rule::QeSignature.refuse(
            "another signature of the QE report",
            "one by the key of the PCK certificate",
        ));
    }
    let named = qe_report.get(NAMED).unwrap_or_default();
    let key = Sha256::new()
        .chain_update(attestation_key)
        .chain_update(authentication)
        .finalize();
    if named != key.as_slice() {
        return Err(Rule::QeBinding.refuse(
            format!("a QE report that names {}", hex::encode(named)),
            format!("{}, of attestation key and data", hex::encode(key)),
        ));
    }
    if !is_signed_by_bare(attestation_key, signed, signature) {
        return Err(Rule::QuoteSignature.refuse("another signature", "a valid one"));
    }
    Ok(())
}
