//! TDVF metadata: which parts of a firmware file go where in a TD's memory.
//!
//! Intel, "TDX Virtual Firmware Design Guide" (344991), section 11; what QEMU
//! accepts is in its `hw/i386/tdvf.c` (`tdvf_parse_metadata`). Here a file that
//! QEMU would refuse is refused, and so is one whose sections overlap.

mod find;
mod section;

pub use find::FoundBy;
pub use section::{Section, SectionKind};

use crate::bytes::{Reader, Truncated, index, overlap};

/// Longest firmware file that is looked at, in bytes.
pub const MAX_FIRMWARE: usize = 64 << 20;

/// Most memory that the sections may cover, in bytes: bounds the work.
pub const MAX_SECTION_MEMORY: u64 = 256 << 20;

/// Size of a page, in bytes.
pub const PAGE: u64 = 4096;

const SIGNATURE: [u8; 4] = *b"TDVF";
const VERSION: u32 = 1;
const DESCRIPTOR: u32 = 16;
const ENTRY: u32 = 32;
const MAX_SECTIONS: u32 = 64;

/// A file is no firmware for a TD.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdvfError {
    /// Longer than any firmware.
    #[error("The firmware has {found} bytes; at most {MAX_FIRMWARE} are read")]
    Long {
        /// Its length, in bytes.
        found: usize,
    },
    /// Cut off.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The table of GUIDs at the end of the file is broken.
    #[error("The GUID table at offset {at:#x} is broken: {what}")]
    Table {
        /// Offset of the entry, in bytes.
        at: usize,
        /// What is wrong, and what would be right.
        what: &'static str,
    },
    /// Nothing points to metadata.
    #[error(
        "The firmware has no TDX metadata: neither a GUID table entry e47a6535-984a-4798-865e-4685a7bf8ec2 \
         nor a pointer at offset {at:#x}; an OVMF built with TDX support has one"
    )]
    Missing {
        /// Where the pointer would be, in bytes.
        at: usize,
    },
    /// The metadata itself.
    #[error("The TDX metadata at offset {at:#x} is broken: {what}")]
    Metadata {
        /// Offset of the descriptor, in bytes.
        at: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// One of the sections.
    #[error("Section {number} of the TDX metadata, at offset {at:#x}, is broken: {what}")]
    Section {
        /// Its number, from 0.
        number: u32,
        /// Offset of its entry, in bytes.
        at: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Two sections share bytes.
    #[error(
        "Two sections of the TDX metadata overlap in {place} at {at:#x}; each byte belongs to one at most"
    )]
    Overlap {
        /// `memory` or `the file`.
        place: &'static str,
        /// First byte that both have.
        at: u64,
    },
}

/// A firmware file and its sections.
#[derive(Debug, Clone)]
pub struct Firmware<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
    metadata: usize,
    found_by: FoundBy,
}

impl<'a> Firmware<'a> {
    /// Reads the metadata of a firmware file and checks every section.
    ///
    /// # Errors
    /// [`TdvfError`] with the offset of what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TdvfError> {
        if bytes.len() > MAX_FIRMWARE {
            return Err(TdvfError::Long { found: bytes.len() });
        }
        let (metadata, found_by) = find::metadata(bytes)?;
        let sections = descriptor(bytes, metadata)?;
        let in_memory = sections.iter().map(|s| (s.address, s.memory_size));
        if let Some(at) = overlap(in_memory) {
            let place = "memory";
            return Err(TdvfError::Overlap { place, at });
        }
        let in_file = sections
            .iter()
            .map(|s| (u64::from(s.data_offset), u64::from(s.raw_size)));
        if let Some(at) = overlap(in_file) {
            let place = "the file";
            return Err(TdvfError::Overlap { place, at });
        }
        Ok(Self {
            bytes,
            sections,
            metadata,
            found_by,
        })
    }

    /// The whole file.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The sections in the order of the metadata, which is the order in which a
    /// VMM adds them to a TD.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Offset of the metadata in the file, in bytes.
    #[must_use]
    pub const fn metadata_offset(&self) -> usize {
        self.metadata
    }

    /// What pointed to the metadata.
    #[must_use]
    pub const fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// The bytes of the file that a section is filled with; none for memory that
    /// begins with zeros.
    #[must_use]
    pub fn data(&self, section: &Section) -> &'a [u8] {
        let start = index(section.data_offset);
        let end = start.saturating_add(index(section.raw_size));
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The first section of a kind.
    #[must_use]
    pub fn section(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

fn descriptor(bytes: &[u8], at: usize) -> Result<Vec<Section>, TdvfError> {
    let broken = |what: String| TdvfError::Metadata { at, what };
    let mut reader = Reader::at(bytes, at);
    let signature: [u8; 4] = reader.array("the TDVF descriptor")?;
    if signature != SIGNATURE {
        return Err(broken(format!(
            "it begins with {}; the signature is TDVF",
            signature.escape_ascii()
        )));
    }
    let length = reader.u32("the length of the metadata")?;
    let version = reader.u32("the version of the metadata")?;
    if version != VERSION {
        return Err(broken(format!("it is of version {version}; 1 is known")));
    }
    let count = reader.u32("the number of sections")?;
    if !(1..=MAX_SECTIONS).contains(&count) {
        return Err(broken(format!(
            "it lists {count} sections; 1 to {MAX_SECTIONS} are sensible"
        )));
    }
    let wanted = DESCRIPTOR + ENTRY * count;
    if length != wanted {
        return Err(broken(format!(
            "it is {length} bytes long; {wanted} fit {count} sections"
        )));
    }
    let mut sections = Vec::new();
    let mut memory = 0_u64;
    for number in 0..count {
        let entry = reader.offset();
        let section = Section::read(&mut reader)?;
        let check = section.check(bytes.len());
        memory = memory.saturating_add(section.memory_size);
        let check = check.and_then(|()| {
            if memory > MAX_SECTION_MEMORY {
                Err(format!(
                    "the sections up to it cover {memory:#x} bytes of memory; at most {MAX_SECTION_MEMORY:#x} are sensible"
                ))
            } else {
                Ok(())
            }
        });
        check.map_err(|what| TdvfError::Section {
            number,
            at: entry,
            what,
        })?;
        sections.push(section);
    }
    let hobs = sections.iter().filter(|s| s.kind == SectionKind::TdHob);
    if hobs.count() > 1 {
        return Err(broken(
            "it lists several TD_HOB sections; one is used".to_owned(),
        ));
    }
    Ok(sections)
}
