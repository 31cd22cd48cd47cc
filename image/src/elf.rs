//! Programs as cargo leaves them, cut down to what the kernel loads.
//!
//! ELF-64, little endian (System V ABI, "Object Files"): what lies behind the last
//! loaded segment is for debuggers and linkers only, symbols and line tables among it.

/// First bytes of a 64-bit, little-endian ELF file.
const MAGIC: [u8; 6] = *b"\x7fELF\x02\x01";
/// Bytes of a file's header and of an entry of its program header table.
const HEADER: usize = 64;
const ENTRY: usize = 56;
/// Types of segments: one that is loaded, what a linker needs, and its name.
pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
/// Flags of segments.
const EXECUTABLE: usize = 1;
const WRITABLE: usize = 2;
/// Tags of dynamic entries that tell of relocations: with and without addends, of the procedure table,
/// and packed (System V ABI, "Dynamic Section").
const RELOCATIONS: [usize; 4] = [7, 17, 23, 36];
/// Bytes of a dynamic entry.
const DYNAMIC: usize = 16;
/// Where the header says where sections are: `e_shoff`, and `e_shentsize` to
/// `e_shstrndx`.
const SECTIONS: [core::ops::Range<usize>; 2] = [0x28..0x30, 0x3a..0x40];

/// A file that the guest could not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Another format, or one that is cut.
    #[error("It is no whole 64-bit ELF program; one that cargo has built would be right")]
    Format,
    /// It is not static.
    #[error("It needs a dynamic linker, and the guest has none; a static program would be right")]
    Dynamic,
    /// Its place in memory matters.
    #[error(
        "It has to be relocated, and nobody does; position-independent code without tables of addresses would be right"
    )]
    Relocated,
}

/// What is loaded of a program that runs anywhere as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Where it lies, in bytes from the program's start.
    pub address: usize,
    /// What is loaded there.
    pub data: &'a [u8],
    /// Bytes in memory; those behind `data` are zeros.
    pub size: usize,
    /// Whether it holds code.
    pub executable: bool,
    /// Whether it can be written to.
    pub writable: bool,
}

/// The segments of a position-independent program without relocations, and the address
/// at which it begins.
///
/// # Errors
/// [`ElfError`].
pub fn segments(program: &[u8]) -> Result<(Vec<Segment<'_>>, usize), ElfError> {
    let number = |at: usize, bytes: usize| number(program, at, bytes).ok_or(ElfError::Format);
    let mut found = Vec::new();
    for at in entries(program)? {
        let data = |offset: usize, bytes: usize| {
            let end = offset.checked_add(bytes)?;
            program.get(offset..end)
        };
        let data = data(number(at + 8, 8)?, number(at + 32, 8)?).ok_or(ElfError::Format)?;
        match kind(program, at)? {
            PT_INTERP => return Err(ElfError::Dynamic),
            PT_DYNAMIC => {
                let tags = data
                    .chunks(DYNAMIC)
                    .filter_map(|tag| self::number(tag, 0, 8));
                if tags
                    .take_while(|tag| *tag != 0)
                    .any(|tag| RELOCATIONS.contains(&tag))
                {
                    return Err(ElfError::Relocated);
                }
            }
            PT_LOAD => {
                let flags = number(at + 4, 4)?;
                found.push(Segment {
                    address: number(at + 16, 8)?,
                    data,
                    size: number(at + 40, 8)?.max(data.len()),
                    executable: flags & EXECUTABLE != 0,
                    writable: flags & WRITABLE != 0,
                });
            }
            _ => {}
        }
    }
    Ok((found, number(0x18, 8)?))
}

/// Where the entries of the program header table are.
fn entries(program: &[u8]) -> Result<impl Iterator<Item = usize>, ElfError> {
    let number = |at: usize, bytes: usize| number(program, at, bytes).ok_or(ElfError::Format);
    if !program.starts_with(&MAGIC) || number(0x36, 2)? != ENTRY {
        return Err(ElfError::Format);
    }
    let (table, count) = (number(0x20, 8)?, number(0x38, 2)?);
    // The whole table, so that offsets into it are no overflow.
    let end = table.checked_add(count * ENTRY).ok_or(ElfError::Format)?;
    program.get(table..end).ok_or(ElfError::Format)?;
    Ok((0..count).map(move |index| table + index * ENTRY))
}

fn kind(program: &[u8], at: usize) -> Result<u32, ElfError> {
    let kind = number(program, at, 4).ok_or(ElfError::Format)?;
    u32::try_from(kind).map_err(|_| ElfError::Format)
}

/// The part of a static program that the kernel loads, without the table of
/// sections, which it does not read.
///
/// # Errors
/// [`ElfError`].
pub fn loaded(program: &[u8]) -> Result<Vec<u8>, ElfError> {
    let number = |at: usize, bytes: usize| number(program, at, bytes).ok_or(ElfError::Format);
    let mut end = HEADER;
    for at in entries(program)? {
        end = end.max(at + ENTRY);
        match kind(program, at)? {
            PT_INTERP => return Err(ElfError::Dynamic),
            PT_LOAD => {
                let (offset, bytes) = (number(at + 8, 8)?, number(at + 32, 8)?);
                end = end.max(offset.saturating_add(bytes));
            }
            _ => {}
        }
    }
    let mut kept = program.get(..end).ok_or(ElfError::Format)?.to_vec();
    for range in SECTIONS {
        kept.get_mut(range).ok_or(ElfError::Format)?.fill(0);
    }
    Ok(kept)
}

/// A little-endian number of at most 8 bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    let mut whole = [0; 8];
    whole.get_mut(..length)?.copy_from_slice(field);
    usize::try_from(u64::from_le_bytes(whole)).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program that begins at `entry`, with segments of a type, flags, address, offset,
    /// bytes in the file and bytes in memory.
    pub(crate) fn segment(segments: &[[u32; 6]], length: usize, entry: u64) -> Vec<u8> {
        let wide = |number: u32| u64::from(number).to_le_bytes();
        let in_file = segments
            .iter()
            .map(|of| (of[0], of[3].into(), of[4].into()));
        let mut file = program(&in_file.collect::<Vec<_>>(), length);
        file[0x18..0x20].copy_from_slice(&entry.to_le_bytes());
        for (index, [_, flags, address, _, _, size]) in segments.iter().enumerate() {
            let at = 64 + index * 56;
            file[at + 4..at + 8].copy_from_slice(&flags.to_le_bytes());
            file[at + 16..at + 24].copy_from_slice(&wide(*address));
            file[at + 40..at + 48].copy_from_slice(&wide(*size));
        }
        file
    }

    /// A header, segments of these types with `offset` and `bytes` in the file, and
    /// what comes behind them.
    fn program(segments: &[(u32, u64, u64)], length: usize) -> Vec<u8> {
        let mut file = vec![0xa5; length];
        file[..6].copy_from_slice(&MAGIC);
        file[0x20..0x28].copy_from_slice(&64_u64.to_le_bytes());
        file[0x36..0x38].copy_from_slice(&56_u16.to_le_bytes());
        let count = u16::try_from(segments.len()).unwrap();
        file[0x38..0x3a].copy_from_slice(&count.to_le_bytes());
        for (index, (kind, offset, bytes)) in segments.iter().enumerate() {
            let at = 64 + index * 56;
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            file[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
            file[at + 32..at + 40].copy_from_slice(&bytes.to_le_bytes());
        }
        file
    }

    #[test]
    fn what_is_not_loaded_is_cut_off_and_no_longer_pointed_to() {
        let whole = program(&[(PT_LOAD, 0, 300), (PT_LOAD, 400, 100), (4, 600, 8)], 1000);
        let kept = loaded(&whole).unwrap();
        assert_eq!(kept.len(), 500);
        let mut expected = whole[..500].to_vec();
        for range in SECTIONS {
            expected[range].fill(0);
        }
        assert_eq!(kept, expected);
        assert_eq!(loaded(&kept).unwrap(), kept);
    }

    #[test]
    fn what_the_guest_could_not_run_is_refused() {
        let dynamic = program(&[(PT_LOAD, 0, 300), (PT_INTERP, 300, 28)], 1000);
        assert_eq!(loaded(&dynamic), Err(ElfError::Dynamic));
        let cut = program(&[(PT_LOAD, 0, 2000)], 1000);
        assert_eq!(loaded(&cut), Err(ElfError::Format));
        let beyond = program(&[(PT_LOAD, u64::MAX, u64::MAX)], 1000);
        assert_eq!(loaded(&beyond), Err(ElfError::Format));
        for other in [&b"#!/bin/sh\n"[..], b"\x7fELF\x01\x01", b""] {
            assert_eq!(loaded(other), Err(ElfError::Format));
        }
    }

    #[test]
    fn this_program_still_starts() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let Ok(kept) = loaded(&own) else {
            // Built without the settings of .cargo/config.toml.
            assert_eq!(loaded(&own), Err(ElfError::Dynamic));
            return;
        };
        assert!(kept.len() < own.len());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, kept).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).unwrap();
        let status = std::process::Command::new(&path)
            .args(["--list", "--format", "terse"])
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = (loaded(&bytes), segments(&bytes));
            for (byte, magic) in bytes.iter_mut().zip(MAGIC) {
                *byte = magic;
            }
            let _ = (loaded(&bytes), segments(&bytes));
        }
    }
}
