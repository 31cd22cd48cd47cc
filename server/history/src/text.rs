//! What the text files of an archive have in common: a first line, lines of words, and
//! a last line, so that a file that was cut off is none.

use zipnet_protocol::{Digest, Epoch};

/// The last line.
pub const END: &str = "end";

/// A text file that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Too long, or no text.
    #[error(
        "It has {bytes} bytes or is no ASCII text; text of at most {most} bytes would be right"
    )]
    Form {
        /// Its length.
        bytes: usize,
        /// The longest that is read.
        most: usize,
    },
    /// Not of this kind.
    #[error("It does not begin with the line {expected:?}")]
    Kind {
        /// What it begins with.
        expected: &'static str,
    },
    /// Cut off.
    #[error("It does not end with the line \"end\": it was cut off")]
    Cut,
    /// A line that means nothing here.
    #[error("Line {line} is none of this file's")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// Lines that do not follow each other.
    #[error("Line {line} is out of order")]
    Order {
        /// Its number, from 1.
        line: usize,
    },
}

/// The lines between the first and the last one, each with its number.
pub fn lines<'a>(
    bytes: &'a [u8],
    most: usize,
    first: &'static str,
) -> Result<impl Iterator<Item = (usize, &'a str)>, TextError> {
    let form = || TextError::Form {
        bytes: bytes.len(),
        most,
    };
    let text = core::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.len() <= most && text.is_ascii())
        .ok_or_else(form)?;
    let rest = text
        .strip_prefix(first)
        .and_then(|rest| rest.strip_prefix('\n'));
    let rest = rest.ok_or(TextError::Kind { expected: first })?;
    let body = rest.strip_suffix("end\n").ok_or(TextError::Cut)?;
    if !body.is_empty() && !body.ends_with('\n') {
        return Err(TextError::Cut);
    }
    Ok((2..).zip(body.split_terminator('\n')))
}

/// The words of a line, taken one after the other.
pub struct Words<'a>(core::str::Split<'a, char>);

impl<'a> Words<'a> {
    pub fn of(line: &'a str) -> Self {
        Self(line.split(' '))
    }

    pub fn word(&mut self) -> Option<&'a str> {
        self.0.next().filter(|word| !word.is_empty())
    }

    /// Digits without a sign or zeros in front.
    pub fn number<N: core::str::FromStr + ToString>(&mut self) -> Option<N> {
        let word = self.word()?;
        let number: N = word.parse().ok()?;
        (number.to_string() == word).then_some(number)
    }

    pub fn digest(&mut self) -> Option<Digest> {
        let word = self.word()?;
        let digest: Digest = word.parse().ok()?;
        (digest.to_string() == word).then_some(digest)
    }

    pub fn epoch(&mut self) -> Option<Epoch> {
        self.digest().map(|digest| Epoch::new(*digest.as_bytes()))
    }

    /// Nothing, if nothing is left.
    pub fn end(mut self) -> Option<()> {
        self.0.next().is_none().then_some(())
    }
}
