//! Whether the clock can be right.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;

/// When the recipe of this image was last gone through, seconds since 1970.
const DATE: &str = include_str!("../../date");

/// When this image was built, at the earliest.
#[must_use]
pub fn built() -> SystemTime {
    // A test reads what is in the file.
    UNIX_EPOCH + Duration::from_secs(DATE.trim_ascii().parse().unwrap_or(0))
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
    fn the_image_has_a_date() {
        let some_day = UNIX_EPOCH + Duration::from_hours(490_896);
        assert!(built() > some_day);
    }

    #[test]
    fn a_clock_before_the_build_is_refused_with_both_dates() {
        let built = UNIX_EPOCH + Duration::from_hours(490_896);
        assert_eq!(check(built, built), Ok(()));
        let error = check(UNIX_EPOCH, built).unwrap_err().to_string();
        assert!(error.contains("1970-01-01T00:00:00Z"), "{error}");
        assert!(error.contains("2026-01-01T00:00:00Z"), "{error}");
    }
}
