//! `inputs.lock` and `firmware.lock`: which Debian packages go into the image. `scripts/packages.sh`
//! fetches, verifies and unpacks them; here it is only read.

/// One locked package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The folder that it is unpacked into.
    pub root: String,
    /// The suites that it may come from.
    pub suites: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the package file, 64 hex digits.
    pub sha256: String,
}

/// All locked packages, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock(pub Vec<Package>);

/// A lock file that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// A line.
    #[error(
        "Line {line} of the lock file is no package; `ROOT SUITES PACKAGE VERSION SHA-256 [META]` would be right"
    )]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// Something is not locked.
    #[error("The lock file has no package {name}")]
    Missing {
        /// Which.
        name: &'static str,
    },
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// [`LockError::Line`].
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let packages = lines.map(|(line, text)| package(text).ok_or(LockError::Line { line }));
        packages.collect::<Result<_, _>>().map(Self)
    }

    /// The version of a package.
    ///
    /// # Errors
    /// [`LockError::Missing`].
    pub fn version(&self, name: &'static str) -> Result<&str, LockError> {
        let found = self.0.iter().find(|package| package.name == name);
        found
            .map(|package| &*package.version)
            .ok_or(LockError::Missing { name })
    }
}

fn package(line: &str) -> Option<Package> {
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let ([root, suites, name, version, sha256] | [root, suites, name, version, sha256, _]) =
        &words[..]
    else {
        return None;
    };
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    (sha256.len() == 64 && sha256.chars().all(hex)).then(|| Package {
        root: root.clone(),
        suites: suites.split(',').map(str::to_owned).collect(),
        name: name.clone(),
        version: version.clone(),
        sha256: sha256.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_of_the_image_is_one() {
        let lock = Lock::parse(include_str!("../inputs.lock")).unwrap();
        assert!(lock.version("libc6-dev").is_ok());
        assert_eq!(
            lock.version("busybox"),
            Err(LockError::Missing { name: "busybox" })
        );
    }

    #[test]
    fn other_lines_are_refused_by_number() {
        let good = format!("a b,c d 1 {}", "0".repeat(64));
        assert!(Lock::parse(&good).is_ok());
        for bad in ["a b c", "a b c d e", &format!("{good} meta more")] {
            let text = format!("# words\n\n{bad}\n");
            assert_eq!(Lock::parse(&text), Err(LockError::Line { line: 3 }));
        }
    }
}
