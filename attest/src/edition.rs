//! Which collateral a document is, and which of two is newer.
//!
//! CRLs are read with `x509-cert`, which dcap-qvl reads them with: issuer and
//! number come from the same signed list. The PEM chain beside it is signed as
//! a whole by nobody, and dcap-qvl does not look at it.

use core::fmt;

use serde::Deserialize;
use x509_cert::{
    crl::CertificateList,
    der::{Decode as _, oid::AssociatedOid as _},
    ext::pkix::CrlNumber,
};

use crate::{
    collateral::{Collateral, dates},
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

/// For which platforms collateral is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Platforms {
    pub(crate) fmspc: [u8; 6],
    pub(crate) ca: Ca,
}

impl fmt::Display for Platforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode_upper(self.fmspc), self.ca)
    }
}

/// Collateral by what it is for and how new its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition {
    pub(crate) platforms: Platforms,
    /// The lower of TCB info and QE identity, as verifiers count it.
    evaluation: u32,
    tcb_info: u64,
    qe_identity: u64,
    pck_crl: u64,
    root_crl: u64,
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
        let is = |name| self.issuer.contains(name);
        match (is("Platform CA"), is("Processor CA")) {
            (true, false) => Ok(Ca::Platform),
            (false, true) => Ok(Ca::Processor),
            _ => Err(Rule::CollateralForm.refuse(
                format!("a PCK CRL of {:?}", self.issuer),
                "one of a Platform CA or a Processor CA",
            )),
        }
    }
}

impl Edition {
    /// Reads what `collateral` says of itself. Verifies nothing.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-301.
    pub(crate) fn of(collateral: &Collateral) -> Result<Self, Refusal> {
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
    pub(crate) fn replaces(&self, other: &Self) -> bool {
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
