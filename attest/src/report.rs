//! Errors with all that they came from.

use core::error::Error;
use std::fmt::Write as _;

/// What is underneath an error, nearest first.
#[must_use]
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// The error with all that it came from, in one line: `outer; because: inner;
/// because: …`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        let _ = write!(text, "; because: {cause}");
    }
    text
}
