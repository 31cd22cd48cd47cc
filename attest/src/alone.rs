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

mod lists;
pub(crate) mod root;

use dcap_qvl::{QeIdentity, TcbInfo};
use rustls_pki_types::CertificateDer;

use crate::{
    collateral::{Collateral, in_force},
    edition::Edition,
    genuine::{TrustRoot, Trusted},
    rules::{Refusal, Rule},
};
use lists::check_list;
use root::Root;

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
    let roots = root.own_list(&parts.root_ca_crl)?;
    let signed = |chain: &str, text: &str, signature: &[u8], name: &str, dates: (u64, u64)| {
        let expires = in_force(dates, name, now)?;
        let chain = certificates(chain, name)?;
        let signer = root.check_signer(&chain, &roots, text, signature, name)?;
        Ok(signer.min(expires))
    };
    let tcb_info = signed(
        &parts.tcb_info_issuer_chain,
        &parts.tcb_info,
        &parts.tcb_info_signature,
        "TCB info",
        collateral.tcb_info,
    )?;
    let qe_identity = signed(
        &parts.qe_identity_issuer_chain,
        &parts.qe_identity,
        &parts.qe_identity_signature,
        "QE identity",
        collateral.qe_identity,
    )?;
    let chain = certificates(&parts.pck_crl_issuer_chain, "PCK CRL")?;
    let pck_ca = chain.first().ok_or_else(|| empty("PCK CRL"))?;
    let ca = root.pck_ca(pck_ca)?;
    ca.not_revoked(&roots)?;
    let pcks = check_list(&parts.pck_crl, pck_ca, "PCK CRL", now)?;
    let ends = [
        root.expires,
        roots.expires,
        tcb_info,
        qe_identity,
        pcks.expires,
    ];
    Ok(Trusted::new(
        collateral,
        now,
        ends.into_iter().fold(ca.expires, u64::min),
    ))
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
