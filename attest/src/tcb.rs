//! Which platforms are good enough.

pub use dcap_qvl::TcbStatus;

use crate::{
    genuine::Genuine,
    rules::{Refusal, Rule},
};

/// What is accepted of a platform whose quote is genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbRules {
    /// TCB statuses; `Revoked` never comes this far.
    pub accept: Vec<TcbStatus>,
    /// Lowest TCB evaluation number of the collateral. Intel raises it with
    /// every recovery; a platform is behind when newer collateral says so.
    pub min_evaluation: u32,
    /// Advisories that are refused whatever the status.
    pub reject_advisories: Vec<String>,
}

/// Up to date, and nothing else asked.
impl Default for TcbRules {
    fn default() -> Self {
        Self {
            accept: vec![TcbStatus::UpToDate],
            min_evaluation: 0,
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
    /// [`Refusal`] of ZA-308, ZA-403 or ZA-404.
    pub fn check(&self, found: &Genuine) -> Result<(), Refusal> {
        if found.evaluation() < self.min_evaluation {
            return Err(Rule::CollateralEvaluation.refuse(found.evaluation(), self.min_evaluation));
        }
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
        let rejected = found
            .advisories()
            .iter()
            .find(|id| self.reject_advisories.contains(id));
        if let Some(id) = rejected {
            return Err(Rule::TcbAdvisory.refuse(id, "none that the policy rejects"));
        }
        Ok(())
    }
}
