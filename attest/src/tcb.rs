//! Which platforms are good enough.

pub use dcap_qvl::TcbStatus;

use serde::{Deserialize, Serialize};

use crate::{
    genuine::Genuine,
    rules::{Refusal, Rule},
};

/// How a platform protects its memory: Intel, "SGX PCK Certificate and Certificate Revocation List
/// Profile Specification", extension "SGX Type".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SgxType {
    /// With integrity and against replay, as client processors did.
    Standard,
    /// Encrypted only: who can write to the memory bus can put old contents back, or others.
    Scalable,
    /// Encrypted and with integrity.
    ScalableWithIntegrity,
}

impl SgxType {
    /// By its number in a certificate.
    pub(crate) const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Standard),
            1 => Some(Self::Scalable),
            2 => Some(Self::ScalableWithIntegrity),
            _ => None,
        }
    }
}

/// What is accepted of a platform whose quote is genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbRules {
    /// TCB statuses; `Revoked` never comes this far.
    pub accept: Vec<TcbStatus>,
    /// Lowest TCB evaluation number of the collateral. Intel raises it with
    /// every recovery; a platform is behind when newer collateral says so.
    pub min_evaluation: u32,
    /// Highest TCB evaluation number of any part of the collateral.
    pub max_evaluation: Option<u32>,
    /// Advisories that are refused whatever the status, in any case of letters.
    pub reject_advisories: Vec<String>,
}

/// Up to date, and nothing else asked.
impl Default for TcbRules {
    fn default() -> Self {
        Self {
            accept: vec![TcbStatus::UpToDate],
            min_evaluation: 0,
            max_evaluation: None,
            reject_advisories: Vec::new(),
        }
    }
}

/// A TCB status that Intel does not use, or one that is never accepted.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no TCB status that can be accepted; UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate or OutOfDateConfigurationNeeded would be right"
)]
pub struct StatusError(String);

impl TcbRules {
    /// The status of a name, as Intel writes it.
    ///
    /// # Errors
    /// [`StatusError`].
    pub fn parse_status(name: &str) -> Result<TcbStatus, StatusError> {
        serde_json::from_value(name.into())
            .ok()
            .filter(|status| *status != TcbStatus::Revoked)
            .ok_or_else(|| StatusError(name.to_owned()))
    }

    /// Judges a platform.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-308, ZA-309, ZA-403 or ZA-404.
    pub fn check(&self, found: &Genuine) -> Result<(), Refusal> {
        if found.evaluation() < self.min_evaluation {
            return Err(Rule::CollateralEvaluation.refuse(found.evaluation(), self.min_evaluation));
        }
        check_track(found.highest_evaluation(), self.max_evaluation)?;
        if !self.accept.contains(&found.status()) {
            return Err(Rule::TcbStatus.refuse(
                format!(
                    "{:?} with {} advisories",
                    found.status(),
                    found.advisories().len()
                ),
                format!("{:?}", self.accept),
            ));
        }
        let rejected = found.advisories().iter().find(|id| self.rejects(id));
        if let Some(id) = rejected {
            return Err(Rule::TcbAdvisory.refuse(id, "none that the policy rejects"));
        }
        Ok(())
    }

    fn rejects(&self, advisory: &str) -> bool {
        let mut rejected = self.reject_advisories.iter();
        rejected.any(|id| id.eq_ignore_ascii_case(advisory))
    }
}

/// Whether an evaluation is not beyond the highest of a track.
///
/// # Errors
/// [`Refusal`] of ZA-309.
pub(crate) fn check_track(evaluation: u32, highest: Option<u32>) -> Result<(), Refusal> {
    match highest {
        Some(highest) if evaluation > highest => {
            Err(Rule::CollateralTrack.refuse(evaluation, format!("{highest} at most")))
        }
        _ => Ok(()),
    }
}
