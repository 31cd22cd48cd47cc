//! Error chains as one line.

use core::error::Error;
use std::fmt::Write as _;

/// The error with all that it came from: `outer: because inner: because …`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, "; because: {cause}");
        source = cause.source();
    }
    text
}
