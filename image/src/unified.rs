//! Kernel, command line and initramfs in one PE image, which the firmware measures
//! whole: a unified kernel image around the program `zipnet-stub`.
//!
//! Microsoft, "PE Format"; section names by the UAPI group's "Unified Kernel Image
//! (UKI)". Nothing in it depends on where it lies in memory, so that it has no
//! relocations. Bytes of the file are those of memory, page by page.

use zipnet_stub::section;

use crate::elf::{self, ElfError, Segment};

/// Alignment of sections in memory and in the file, in bytes.
const PAGE: usize = 4096;
const FILE_ALIGNMENT: usize = 512;
/// Bytes of the headers, with room for the table of sections.
const HEADERS: usize = 1024;
/// Where the PE header stands, behind that of DOS.
const PE_OFFSET: usize = 0x40;
/// Bytes of the optional header of PE32+ with all its directories.
const OPTIONAL: u16 = 112 + 16 * 8;
const DIRECTORIES: u32 = 16;

/// Kinds of sections (`IMAGE_SCN_*`).
const CODE: u32 = 0x6000_0020;
const READ_ONLY: u32 = 0x4000_0040;
const WRITABLE: u32 = 0xc000_0040;

/// No image can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnifiedError {
    /// The program.
    #[error("zipnet-stub is no program for firmware")]
    Stub(#[from] ElfError),
    /// Segments share a page, or are too many.
    #[error(
        "zipnet-stub has a segment at {address:#x} that shares a page with another one or is out of order"
    )]
    Segments {
        /// Where.
        address: usize,
    },
    /// Longer than firmware loads.
    #[error("The image would be longer than the 2 GiB that its headers can say")]
    Long,
}

struct Section<'a> {
    name: [u8; 8],
    kind: u32,
    address: usize,
    /// Zeros in front of the data, in bytes.
    before: usize,
    data: &'a [u8],
    size: usize,
}

impl Section<'_> {
    fn in_file(&self) -> usize {
        (self.before + self.data.len()).next_multiple_of(FILE_ALIGNMENT)
    }
}

/// Puts the parts behind the program.
///
/// # Errors
/// [`UnifiedError`].
pub fn unified(
    stub: &[u8],
    kernel: &[u8],
    cmdline: &str,
    initramfs: &[u8],
) -> Result<Vec<u8>, UnifiedError> {
    let (segments, entry) = elf::segments(stub)?;
    let mut sections = Vec::new();
    // The headers have the first page.
    let mut next = PAGE;
    for segment in &segments {
        let section = program(segment);
        if section.address < next {
            let address = segment.address;
            return Err(UnifiedError::Segments { address });
        }
        next = (section.address + section.size).next_multiple_of(PAGE);
        sections.push(section);
    }
    for (name, data) in [
        (section::CMDLINE, cmdline.as_bytes()),
        (section::LINUX, kernel),
        (section::INITRD, initramfs),
    ] {
        let size = data.len();
        sections.push(Section {
            name,
            kind: READ_ONLY,
            address: next,
            before: 0,
            data,
            size,
        });
        next = next.saturating_add(size).next_multiple_of(PAGE);
    }
    write(&sections, PAGE.saturating_add(entry), next).ok_or(UnifiedError::Long)
}

/// A segment of the program, behind the page of the headers.
fn program<'a>(segment: &Segment<'a>) -> Section<'a> {
    let (name, kind) = match (segment.executable, segment.writable) {
        (true, _) => (*b".text\0\0\0", CODE),
        (false, true) => (*b".data\0\0\0", WRITABLE),
        (false, false) => (*b".rdata\0\0", READ_ONLY),
    };
    let before = segment.address % PAGE;
    Section {
        name,
        kind,
        address: PAGE.saturating_add(segment.address - before),
        before,
        data: segment.data,
        size: before.saturating_add(segment.size),
    }
}

/// The file; `None` if a number does not fit.
fn write(sections: &[Section<'_>], entry: usize, end: usize) -> Option<Vec<u8>> {
    let small = |number: usize| {
        let number = i32::try_from(number).ok()?;
        Some(number.cast_unsigned().to_le_bytes())
    };
    let sum = |kind: u32| {
        let of = sections.iter().filter(|section| section.kind == kind);
        of.map(Section::in_file).sum::<usize>()
    };
    let mut file = Vec::new();
    file.extend(b"MZ");
    file.resize(0x3c, 0);
    file.extend(small(PE_OFFSET)?);
    // The file header: x86-64, no time, no symbols; executable, all of memory.
    file.extend(b"PE\0\0\x64\x86");
    file.extend(u16::try_from(sections.len()).ok()?.to_le_bytes());
    file.extend([0; 12]);
    file.extend(OPTIONAL.to_le_bytes());
    file.extend(0x0022_u16.to_le_bytes());
    // The optional header: PE32+, of no linker.
    file.extend(0x020b_u16.to_le_bytes());
    file.extend([0; 2]);
    file.extend(small(sum(CODE))?);
    file.extend(small(sum(READ_ONLY) + sum(WRITABLE))?);
    file.extend([0; 4]);
    file.extend(small(entry)?);
    let code = sections.iter().find(|section| section.kind == CODE)?;
    file.extend(small(code.address)?);
    // Image base, alignments, versions.
    file.extend([0; 8]);
    file.extend(small(PAGE)?);
    file.extend(small(FILE_ALIGNMENT)?);
    file.extend([0; 16]);
    file.extend(small(end)?);
    file.extend(small(HEADERS)?);
    // No checksum; an EFI application whose data are not executed.
    file.extend([0; 4]);
    file.extend(10_u16.to_le_bytes());
    file.extend(0x0100_u16.to_le_bytes());
    // Stack and heap are the firmware's; no flags.
    file.extend([0; 36]);
    file.extend(DIRECTORIES.to_le_bytes());
    file.resize(file.len() + index(DIRECTORIES) * 8, 0);
    let mut offset = HEADERS;
    for section in sections {
        file.extend(section.name);
        file.extend(small(section.size)?);
        file.extend(small(section.address)?);
        file.extend(small(section.in_file())?);
        file.extend(small(offset)?);
        file.extend([0; 12]);
        file.extend(section.kind.to_le_bytes());
        offset = offset.checked_add(section.in_file())?;
    }
    if file.len() > HEADERS {
        return None;
    }
    file.resize(HEADERS, 0);
    for section in sections {
        let end = file.len() + section.in_file();
        file.resize(file.len() + section.before, 0);
        file.extend(section.data);
        file.resize(end, 0);
    }
    Some(file)
}

const fn index(number: u32) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zipnet_measurements::pe::Image;
    use zipnet_stub::Parts;

    use super::*;
    use crate::elf::{PT_DYNAMIC, PT_LOAD, tests::segment};

    /// A program of two segments as a linker lays them out.
    fn stub() -> Vec<u8> {
        let code = [PT_LOAD, 5, 0x1200, 0x200, 0x100, 0x100];
        segment(&[[PT_LOAD, 4, 0, 0, 0x180, 0x180], code], 0x400, 0x1234)
    }

    /// The image as firmware puts it into memory (PE format, "Section Table").
    fn loaded(file: &[u8]) -> Vec<u8> {
        let number = |at: usize| {
            let bytes = file[at..at + 4].try_into().unwrap();
            u32::from_le_bytes(bytes) as usize
        };
        let count = usize::from(file[PE_OFFSET + 6]);
        let mut memory = vec![0; number(PE_OFFSET + 24 + 56)];
        memory[..HEADERS].copy_from_slice(&file[..HEADERS]);
        for section in 0..count {
            let at = PE_OFFSET + 24 + usize::from(OPTIONAL) + 40 * section;
            let [size, address, in_file, offset] = [8, 12, 16, 20].map(|field| number(at + field));
            let length = size.min(in_file);
            memory[address..address + length].copy_from_slice(&file[offset..offset + length]);
        }
        memory
    }

    #[test]
    fn firmware_and_program_find_the_parts() {
        let file = unified(&stub(), b"a kernel", "quiet", &[7; 5000]).unwrap();
        let image = Image::parse(&file).unwrap();
        let names: Vec<_> = image
            .sections()
            .iter()
            .map(|section| section.name)
            .collect();
        let text = [*b".rdata\0\0", *b".text\0\0\0"];
        let parts = [section::CMDLINE, section::LINUX, section::INITRD];
        assert_eq!(names, [&text[..], &parts[..]].concat());
        assert_eq!(image.sections()[3].data, b"a kernel");
        let memory = loaded(&file);
        let found = Parts::find(&memory).unwrap();
        assert_eq!(found.linux, b"a kernel");
        assert_eq!(found.cmdline, b"quiet");
        assert_eq!(found.initrd, [7; 5000]);
        // Entry and code are where the headers say, a page behind the program's addresses.
        assert_eq!(file[PE_OFFSET + 24 + 16..][..4], 0x2234_u32.to_le_bytes());
        assert_eq!(memory[0x2200..0x2300], stub()[0x200..0x300]);
    }

    #[test]
    fn a_part_that_is_missing_or_twice_there_is_not_found() {
        let file = unified(&stub(), b"a kernel", "quiet", b"files").unwrap();
        let memory = loaded(&file);
        let table = PE_OFFSET + 24 + usize::from(OPTIONAL);
        for name in [*b".other\0\0", section::CMDLINE] {
            let mut other = memory.clone();
            // The last one is the initramfs.
            other[table + 4 * 40..][..8].copy_from_slice(&name);
            assert_eq!(Parts::find(&other), None);
        }
        assert_eq!(Parts::find(&memory[..memory.len() - 4096]), None);
    }

    #[test]
    fn what_would_have_to_be_relocated_is_refused() {
        let dynamic = [PT_DYNAMIC, 6, 0x2000, 0x300, 0x20, 0x20];
        let mut program = segment(&[[PT_LOAD, 5, 0, 0, 0x180, 0x180], dynamic], 0x400, 0);
        program[0x300..0x320].fill(0);
        assert!(unified(&program, b"", "", b"").is_ok());
        program[0x300] = 7;
        let refused = unified(&program, b"", "", b"");
        assert_eq!(refused, Err(UnifiedError::Stub(ElfError::Relocated)));
        let same = [PT_LOAD, 4, 0x80, 0, 0x180, 0x180];
        let shared = segment(&[same, [PT_LOAD, 5, 0x200, 0x200, 8, 8]], 0x400, 0);
        let refused = unified(&shared, b"", "", b"");
        assert_eq!(refused, Err(UnifiedError::Segments { address: 0x200 }));
    }

    proptest! {
        #[test]
        fn no_bytes_of_an_image_panic(bytes in prop::collection::vec(any::<u8>(), 0..900), pe in 0_u32..200) {
            let mut bytes = bytes;
            if let Some(field) = bytes.get_mut(0x3c..0x40) {
                field.copy_from_slice(&pe.to_le_bytes());
            }
            let _ = Parts::find(&bytes);
        }
    }
}
