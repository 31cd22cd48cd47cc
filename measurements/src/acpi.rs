//! ACPI tables as QEMU hands them to firmware.
//!
//! Three files of `fw_cfg`: `etc/acpi/tables` (all tables, padded with zeros),
//! `etc/acpi/rsdp`, and `etc/table-loader`, a list of 128-byte commands that says
//! where tables begin (QEMU `hw/acpi/bios-linker-loader.c`). OVMF measures each
//! of them as it reads it, before it changes anything (`OvmfPkg/Library/
//! AcpiPlatformLib/QemuFwCfgAcpi.c`, `InstallQemuFwCfgTables` and
//! `ProcessCmdAllocate`).

use crate::{
    bytes::{Reader, Truncated, index, overlap},
    digest::{Digest384, sha384},
};

/// Longest of the three files, in bytes.
pub const MAX_ACPI: usize = 4 << 20;

/// Length of a command of the loader, in bytes.
const COMMAND: usize = 128;
/// Length of a file's name in a command, in bytes.
const NAME: usize = 56;
const ADD_CHECKSUM: u32 = 3;
const TABLES: &[u8] = b"etc/acpi/tables";
/// Header that all tables share, in bytes.
const TABLE_HEADER: usize = 36;
/// Where a table's checksum is; QEMU leaves it to the firmware.
const CHECKSUM: usize = 9;

/// Bytes are no ACPI tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcpiError {
    /// Longer than any.
    #[error("The ACPI file has {found} bytes; at most {MAX_ACPI} are read")]
    Long {
        /// In bytes.
        found: usize,
    },
    /// Cut off.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The list of commands is broken.
    #[error("The table loader has {found} bytes; whole commands of {COMMAND} would be right")]
    Loader {
        /// In bytes.
        found: usize,
    },
    /// A command points outside of the tables.
    #[error("The loader's command at offset {at:#x} sums {length:#x} bytes at {start:#x}; {right}")]
    Table {
        /// Offset of the command, in bytes.
        at: usize,
        /// Where the table begins, in bytes.
        start: u32,
        /// Its length, in bytes.
        length: u32,
        /// What would be right.
        right: String,
    },
    /// Two tables share bytes.
    #[error(
        "Two tables that the loader names overlap at offset {at:#x} of the tables; each byte belongs to one at most"
    )]
    Overlap {
        /// First byte that both have.
        at: u64,
    },
    /// The CCEL table.
    #[error("The CCEL table is broken at offset {at:#x}: {what}")]
    Ccel {
        /// In bytes.
        at: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Four letters: `DSDT`, `FACP`, `APIC`...
    pub signature: String,
    /// Where it begins in `etc/acpi/tables`, in bytes.
    pub offset: usize,
    /// In bytes.
    pub length: usize,
    /// Of its bytes.
    pub digest: Digest384,
}

/// The tables that the loader's commands name, by their place.
///
/// # Errors
/// [`AcpiError`] with the offset of what is wrong.
pub fn tables(loader: &[u8], tables: &[u8]) -> Result<Vec<Table>, AcpiError> {
    for file in [loader, tables] {
        if file.len() > MAX_ACPI {
            return Err(AcpiError::Long { found: file.len() });
        }
    }
    if !loader.len().is_multiple_of(COMMAND) {
        return Err(AcpiError::Loader {
            found: loader.len(),
        });
    }
    let mut places = Vec::new();
    for (number, command) in loader.chunks_exact(COMMAND).enumerate() {
        let mut reader = Reader::at(command, 0);
        if reader.u32("a command")? != ADD_CHECKSUM {
            continue;
        }
        let name = reader.take(NAME, "a file's name")?;
        if name
            .strip_suffix(&[0])
            .is_none_or(|name| name.trim_end() != TABLES)
        {
            continue;
        }
        let offset = reader.u32("where the checksum goes")?;
        let start = reader.u32("where the table begins")?;
        let length = reader.u32("the length of a table")?;
        let wrong = |right: String| AcpiError::Table {
            at: number * COMMAND,
            start,
            length,
            right,
        };
        let bytes = index(start)
            .checked_add(index(length))
            .and_then(|end| tables.get(index(start)..end))
            .ok_or_else(|| wrong(format!("the tables have {:#x} bytes", tables.len())))?;
        let stated = Reader::at(bytes, 4).u32("the length in a table");
        if bytes.len() < TABLE_HEADER
            || stated != Ok(length)
            || index(offset) != index(start) + CHECKSUM
        {
            return Err(wrong(
                "the length in the table itself is another".to_owned(),
            ));
        }
        places.push((index(start), bytes));
    }
    // Before anything is hashed: a loader could name one long table very often.
    let ranges = places
        .iter()
        .map(|(at, bytes)| (*at as u64, bytes.len() as u64));
    if let Some(at) = overlap(ranges) {
        return Err(AcpiError::Overlap { at });
    }
    places.sort_unstable();
    Ok(places
        .into_iter()
        .map(|(offset, bytes)| Table {
            signature: bytes
                .get(..4)
                .unwrap_or_default()
                .escape_ascii()
                .to_string(),
            offset,
            length: bytes.len(),
            digest: sha384(bytes),
        })
        .collect())
}

trait TrimEnd {
    fn trim_end(&self) -> &[u8];
}

impl TrimEnd for [u8] {
    fn trim_end(&self) -> &[u8] {
        let end = self
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        self.get(..end).unwrap_or_default()
    }
}

/// Where a TD's event log is. UEFI specification, section 38.4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ccel {
    /// Least length of the log's area, in bytes.
    pub area_length: u64,
    /// Its physical address.
    pub area_address: u64,
}

/// Reads a CCEL table of a TD: 56 bytes, type 2, checksum 0.
///
/// # Errors
/// [`AcpiError`] with the offset of what is wrong.
pub fn ccel(table: &[u8]) -> Result<Ccel, AcpiError> {
    let wrong = |at, what: String| AcpiError::Ccel { at, what };
    let mut reader = Reader::at(table, 0);
    let signature: [u8; 4] = reader.array("the signature")?;
    if signature != *b"CCEL" {
        return Err(wrong(
            0,
            format!(
                "signature {}; CCEL would be right",
                signature.escape_ascii()
            ),
        ));
    }
    let length = index(reader.u32("the length")?);
    if length != 56 || table.len() != length {
        return Err(wrong(4, format!("length {length}; 56 would be right")));
    }
    let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if sum != 0 {
        return Err(wrong(CHECKSUM, format!("all bytes sum to {sum:#x}, not 0")));
    }
    let mut reader = Reader::at(table, TABLE_HEADER);
    let kind = reader.u8("the kind of CC")?;
    if kind != 2 {
        return Err(wrong(36, format!("kind {kind}; 2 (TDX) would be right")));
    }
    reader.take(3, "the subtype")?;
    Ok(Ccel {
        area_length: reader.u64("the length of the area")?,
        area_address: reader.u64("the address of the area")?,
    })
}
