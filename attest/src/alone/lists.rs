//! Revocation lists and the dates of certificates.

use rustls_pki_types::CertificateDer;
use webpki::{
    CertRevocationList, OwnedCertRevocationList, anchor_from_trusted_cert, ring::ECDSA_P256_SHA256,
};
use x509_cert::{Certificate, certificate::TbsCertificate, crl::CertificateList, der::Decode as _};

use crate::rules::{Refusal, Rule};

/// A revocation list that its issuer signed and that is in force.
pub(super) struct Verified {
    pub(super) list: CertificateList,
    /// The same, for webpki.
    pub(super) webpki: CertRevocationList<'static>,
    /// When it ends, seconds since 1970.
    pub(super) expires: u64,
}

pub(super) fn undecodable(error: x509_cert::der::Error) -> Refusal {
    Rule::CertificateChain
        .refuse("another certificate", "one of X.509")
        .because(error)
}

/// When a certificate ends, seconds since 1970, if it is in force.
pub(super) fn check_dates(
    certificate: &TbsCertificate,
    name: &str,
    now: u64,
) -> Result<u64, Refusal> {
    let validity = certificate.validity();
    let from = validity.not_before.to_unix_duration().as_secs();
    let to = validity.not_after.to_unix_duration().as_secs();
    if now < from || now > to {
        return Err(Rule::CertificateDates.refuse(
            format!("a certificate of the {name} from {from} to {to}"),
            format!("one that holds {now} (seconds since 1970)"),
        ));
    }
    Ok(to)
}

/// Verifies a revocation list by the key and the name of its issuer.
pub(super) fn check_list(
    der: &[u8],
    issuer: &CertificateDer<'_>,
    name: &str,
    now: u64,
) -> Result<Verified, Refusal> {
    let form = || Rule::CollateralForm.refuse(format!("another {name}"), "an X.509 CRL");
    let by_issuer =
        |found: &str| Rule::CollateralSignature.refuse(format!("a {name} {found}"), "its issuer's");
    let anchor = anchor_from_trusted_cert(issuer).map_err(unfit_issuer)?;
    let key = &anchor.subject_public_key_info;
    let verified = OwnedCertRevocationList::from_der_verified(der, key, &[ECDSA_P256_SHA256]);
    let verified = verified.map_err(|error| match error {
        webpki::Error::InvalidCrlSignatureForPublicKey
        | webpki::Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            by_issuer("of another key").because(error)
        }
        error => form().because(error),
    })?;
    let list: CertificateList =
        CertificateList::from_der(der).map_err(|error| form().because(error))?;
    let certificate: Certificate = Certificate::from_der(issuer).map_err(undecodable)?;
    let tbs = &list.tbs_cert_list;
    if &tbs.issuer != certificate.tbs_certificate().subject() {
        return Err(by_issuer("of another name"));
    }
    let from = tbs.this_update.to_unix_duration().as_secs();
    // webpki has refused a list without an end.
    let to = tbs
        .next_update
        .map_or(0, |end| end.to_unix_duration().as_secs());
    let refuse = |rule: Rule| {
        rule.refuse(
            format!("a {name} from {from} to {to}"),
            format!("one that holds {now} (seconds since 1970)"),
        )
    };
    if now < from {
        return Err(refuse(Rule::CollateralFuture));
    }
    if now >= to {
        return Err(refuse(Rule::CollateralExpired));
    }
    Ok(Verified {
        list,
        webpki: verified.into(),
        expires: to,
    })
}

pub(super) fn unfit_issuer(error: webpki::Error) -> Refusal {
    Rule::CertificateChain
        .refuse("another certificate", "one of a CA")
        .because(error)
}

/// That no list names a certificate; both serials are read by one parser.
pub(super) fn not_revoked(by: &Verified, tbs: &TbsCertificate, name: &str) -> Result<(), Refusal> {
    let revoked = by.list.tbs_cert_list.revoked_certificates.iter().flatten();
    let mut serials = revoked.map(|revoked| &revoked.serial_number);
    if serials.any(|serial| serial == tbs.serial_number()) {
        return Err(Rule::Revoked.refuse(
            format!("the {name} on the root CA's revocation list"),
            "one that is not",
        ));
    }
    Ok(())
}
