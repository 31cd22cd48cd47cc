//! For which platforms collateral is.

use core::{fmt, str::FromStr};

use dcap_qvl::intel::parse_pck_extension;
use x509_cert::{Certificate, der::Decode as _};

use crate::{
    certification::Certification,
    quote::Quote,
    rules::{Refusal, Rule},
};

/// Which of Intel's two CAs certifies a platform's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ca {
    /// Of platforms with several packages: servers.
    Platform,
    /// Of single processors.
    Processor,
}

impl fmt::Display for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        })
    }
}

/// A CA that Intel does not have.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no CA of Intel's for platforms; platform or processor would be right")]
pub struct CaError(String);

impl FromStr for Ca {
    type Err = CaError;

    fn from_str(name: &str) -> Result<Self, CaError> {
        match name {
            "platform" => Ok(Self::Platform),
            "processor" => Ok(Self::Processor),
            other => Err(CaError(other.chars().take(64).collect())),
        }
    }
}

impl Ca {
    /// By the common name of its certificate.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match (name.contains("Platform CA"), name.contains("Processor CA")) {
            (true, false) => Some(Self::Platform),
            (false, true) => Some(Self::Processor),
            _ => None,
        }
    }
}

/// For which platforms collateral is: all of one model whose keys one CA
/// certifies. Written like `00806F050000-platform`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platforms {
    /// The model, 6 bytes: family, model, stepping, platform type and custom
    /// SKU.
    pub fmspc: [u8; 6],
    /// Who certifies their keys.
    pub ca: Ca,
}

impl Platforms {
    /// Those that a TD quote says it is from, by the PCK certificate in it:
    /// which collateral to fetch for it. Not verified.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-101 to ZA-108 if it is no quote, of ZA-109 to ZA-112
    /// if it brings no PCK certificate that can be read.
    pub fn of_quote(bytes: &[u8]) -> Result<Self, Refusal> {
        let leaf = Certification::read(&Quote::parse(bytes)?, bytes)?.leaf;
        Ok(Certified::by(&leaf)?.platforms)
    }
}

/// The platform that a PCK certificate is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Certified {
    pub(crate) platforms: Platforms,
    /// Its own id, if the certificate has one.
    pub(crate) instance: Option<[u8; 16]>,
}

impl Certified {
    /// By a PCK certificate, DER, which is not verified here.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-109.
    pub(crate) fn by(leaf: &[u8]) -> Result<Self, Refusal> {
        let refuse = |found: &str| {
            Rule::QuoteUndecodable.refuse(found, "a PCK certificate of a Platform or Processor CA")
        };
        let extension = parse_pck_extension(leaf)
            .map_err(|error| refuse("a certificate without Intel's extension").because(error))?;
        let certificate: Certificate = Certificate::from_der(leaf)
            .map_err(|error| refuse("another certificate").because(error))?;
        let issuer = certificate.tbs_certificate().issuer().common_name();
        let issuer = issuer.map_err(|error| refuse("an unreadable issuer").because(error))?;
        let ca = issuer
            .and_then(|name| Ca::named(&name.value()))
            .ok_or_else(|| refuse("a certificate of another CA"))?;
        let instance = extension.platform_instance_id;
        Ok(Self {
            platforms: Platforms {
                fmspc: extension.fmspc,
                ca,
            },
            // An id of another length is none, as dcap-qvl has it.
            instance: instance.and_then(|id| id.try_into().ok()),
        })
    }
}

impl fmt::Display for Platforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode_upper(self.fmspc), self.ca)
    }
}
