//! Files that hold a record or a server's evidence, with what verification needs.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zipnet::{
    attestation::Credential,
    wire::{LONGEST_REPLY, Published},
};
use zipnet_protocol::{Digest, MAX_ROSTER};

const RECORD: &[u8; 8] = b"zipnetR1";
const CREDENTIAL: &[u8; 8] = b"zipnetC1";

/// Longest file of a record, in bytes: the largest round that the protocol allows.
#[expect(clippy::cast_possible_truncation, reason = "it is below 2^27")]
pub const MAX_RECORD: u32 = LONGEST_REPLY + (MAX_ROSTER * 64) as u32 + 64;
/// Longest file of evidence, in bytes.
pub const MAX_CREDENTIAL: usize = 128 << 10;

/// A file that is refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Too long.
    #[error("The file has {bytes} bytes; at most {most} would be right")]
    Long {
        /// Its length.
        bytes: usize,
        /// The longest that is read.
        most: usize,
    },
    /// Another kind of file.
    #[error("The file does not begin as one of {expected} does")]
    Kind {
        /// What was expected.
        expected: &'static str,
    },
    /// Cut off, or something else.
    #[error("The file of {expected} cannot be decoded")]
    Decode {
        /// What was expected.
        expected: &'static str,
        /// Why.
        #[source]
        source: postcard::Error,
    },
    /// More than the file has to hold.
    #[error(
        "The file of {expected} has {bytes} bytes behind its end, or longer lists than a roster has"
    )]
    Excess {
        /// What was expected.
        expected: &'static str,
        /// Bytes that are left.
        bytes: usize,
    },
}

/// Which evidence a server of the roster showed: the digests of its bundle and of the evidence,
/// which the file of that is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shown {
    /// Digest of the bundle.
    pub bundle: Digest,
    /// [`Credential::whole`].
    pub credential: Digest,
}

/// What the file of a record holds. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFile {
    /// When the record was there, at the latest, in seconds since 1970, by the archive's word.
    pub at: u64,
    /// The evidence of its time, of those servers of the roster of which the archive has any.
    pub evidence: Vec<Shown>,
    /// The record with the bundles of its roster.
    pub published: Published,
}

impl RecordFile {
    /// The file's bytes.
    ///
    /// # Errors
    /// The encoder's error, which no record provokes.
    pub fn encode(&self) -> Result<Bytes, postcard::Error> {
        encode(RECORD, self)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FileError> {
        let expected = "a record";
        let read: Self = decode(RECORD, bytes, MAX_RECORD as usize, expected)?;
        let Published { record, bundles } = &read.published;
        let lists = [read.evidence.len(), bundles.len(), record.partials.len()];
        if lists.iter().any(|length| *length > MAX_ROSTER) {
            return Err(FileError::Excess { expected, bytes: 0 });
        }
        Ok(read)
    }
}

/// The bytes of a file of evidence.
///
/// # Errors
/// The encoder's error, which no evidence provokes.
pub fn encode_credential(credential: &Credential) -> Result<Bytes, postcard::Error> {
    encode(CREDENTIAL, credential)
}

/// Reads a file of evidence.
///
/// # Errors
/// [`FileError`].
pub fn decode_credential(bytes: &[u8]) -> Result<Credential, FileError> {
    decode(CREDENTIAL, bytes, MAX_CREDENTIAL, "evidence")
}

fn encode<T: Serialize>(kind: &[u8], value: &T) -> Result<Bytes, postcard::Error> {
    postcard::to_extend(value, kind.to_vec()).map(Bytes::from)
}

fn decode<T: for<'a> Deserialize<'a>>(
    kind: &[u8],
    bytes: &[u8],
    most: usize,
    expected: &'static str,
) -> Result<T, FileError> {
    if bytes.len() > most {
        let bytes = bytes.len();
        return Err(FileError::Long { bytes, most });
    }
    let body = bytes
        .strip_prefix(kind)
        .ok_or(FileError::Kind { expected })?;
    let (read, rest) =
        postcard::take_from_bytes(body).map_err(|source| FileError::Decode { expected, source })?;
    if !rest.is_empty() {
        let bytes = rest.len();
        return Err(FileError::Excess { expected, bytes });
    }
    Ok(read)
}
