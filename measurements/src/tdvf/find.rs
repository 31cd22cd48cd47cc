//! Where the metadata is: an entry of OVMF's table of GUIDs, or the pointer of
//! firmware from before that table.

use super::TdvfError;
use crate::{
    bytes::{Reader, index},
    guid::Guid,
};

/// Ends the table: edk2 `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`.
const FOOTER: Guid = Guid::new(
    0x96b5_82de,
    0x1fb2,
    0x45f7,
    [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d],
);

/// Names the entry that holds the metadata's offset: edk2
/// `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm` and `IntelTdxMetadata.asm`.
const TDX_METADATA: Guid = Guid::new(
    0xe47a_6535,
    0x984a,
    0x4798,
    [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2],
);

/// The table ends where the 32 bytes of the reset vector begin.
const AFTER_TABLE: usize = 32;

/// GUID and length of an entry; its data are in front of them.
const ENTRY_TAIL: usize = 18;

/// Size of a descriptor without sections.
const DESCRIPTOR: usize = 16;

/// What pointed to the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// An entry of the GUID table; the offset counts from the end of the file.
    GuidTable,
    /// The 4 bytes that are 32 from the end; they count from the start of the
    /// file. TDVF Design Guide, "TDVF Metadata Pointer"; Cloud Hypervisor
    /// `arch/src/x86_64/tdx/mod.rs` (`tdvf_descriptor_offset`).
    Pointer,
}

/// Offset of the descriptor.
pub(super) fn metadata(bytes: &[u8]) -> Result<(usize, FoundBy), TdvfError> {
    let Some(table_end) = bytes.len().checked_sub(AFTER_TABLE) else {
        return Err(crate::bytes::Truncated {
            what: "the end of the firmware",
            at: 0,
            needed: AFTER_TABLE,
            left: bytes.len(),
        }
        .into());
    };
    let footer = table_end
        .checked_sub(ENTRY_TAIL)
        .filter(|at| bytes.get(at + 2..table_end) == Some(FOOTER.0.as_slice()));
    if let Some(footer) = footer
        && let Some(distance) = in_table(bytes, footer, table_end)?
    {
        let at = bytes.len().checked_sub(index(distance));
        return match at {
            Some(at) if index(distance) >= DESCRIPTOR => Ok((at, FoundBy::GuidTable)),
            _ => Err(TdvfError::Table {
                at: footer,
                what: "its TDX entry points outside of the file",
            }),
        };
    }
    // Without the entry, four bytes that happen to point to a descriptor.
    let at = index(Reader::at(bytes, table_end).u32("the metadata pointer")?);
    let signature = bytes.get(at..at.saturating_add(4));
    if signature == Some(b"TDVF".as_slice()) {
        Ok((at, FoundBy::Pointer))
    } else {
        Err(TdvfError::Missing { at: table_end })
    }
}

/// Walks the table from its end to its start, as QEMU does
/// (`hw/i386/pc_sysfw_ovmf.c`, `pc_system_ovmf_table_find`).
fn in_table(bytes: &[u8], footer: usize, table_end: usize) -> Result<Option<u32>, TdvfError> {
    let broken = |at, what| TdvfError::Table { at, what };
    // The length counts the footer too.
    let length = usize::from(Reader::at(bytes, footer).u16("the length of the GUID table")?);
    if length < ENTRY_TAIL {
        return Err(broken(
            footer,
            "its length leaves no room for its own footer",
        ));
    }
    let Some(start) = table_end.checked_sub(length) else {
        return Err(broken(footer, "it begins before the file does"));
    };
    let mut end = footer;
    while end > start {
        let Some(tail) = end.checked_sub(ENTRY_TAIL).filter(|tail| *tail >= start) else {
            return Err(broken(end, "an entry begins before the table does"));
        };
        let mut reader = Reader::at(bytes, tail);
        let entry = usize::from(reader.u16("the length of a GUID table entry")?);
        let guid = Guid(reader.array("the GUID of a table entry")?);
        if entry < ENTRY_TAIL {
            return Err(broken(tail, "an entry is shorter than its GUID and length"));
        }
        let Some(data) = end.checked_sub(entry).filter(|data| *data >= start) else {
            return Err(broken(tail, "an entry begins before the table does"));
        };
        if guid == TDX_METADATA {
            if entry != ENTRY_TAIL + 4 {
                return Err(broken(
                    tail,
                    "the TDX entry holds 4 bytes, no more, no less",
                ));
            }
            let distance = Reader::at(bytes, data).u32("the offset of the TDX metadata")?;
            return Ok(Some(distance));
        }
        end = data;
    }
    Ok(None)
}
