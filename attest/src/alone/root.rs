//! The root, and what it has to have issued directly.

use core::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    EndEntityCert, ExpirationPolicy, KeyUsage as Purpose, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
    ring::ECDSA_P256_SHA256,
};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
    ext::pkix::{BasicConstraints, KeyUsage},
};

use super::{
    empty,
    lists::{Verified, check_dates, check_list, not_revoked, undecodable, unfit_issuer},
};
use crate::{
    ecdsa::is_signed,
    rules::{Refusal, Rule},
};

/// The trusted root, loaded.
pub(crate) struct Root<'a> {
    der: &'a CertificateDer<'a>,
    anchor: TrustAnchor<'a>,
    certificate: Certificate,
    now: u64,
    /// When it ends, seconds since 1970.
    pub(super) expires: u64,
}

impl<'a> Root<'a> {
    pub(crate) fn load(der: &'a CertificateDer<'a>, now: u64) -> Result<Self, Refusal> {
        let anchor = anchor_from_trusted_cert(der).map_err(unfit_issuer)?;
        let certificate: Certificate = Certificate::from_der(der).map_err(undecodable)?;
        let tbs = certificate.tbs_certificate();
        if tbs.issuer() != tbs.subject() {
            return Err(Rule::CertificateChain.refuse("another root", "a self-issued certificate"));
        }
        let expires = check_dates(tbs, "root", now)?;
        Ok(Self {
            der,
            anchor,
            certificate,
            now,
            expires,
        })
    }

    /// Its revocation list, on which it must not be itself.
    pub(super) fn own_list(&self, der: &[u8]) -> Result<Verified, Refusal> {
        let verified = check_list(der, self.der, "root CA CRL", self.now)?;
        not_revoked(&verified, self.certificate.tbs_certificate(), "root")?;
        Ok(verified)
    }

    /// Verifies the certificate of who signed a part, and the signature. Says
    /// when the certificate ends.
    pub(super) fn check_signer(
        &self,
        chain: &[CertificateDer<'_>],
        revoked: &Verified,
        text: &str,
        signature: &[u8],
        name: &str,
    ) -> Result<u64, Refusal> {
        let [leaf, intermediates @ ..] = chain else {
            return Err(empty(name));
        };
        let unfit = |error| unfit(error, name, "trusted root");
        let signer = EndEntityCert::try_from(leaf).map_err(unfit)?;
        let lists = [&revoked.webpki];
        let revocation = RevocationOptionsBuilder::new(&lists)
            .map_err(|_| Rule::CollateralForm.refuse("no revocation list", "the root's"))?
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let anchors = [self.anchor.clone()];
        let path =
            path(&signer, &anchors, intermediates, self.now, Some(revocation)).map_err(unfit)?;
        if path.intermediate_certificates().next().is_some() {
            return Err(Rule::CollateralSignature.refuse(
                format!("a signer of the {name} below another CA"),
                "one that the root issued directly",
            ));
        }
        let certificate: Certificate = Certificate::from_der(leaf).map_err(undecodable)?;
        let tbs = certificate.tbs_certificate();
        let key = &tbs.subject_public_key_info().subject_public_key;
        if !is_signed(key.raw_bytes(), text.as_bytes(), signature) {
            return Err(Rule::CollateralSignature.refuse(
                format!("another signature of the {name}"),
                "one of TCB signing over the very text",
            ));
        }
        check_dates(tbs, name, self.now)
    }

    /// Verifies the CA of PCK certificates, which the root has to have issued.
    /// webpki builds paths for end entities only. Whether it is revoked is left
    /// to [`PckCa::not_revoked`].
    pub(crate) fn pck_ca<'b>(&self, der: &'b CertificateDer<'b>) -> Result<PckCa<'b>, Refusal> {
        let refuse = |found: &str| {
            Rule::CertificateChain.refuse(
                format!("a PCK CA {found}"),
                "one that the trusted root issued to sign certificates and lists",
            )
        };
        let certificate: Certificate = Certificate::from_der(der).map_err(undecodable)?;
        let tbs = certificate.tbs_certificate();
        if tbs.issuer() != self.certificate.tbs_certificate().subject() {
            return Err(refuse("of another issuer"));
        }
        if certificate.signature_algorithm() != tbs.signature() {
            return Err(refuse("with two algorithms of signature"));
        }
        // What is signed is what was read: DER has one form.
        let signed = tbs.to_der().map_err(undecodable)?;
        EndEntityCert::try_from(self.der)
            .and_then(|root| {
                let signature = certificate.signature().raw_bytes();
                root.verify_signature(ECDSA_P256_SHA256, &signed, signature)
            })
            .map_err(|error| refuse("that the root did not sign").because(error))?;
        let expires = check_dates(tbs, "PCK CA", self.now)?;
        let constraints = tbs
            .get_extension::<BasicConstraints>()
            .map_err(undecodable)?;
        let usage = tbs.get_extension::<KeyUsage>().map_err(undecodable)?;
        let signs = usage.is_some_and(|(_, usage)| usage.key_cert_sign() && usage.crl_sign());
        if !constraints.is_some_and(|(_, constraints)| constraints.ca) || !signs {
            return Err(refuse("that may not sign certificates or lists"));
        }
        Ok(PckCa {
            der,
            certificate,
            now: self.now,
            expires,
        })
    }
}

/// A CA of PCK certificates that the root issued, and that is in force.
pub(crate) struct PckCa<'a> {
    der: &'a CertificateDer<'a>,
    certificate: Certificate,
    now: u64,
    /// When it ends, seconds since 1970.
    pub(super) expires: u64,
}

impl PckCa<'_> {
    /// That it is not on the root's list.
    pub(super) fn not_revoked(&self, by: &Verified) -> Result<(), Refusal> {
        not_revoked(by, self.certificate.tbs_certificate(), "PCK CA")
    }

    /// Verifies a PCK certificate, but not that it is not revoked. Yields its
    /// key: a byte 4, x and y.
    pub(crate) fn pck_key(&self, der: &CertificateDer<'_>) -> Result<Vec<u8>, Refusal> {
        let leaf = EndEntityCert::try_from(der).map_err(|error| {
            Rule::QuoteUndecodable
                .refuse("another certificate", "a PCK certificate")
                .because(error)
        })?;
        // Who was verified is the anchor: so nobody else is between.
        let anchors = [anchor_from_trusted_cert(self.der).map_err(unfit_issuer)?];
        path(&leaf, &anchors, &[], self.now, None)
            .map_err(|error| unfit(error, "QE report", "PCK CA"))?;
        let certificate: Certificate = Certificate::from_der(der).map_err(undecodable)?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        Ok(info.subject_public_key.raw_bytes().to_vec())
    }
}

/// The path of a certificate to an anchor, by the one algorithm of Intel's.
fn path<'p>(
    certificate: &'p EndEntityCert<'p>,
    anchors: &'p [TrustAnchor<'p>],
    intermediates: &'p [CertificateDer<'p>],
    now: u64,
    revocation: Option<RevocationOptions<'_>>,
) -> Result<VerifiedPath<'p>, webpki::Error> {
    certificate.verify_for_usage(
        &[ECDSA_P256_SHA256],
        anchors,
        intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(now)),
        // What dcap-qvl asks: no certificate of Intel's restricts it.
        Purpose::server_auth(),
        revocation,
        None,
    )
}

/// The rule of what webpki says of a signer's chain.
fn unfit(error: webpki::Error, name: &str, issuer: &str) -> Refusal {
    let (rule, found) = match &error {
        webpki::Error::CertRevoked => (Rule::Revoked, "a revoked signer"),
        webpki::Error::CertExpired { .. } => (Rule::CertificateDates, "an expired signer"),
        webpki::Error::CertNotValidYet { .. } => (Rule::CertificateDates, "a future signer"),
        webpki::Error::CrlExpired { .. } => (Rule::CollateralExpired, "an expired list"),
        _ => (Rule::CertificateChain, "another signer"),
    };
    rule.refuse(
        format!("{found} of the {name}"),
        format!("one that the {issuer} issued and that is in force"),
    )
    .because(error)
}
