//! What is known of firmware builds beyond their bytes: the events that only
//! running code shows.
//!
//! A build that is not listed here has an MRTD, which needs no knowledge, and
//! no RTMRs: which boot options it makes, and where it puts `initrd=initrd`, is
//! not guessed.

use crate::digest::{Digest, Digest256};

/// Where a firmware puts `initrd=initrd` in a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitrdWord {
    /// Behind it: edk2 up to 2025.02 (`OvmfPkg/Library/GenericQemuLoadImageLib`,
    /// `QemuLoadKernelImage`).
    Behind,
}

/// A known firmware build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub id: &'static str,
    /// SHA-256 of the file.
    pub sha256: Digest256,
    /// The package that it comes from.
    pub package: &'static str,
    /// Where it puts the initramfs in the command line.
    pub initrd_word: InitrdWord,
}

/// Every build that was looked at in operation.
pub const PROFILES: &[Profile] = &[
    Profile {
        id: "debian-2025.02-8+deb13u1",
        sha256: Digest([
            0x14, 0x95, 0x40, 0x40, 0xcc, 0x75, 0x4a, 0xde, 0x0c, 0x62, 0x5a, 0xc3, 0x47, 0x0e,
            0xa4, 0x6d, 0x4c, 0x14, 0x31, 0x8b, 0x5b, 0x13, 0x96, 0xde, 0x4e, 0xf7, 0x70, 0x90,
            0x20, 0x3d, 0x76, 0xdb,
        ]),
        package: "ovmf 2025.02-8+deb13u1 (Debian), /usr/share/ovmf/OVMF.fd",
        initrd_word: InitrdWord::Behind,
    },
    // Its events were seen with a build that logs outside of TDs (docs/firmware.md).
    Profile {
        id: "zipnet-inteltdx-2025.02-8+deb13u1",
        sha256: Digest([
            0xf3, 0xaf, 0x4c, 0x27, 0x0b, 0x76, 0xb5, 0x9f, 0xd0, 0xf9, 0x66, 0x60, 0xfe, 0x03,
            0x4e, 0x9b, 0x04, 0x62, 0x10, 0x2c, 0x4c, 0x05, 0xd2, 0x33, 0xa5, 0x8b, 0x73, 0xf9,
            0x93, 0x68, 0x21, 0x4c,
        ]),
        package: "edk2 2025.02-8+deb13u1 (Debian), IntelTdx, by scripts/firmware.sh",
        initrd_word: InitrdWord::Behind,
    },
];

/// The build with this digest.
#[must_use]
pub fn of(sha256: &Digest256) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.sha256 == *sha256)
}

/// The build of this name.
#[must_use]
pub fn named(id: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.id == id)
}
