//! The two spellings of time that the PKI needs.

use super::SimulationError;
use der::DateTime;
use std::time::Duration;
use x509_cert::time::Time;

/// One day, in seconds.
pub(super) const DAY: u64 = 86_400;

/// `unix` as TCB info and QE identity write it, 20 characters: `2026-01-31T23:59:59Z`.
///
/// Source: Intel PCS API version 4: UTC, ISO 8601, `YYYY-MM-DDThh:mm:ssZ`.
pub(super) fn iso8601(unix: u64) -> Result<String, SimulationError> {
    Ok(date_time(unix)?.to_string())
}

/// `unix` as certificates and CRLs write it: `UTCTime` through 2049, `GeneralizedTime` after.
///
/// Source: RFC 5280, 4.1.2.5.
pub(super) fn x509_time(unix: u64) -> Result<Time, SimulationError> {
    Ok(Time::from(date_time(unix)?))
}

fn date_time(unix: u64) -> Result<DateTime, SimulationError> {
    Ok(DateTime::from_unix_duration(Duration::from_secs(unix))?)
}

/// A closed interval of Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// First second.
    pub(super) from: u64,
    /// Last second.
    pub(super) to: u64,
}

impl Window {
    /// The interval from `before` seconds before `at` to `after` seconds after it.
    pub(super) fn around(at: u64, before: u64, after: u64) -> Result<Self, SimulationError> {
        let from = at.checked_sub(before);
        let to = at.checked_add(after);
        from.zip(to)
            .map(|(from, to)| Self { from, to })
            .ok_or(SimulationError::TimeOutOfRange)
    }
}
