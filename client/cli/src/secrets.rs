//! Secrets from a flag, a variable or a file.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;
pub use zipnet_attest::SecretText;
use zipnet_attest::secret::MAX_SECRET;

/// Longest secret file, in bytes.
const MAX_FILE: u64 = MAX_SECRET as u64;

/// A secret that cannot be used. Its text never shows the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Given twice.
    #[error("{name} and {name}_FILE are both set; one of them would be right")]
    Both {
        /// The variable.
        name: &'static str,
    },
    /// Not given.
    #[error("{name} is not set; a secret in {name}, or a file of it in {name}_FILE, is needed")]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// Nothing in it.
    #[error("{name} is empty; a secret of 16 or more random characters would be right")]
    Empty {
        /// The variable.
        name: &'static str,
    },
    /// The file.
    #[error(
        "Could not read {path}, named by {name}_FILE; a readable file of at most 64 KiB would be right"
    )]
    File {
        /// The variable.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The secret called `name`, from its value or its file, if either is given.
/// Line ends at the end of a file do not count.
///
/// # Errors
/// [`SecretError`].
pub fn resolve(
    name: &'static str,
    value: Option<&SecretText>,
    file: Option<&Path>,
) -> Result<Option<SecretText>, SecretError> {
    let text = match (value, file) {
        (Some(_), Some(_)) => return Err(SecretError::Both { name }),
        (None, None) => return Ok(None),
        (Some(value), None) => value.clone(),
        (None, Some(path)) => read(name, path)?,
    };
    if text.expose().is_empty() {
        return Err(SecretError::Empty { name });
    }
    Ok(Some(text))
}

fn read(name: &'static str, path: &Path) -> Result<SecretText, SecretError> {
    let refuse = |source| SecretError::File {
        name,
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(refuse)?;
    // A text that grows leaves copies behind.
    let most = usize::try_from(MAX_FILE)
        .unwrap_or(MAX_SECRET)
        .saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(most));
    let read = file
        .take(MAX_FILE.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(refuse)?;
    if read as u64 > MAX_FILE {
        return Err(refuse(std::io::Error::other(
            "the file is longer than 64 KiB",
        )));
    }
    Ok(SecretText::from(text.trim_end_matches(['\r', '\n'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_a_secret_comes_from_one_place_and_is_not_printed() {
        let value = SecretText::from("swordfish");
        let found = resolve("ZIPNET_SECRET", Some(&value), None)
            .unwrap()
            .unwrap();
        assert_eq!(found.expose(), "swordfish");
        assert_eq!(format!("{found:?}"), "SecretText(..)");
        assert!(resolve("ZIPNET_SECRET", None, None).unwrap().is_none());
        let both = resolve("ZIPNET_SECRET", Some(&value), Some(Path::new("x"))).unwrap_err();
        assert!(!both.to_string().contains("swordfish"));
        assert!(matches!(
            resolve("ZIPNET_SECRET", Some(&SecretText::from("")), None),
            Err(SecretError::Empty { .. })
        ));
    }

    #[test]
    fn files_lose_their_line_end_and_have_a_limit() {
        let folder = std::env::temp_dir().join(format!("zipnet-secrets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("secret");
        fs::write(&path, "swordfish\r\n").unwrap();
        let found = resolve("ZIPNET_SECRET", None, Some(&path))
            .unwrap()
            .unwrap();
        assert_eq!(found.expose(), "swordfish");
        fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(matches!(
            resolve("ZIPNET_SECRET", None, Some(&path)),
            Err(SecretError::File { .. })
        ));
        fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(
            resolve("ZIPNET_SECRET", None, Some(&path)),
            Err(SecretError::File { .. })
        ));
    }
}
