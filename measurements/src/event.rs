//! Predicted events: what goes into which register, from which bytes, and what
//! it depends on.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    digest::{Digest384, sha384},
    eventlog::EventKind,
};

/// A register of a TD that firmware and kernel are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Register {
    /// What was in memory at the start.
    Mrtd,
    /// The firmware's configuration.
    Rtmr0,
    /// What the firmware booted.
    Rtmr1,
    /// What the kernel took from outside: command line, initramfs.
    Rtmr2,
}

impl Register {
    /// All, in the order in which tables show them.
    pub const ALL: [Self; 4] = [Self::Mrtd, Self::Rtmr0, Self::Rtmr1, Self::Rtmr2];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mrtd => "mrtd",
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
        }
    }

    /// The register with this index in a TD's event log; none for RTMR3, which
    /// firmware leaves alone.
    #[must_use]
    pub const fn from_log_index(index: u32) -> Option<Self> {
        match index {
            0 => Some(Self::Mrtd),
            1 => Some(Self::Rtmr0),
            2 => Some(Self::Rtmr1),
            3 => Some(Self::Rtmr2),
            _ => None,
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mrtd => "MRTD",
            Self::Rtmr0 => "RTMR0",
            Self::Rtmr1 => "RTMR1",
            Self::Rtmr2 => "RTMR2",
        })
    }
}

/// What a digest changes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DependsOn {
    /// The firmware file.
    Firmware,
    /// The amount of memory.
    Memory,
    /// The number of processors.
    Cpus,
    /// QEMU's version, machine type and devices.
    Machine,
    /// The kernel file.
    Kernel,
    /// The initramfs file.
    Initrd,
    /// The kernel's command line.
    Cmdline,
}

impl fmt::Display for DependsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firmware => "firmware",
            Self::Memory => "memory",
            Self::Cpus => "cpus",
            Self::Machine => "machine",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Cmdline => "cmdline",
        })
    }
}

/// One predicted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The register.
    pub register: Register,
    /// The type that a log shows for it, as in `EV_SEPARATOR`; `MEM.PAGE.ADD` or
    /// `MR.EXTEND` for parts of MRTD, which no log shows.
    pub kind: String,
    /// What it is, in a word or two.
    pub event: String,
    /// Which bytes are hashed.
    pub bytes: String,
    /// SHA-384 of those bytes; `null` if they are not known. For MRTD, of the
    /// section's contents, which the register takes page by page.
    pub digest: Option<Digest384>,
    /// Why the digest is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the digest changes with.
    pub depends_on: Vec<DependsOn>,
    /// Who measures it, by the name of its source code.
    pub source: String,
}

impl Event {
    /// An event whose bytes are known.
    #[must_use]
    pub fn of_bytes(register: Register, kind: EventKind, event: &str, hashed: &[u8]) -> Self {
        Self::new(register, kind, event, Ok(sha384(hashed)))
    }

    /// An event whose digest, or the reason for its absence, is known.
    #[must_use]
    pub fn new(
        register: Register,
        kind: EventKind,
        event: &str,
        digest: Result<Digest384, String>,
    ) -> Self {
        let (digest, reason) = match digest {
            Ok(digest) => (Some(digest), None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            register,
            kind: kind.to_string(),
            event: event.to_owned(),
            bytes: String::new(),
            digest,
            reason,
            depends_on: Vec::new(),
            source: String::new(),
        }
    }

    /// Says which bytes are hashed.
    #[must_use]
    pub fn hashing(mut self, bytes: impl Into<String>) -> Self {
        self.bytes = bytes.into();
        self
    }

    /// Says what the digest changes with.
    #[must_use]
    pub fn with(mut self, depends_on: &[DependsOn]) -> Self {
        self.depends_on = depends_on.to_vec();
        self
    }

    /// Says who measures it.
    #[must_use]
    pub fn by(mut self, source: &str) -> Self {
        source.clone_into(&mut self.source);
        self
    }
}
