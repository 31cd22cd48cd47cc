//! The boot header of a Linux kernel, and what QEMU writes into it.
//!
//! Layout: kernel `Documentation/arch/x86/boot.rst`, integers little endian.
//!
//! QEMU's `-kernel` fills in loader fields of the header (`hw/i386/x86-common.c`,
//! `x86_load_linux`) and gives the firmware that kernel: its digest is another
//! one, which depends on memory size and on the length of the initramfs. From
//! QEMU 10.0 on there is also the file `etc/boot/kernel` in `fw_cfg`, without
//! patches, which edk2 from 2025.02 on takes (`QemuKernelLoaderFsDxe.c`,
//! `QemuKernelFetchNamedBlobs`); and for a confidential guest the header is
//! left alone.

use crate::bytes::{Reader, Truncated, index};

/// QEMU keeps this much of low memory free for ACPI tables, in bytes
/// (`hw/i386/pc.c`, `acpi_data_size`).
const ACPI_DATA: u32 = 0x20000 + 0x8000;
/// Where QEMU puts a kernel's real-mode part and command line.
const REAL_MODE: u32 = 0x10000;
const COMMAND_LINE: u32 = 0x20000;
/// How much of the header QEMU holds and writes back, in bytes.
const HEADER: usize = 8192;

/// A file is no Linux kernel that QEMU boots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinuxError {
    /// Cut off.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// No boot header.
    #[error("No Linux kernel: offset 0x202 holds {found}; 48647253 (HdrS) would be right")]
    Magic {
        /// What is there, as hex.
        found: String,
    },
    /// Too old for the EFI stub.
    #[error("The kernel speaks boot protocol {major}.{minor:02}; 2.12 or later would be right", major = .found >> 8, minor = .found & 0xff)]
    Protocol {
        /// The version, major in the upper byte.
        found: u16,
    },
    /// The real-mode part is longer than the kernel.
    #[error("The kernel's setup part has {setup} bytes (offset 0x1f1); the file has {file}")]
    Setup {
        /// In bytes.
        setup: usize,
        /// In bytes.
        file: usize,
    },
}

/// What a kernel's boot header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootHeader {
    /// Boot protocol, major version in the upper byte.
    pub protocol: u16,
    /// Length of the real-mode part with its first sector, in bytes.
    pub setup_size: usize,
    /// Longest command line without its NUL, in bytes.
    pub command_line_size: u32,
    /// Whether kernel and initramfs may lie above 4 GiB (`XLF_CAN_BE_LOADED_ABOVE_4G`).
    pub above_4g: bool,
    /// Highest address of an initramfs.
    pub initrd_addr_max: u32,
    /// The kernel's version as it names itself.
    pub version: String,
}

impl BootHeader {
    /// Reads the header of a bzImage.
    ///
    /// # Errors
    /// [`LinuxError`] with the offset of what is wrong.
    pub fn parse(kernel: &[u8]) -> Result<Self, LinuxError> {
        let magic: [u8; 4] = Reader::at(kernel, 0x202).array("the boot header's signature")?;
        if magic != *b"HdrS" {
            return Err(LinuxError::Magic {
                found: hex::encode(magic),
            });
        }
        let at = |offset| Reader::at(kernel, offset);
        let protocol = at(0x206).u16("the boot protocol")?;
        if protocol < 0x20c {
            return Err(LinuxError::Protocol { found: protocol });
        }
        let sectors = match at(0x1f1).u8("the number of setup sectors")? {
            0 => 4,
            some => usize::from(some),
        };
        let setup_size = (sectors + 1) * 512;
        if setup_size > kernel.len() {
            return Err(LinuxError::Setup {
                setup: setup_size,
                file: kernel.len(),
            });
        }
        let version_at = usize::from(at(0x20e).u16("the offset of the version")?) + 0x200;
        let version = kernel.get(version_at..).unwrap_or_default();
        let version: Vec<u8> = version
            .iter()
            .copied()
            .take(256)
            .take_while(|byte| (0x20..0x7f).contains(byte))
            .collect();
        Ok(Self {
            protocol,
            setup_size,
            command_line_size: at(0x238).u32("the size of the command line")?,
            above_4g: at(0x236).u16("the load flags")? & 2 != 0,
            initrd_addr_max: at(0x22c).u32("the highest address of an initramfs")?,
            version: String::from_utf8_lossy(&version).into_owned(),
        })
    }
}

/// The kernel as QEMU before 10.0 gives it to firmware in a guest that is not
/// confidential: `low_memory` bytes of RAM below 4 GiB, an initramfs of
/// `initrd` bytes. `None` where QEMU would refuse the initramfs, or where the
/// command line has a `vga=` that QEMU would evaluate too.
#[must_use]
pub fn patched_by_qemu(
    kernel: &[u8],
    header: &BootHeader,
    low_memory: u64,
    initrd: u32,
    command_line: &str,
) -> Option<Vec<u8>> {
    if command_line.contains("vga=") {
        return None;
    }
    let low_memory = u32::try_from(low_memory).ok()?;
    let room = low_memory.checked_sub(ACPI_DATA)?;
    let mut highest = if header.above_4g {
        u32::MAX
    } else {
        header.initrd_addr_max
    };
    if highest >= room {
        highest = room.checked_sub(1)?;
    }
    let mut start = kernel.get(..HEADER.min(kernel.len()))?.to_vec();
    let loaded_high = *start.get(0x211)? & 1 != 0;
    if !loaded_high {
        return None;
    }
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in start.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(0x228, &COMMAND_LINE.to_le_bytes());
    // Loader type: QEMU, revision 0.
    put(0x210, &[0xb0]);
    let heap = u16::try_from(COMMAND_LINE - REAL_MODE - 0x200).ok()?;
    put(0x224, &heap.to_le_bytes());
    if initrd > 0 {
        if initrd >= highest {
            return None;
        }
        put(0x218, &((highest - initrd) & !4095).to_le_bytes());
        put(0x21c, &initrd.to_le_bytes());
    }
    // CAN_USE_HEAP.
    *start.get_mut(0x211)? |= 0x80;
    let mut patched = kernel.to_vec();
    let written = HEADER.min(header.setup_size).min(kernel.len());
    patched
        .get_mut(..written)?
        .copy_from_slice(start.get(..written)?);
    Some(patched)
}

/// Whether QEMU or the kernel would cut a command line.
#[must_use]
pub fn is_too_long(header: &BootHeader, command_line: &str) -> bool {
    command_line.len() > index(header.command_line_size)
}
