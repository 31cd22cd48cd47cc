//! Values as a report writes them.

use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// A time in UTC, for people.
pub fn iso(seconds: u64) -> String {
    /// 9999-12-31T23:59:59Z; no four digits write a later year.
    const LAST: u64 = 253_402_300_799;
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds <= LAST)
        .map_or_else(
            || "after the year 9999".to_owned(),
            |time| humantime::format_rfc3339_seconds(time).to_string(),
        )
}

/// SHA-256 in hex.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
