//! The file with a server's secrets. They are nowhere else: arguments and
//! variables of a process can be read by others on its machine.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    SecretText,
    secret::{MAX_SECRET, SecretTextError},
};
use zeroize::Zeroizing;

/// Longest file, in bytes: two secrets and some words about them.
const MAX_FILE: usize = 2 * MAX_SECRET + 4096;

const COMMITTEE_SECRET: &str = "ZIPNET_COMMITTEE_SECRET";
const SECRET: &str = "ZIPNET_SECRET";

/// Secrets cannot be used. No text of the file is in any of these.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file.
    #[error("Could not read the secrets in {path}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("{path} has the mode {mode:03o}, so that others may read the secrets; `chmod 600` would be right", path = .path.display())]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Too long.
    #[error("The secrets have more than {MAX_FILE} bytes; two lines would be right")]
    Long,
    /// A line.
    #[error(
        "Line {0} of the secrets is none; {COMMITTEE_SECRET}=... once, {SECRET}=... at most once, and # comments would be right"
    )]
    Line(usize),
    /// The secret is missing.
    #[error("The secrets have no {COMMITTEE_SECRET}; a line {COMMITTEE_SECRET}=... would be right")]
    Missing,
    /// A secret.
    #[error("{name} cannot be used")]
    Secret {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: SecretTextError,
    },
}

impl SecretsError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// A server's secrets.
pub struct Secrets {
    pub committee_secret: SecretText,
    pub secret: Option<SecretText>,
}

/// Reads them from a file that is the user's own, or from standard input.
pub fn read(path: &Path) -> Result<Secrets, SecretsError> {
    let failed = |source| SecretsError::Read {
        path: path.to_owned(),
        source,
    };
    let text = if path == Path::new("-") {
        contents(io::stdin().lock()).map_err(failed)?
    } else {
        let file = File::open(path).map_err(failed)?;
        check_mode(path, &file)?;
        contents(file).map_err(failed)?
    };
    if text.len() > MAX_FILE {
        return Err(SecretsError::Long);
    }
    parse(&text)
}

#[cfg(unix)]
fn check_mode(path: &Path, file: &File) -> Result<(), SecretsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata().map_err(|source| SecretsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    let others = mode & 0o077;
    if others != 0 {
        return Err(SecretsError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn contents(from: impl Read) -> io::Result<Zeroizing<String>> {
    let cap = MAX_FILE.saturating_add(1);
    // A text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(cap));
    let limit = u64::try_from(cap).unwrap_or(u64::MAX);
    from.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Result<Secrets, SecretsError> {
    let (mut committee_secret, mut secret) = (None, None);
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = || SecretsError::Line(number);
        let (name, value) = line.split_once('=').ok_or_else(refuse)?;
        let (name, slot) = match name {
            COMMITTEE_SECRET => (COMMITTEE_SECRET, &mut committee_secret),
            SECRET => (SECRET, &mut secret),
            _ => return Err(refuse()),
        };
        let value = SecretText::from(value);
        value
            .check()
            .map_err(|source| SecretsError::Secret { name, source })?;
        if slot.replace(value).is_some() {
            return Err(refuse());
        }
    }
    Ok(Secrets {
        committee_secret: committee_secret.ok_or(SecretsError::Missing)?,
        secret,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_one_or_two_lines() {
        let both = parse("# ours\nZIPNET_SECRET=a=b\r\n\nZIPNET_COMMITTEE_SECRET= c \n").unwrap();
        assert_eq!(both.secret.unwrap().expose(), "a=b");
        assert_eq!(both.committee_secret.expose(), " c ");
        assert!(parse("ZIPNET_COMMITTEE_SECRET=c").unwrap().secret.is_none());
    }

    #[test]
    fn i10_what_is_none_is_refused_and_not_shown() {
        for bad in [
            "",
            "swordfish",
            "swordfish=1\nZIPNET_COMMITTEE_SECRET=c",
            "ZIPNET_COMMITTEE_SECRET=",
            "ZIPNET_SECRET=swordfish",
            "ZIPNET_COMMITTEE_SECRET=swordfish\nZIPNET_COMMITTEE_SECRET=c",
        ] {
            let error = parse(bad).err().unwrap();
            assert!(!error.to_string().contains("swordfish"), "{error}");
            assert!(error.is_usage());
        }
    }
}
