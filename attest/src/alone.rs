//! Collateral verified by itself, without a quote.
//!
//! dcap-qvl verifies collateral only together with a quote, and so never
//! collateral that condemns that quote's platform. Everything but the quote is
//! verified here, in the order of Intel's "SGX DCAP Quote Verification Library"
//! (`tee_verify_quote`) and with the crates, bounds and limits of dcap-qvl:
//!
//! * certificates and their order: Intel, "SGX PCK Certificate and Certificate
//!   Revocation List Profile Specification", revision 1.5, sections 2 and 3;
//! * what TCB signing signs, and the form of the signature: Intel,
//!   "Provisioning Certification Service for ECDSA Attestation", version 4,
//!   "Get TDX TCB Info" and "Get TDX QE Identity";
//! * revocation lists: RFC 5280, section 5.
//!
//! Stricter than with a quote are: the dates of the root and the `thisUpdate`
//! of the lists count, and the chain beside the PCK CRL has to be there, since
//! no quote brings one.

use core::time::Duration;

use dcap_qvl::{QeIdentity, TcbInfo};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage as Purpose,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert, ring::ECDSA_P256_SHA256,
};
use x509_cert::{
    Certificate,
    certificate::TbsCertificate,
    crl::CertificateList,
    der::{Decode as _, Encode as _},
    ext::pkix::{BasicConstraints, KeyUsage},
};

use crate::{
    collateral::{Collateral, in_force},
    edition::Edition,
    genuine::{TrustRoot, Trusted},
    rules::{Refusal, Rule},
};

/// Most certificates of a chain that are looked at, as dcap-qvl has it.
const MAX_CHAIN: usize = 5;

/// Verifies collateral without a quote, at a time in seconds since 1970: TCB
/// info and QE identity are signed by the TCB signing certificate, which the
/// root issued; the revocation lists by the root and by the PCK CA, which the
/// root issued too; nobody of these is revoked, and everything is in force.
///
/// So collateral that says a platform is revoked or out of date can be trusted,
/// and be given to a [`Store`](crate::Store). What it does not say is that any
/// platform is good: that takes a quote, and [`genuine`](fn@crate::genuine).
///
/// # Errors
/// [`Refusal`] of ZA-201, ZA-202, ZA-203 or ZA-301 to ZA-304.
pub fn trusted_alone<'a>(
    root: &TrustRoot,
    collateral: &'a Collateral,
    now: u64,
) -> Result<Trusted<'a>, Refusal> {
    let parts = &collateral.parts;
    Edition::of(collateral)?;
    check_tcb_info(&parts.tcb_info)?;
    check_qe_identity(&parts.qe_identity)?;

    let der = CertificateDer::from(root.der());
    let root = Root::load(&der, now)?;
    let (listed, lists) = root.own_list(&parts.root_ca_crl)?;
    let signer = |chain: &str, text: &str, signature: &[u8], name: &str| {
        in_force(text, name, now)?;
        let chain = certificates(chain, name)?;
        root.check_signer(&chain, &lists, text, signature, name)
    };
    signer(
        &parts.tcb_info_issuer_chain,
        &parts.tcb_info,
        &parts.tcb_info_signature,
        "TCB info",
    )?;
    signer(
        &parts.qe_identity_issuer_chain,
        &parts.qe_identity,
        &parts.qe_identity_signature,
        "QE identity",
    )?;
    let chain = certificates(&parts.pck_crl_issuer_chain, "PCK CRL")?;
    let ca = chain.first().ok_or_else(|| empty("PCK CRL"))?;
    root.check_pck_ca(ca, &listed)?;
    check_list(&parts.pck_crl, ca, "PCK CRL", now)?;
    Ok(Trusted::new(collateral))
}

/// Intel signs SGX TCB info of the same model with the same key; it would shut
/// the TDX one out of a store.
fn check_tcb_info(text: &str) -> Result<(), Refusal> {
    let form = |found: &str| Rule::CollateralForm.refuse(found, "TDX TCB info of version 3");
    let info: TcbInfo =
        serde_json::from_str(text).map_err(|error| form("other TCB info").because(error))?;
    if info.id != "TDX" || info.version < 3 {
        return Err(form("TCB info of another kind or version"));
    }
    Ok(())
}

fn check_qe_identity(text: &str) -> Result<(), Refusal> {
    let form = |found: &str| Rule::CollateralForm.refuse(found, "TD_QE of version 2 or 3");
    let identity: QeIdentity =
        serde_json::from_str(text).map_err(|error| form("another QE identity").because(error))?;
    if identity.id != "TD_QE" || !matches!(identity.version, 2 | 3) {
        return Err(form("the identity of another enclave or version"));
    }
    Ok(())
}

/// The certificates of a chain in PEM, read as dcap-qvl reads them.
fn certificates(chain: &str, name: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let read = pem::parse_many(chain).map_err(|error| {
        Rule::CollateralForm
            .refuse(format!("another chain of the {name}"), "one in PEM")
            .because(error)
    })?;
    if read.is_empty() {
        return Err(empty(name));
    }
    if read.len() > MAX_CHAIN {
        return Err(Rule::CertificateChain.refuse(
            format!("{} certificates of the {name}", read.len()),
            format!("at most {MAX_CHAIN}"),
        ));
    }
    let read = read.into_iter();
    Ok(read.map(|pem| pem.into_contents().into()).collect())
}

fn empty(name: &str) -> Refusal {
    Rule::CertificateChain.refuse(
        format!("no certificate of the {name}'s issuer"),
        "its chain up to the root",
    )
}

fn undecodable(error: x509_cert::der::Error) -> Refusal {
    Rule::CertificateChain
        .refuse("another certificate", "one of X.509")
        .because(error)
}

fn check_dates(certificate: &TbsCertificate, name: &str, now: u64) -> Result<(), Refusal> {
    let validity = certificate.validity();
    let from = validity.not_before.to_unix_duration().as_secs();
    let to = validity.not_after.to_unix_duration().as_secs();
    if now < from || now > to {
        return Err(Rule::CertificateDates.refuse(
            format!("a certificate of the {name} from {from} to {to}"),
            format!("one that holds {now} (seconds since 1970)"),
        ));
    }
    Ok(())
}

/// Verifies a revocation list by the key and the name of its issuer.
fn check_list(
    der: &[u8],
    issuer: &CertificateDer<'_>,
    name: &str,
    now: u64,
) -> Result<(CertificateList, CertRevocationList<'static>), Refusal> {
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
    let issued = tbs.this_update.to_unix_duration().as_secs();
    // webpki has refused a list without an end.
    let expires = tbs
        .next_update
        .map_or(0, |end| end.to_unix_duration().as_secs());
    let refuse = |rule: Rule| {
        rule.refuse(
            format!("a {name} from {issued} to {expires}"),
            format!("one that holds {now} (seconds since 1970)"),
        )
    };
    if now < issued {
        return Err(refuse(Rule::CollateralFuture));
    }
    if now >= expires {
        return Err(refuse(Rule::CollateralExpired));
    }
    Ok((list, verified.into()))
}

fn unfit_issuer(error: webpki::Error) -> Refusal {
    Rule::CertificateChain
        .refuse("another certificate", "one of a CA")
        .because(error)
}

/// The trusted root, loaded.
struct Root<'a> {
    der: &'a CertificateDer<'a>,
    anchor: TrustAnchor<'a>,
    certificate: Certificate,
    now: u64,
}

impl<'a> Root<'a> {
    fn load(der: &'a CertificateDer<'a>, now: u64) -> Result<Self, Refusal> {
        let anchor = anchor_from_trusted_cert(der).map_err(unfit_issuer)?;
        let certificate: Certificate = Certificate::from_der(der).map_err(undecodable)?;
        check_dates(certificate.tbs_certificate(), "root", now)?;
        Ok(Self {
            der,
            anchor,
            certificate,
            now,
        })
    }

    /// Its revocation list, on which it must not be itself.
    fn own_list(
        &self,
        der: &[u8],
    ) -> Result<(CertificateList, [CertRevocationList<'static>; 1]), Refusal> {
        let (list, verified) = check_list(der, self.der, "root CA CRL", self.now)?;
        not_revoked(&list, self.certificate.tbs_certificate(), "root")?;
        Ok((list, [verified]))
    }

    /// Verifies the certificate of who signed a part, and the signature.
    fn check_signer(
        &self,
        chain: &[CertificateDer<'_>],
        lists: &[CertRevocationList<'_>; 1],
        text: &str,
        signature: &[u8],
        name: &str,
    ) -> Result<(), Refusal> {
        let [leaf, intermediates @ ..] = chain else {
            return Err(empty(name));
        };
        let signer = EndEntityCert::try_from(leaf).map_err(|error| unfit(error, name))?;
        let [list] = lists;
        let lists = [list];
        let revocation = RevocationOptionsBuilder::new(&lists)
            .map_err(|_| Rule::CollateralForm.refuse("no revocation list", "the root's"))?
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let anchors = [self.anchor.clone()];
        let time = UnixTime::since_unix_epoch(Duration::from_secs(self.now));
        let path = signer
            .verify_for_usage(
                &[ECDSA_P256_SHA256],
                &anchors,
                intermediates,
                time,
                // What dcap-qvl asks: no certificate of Intel's restricts it.
                Purpose::server_auth(),
                Some(revocation),
                None,
            )
            .map_err(|error| unfit(error, name))?;
        if path.intermediate_certificates().next().is_some() {
            return Err(Rule::CollateralSignature.refuse(
                format!("a signer of the {name} below another CA"),
                "one that the root issued directly",
            ));
        }
        let certificate: Certificate = Certificate::from_der(leaf).map_err(undecodable)?;
        let key = certificate.tbs_certificate().subject_public_key_info();
        let key = key.subject_public_key.raw_bytes();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
            .verify(text.as_bytes(), signature)
            .map_err(|_| {
                Rule::CollateralSignature.refuse(
                    format!("another signature of the {name}"),
                    "one of TCB signing over the very text",
                )
            })
    }

    /// Verifies the CA of PCK certificates, which the root has to have issued.
    /// webpki builds paths for end entities only.
    fn check_pck_ca(
        &self,
        der: &CertificateDer<'_>,
        list: &CertificateList,
    ) -> Result<(), Refusal> {
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
        check_dates(tbs, "PCK CA", self.now)?;
        let constraints = tbs
            .get_extension::<BasicConstraints>()
            .map_err(undecodable)?;
        let usage = tbs.get_extension::<KeyUsage>().map_err(undecodable)?;
        let signs = usage.is_some_and(|(_, usage)| usage.key_cert_sign() && usage.crl_sign());
        if !constraints.is_some_and(|(_, constraints)| constraints.ca) || !signs {
            return Err(refuse("that may not sign certificates or lists"));
        }
        not_revoked(list, tbs, "PCK CA")
    }
}

fn not_revoked(list: &CertificateList, tbs: &TbsCertificate, name: &str) -> Result<(), Refusal> {
    let revoked = list.tbs_cert_list.revoked_certificates.iter().flatten();
    let mut serials = revoked.map(|revoked| &revoked.serial_number);
    if serials.any(|serial| serial == tbs.serial_number()) {
        return Err(Rule::Revoked.refuse(
            format!("the {name} on the root CA's revocation list"),
            "one that is not",
        ));
    }
    Ok(())
}

/// The rule of what webpki says of a signer's chain.
fn unfit(error: webpki::Error, name: &str) -> Refusal {
    let (rule, found) = match &error {
        webpki::Error::CertRevoked => (Rule::Revoked, "a revoked signer"),
        webpki::Error::CertExpired { .. } => (Rule::CertificateDates, "an expired signer"),
        webpki::Error::CertNotValidYet { .. } => (Rule::CertificateDates, "a future signer"),
        webpki::Error::CrlExpired { .. } => (Rule::CollateralExpired, "an expired list"),
        _ => (Rule::CertificateChain, "another signer"),
    };
    rule.refuse(
        format!("{found} of the {name}"),
        "one that the trusted root issued and that is in force",
    )
    .because(error)
}
