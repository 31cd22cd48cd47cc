//! PE/COFF images and their Authenticode digest, by which firmware measures
//! what it boots.
//!
//! Microsoft, "Windows Authenticode Portable Executable Signature Format", as
//! edk2 does it: `OvmfPkg/Tcg/TdTcg2Dxe/MeasureBootPeCoff.c`
//! (`MeasurePeImageAndExtend`), the same in `SecurityPkg/Tcg/Tcg2Dxe` for a TPM.
//! Sections are hashed by their place in the file, then what follows them
//! without the certificates. A section outside of the file, or in another one,
//! is refused: firmware would read other memory, or hash bytes twice.

use core::ops::Range;

use sha2::{Digest as _, Sha256, Sha384};

use crate::{
    bytes::{Reader, Truncated, index, overlap},
    digest::{Digest, Digest256, Digest384},
};

/// Longest image that is looked at, in bytes.
pub const MAX_IMAGE: usize = 512 << 20;

const PE_OFFSET: usize = 0x3c;
const FILE_HEADER: usize = 24;
const SECTION_HEADER: usize = 40;
/// The directory entry of the certificates, and its size.
const CERTIFICATES: u32 = 4;
const DIRECTORY: usize = 8;

/// A file is no PE image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// Longer than any kernel.
    #[error("The image has {found} bytes; at most {MAX_IMAGE} are read")]
    Long {
        /// Its length, in bytes.
        found: usize,
    },
    /// Cut off.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A signature or magic number is not there.
    #[error("No PE image: {what} at offset {at:#x} is {found}; {right} would be right")]
    Magic {
        /// Which.
        what: &'static str,
        /// Offset, in bytes.
        at: usize,
        /// What is there.
        found: String,
        /// What would be right.
        right: &'static str,
    },
    /// The headers do not hold what they must.
    #[error("The PE headers say {found} bytes at offset {at:#x}; {right}")]
    Headers {
        /// Offset of the field, in bytes.
        at: usize,
        /// Its value.
        found: u32,
        /// What would be right.
        right: String,
    },
    /// A section is not in the file.
    #[error(
        "Section {number} of the PE image, at offset {at:#x}, ends at {end:#x}; the file has {file:#x} bytes"
    )]
    Section {
        /// Its number, from 0.
        number: u16,
        /// Offset of its header, in bytes.
        at: usize,
        /// Where its data end, in bytes.
        end: u64,
        /// Length of the file, in bytes.
        file: usize,
    },
    /// Sections share bytes.
    #[error("Two sections or the headers of the PE image overlap at offset {at:#x}")]
    Overlap {
        /// First byte that both have.
        at: u64,
    },
    /// The certificates do not fit.
    #[error(
        "The certificates of {size:#x} bytes (offset {at:#x}) do not fit behind the sections; the file ends {left:#x} bytes after these"
    )]
    Certificates {
        /// Offset of the directory entry, in bytes.
        at: usize,
        /// Their length, in bytes.
        size: u32,
        /// Bytes behind the sections.
        left: usize,
    },
}

/// The parts of an image that its digest covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    bytes: &'a [u8],
    hashed: Vec<Range<usize>>,
    sections: Vec<Section<'a>>,
}

/// A section of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name, padded with zeros.
    pub name: [u8; 8],
    /// Its bytes in the file, as far as they are in memory: without padding.
    pub data: &'a [u8],
}

impl<'a> Image<'a> {
    /// Reads the headers of a PE32 or PE32+ image.
    ///
    /// # Errors
    /// [`PeError`] with the offset of what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        if bytes.len() > MAX_IMAGE {
            return Err(PeError::Long { found: bytes.len() });
        }
        let headers = Headers::read(bytes)?;
        let (sections, ranges, end) = headers.sections(bytes)?;
        let mut hashed = vec![
            0..headers.checksum,
            headers.checksum + 4..headers.certificates_at.unwrap_or(headers.size),
        ];
        if let Some(entry) = headers.certificates_at {
            hashed.push(entry + DIRECTORY..headers.size);
        }
        hashed.extend(ranges);
        let left = bytes.len().saturating_sub(end);
        let Some(tail) = left.checked_sub(index(headers.certificates)) else {
            return Err(PeError::Certificates {
                at: headers.certificates_at.unwrap_or_default(),
                size: headers.certificates,
                left,
            });
        };
        hashed.push(end..end + tail);
        hashed.retain(|range| !range.is_empty());
        Ok(Self {
            bytes,
            hashed,
            sections,
        })
    }

    /// The sections, in the order of their table.
    #[must_use]
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// Ranges of the file that the digest covers, in the order in which they are
    /// hashed.
    #[must_use]
    pub fn hashed(&self) -> &[Range<usize>] {
        &self.hashed
    }

    /// The Authenticode digest by SHA-256, as PCRs of that bank take it.
    #[must_use]
    pub fn sha256(&self) -> Digest256 {
        let mut hash = Sha256::new();
        self.parts().for_each(|part| hash.update(part));
        Digest(hash.finalize().into())
    }

    /// The Authenticode digest by SHA-384, as RTMRs take it.
    #[must_use]
    pub fn sha384(&self) -> Digest384 {
        let mut hash = Sha384::new();
        self.parts().for_each(|part| hash.update(part));
        Digest(hash.finalize().into())
    }

    fn parts(&self) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        self.hashed
            .iter()
            .map(move |range| bytes.get(range.clone()).unwrap_or_default())
    }
}

/// Sections, what is hashed of them, and where they end.
type Sections<'a> = (Vec<Section<'a>>, Vec<Range<usize>>, usize);

struct Headers {
    /// Offset of the checksum, which is not hashed.
    checksum: usize,
    /// Offset of the certificates' directory entry, which is not hashed.
    certificates_at: Option<usize>,
    certificates: u32,
    /// Length of all headers.
    size: usize,
    /// Offset of the section headers.
    table: usize,
    count: u16,
}

impl Headers {
    fn read(bytes: &[u8]) -> Result<Self, PeError> {
        let magic = |what, at, found: &[u8], right| PeError::Magic {
            what,
            at,
            found: hex::encode(found),
            right,
        };
        let dos: [u8; 2] = Reader::at(bytes, 0).array("the DOS signature")?;
        if dos != *b"MZ" {
            return Err(magic("the DOS signature", 0, &dos, "4d5a (MZ)"));
        }
        let pe = index(Reader::at(bytes, PE_OFFSET).u32("the offset of the PE header")?);
        let mut reader = Reader::at(bytes, pe);
        let signature: [u8; 4] = reader.array("the PE signature")?;
        if signature != *b"PE\0\0" {
            return Err(magic("the PE signature", pe, &signature, "50450000 (PE)"));
        }
        let _machine = reader.u16("the machine type")?;
        let count = reader.u16("the number of sections")?;
        reader.take(12, "the file header")?;
        let optional_size = usize::from(reader.u16("the size of the optional header")?);
        let optional = pe.saturating_add(FILE_HEADER);
        let at = |offset: usize| optional.saturating_add(offset);
        let kind = Reader::at(bytes, optional).u16("the magic of the optional header")?;
        let directories = match kind {
            0x10b => 96,
            0x20b => 112,
            other => {
                let what = "the magic of the optional header";
                let right = "0b01 (PE32) or 0b02 (PE32+)";
                return Err(magic(what, optional, &other.to_le_bytes(), right));
            }
        };
        let entries = Reader::at(bytes, at(directories - 4)).u32("the number of directories")?;
        let (certificates_at, certificates) = if entries > CERTIFICATES {
            let entry = at(directories + index(CERTIFICATES) * DIRECTORY);
            let mut reader = Reader::at(bytes, entry);
            let _offset = reader.u32("the offset of the certificates")?;
            (Some(entry), reader.u32("the size of the certificates")?)
        } else {
            (None, 0)
        };
        let size_at = at(60);
        let size = Reader::at(bytes, size_at).u32("the size of the headers")?;
        let table = at(optional_size);
        let least = table.saturating_add(usize::from(count) * SECTION_HEADER);
        let hashed_apart = certificates_at.map_or(at(68), |entry| entry + DIRECTORY);
        let least = least.max(hashed_apart);
        if index(size) < least || index(size) > bytes.len() {
            return Err(PeError::Headers {
                at: size_at,
                found: size,
                right: format!(
                    "all headers need {least:#x}, the file has {:#x}",
                    bytes.len()
                ),
            });
        }
        Ok(Self {
            checksum: at(64),
            certificates_at,
            certificates,
            size: index(size),
            table,
            count,
        })
    }

    /// The sections' data by their place in the file, and the sum of all bytes
    /// of headers and sections, behind which edk2 looks for more.
    fn sections<'a>(&self, bytes: &'a [u8]) -> Result<Sections<'a>, PeError> {
        let mut sections = Vec::new();
        let mut ranges = Vec::new();
        let mut sum = self.size;
        let mut reader = Reader::at(bytes, self.table);
        for number in 0..self.count {
            let at = reader.offset();
            let name = reader.array("the name of a section")?;
            let in_memory = reader.u32("the size of a section in memory")?;
            reader.take(4, "a section header")?;
            let size = reader.u32("the size of a section")?;
            let start = reader.u32("the offset of a section")?;
            reader.take(16, "a section header")?;
            let end = u64::from(start) + u64::from(size);
            let data = |length: u32| {
                let start = index(start);
                let end = start.saturating_add(index(length));
                bytes.get(start..end).unwrap_or_default()
            };
            sections.push(Section {
                name,
                data: data(size.min(in_memory)),
            });
            if size == 0 {
                continue;
            }
            if u64::try_from(bytes.len()).is_ok_and(|file| end > file) {
                return Err(PeError::Section {
                    number,
                    at,
                    end,
                    file: bytes.len(),
                });
            }
            ranges.push(index(start)..index(start) + index(size));
            sum = sum.saturating_add(index(size));
        }
        ranges.sort_by_key(|range| range.start);
        let mut all = vec![(0, self.size as u64)];
        all.extend(ranges.iter().map(|r| (r.start as u64, r.len() as u64)));
        if let Some(at) = overlap(all) {
            return Err(PeError::Overlap { at });
        }
        Ok((sections, ranges, sum))
    }
}
