//! The root that certificates have to lead to.

use x509_cert::{Certificate, der::Decode as _};

use crate::rules::{Refusal, Rule};

/// Whose word ends every certificate chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustRoot {
    /// Intel's SGX root CA.
    Intel,
    /// Another one, DER. Whoever has its key can make any quote.
    Other(Vec<u8>),
}

/// Intel SGX Root CA, DER, as published on certificates.trustedservices.intel.com.
const INTEL: &[u8] = include_bytes!("intel-root-ca.der");

impl TrustRoot {
    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        match self {
            Self::Intel => INTEL,
            Self::Other(der) => der,
        }
    }

    /// A root that another CA issued would be a panic in webpki, below
    /// dcap-qvl, as soon as it is looked for on its own revocation list.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let Self::Other(der) = self else {
            return Ok(());
        };
        let refuse = || Rule::CertificateChain.refuse("another root", "a self-issued certificate");
        let root: Certificate =
            Certificate::from_der(der).map_err(|error| refuse().because(error))?;
        let root = root.tbs_certificate();
        if root.issuer() == root.subject() {
            Ok(())
        } else {
            Err(refuse())
        }
    }
}
