//! Files that a user names.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::TrustRoot;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

/// Longest certificate file, in bytes.
const MAX_CERTIFICATE: usize = 64 << 10;

/// A file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("Could not read {path}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It could not be written.
    #[error("Could not write {path}", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is too long.
    #[error("{path} is longer than the {limit} bytes that are sensible here", path = .path.display())]
    Long {
        /// Which.
        path: PathBuf,
        /// In bytes.
        limit: usize,
    },
    /// No certificate.
    #[error("{path} holds no certificate; `intel`, or a file with one certificate in PEM or DER, would be right", path = .path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
    },
}

impl FileError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Certificate { .. })
    }
}

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(cap).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(FileError::Long {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Where a policy's signatures are.
pub fn signatures_of(policy: &Path) -> PathBuf {
    let mut name = policy.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Writes a file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    std::fs::write(path, bytes).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Writes to standard output; a reader that has gone is no failure.
pub fn put(bytes: &[u8]) -> Result<(), FileError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => Err(FileError::Write {
            path: PathBuf::from("standard output"),
            source,
        }),
        _ => Ok(()),
    }
}

/// `intel`, or the certificate in a file.
pub fn root(name: &str) -> Result<TrustRoot, FileError> {
    if name == "intel" {
        return Ok(TrustRoot::Intel);
    }
    let path = Path::new(name);
    let bytes = read(path, MAX_CERTIFICATE)?;
    let der = match CertificateDer::from_pem_slice(&bytes) {
        Ok(certificate) => certificate.to_vec(),
        // DER begins with a SEQUENCE.
        Err(_) if bytes.first() == Some(&0x30) => bytes,
        Err(_) => {
            return Err(FileError::Certificate {
                path: path.to_owned(),
            });
        }
    };
    Ok(TrustRoot::Other(der))
}
