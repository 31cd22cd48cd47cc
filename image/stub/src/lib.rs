//! The parts that an EFI program carries in itself.
//!
//! The guest is started as one PE image whose sections hold this program, the kernel,
//! its command line and its initramfs. The firmware measures the whole file before it
//! hands over, so that nothing in it is the host's choice; what the host gives besides
//! (load options, an initramfs, tables) is not looked at.
//!
//! This crate reads the image's own headers; the program around it is `main.rs`. It
//! trusts what it reads as far as it was measured, and refuses what does not fit.

#![no_std]

/// Names of the sections, padded with zeros. They are those of unified kernel images
/// (UAPI group, "Unified Kernel Image (UKI)").
pub mod section {
    /// The kernel, itself an EFI program.
    pub const LINUX: [u8; 8] = *b".linux\0\0";
    /// The command line in printable ASCII, without a NUL.
    pub const CMDLINE: [u8; 8] = *b".cmdline";
    /// The initramfs.
    pub const INITRD: [u8; 8] = *b".initrd\0";
}

const PE_OFFSET: usize = 0x3c;
const FILE_HEADER: usize = 24;
const SECTION_HEADER: usize = 40;

/// What the image carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The kernel.
    pub linux: &'a [u8],
    /// Its command line.
    pub cmdline: &'a [u8],
    /// Its initramfs.
    pub initrd: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Finds them in an image as the firmware has loaded it: sections lie at their
    /// virtual addresses. `None` if one is missing, twice there, or not inside.
    #[must_use]
    pub fn find(image: &'a [u8]) -> Option<Self> {
        Some(Self {
            linux: only(image, section::LINUX)?,
            cmdline: only(image, section::CMDLINE)?,
            initrd: only(image, section::INITRD)?,
        })
    }
}

/// The one section of this name.
fn only(image: &[u8], name: [u8; 8]) -> Option<&[u8]> {
    let pe = number::<4>(image, PE_OFFSET)?;
    let count = number::<2>(image, pe.checked_add(6)?)?;
    let optional = number::<2>(image, pe.checked_add(20)?)?;
    let mut at = pe.checked_add(FILE_HEADER)?.checked_add(optional)?;
    let mut found = None;
    for _ in 0..count {
        if image.get(at..at.checked_add(8)?)? == name {
            let length = number::<4>(image, at.checked_add(8)?)?;
            let start = number::<4>(image, at.checked_add(12)?)?;
            let data = image.get(start..start.checked_add(length)?)?;
            if found.replace(data).is_some() {
                return None;
            }
        }
        at = at.checked_add(SECTION_HEADER)?;
    }
    found
}

/// A little-endian number of `N` bytes, at most 4.
fn number<const N: usize>(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..at.checked_add(N)?)?;
    let sum = |sum: usize, byte: &u8| (sum << 8) | usize::from(*byte);
    Some(bytes.iter().rev().fold(0, sum))
}
