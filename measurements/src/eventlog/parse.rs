//! Bytes of a log to events.

use super::{EventKind, EventLog, LogEvent};
use crate::bytes::{Reader, Truncated, index};

/// Longest log that is looked at, in bytes.
pub const MAX_LOG: usize = 16 << 20;

/// Most events of a log.
const MAX_EVENTS: usize = 1 << 16;
/// Most algorithms of a log.
const MAX_ALGORITHMS: u32 = 8;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";

/// A hash algorithm by its number. TCG, "Algorithm Registry".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Algorithm(pub u16);

impl Algorithm {
    /// SHA-1, 20 bytes.
    pub const SHA1: Self = Self(0x4);
    /// SHA-256, 32 bytes.
    pub const SHA256: Self = Self(0xb);
    /// SHA-384, 48 bytes.
    pub const SHA384: Self = Self(0xc);
    /// SHA-512, 64 bytes.
    pub const SHA512: Self = Self(0xd);

    const fn size(self) -> Option<u16> {
        match self {
            Self::SHA1 => Some(20),
            Self::SHA256 => Some(32),
            Self::SHA384 => Some(48),
            Self::SHA512 => Some(64),
            _ => None,
        }
    }
}

/// Bytes are no event log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Longer than any log.
    #[error("The log has {found} bytes; at most {MAX_LOG} are read")]
    Long {
        /// Its length, in bytes.
        found: usize,
    },
    /// Cut off.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Not of the crypto-agile format.
    #[error("No event log: {what} at offset {at:#x}")]
    Header {
        /// Offset, in bytes.
        at: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// An event is broken.
    #[error("Event {number} of the log, at offset {at:#x}, is broken: {what}")]
    Event {
        /// Its number, from 1 (0 is the header).
        number: usize,
        /// Where it begins, in bytes.
        at: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
}

pub(super) fn log(bytes: &[u8]) -> Result<EventLog<'_>, LogError> {
    if bytes.len() > MAX_LOG {
        return Err(LogError::Long { found: bytes.len() });
    }
    let mut reader = Reader::at(bytes, 0);
    let algorithms = header(&mut reader)?;
    let mut events = Vec::new();
    while !ends(reader.rest()) {
        let number = events.len() + 1;
        if number > MAX_EVENTS {
            return Err(LogError::Event {
                number,
                at: reader.offset(),
                what: format!("a log has at most {MAX_EVENTS} events"),
            });
        }
        events.push(event(&mut reader, &algorithms, number)?);
    }
    Ok(EventLog {
        algorithms,
        events,
        length: reader.offset(),
    })
}

/// Whether nothing but padding is left. No event begins with a register of all
/// ones; one with a type of 0 and no digest is no event.
fn ends(rest: &[u8]) -> bool {
    rest.iter().all(|byte| *byte == 0xff) || rest.iter().all(|byte| *byte == 0)
}

/// The first event, in the format of TPM 1.2, says how the others are written:
/// `TCG_EfiSpecIDEvent`, section 10.4.5.1.
fn header(reader: &mut Reader<'_>) -> Result<Vec<(Algorithm, u16)>, LogError> {
    let wrong = |at, what: String| LogError::Header { at, what };
    let _index = reader.u32("the register of the header")?;
    let at = reader.offset();
    let kind = EventKind(reader.u32("the type of the header")?);
    if kind != EventKind::NO_ACTION {
        return Err(wrong(
            at,
            format!("the first event is of type {kind}; EV_NO_ACTION would be right"),
        ));
    }
    reader.take(20, "the digest of the header")?;
    let size = index(reader.u32("the length of the header")?);
    let at = reader.offset();
    let data = reader.take(size, "the header")?;
    if data.get(..16) != Some(SIGNATURE.as_slice()) {
        return Err(wrong(at, "the header is not `Spec ID Event03`".to_owned()));
    }
    let mut inner = Reader::at(data, 24);
    let count = inner.u32("the number of algorithms")?;
    if !(1..=MAX_ALGORITHMS).contains(&count) {
        return Err(wrong(
            at + 24,
            format!("{count} algorithms; 1 to {MAX_ALGORITHMS} are sensible"),
        ));
    }
    let mut algorithms: Vec<(Algorithm, u16)> = Vec::new();
    for _ in 0..count {
        let place = at + inner.offset();
        let algorithm = Algorithm(inner.u16("an algorithm")?);
        let size = inner.u16("the length of a digest")?;
        if algorithm.size().is_some_and(|right| right != size) || !(1..=64).contains(&size) {
            return Err(wrong(
                place,
                format!("digests of algorithm {:#x} have {size} bytes", algorithm.0),
            ));
        }
        if algorithms.iter().any(|(known, _)| *known == algorithm) {
            return Err(wrong(
                place,
                format!("algorithm {:#x} is listed twice", algorithm.0),
            ));
        }
        algorithms.push((algorithm, size));
    }
    Ok(algorithms)
}

/// `TCG_PCR_EVENT2` or `CC_EVENT`: both have the same layout.
fn event<'a>(
    reader: &mut Reader<'a>,
    algorithms: &[(Algorithm, u16)],
    number: usize,
) -> Result<LogEvent<'a>, LogError> {
    let offset = reader.offset();
    let broken = |what: String| LogError::Event {
        number,
        at: offset,
        what,
    };
    let index_ = reader.u32("the register of an event")?;
    let kind = EventKind(reader.u32("the type of an event")?);
    let count = reader.u32("the number of digests")?;
    if index(count) != algorithms.len() {
        return Err(broken(format!(
            "it has {count} digests; the header lists {} algorithms",
            algorithms.len()
        )));
    }
    let mut digests: Vec<(Algorithm, &[u8])> = Vec::new();
    for _ in 0..count {
        let algorithm = Algorithm(reader.u16("the algorithm of a digest")?);
        let Some((_, size)) = algorithms.iter().find(|(known, _)| *known == algorithm) else {
            return Err(broken(format!(
                "algorithm {:#x} is not in the header",
                algorithm.0
            )));
        };
        if digests.iter().any(|(known, _)| *known == algorithm) {
            return Err(broken(format!(
                "it has two digests of algorithm {:#x}",
                algorithm.0
            )));
        }
        digests.push((algorithm, reader.take(usize::from(*size), "a digest")?));
    }
    let size = index(reader.u32("the length of an event")?);
    let data = reader.take(size, "the data of an event")?;
    Ok(LogEvent {
        offset,
        index: index_,
        kind,
        digests,
        data,
    })
}
