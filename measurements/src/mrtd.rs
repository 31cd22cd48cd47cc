//! MRTD: the measurement of a TD's memory before it runs.
//!
//! The TDX module hashes one record for each page that the VMM adds, and one
//! for each 256 bytes that it measures, in the order of the VMM's calls; MRTD is
//! the SHA-384 of all records. Intel, "TDX Module Base Architecture
//! Specification" (344425), "Measurement of the TD's build"; TDX module sources
//! `src/vmm_dispatcher/api_calls/tdh_mem_page_add.c` and `tdh_mr_extend.c`.
//!
//! So the order of the calls counts. Two are known:
//!
//! * [`Order::PageByPage`]: Linux from 6.16 on (`arch/x86/kvm/vmx/tdx.c`,
//!   `tdx_gmem_post_populate`) adds a page, measures it, and goes on.
//! * [`Order::SectionBySection`]: some kernels and VMMs from before that add
//!   all pages of a section, then measure them all.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha384};

use crate::{
    digest::{Digest, Digest256, Digest384, sha256, sha384},
    tdvf::{Firmware, PAGE, Section},
};

/// What TDH.MR.EXTEND measures at a time, in bytes.
const CHUNK: usize = 256;

/// Length of a record's header, in bytes.
const RECORD: usize = 128;

/// In which order a VMM adds and measures pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Each page is measured as it is added.
    PageByPage,
    /// All pages of a section are added, then all measured.
    SectionBySection,
}

/// What is expected of a VMM of today: mainline Linux with mainline QEMU.
pub const EXPECTED: Order = Order::PageByPage;

/// MRTD cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MrtdError {
    /// VMMs do not agree.
    #[error(
        "Section {number} has pages that come only while the TD runs (PAGE.AUG); QEMU adds them nevertheless \
         and other VMMs do not, so MRTD cannot be told"
    )]
    Augmented {
        /// Number of the section, from 0.
        number: usize,
    },
}

/// MRTD of a firmware under an order of page additions.
///
/// It depends on nothing but the firmware file and the order.
///
/// # Errors
/// [`MrtdError`] where VMMs differ in what they add.
pub fn mrtd(firmware: &Firmware<'_>, order: Order) -> Result<Digest384, MrtdError> {
    let mut hash = Sha384::new();
    for (number, section) in firmware.sections().iter().enumerate() {
        if section.is_augmented() {
            return Err(MrtdError::Augmented { number });
        }
        let data = firmware.data(section);
        match order {
            Order::PageByPage => {
                for page in pages(section) {
                    add(&mut hash, page);
                    measure(&mut hash, section, data, page);
                }
            }
            Order::SectionBySection => {
                for page in pages(section) {
                    add(&mut hash, page);
                }
                for page in pages(section) {
                    measure(&mut hash, section, data, page);
                }
            }
        }
    }
    Ok(Digest(hash.finalize().into()))
}

/// A firmware with its digests, which are the same for every shape.
#[derive(Debug, Clone)]
pub struct MeasuredFirmware<'a> {
    firmware: &'a Firmware<'a>,
    page_by_page: Result<Digest384, MrtdError>,
    section_by_section: Result<Digest384, MrtdError>,
    contents: Vec<Digest384>,
    sha256: Digest256,
}

impl<'a> MeasuredFirmware<'a> {
    /// Hashes a firmware.
    #[must_use]
    pub fn new(firmware: &'a Firmware<'a>) -> Self {
        let contents = firmware.sections().iter();
        Self {
            firmware,
            page_by_page: mrtd(firmware, Order::PageByPage),
            section_by_section: mrtd(firmware, Order::SectionBySection),
            contents: contents.map(|s| sha384(firmware.data(s))).collect(),
            sha256: sha256(firmware.bytes()),
        }
    }

    /// The firmware.
    #[must_use]
    pub const fn firmware(&self) -> &'a Firmware<'a> {
        self.firmware
    }

    /// SHA-256 of the file, by which a build is known.
    #[must_use]
    pub const fn sha256(&self) -> &Digest256 {
        &self.sha256
    }

    /// MRTD under an order.
    ///
    /// # Errors
    /// [`MrtdError`] where VMMs differ in what they add.
    pub const fn mrtd(&self, order: Order) -> &Result<Digest384, MrtdError> {
        match order {
            Order::PageByPage => &self.page_by_page,
            Order::SectionBySection => &self.section_by_section,
        }
    }

    /// The sections, each with the SHA-384 of its contents.
    pub fn sections(&self) -> impl Iterator<Item = (&'a Section, &Digest384)> {
        self.firmware.sections().iter().zip(&self.contents)
    }
}

/// Addresses of a section's pages.
fn pages(section: &Section) -> impl Iterator<Item = u64> + use<> {
    let first = section.address;
    (0..section.memory_size / PAGE).map(move |page| first.saturating_add(page * PAGE))
}

/// TDH.MEM.PAGE.ADD: the name and the page's address.
fn add(hash: &mut Sha384, page: u64) {
    hash.update(record(b"MEM.PAGE.ADD", page));
}

/// TDH.MR.EXTEND, 16 times for a page: the name, the address, 256 bytes.
fn measure(hash: &mut Sha384, section: &Section, data: &[u8], page: u64) {
    if !section.is_measured() {
        return;
    }
    let start = usize::try_from(page - section.address).unwrap_or(usize::MAX);
    let contents = data.get(start..).unwrap_or_default();
    for (chunk, at) in contents
        .chunks_exact(CHUNK)
        .zip((page..).step_by(CHUNK))
        .take(16)
    {
        hash.update(record(b"MR.EXTEND", at));
        hash.update(chunk);
    }
}

/// 16 bytes of name, 8 of address (little endian), zeros up to 128.
fn record(name: &[u8], address: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    for (to, from) in record.iter_mut().zip(name) {
        *to = *from;
    }
    for (to, from) in record.iter_mut().skip(16).zip(address.to_le_bytes()) {
        *to = from;
    }
    record
}
