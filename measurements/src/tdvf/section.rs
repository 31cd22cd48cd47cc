//! One section of the metadata.

use core::fmt;

use super::PAGE;
use crate::bytes::{Reader, Truncated};

/// What a section is for, by its type number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// Boot firmware volume: the code. Type 0.
    Bfv,
    /// Configuration firmware volume: the variable store. Type 1.
    Cfv,
    /// Where the VMM puts the hand-off block. Type 2.
    TdHob,
    /// Memory for the first stage, zeros. Type 3.
    TempMem,
    /// Any other type; QEMU starts no TD with one.
    Other(u32),
}

impl SectionKind {
    const fn new(number: u32) -> Self {
        match number {
            0 => Self::Bfv,
            1 => Self::Cfv,
            2 => Self::TdHob,
            3 => Self::TempMem,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bfv => f.write_str("BFV"),
            Self::Cfv => f.write_str("CFV"),
            Self::TdHob => f.write_str("TD_HOB"),
            Self::TempMem => f.write_str("TempMem"),
            Self::Other(number) => write!(f, "type {number}"),
        }
    }
}

/// A section: 32 bytes of metadata, all integers little endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Where its contents begin in the file, in bytes.
    pub data_offset: u32,
    /// Length of its contents in the file, in bytes; 0 for zeros.
    pub raw_size: u32,
    /// Guest physical address, page aligned.
    pub address: u64,
    /// Length in memory, in bytes, whole pages.
    pub memory_size: u64,
    /// What it is for.
    pub kind: SectionKind,
    /// Bit 0: contents are measured (MR.EXTEND). Bit 1: pages are not there from
    /// the start (PAGE.AUG).
    pub attributes: u32,
}

impl Section {
    /// Whether its contents go into MRTD, and not only its addresses.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.attributes & 1 != 0
    }

    /// Whether its pages come only while the TD runs.
    #[must_use]
    pub const fn is_augmented(&self) -> bool {
        self.attributes & 2 != 0
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            data_offset: reader.u32("the data offset of a section")?,
            raw_size: reader.u32("the raw size of a section")?,
            address: reader.u64("the memory address of a section")?,
            memory_size: reader.u64("the memory size of a section")?,
            kind: SectionKind::new(reader.u32("the type of a section")?),
            attributes: reader.u32("the attributes of a section")?,
        })
    }

    /// QEMU's checks (`hw/i386/tdvf.c`, `tdvf_parse_and_check_section_entry`),
    /// and that nothing points outside of the file or wraps around.
    pub(super) fn check(&self, file: usize) -> Result<(), String> {
        if !self.address.is_multiple_of(PAGE) {
            return Err(format!(
                "its address {:#x} is not a multiple of {PAGE}",
                self.address
            ));
        }
        if self.memory_size == 0 || !self.memory_size.is_multiple_of(PAGE) {
            return Err(format!(
                "its memory size {:#x} is not whole pages of {PAGE} bytes",
                self.memory_size
            ));
        }
        if self.address.checked_add(self.memory_size).is_none() {
            return Err(format!("its memory at {:#x} wraps around", self.address));
        }
        let end = u64::from(self.data_offset) + u64::from(self.raw_size);
        if u64::try_from(file).is_ok_and(|file| end > file) {
            return Err(format!(
                "its contents end at offset {end:#x}; the file has {file:#x} bytes (firmware split into code and variables has to be whole)"
            ));
        }
        match self.kind {
            // The VMM copies memory_size bytes of the file: bytes behind the
            // section would be measured with it.
            SectionKind::Bfv | SectionKind::Cfv if u64::from(self.raw_size) != self.memory_size => {
                Err(format!(
                    "a {} of {:#x} bytes fills {:#x} bytes of memory; both are the same",
                    self.kind, self.raw_size, self.memory_size
                ))
            }
            SectionKind::TdHob | SectionKind::TempMem if self.raw_size != 0 => Err(format!(
                "a {} has {:#x} bytes in the file; it has none",
                self.kind, self.raw_size
            )),
            SectionKind::TdHob | SectionKind::TempMem if self.is_measured() => Err(format!(
                "a {} is marked as measured; only contents of the file can be",
                self.kind
            )),
            SectionKind::Other(number) => Err(format!(
                "it is of type {number}; QEMU knows 0 (BFV), 1 (CFV), 2 (TD_HOB) and 3 (TempMem)"
            )),
            _ => Ok(()),
        }
    }
}
