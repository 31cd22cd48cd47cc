//! The public configuration of a guest: one file, whose digest is in its
//! statement.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// Longest configuration, in bytes.
pub const MAX_CONFIG: usize = 64 << 10;

/// The key of whoever may give this guest its secrets: the public half of a
/// [`GiverKey`](super::GiverKey), 64 hex digits.
pub const PROVISION_KEY: &str = "GUEST_PROVISION_KEY";
/// The guest's own name, by which a member knows which identity is its.
pub const NAME: &str = "GUEST_HOSTNAME";

/// A configuration: lines of `KEY=VALUE`, `#` comments and empty ones. What
/// keys there are is the guest's business; here no key is there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    text: String,
    settings: BTreeMap<String, String>,
}

/// A file is no configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Too long.
    #[error("The configuration has {0} bytes; at most {MAX_CONFIG} would be right")]
    Long(usize),
    /// No text.
    #[error("The configuration is not UTF-8 from byte {0} on; plain text would be right")]
    Utf8(usize),
    /// A line.
    #[error("Line {0} of the configuration sets nothing; KEY=VALUE would be right")]
    Line(usize),
    /// A key that is there already.
    #[error(
        "Line {line} of the configuration sets {key:?} again; once, as in line {first}, would be right"
    )]
    Twice {
        /// The line.
        line: usize,
        /// The line before.
        first: usize,
        /// The key.
        key: String,
    },
}

/// Where two configurations part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The first line that is not the same, from 1 on.
    pub line: usize,
    /// It in the one, if it has so many lines.
    pub ours: Option<String>,
    /// It in the other.
    pub theirs: Option<String>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_CONFIG {
            return Err(ConfigError::Long(bytes.len()));
        }
        let text =
            core::str::from_utf8(bytes).map_err(|error| ConfigError::Utf8(error.valid_up_to()))?;
        let mut lines = BTreeMap::new();
        let mut settings = BTreeMap::new();
        for (line, setting) in settings_of(text) {
            let (key, value) = setting.ok_or(ConfigError::Line(line))?;
            let (key, value) = (key.to_owned(), value.to_owned());
            if let Some(first) = lines.insert(key.clone(), line) {
                return Err(ConfigError::Twice { line, first, key });
            }
            settings.insert(key, value);
        }
        Ok(Self {
            text: text.to_owned(),
            settings,
        })
    }

    /// The bytes of the file.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// SHA-256 of the file, 32 bytes: what `sha256sum` prints.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.bytes()).into()
    }

    /// The value of a key, if it has one that is not empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = self.settings.get(key)?;
        (!value.is_empty()).then_some(value)
    }

    /// The settings as they stand in the file: line from 1 on, key, value.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        settings_of(&self.text)
            .filter_map(|(line, setting)| setting.map(|(key, value)| (line, key, value)))
    }

    /// The first line in which this one differs from another.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        let (mut ours, mut theirs) = (self.text.split('\n'), other.text.split('\n'));
        for line in 1.. {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (ours, theirs) if ours == theirs => {}
                (ours, theirs) => {
                    return Some(Difference {
                        line,
                        ours: ours.map(str::to_owned),
                        theirs: theirs.map(str::to_owned),
                    });
                }
            }
        }
        None
    }
}

/// The lines that say something, from 1 on, each with key and value if it sets
/// anything.
fn settings_of(text: &str) -> impl Iterator<Item = (usize, Option<(&str, &str)>)> {
    (1..).zip(text.lines()).filter_map(|(line, text)| {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let setting = text
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty());
        Some((line, setting))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_configuration_is_keys_and_values() {
        let config = config("# ours\n\nA=1\r\n B = x=y \nC=\n");
        assert_eq!(config.get("A"), Some("1"));
        assert_eq!(config.get("B"), Some("x=y"));
        assert_eq!(config.get("C"), None);
        assert_eq!(config.get("D"), None);
        let lines: Vec<_> = config.lines().collect();
        assert_eq!(lines, [(3, "A", "1"), (4, "B", "x=y"), (5, "C", "")]);
    }

    #[test]
    fn what_is_none_is_refused_with_its_line() {
        let refused = |bytes: &[u8]| Config::parse(bytes).unwrap_err();
        assert_eq!(
            refused("#".repeat(MAX_CONFIG + 1).as_bytes()),
            ConfigError::Long(65537)
        );
        assert_eq!(refused(b"A=\xff"), ConfigError::Utf8(2));
        assert_eq!(refused(b"A=1\nB"), ConfigError::Line(2));
        assert_eq!(refused(b"=1"), ConfigError::Line(1));
        let twice = refused(b"A=1\n\nA=1").to_string();
        assert!(
            twice.contains("Line 3") && twice.contains("line 1"),
            "{twice}"
        );
    }

    #[test]
    fn the_first_line_that_differs_is_found() {
        let one = config("A=1\nB=2\n");
        assert_eq!(one.difference(&one), None);
        let difference = one.difference(&config("A=1\nB=3\n")).unwrap();
        assert_eq!(difference.line, 2);
        assert_eq!(difference.theirs.as_deref(), Some("B=3"));
        let shorter = one.difference(&config("A=1\nB=2")).unwrap();
        assert_eq!((shorter.line, shorter.theirs), (3, None));
        // Also what no line shows.
        assert!(one.difference(&config("A=1\r\nB=2\n")).is_some());
    }
}
