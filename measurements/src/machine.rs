//! The frozen machine: ACPI tables of one QEMU with one set of devices, for a
//! family of shapes.
//!
//! Firmware measures three files that QEMU makes (see [`crate::acpi`]). QEMU is
//! not rewritten here: for each number of processors, `machines/` holds what
//! that very QEMU gave to that firmware, taken out of guests with 1 GiB
//! (`tests/machine`, `machines_are_taken_anew`). Of memory, two words of the DSDT are made: where the
//! 32-bit window of PCI begins, which is where low memory ends, and its length
//! (QEMU `hw/i386/acpi-build.c`, `build_dsdt`, `hw/pci-host/q35.c`,
//! `q35_host_get_pci_hole_start`). Tests compare both with live guests.

use crate::{
    bytes::Reader,
    digest::{Digest384, sha384},
    shape::Shape,
};

/// Length of `etc/acpi/tables`, in bytes: QEMU pads to
/// `ACPI_BUILD_TABLE_SIZE`.
const TABLES: usize = 0x2_0000;
/// Length of `etc/table-loader`, in bytes: padded by `ACPI_BUILD_ALIGN_SIZE`.
const LOADER: usize = 0x1000;
/// First address behind the 32-bit window of PCI: the window of PCI Express
/// configuration.
const WINDOW_END: u32 = 0xe000_0000;
/// The descriptor of that window in the DSDT: `DWordMemory`, resource producer,
/// fixed ends, not cacheable, read and write, without granularity (ACPI specification, section
/// 6.4.3.5.2). Its first address comes next.
const WINDOW: [u8; 10] = [0x87, 0x17, 0x00, 0x00, 0x0c, 0x01, 0, 0, 0, 0];

/// What was taken out of a guest: the three files without the zeros that pad
/// them.
struct Taken {
    cpus: u32,
    loader: &'static [u8],
    rsdp: &'static [u8],
    tables: &'static [u8],
}

macro_rules! taken {
    ($dir:literal: $($cpus:literal),*) => {
        &[$(Taken {
            cpus: $cpus,
            loader: include_bytes!(concat!("../machines/", $dir, "/", $cpus, ".loader")),
            rsdp: include_bytes!(concat!("../machines/", $dir, "/", $cpus, ".rsdp")),
            tables: include_bytes!(concat!("../machines/", $dir, "/", $cpus, ".tables")),
        }),*]
    };
}

/// A QEMU with its devices.
pub struct Machine {
    /// Its name.
    pub id: &'static str,
    /// The package that its QEMU comes from.
    pub qemu: &'static str,
    /// QEMU's arguments that ACPI tables depend on; those for processors and
    /// memory come from the shape.
    pub arguments: &'static str,
    taken: &'static [Taken],
}

/// The machine that zipnet's launcher starts.
pub static FROZEN: Machine = Machine {
    id: "qemu-11.1.3-q35",
    qemu: "qemu-system-x86 1:11.1.3+ds-1~bpo13+1 (Debian)",
    arguments: "-machine q35,smm=off,pic=off,hpet=off,kernel_irqchip=split -nodefaults -serial stdio \
                -device virtio-net-pci,netdev=n,addr=2,disable-legacy=on,romfile= (46 or more physical address bits)",
    taken: taken!("qemu-11.1.3-q35": 1, 2, 4, 8, 16, 32),
};

/// There are no tables for a shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// Of another number of processors.
    #[error("The machine {machine} was not seen with {cpus} processors; with {known} it was")]
    Cpus {
        /// The machine.
        machine: &'static str,
        /// Processors of the shape.
        cpus: u32,
        /// Numbers of processors that are known.
        known: String,
    },
    /// What was taken is not as expected.
    #[error("The DSDT of machine {machine} has {found} 32-bit windows of PCI; one can be adapted")]
    Window {
        /// The machine.
        machine: &'static str,
        /// How many.
        found: usize,
    },
    /// More low memory than fits below the window.
    #[error("Low memory of {low:#x} bytes leaves no 32-bit window of PCI below {WINDOW_END:#x}")]
    Memory {
        /// In bytes.
        low: u64,
    },
}

/// The three files that firmware measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiFiles {
    /// `etc/table-loader`.
    pub loader: Vec<u8>,
    /// `etc/acpi/rsdp`.
    pub rsdp: Vec<u8>,
    /// `etc/acpi/tables`.
    pub tables: Vec<u8>,
}

impl AcpiFiles {
    /// Their digests in the order in which firmware reads them: loader, RSDP,
    /// tables.
    #[must_use]
    pub fn digests(&self) -> [Digest384; 3] {
        [&self.loader, &self.rsdp, &self.tables].map(|file| sha384(file))
    }
}

impl Machine {
    /// The files for a shape.
    ///
    /// # Errors
    /// [`MachineError`] for a shape that is not of this machine's family.
    pub fn acpi(&self, shape: Shape) -> Result<AcpiFiles, MachineError> {
        let Some(taken) = self.taken.iter().find(|taken| taken.cpus == shape.cpus) else {
            let known: Vec<_> = self.cpus().map(|cpus| cpus.to_string()).collect();
            return Err(MachineError::Cpus {
                machine: self.id,
                cpus: shape.cpus,
                known: known.join(", "),
            });
        };
        let mut tables = padded(taken.tables, TABLES);
        self.set_window(&mut tables, shape)?;
        Ok(AcpiFiles {
            loader: padded(taken.loader, LOADER),
            rsdp: taken.rsdp.to_vec(),
            tables,
        })
    }

    /// Numbers of processors of its family.
    pub fn cpus(&self) -> impl Iterator<Item = u32> {
        self.taken.iter().map(|taken| taken.cpus)
    }

    fn set_window(&self, tables: &mut [u8], shape: Shape) -> Result<(), MachineError> {
        let low = shape.low_memory();
        let start = u32::try_from(low)
            .ok()
            .filter(|start| *start < WINDOW_END)
            .ok_or(MachineError::Memory { low })?;
        // First and last address, translation, length: only a window that ends
        // where this one does is meant.
        let windows: Vec<usize> = tables
            .windows(WINDOW.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == WINDOW)
            .map(|(at, _)| at + WINDOW.len())
            .filter(|at| {
                let last = Reader::at(tables, at + 4).u32("the last address");
                last == Ok(WINDOW_END - 1)
            })
            .collect();
        let [at] = windows[..] else {
            return Err(MachineError::Window {
                machine: self.id,
                found: windows.len(),
            });
        };
        for (place, value) in [(at, start), (at + 12, WINDOW_END - start)] {
            if let Some(bytes) = tables.get_mut(place..place + 4) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        }
        Ok(())
    }
}

fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(length.max(bytes.len()), 0);
    padded
}
