//! Which collateral a document is, and which of two is newer.
//!
//! CRLs are read with `x509-cert`, which dcap-qvl reads them with: issuer and
//! number come from the same signed list. The PEM chain beside it is signed as
//! a whole by nobody, and dcap-qvl does not look at it.

use core::{fmt, str::FromStr};

use dcap_qvl::intel::{extract_cert_chain, parse_pck_extension};
use serde::Deserialize;
use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::{Decode as _, oid::AssociatedOid as _},
    ext::pkix::CrlNumber,
};

use crate::{
    collateral::{Collateral, dates},
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
    fn named(name: &str) -> Option<Self> {
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
    /// [`Refusal`] of ZA-101 to ZA-108 if it is no quote, of ZA-109 if it
    /// brings no PCK certificate that can be read.
    pub fn of_quote(bytes: &[u8]) -> Result<Self, Refusal> {
        let length = Quote::parse(bytes)?.length;
        let refuse = |found: &str| {
            Rule::QuoteUndecodable.refuse(found, "a PCK certificate of a Platform or Processor CA")
        };
        let quote = dcap_qvl::quote::Quote::parse(bytes.get(..length).unwrap_or(bytes))
            .map_err(|error| refuse("other certification data").because(error))?;
        let chain = extract_cert_chain(&quote)
            .map_err(|error| refuse("another certificate chain").because(error))?;
        let leaf = chain
            .first()
            .ok_or_else(|| refuse("an empty certificate chain"))?;
        let extension = parse_pck_extension(leaf)
            .map_err(|error| refuse("a certificate without Intel's extension").because(error))?;
        let certificate: Certificate = Certificate::from_der(leaf)
            .map_err(|error| refuse("another certificate").because(error))?;
        let issuer = certificate.tbs_certificate().issuer().common_name();
        let issuer = issuer.map_err(|error| refuse("an unreadable issuer").because(error))?;
        let ca = issuer
            .and_then(|name| Ca::named(&name.value()))
            .ok_or_else(|| refuse("a certificate of another CA"))?;
        Ok(Self {
            fmspc: extension.fmspc,
            ca,
        })
    }
}

impl fmt::Display for Platforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode_upper(self.fmspc), self.ca)
    }
}

/// Collateral by what it is for and how new its parts are, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    /// What it is for.
    pub platforms: Platforms,
    /// Number of the TCB evaluation: the lower of TCB info and QE identity, as
    /// verifiers count it. Intel raises them one by one, so that they differ
    /// for some hours.
    pub evaluation: u32,
    /// When the TCB info was issued, seconds since 1970.
    pub tcb_info: u64,
    /// When the QE identity was issued, seconds since 1970.
    pub qe_identity: u64,
    /// Number of the revocation list for PCK certificates, 0 if it has none.
    pub pck_crl: u64,
    /// Number of the root CA's revocation list, 0 if it has none.
    pub root_crl: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Evaluation {
    tcb_evaluation_data_number: u32,
}

fn evaluation(part: &str) -> Result<u32, Refusal> {
    let part: Evaluation = serde_json::from_str(part).map_err(|error| {
        Rule::CollateralForm
            .refuse("a part without its evaluation", "a tcbEvaluationDataNumber")
            .because(error)
    })?;
    Ok(part.tcb_evaluation_data_number)
}

/// A revocation list, by its issuer's common name and its number (0 if it has
/// none).
struct Crl {
    issuer: String,
    number: u64,
}

impl Crl {
    fn parse(der: &[u8]) -> Result<Self, Refusal> {
        let refuse = |found: &str| {
            Rule::CollateralForm.refuse(found, "an X.509 CRL with a named issuer and a number")
        };
        let list: CertificateList = CertificateList::from_der(der)
            .map_err(|error| refuse("another revocation list").because(error))?;
        let list = list.tbs_cert_list;
        let name = list.issuer.common_name();
        let name = name.map_err(|error| refuse("an unreadable issuer").because(error))?;
        let mut extensions = list.crl_extensions.iter().flatten();
        let number = match extensions.find(|extension| extension.extn_id == CrlNumber::OID) {
            None => 0,
            Some(extension) => {
                let CrlNumber(number) = CrlNumber::from_der(extension.extn_value.as_bytes())
                    .map_err(|error| refuse("an unreadable CRL number").because(error))?;
                let digits = number.as_bytes();
                if digits.len() > 8 {
                    return Err(refuse("a CRL number of more than 64 bits"));
                }
                digits
                    .iter()
                    .fold(0, |number, digit| number << 8 | u64::from(*digit))
            }
        };
        Ok(Self {
            issuer: name.map_or_else(String::new, |name| name.value().into_owned()),
            number,
        })
    }

    fn ca(&self) -> Result<Ca, Refusal> {
        Ca::named(&self.issuer).ok_or_else(|| {
            Rule::CollateralForm.refuse(
                format!("a PCK CRL of {:?}", self.issuer),
                "one of a Platform CA or a Processor CA",
            )
        })
    }
}

impl Edition {
    /// Reads what `collateral` says of itself. Verifies nothing.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-301.
    pub fn of(collateral: &Collateral) -> Result<Self, Refusal> {
        let parts = &collateral.parts;
        let fmspc = collateral.model().ok_or_else(|| {
            Rule::CollateralForm.refuse(collateral.fmspc(), "an fmspc of 12 hex digits")
        })?;
        let pck_crl = Crl::parse(&parts.pck_crl)?;
        Ok(Self {
            platforms: Platforms {
                fmspc,
                ca: pck_crl.ca()?,
            },
            evaluation: evaluation(&parts.tcb_info)?.min(evaluation(&parts.qe_identity)?),
            tcb_info: dates(&parts.tcb_info)?.0,
            qe_identity: dates(&parts.qe_identity)?.0,
            pck_crl: pck_crl.number,
            root_crl: Crl::parse(&parts.root_ca_crl)?.number,
        })
    }

    /// Whether this is newer than `other`, and nothing in it older.
    ///
    /// Its order is: evaluation, date of TCB info, date of QE identity, number
    /// of the PCK CRL, of the root CRL. The order alone would not do: the parts
    /// are signed one by one, so that anybody can put yesterday's revocation
    /// list beside today's TCB info. Therefore no list may have a lower number;
    /// and no date may be earlier, except under a higher evaluation, because
    /// Intel publishes several evaluations side by side.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let lists = self.pck_crl >= other.pck_crl && self.root_crl >= other.root_crl;
        let dates = self.tcb_info >= other.tcb_info && self.qe_identity >= other.qe_identity;
        let evaluation = self.evaluation > other.evaluation;
        lists && (evaluation || dates) && self.order() > other.order()
    }

    const fn order(&self) -> (u32, u64, u64, u64, u64) {
        (
            self.evaluation,
            self.tcb_info,
            self.qe_identity,
            self.pck_crl,
            self.root_crl,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Edition = Edition {
        platforms: Platforms {
            fmspc: [0; 6],
            ca: Ca::Platform,
        },
        evaluation: 20,
        tcb_info: 100,
        qe_identity: 100,
        pck_crl: 5,
        root_crl: 5,
    };

    fn changed(change: impl FnOnce(&mut Edition)) -> Edition {
        let mut edition = OLD;
        change(&mut edition);
        edition
    }

    #[test]
    fn each_part_that_is_newer_makes_an_edition_newer_and_never_the_reverse() {
        assert!(!OLD.replaces(&OLD));
        for newer in [
            changed(|edition| edition.evaluation += 1),
            changed(|edition| edition.tcb_info += 1),
            changed(|edition| edition.qe_identity += 1),
            changed(|edition| edition.pck_crl += 1),
            changed(|edition| edition.root_crl += 1),
            // Evaluations are published side by side, each with its dates.
            changed(|edition| (edition.evaluation, edition.tcb_info) = (21, 50)),
        ] {
            assert!(newer.replaces(&OLD), "{newer:?}");
            assert!(!OLD.replaces(&newer), "{newer:?}");
        }
    }

    #[test]
    fn parts_of_two_editions_put_together_do_not_roll_one_of_them_back() {
        for mixed in [
            changed(|edition| (edition.tcb_info, edition.pck_crl) = (200, 4)),
            changed(|edition| (edition.tcb_info, edition.root_crl) = (200, 4)),
            changed(|edition| (edition.tcb_info, edition.qe_identity) = (200, 99)),
            changed(|edition| (edition.evaluation, edition.pck_crl) = (21, 4)),
        ] {
            assert!(!mixed.replaces(&OLD), "{mixed:?}");
        }
    }
}
