//! Errors with all that they came from, in lines that move no terminal's cursor.

use core::error::Error;
use std::fmt::Write as _;

/// A text in one line, its control characters escaped: others may have written
/// some of it.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// What is underneath an error, nearest first; each a [`plain`] line.
#[must_use]
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(plain(&cause.to_string()));
        next = cause.source();
    }
    causes
}

/// The error with all that it came from, in one [`plain`] line: `outer; because:
/// inner; because: …`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = plain(&error.to_string());
    for cause in causes(error) {
        let _ = write!(text, "; because: {cause}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("Outer\u{7}")]
    struct Outer(#[source] io::Error);

    #[test]
    fn nothing_in_a_chain_ends_a_line_or_moves_a_cursor() {
        let error = Outer(io::Error::other("a peer\u{1b}[2J\nsaid ä"));
        assert_eq!(
            chain(&error),
            r"Outer\u{7}; because: a peer\u{1b}[2J\nsaid ä"
        );
    }
}
