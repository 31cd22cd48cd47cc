//! Whether the clock can be right.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;

/// When the image was built, if the build was told.
#[must_use]
pub fn built() -> Option<SystemTime> {
    let seconds = option_env!("SOURCE_DATE_EPOCH")?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// A clock that cannot be right. A guest that believed it would take expired
/// evidence for good.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The clock says {}, before this image was built ({}); a host whose clock is right would be right",
    format_rfc3339_seconds(*.now), format_rfc3339_seconds(*.built)
)]
pub struct ClockError {
    now: SystemTime,
    built: SystemTime,
}

/// Refuses a clock that is before the build. How far ahead it is, nobody here
/// can know.
///
/// # Errors
/// [`ClockError`].
pub fn check(now: SystemTime, built: SystemTime) -> Result<(), ClockError> {
    if now < built {
        return Err(ClockError { now, built });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_build_is_refused_with_both_dates() {
        let built = UNIX_EPOCH + Duration::from_hours(490_896);
        assert_eq!(check(built, built), Ok(()));
        let error = check(UNIX_EPOCH, built).unwrap_err().to_string();
        assert!(error.contains("1970-01-01T00:00:00Z"), "{error}");
        assert!(error.contains("2026-01-01T00:00:00Z"), "{error}");
    }
}
