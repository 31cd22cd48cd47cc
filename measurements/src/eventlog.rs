//! Event logs: what firmware says that it extended into registers.
//!
//! TCG, "PC Client Platform Firmware Profile", section 10 (crypto-agile format),
//! as a TPM's log and as the CC event log of a TD, which ACPI's CCEL table
//! points to (UEFI specification, section 38.4). A log proves nothing: only the
//! registers that it replays to do.

mod kind;
mod parse;
mod replay;

pub use kind::EventKind;
pub use parse::{Algorithm, LogError, MAX_LOG};
pub use replay::{pcr_to_register, replay_pcr, rtmrs};

use crate::digest::Digest384;

/// Whose registers a log's indices name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// A TD: index 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    Cc,
    /// A TPM: PCRs.
    Tpm,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent<'a> {
    /// Where it begins in the log, in bytes.
    pub offset: usize,
    /// The register, as the log counts them.
    pub index: u32,
    /// Its type.
    pub kind: EventKind,
    /// A digest for each algorithm.
    pub digests: Vec<(Algorithm, &'a [u8])>,
    /// What the event says of itself; for some types this was hashed.
    pub data: &'a [u8],
}

impl LogEvent<'_> {
    /// Its SHA-384 digest.
    #[must_use]
    pub fn sha384(&self) -> Option<Digest384> {
        self.digest(Algorithm::SHA384)
            .and_then(Digest384::from_bytes)
    }

    /// Its digest by an algorithm.
    #[must_use]
    pub fn digest(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.digests
            .iter()
            .find(|(known, _)| *known == algorithm)
            .map(|(_, digest)| *digest)
    }

    /// Its data as a person reads them: text where it is text, a variable's name,
    /// else nothing.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        kind::text(self.kind, self.data)
    }
}

/// A whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    /// The algorithms of its digests with their lengths in bytes.
    pub algorithms: Vec<(Algorithm, u16)>,
    /// Its events in order, without the header.
    pub events: Vec<LogEvent<'a>>,
    /// Length of the log without what pads it, in bytes.
    pub length: usize,
}

impl<'a> EventLog<'a> {
    /// Reads a log; `00` or `ff` may pad it, as in the area that CCEL names.
    ///
    /// # Errors
    /// [`LogError`] with the offset of what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LogError> {
        parse::log(bytes)
    }

    /// Whose log it looks like: a TD's has SHA-384 and nothing else.
    #[must_use]
    pub fn likely_kind(&self) -> LogKind {
        match self.algorithms.as_slice() {
            [(Algorithm::SHA384, _)] => LogKind::Cc,
            _ => LogKind::Tpm,
        }
    }
}
