//! Programs as cargo leaves them, cut down to what the kernel loads.
//!
//! ELF-64, little endian (System V ABI, "Object Files"): what lies behind the last
//! loaded segment is for debuggers and linkers only, symbols and line tables among it.

/// First bytes of a 64-bit, little-endian ELF file.
const MAGIC: [u8; 6] = *b"\x7fELF\x02\x01";
/// Bytes of a file's header and of an entry of its program header table.
const HEADER: usize = 64;
const ENTRY: usize = 56;
/// Types of segments: one that is loaded, and the name of a dynamic linker.
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
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
}

/// The part of a static program that the kernel loads, without the table of
/// sections, which it does not read.
///
/// # Errors
/// [`ElfError`].
pub fn loaded(program: &[u8]) -> Result<Vec<u8>, ElfError> {
    let number = |at: usize, bytes: usize| number(program, at, bytes).ok_or(ElfError::Format);
    if !program.starts_with(&MAGIC) || number(0x36, 2)? != ENTRY {
        return Err(ElfError::Format);
    }
    let (table, count) = (number(0x20, 8)?, number(0x38, 2)?);
    let mut end = HEADER.max(table.saturating_add(count * ENTRY));
    for index in 0..count {
        let at = table.saturating_add(index * ENTRY);
        let kind = u32::try_from(number(at, 4)?).map_err(|_| ElfError::Format)?;
        match kind {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            let _ = loaded(&bytes);
            for (byte, magic) in bytes.iter_mut().zip(MAGIC) {
                *byte = magic;
            }
            let _ = loaded(&bytes);
        }
    }
}
