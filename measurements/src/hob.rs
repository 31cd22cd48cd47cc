//! The TD hand-off block: what the VMM tells the firmware of the TD's memory.
//!
//! Made by QEMU (`hw/i386/tdvf-hob.c`, `tdvf_hob_create`, from the ranges of
//! `target/i386/kvm/tdx.c`, `tdx_finalize_vm`); measured by OVMF without its end
//! marker (`OvmfPkg/IntelTdx/TdxHelperLib/SecTdxHelper.c`,
//! `TdxHelperMeasureTdHob`). Structures: UEFI PI specification, volume 3.

use serde::{Deserialize, Serialize};

use crate::{
    shape::Shape,
    tdvf::{Firmware, SectionKind},
};

/// Accepted memory, `EFI_RESOURCE_SYSTEM_MEMORY`.
const SYSTEM: u32 = 0;
/// Memory that the TD still has to accept, `EFI_RESOURCE_MEMORY_UNACCEPTED`.
const UNACCEPTED: u32 = 7;
/// Present, initialized, tested: QEMU's `EFI_RESOURCE_ATTRIBUTE_TDVF_*`.
const ATTRIBUTES: u32 = 7;
const HANDOFF: u16 = 56;
const RESOURCE: u16 = 48;
const END: u64 = 8;

/// There is no hand-off block to predict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HobError {
    /// The firmware asks for none.
    #[error("The firmware has no TD_HOB section")]
    Missing,
    /// A section is where the machine has no RAM.
    #[error(
        "The section at {address:#x} of {length:#x} bytes is not in RAM of a machine with {low:#x} bytes of low memory"
    )]
    Outside {
        /// Its address.
        address: u64,
        /// Its length, in bytes.
        length: u64,
        /// Low memory of the machine, in bytes.
        low: u64,
    },
}

/// A range of memory: type, address, length in bytes.
type Resource = (u32, u64, u64);

/// What the TD HOB is made of besides the shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyMemory {
    /// Address of the hand-off block.
    pub td_hob: u64,
    /// Address and length in bytes of every range.
    pub ranges: Vec<(u64, u64)>,
}

impl EarlyMemory {
    /// The ranges of a firmware.
    ///
    /// # Errors
    /// [`HobError::Missing`] if it takes no hand-off block.
    pub fn of(firmware: &Firmware<'_>) -> Result<Self, HobError> {
        let td_hob = firmware
            .section(SectionKind::TdHob)
            .ok_or(HobError::Missing)?
            .address;
        let ranges = firmware
            .sections()
            .iter()
            .filter(|s| matches!(s.kind, SectionKind::TdHob | SectionKind::TempMem))
            .map(|s| (s.address, s.memory_size))
            .collect();
        Ok(Self { td_hob, ranges })
    }
}

/// The bytes of the hand-off block that firmware measures. They depend on the
/// firmware's sections and on the amount of memory, on nothing else.
///
/// # Errors
/// [`HobError`].
pub fn td_hob(firmware: &Firmware<'_>, shape: Shape) -> Result<Vec<u8>, HobError> {
    let early = EarlyMemory::of(firmware)?;
    block(early.td_hob, &early.ranges, shape)
}

/// The block at `address` for memory of which `accepted` ranges (address,
/// length in bytes) are there from the start.
///
/// # Errors
/// [`HobError::Outside`] if a range is not in low memory.
pub fn block(address: u64, accepted: &[(u64, u64)], shape: Shape) -> Result<Vec<u8>, HobError> {
    let resources = resources(accepted, shape)?;
    let length = u64::from(HANDOFF) + u64::from(RESOURCE) * resources.len() as u64;
    let mut bytes = Vec::new();
    // EFI_HOB_HANDOFF_INFO_TABLE: type 1, version 9; all addresses are zero but
    // the last, which is where the list ends.
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(HANDOFF.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend([0; 36]);
    bytes.extend(address.wrapping_add(length).wrapping_add(END).to_le_bytes());
    for (kind, start, size) in resources {
        // EFI_HOB_RESOURCE_DESCRIPTOR: type 3, no owner.
        bytes.extend(3_u16.to_le_bytes());
        bytes.extend(RESOURCE.to_le_bytes());
        bytes.extend([0; 20]);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(ATTRIBUTES.to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend(size.to_le_bytes());
    }
    Ok(bytes)
}

/// Accepted ranges stay apart even where they touch, as in QEMU's
/// `tdx_accept_ram_range`; what is between them is unaccepted.
fn resources(accepted: &[(u64, u64)], shape: Shape) -> Result<Vec<Resource>, HobError> {
    let low = shape.low_memory();
    let mut accepted = accepted.to_vec();
    accepted.sort_unstable();
    let mut resources = Vec::new();
    let mut at = 0;
    for (address, length) in accepted {
        let end = address.saturating_add(length);
        if address < at || end > low {
            return Err(HobError::Outside {
                address,
                length,
                low,
            });
        }
        if address > at {
            resources.push((UNACCEPTED, at, address - at));
        }
        resources.push((SYSTEM, address, length));
        at = end;
    }
    if low > at {
        resources.push((UNACCEPTED, at, low - at));
    }
    if shape.high_memory() > 0 {
        resources.push((UNACCEPTED, 1 << 32, shape.high_memory()));
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha384;

    const GIB: u64 = 1 << 30;
    const EDK2_2022: [(u64, u64); 4] = [
        (0x80_0000, 0x6000),
        (0x80_9000, 0x2000),
        (0x80_b000, 0x2000),
        (0x81_0000, 0x10000),
    ];
    const EDK2_2025: [(u64, u64); 4] = [
        (0x80_0000, 0x6000),
        (0x80_9000, 0x2000),
        (0x80_b000, 0x2000),
        (0x81_1000, 0xf000),
    ];

    /// TD HOB digests out of event logs of three real TDs, for the amount of
    /// memory that each had (`vectors/td/PROVENANCE.md`).
    #[test]
    fn digests_of_real_tds() {
        for (accepted, gib, digest) in [
            (
                &EDK2_2022,
                2,
                "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749",
            ),
            (
                &EDK2_2022,
                64,
                "8ae1e425351df7992c444586eff99d35af3b779aa2b0e981cb4b73bc5b279f2ade19b6a62a203fc3c3bbdaae80af596d",
            ),
            (
                &EDK2_2025,
                64,
                "519245d8b6b54b48b57143e6647d41e5e6f3b4ef10a73c95be4d9a9c0f54115b707e7af5e38f7be6852229b18573690d",
            ),
        ] {
            let shape = Shape {
                cpus: 1,
                memory: gib * GIB,
            };
            let bytes = block(0x80_9000, accepted, shape).unwrap();
            assert_eq!(sha384(&bytes).to_string(), digest, "{gib} GiB");
        }
    }

    #[test]
    fn a_machine_without_that_memory_has_no_block() {
        let shape = Shape {
            cpus: 1,
            memory: 8 << 20,
        };
        assert!(matches!(
            block(0x80_9000, &EDK2_2025, shape),
            Err(HobError::Outside { .. })
        ));
    }
}
