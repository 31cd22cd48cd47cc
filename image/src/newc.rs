//! Archives of the format newc, which the kernel unpacks as its first root
//! (kernel `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Written with nothing of the machine that writes: entries in the order of
//! their names, owner 0, time 0, inodes counted from 1.

use std::collections::BTreeMap;

/// First 6 bytes of every entry.
const MAGIC: &[u8; 6] = b"070701";
/// Bytes in front of the name: the magic and 13 fields of 8 hex digits.
const HEADER: usize = 6 + 13 * 8;
/// Name of the last entry.
const TRAILER: &str = "TRAILER!!!";
/// Longest name, in bytes (`PATH_MAX`).
const MAX_NAME: usize = 4096;

/// What an entry is. Permissions are the lower 12 bits of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder.
    Folder {
        /// Permissions.
        mode: u32,
    },
    /// A file.
    File {
        /// Permissions.
        mode: u32,
        /// Content.
        data: Vec<u8>,
    },
    /// A character device.
    Device {
        /// Permissions.
        mode: u32,
        /// Major and minor number.
        number: (u32, u32),
    },
}

/// Entries by name; names have no leading slash.
pub type Archive = BTreeMap<String, Entry>;

/// Bytes that are not an archive that this module writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The archive is damaged at byte {offset}: {what}")]
pub struct NewcError {
    offset: usize,
    what: &'static str,
}

/// An entry that the format cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} does not fit into an archive: it is 4 GiB or longer")]
pub struct TooLong {
    name: String,
}

impl Entry {
    const fn mode(&self) -> u32 {
        match self {
            Self::Folder { mode } => 0o040_000 | *mode,
            Self::File { mode, .. } => 0o100_000 | *mode,
            Self::Device { mode, .. } => 0o020_000 | *mode,
        }
    }

    /// Content; empty for what is not a file.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Self::File { data, .. } => data,
            Self::Folder { .. } | Self::Device { .. } => &[],
        }
    }
}

/// Writes an archive.
///
/// # Errors
/// [`TooLong`].
pub fn write(archive: &Archive) -> Result<Vec<u8>, TooLong> {
    let mut out = Vec::new();
    for (inode, (name, entry)) in (1..).zip(archive) {
        let number = match entry {
            Entry::Device { number, .. } => *number,
            Entry::Folder { .. } | Entry::File { .. } => (0, 0),
        };
        push(&mut out, inode, name, entry.mode(), number, entry.data())?;
    }
    push(&mut out, 0, TRAILER, 0, (0, 0), &[])?;
    out.resize(out.len().next_multiple_of(512), 0);
    Ok(out)
}

fn push(
    out: &mut Vec<u8>,
    inode: u32,
    name: &str,
    mode: u32,
    (major, minor): (u32, u32),
    data: &[u8],
) -> Result<(), TooLong> {
    let length = |bytes: usize| {
        u32::try_from(bytes).map_err(|_| TooLong {
            name: name.to_owned(),
        })
    };
    let (size, name_size) = (length(data.len())?, length(name.len() + 1)?);
    out.extend_from_slice(MAGIC);
    // Inode, mode, owner, group, links, time, size, device, device number, name, checksum.
    let fields = [
        inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0,
    ];
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}

/// Reads an archive that [`write()`] made.
///
/// # Errors
/// [`NewcError`] with the offset.
pub fn read(bytes: &[u8]) -> Result<Archive, NewcError> {
    let mut archive = Archive::new();
    let mut at = 0;
    loop {
        let error = |what| NewcError { offset: at, what };
        let header = bytes
            .get(at..at + HEADER)
            .filter(|header| header.starts_with(MAGIC))
            .ok_or_else(|| error("an entry should begin here"))?;
        let field = |number: usize| {
            let start = MAGIC.len() + 8 * number;
            header
                .get(start..start + 8)
                .and_then(|digits| core::str::from_utf8(digits).ok())
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| error("its fields are not hex digits"))
        };
        let (mode, size, name_size) = (field(1)?, field(6)? as usize, field(11)? as usize);
        let start = at + HEADER;
        let name = bytes
            .get(start..start + name_size.min(MAX_NAME))
            .and_then(|name| name.strip_suffix(&[0]))
            .and_then(|name| core::str::from_utf8(name).ok())
            .ok_or_else(|| error("its name is not text that ends in a zero"))?;
        let start = (start + name_size).next_multiple_of(4);
        let data = bytes
            .get(start..start + size)
            .ok_or_else(|| error("its data goes beyond the end"))?;
        if name == TRAILER {
            return Ok(archive);
        }
        let permissions = mode & 0o7777;
        let entry = match mode & 0o170_000 {
            0o040_000 => Entry::Folder { mode: permissions },
            0o100_000 => Entry::File {
                mode: permissions,
                data: data.to_vec(),
            },
            0o020_000 => Entry::Device {
                mode: permissions,
                number: (field(9)?, field(10)?),
            },
            _ => return Err(error("it is neither folder, file nor character device")),
        };
        archive.insert(name.to_owned(), entry);
        at = (start + size).next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn sample() -> Archive {
        Archive::from([
            ("dev".to_owned(), Entry::Folder { mode: 0o755 }),
            (
                "dev/console".to_owned(),
                Entry::Device {
                    mode: 0o600,
                    number: (5, 1),
                },
            ),
            (
                "init".to_owned(),
                Entry::File {
                    mode: 0o755,
                    data: b"abcde".to_vec(),
                },
            ),
        ])
    }

    #[test]
    fn written_archives_read_back() {
        let bytes = write(&sample()).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(read(&bytes).unwrap(), sample());
    }

    #[test]
    fn the_first_entry_is_as_the_kernel_documents_it() {
        let bytes = write(&sample()).unwrap();
        let header = core::str::from_utf8(&bytes[..HEADER]).unwrap();
        assert_eq!(
            header,
            "07070100000001000041ED000000000000000000000001000000000000000000000000000000000000000000000000\
             0000000400000000"
        );
        assert_eq!(&bytes[HEADER..HEADER + 4], b"dev\0");
    }

    #[test]
    fn damage_is_refused_with_its_offset() {
        let bytes = write(&sample()).unwrap();
        let cut = read(&bytes[..HEADER]).unwrap_err();
        assert_eq!(cut.offset, 0);
        let mut other = bytes.clone();
        other[0] = b'x';
        assert_eq!(
            read(&other).unwrap_err().to_string(),
            "The archive is damaged at byte 0: an entry should begin here"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_archive_or_refused(bytes in vec(any::<u8>(), 0..600), cut in 0_usize..700, at in 0_usize..700) {
            let _ = read(&bytes);
            let mut whole = write(&sample()).unwrap();
            whole.truncate(cut);
            if let Some(byte) = whole.get_mut(at) {
                *byte ^= 0x5a;
            }
            let _ = read(&whole);
        }
    }
}
