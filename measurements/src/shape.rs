//! Shapes of virtual machines: what RTMR0 depends on and an operator chooses.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One GiB, in bytes.
const GIB: u64 = 1 << 30;
/// One MiB, in bytes.
const MIB: u64 = 1 << 20;

/// From this much memory on, q35 moves what is above 2 GiB to 4 GiB; below, all
/// of it is low (QEMU `hw/i386/pc_q35.c`, `pc_q35_init`).
const SPLIT_FROM: u64 = 0xb000_0000;
/// Low memory of a machine with a split.
const SPLIT_AT: u64 = 0x8000_0000;

/// Processors and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Number of virtual processors, at least 1.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory: u64,
}

impl Shape {
    /// Memory below 4 GiB, in bytes.
    #[must_use]
    pub const fn low_memory(&self) -> u64 {
        if self.memory >= SPLIT_FROM {
            SPLIT_AT
        } else {
            self.memory
        }
    }

    /// Memory from 4 GiB on, in bytes.
    #[must_use]
    pub const fn high_memory(&self) -> u64 {
        self.memory - self.low_memory()
    }

    /// Its name, as in `2c4G`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}c{}", self.cpus, Memory(self.memory))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CPU, {}", self.cpus, Memory(self.memory))
    }
}

/// An amount of memory in bytes, as text with the units that QEMU knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(pub u64);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(GIB) {
            write!(f, "{}G", self.0 / GIB)
        } else {
            write!(f, "{}M", self.0 / MIB)
        }
    }
}

/// Text is no amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number of MiB, or one with M, G or T, from 64M to 16T, would be right")]
pub struct MemoryError;

impl FromStr for Memory {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        let (digits, unit) = match text.split_at_checked(text.len().saturating_sub(1)) {
            Some((digits, "M" | "m")) => (digits, MIB),
            Some((digits, "G" | "g")) => (digits, GIB),
            Some((digits, "T" | "t")) => (digits, GIB << 10),
            // As QEMU's -m, without a unit.
            _ => (text, MIB),
        };
        let number = digits.parse::<u64>().map_err(|_| MemoryError)?;
        let bytes = number.checked_mul(unit).ok_or(MemoryError)?;
        if (64 * MIB..=16 << 40).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(MemoryError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_qemu_reads_it() {
        let bytes = |text: &str| text.parse::<Memory>().map(|memory| memory.0);
        assert_eq!(bytes("512"), Ok(512 * MIB));
        assert_eq!(bytes("2G"), Ok(2 * GIB));
        assert_eq!(bytes("1536M"), Ok(1536 * MIB));
        assert_eq!(bytes("1T"), Ok(GIB << 10));
        for wrong in ["", "G", "-1G", "2GB", "63M", "99999999999T", "é"] {
            assert_eq!(bytes(wrong), Err(MemoryError), "{wrong}");
        }
    }

    #[test]
    fn memory_is_split_as_q35_does() {
        let shape = |memory| Shape { cpus: 1, memory };
        assert_eq!(shape(2816 * MIB - 1).high_memory(), 0);
        assert_eq!(shape(2816 * MIB).low_memory(), 2 * GIB);
        assert_eq!(shape(2816 * MIB).high_memory(), 768 * MIB);
        assert_eq!(shape(4 * GIB).id(), "1c4G");
        assert_eq!(shape(1536 * MIB).id(), "1c1536M");
    }
}
