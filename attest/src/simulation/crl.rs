//! Certificate revocation lists of the root CA and of the PCK platform CA.

use super::{
    SimulationError,
    keys::Key,
    time::{Window, x509_time},
};
use der::{
    Encode,
    asn1::{BitString, Uint},
    referenced::OwnedToRef,
};
use p256::ecdsa::{DerSignature, signature::Signer};
use x509_cert::{
    Certificate, Version, builder,
    certificate::Rfc5280,
    crl::{CertificateList, RevokedCert, TbsCertList},
    ext::{
        ToExtension,
        pkix::{AuthorityKeyIdentifier, CrlNumber, SubjectKeyIdentifier},
    },
    serial_number::SerialNumber,
    spki::DynSignatureAlgorithmIdentifier,
};

/// CRL number of every simulated CRL, one byte: a world has one CRL per issuer, for ever.
const CRL_NUMBER: [u8; 1] = [1];

/// The DER of `issuer`'s CRL: valid throughout `window`, listing the serial numbers `revoked`.
///
/// Source: Intel SGX PCK Certificate and CRL Profile Specification; RFC 5280, 5.1. It is
/// written here and not with `x509_cert`'s `CrlBuilder`, which copies the issuer's own authority
/// key identifier and so names the wrong key for a CRL of an intermediate CA.
pub(super) fn crl(
    issuer: &Certificate,
    key: &Key,
    window: Window,
    revoked: &[u32],
) -> Result<Vec<u8>, SimulationError> {
    let from = x509_time(window.from)?;
    let public_key = issuer.tbs_certificate().subject_public_key_info();
    let issuer = issuer.tbs_certificate().subject();
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(SubjectKeyIdentifier::try_from(public_key.owned_to_ref())?.0),
        ..Default::default()
    };
    let number = CrlNumber(Uint::new(&CRL_NUMBER)?);
    let entries = revoked.iter().map(|serial| RevokedCert {
        serial_number: SerialNumber::from(*serial),
        revocation_date: from,
        crl_entry_extensions: None,
    });

    let algorithm = key.signing().signature_algorithm_identifier()?;
    let list = TbsCertList::<Rfc5280> {
        version: Version::V2,
        signature: algorithm.clone(),
        issuer: issuer.clone(),
        this_update: from,
        next_update: Some(x509_time(window.to)?),
        // RFC 5280, 5.1.2.6: absent, not empty, when nothing is revoked.
        revoked_certificates: (!revoked.is_empty()).then(|| entries.collect()),
        crl_extensions: Some(vec![
            (&number).to_extension(issuer, &[])?,
            (&authority).to_extension(issuer, &[])?,
        ]),
    };
    let signature: DerSignature = key
        .signing()
        .try_sign(&list.to_der()?)
        .map_err(builder::Error::from)?;
    let list = CertificateList {
        tbs_cert_list: list,
        signature_algorithm: algorithm,
        signature: BitString::from_bytes(signature.as_bytes())?,
    };
    Ok(list.to_der()?)
}
