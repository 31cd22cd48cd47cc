//! Which drivers a firmware file carries.
//!
//! By bytes, not by structure: firmware volumes are unpacked wherever a section says
//! that it is packed (UEFI Platform Initialization specification, volume 3,
//! `EFI_SECTION_GUID_DEFINED`), and searched for the GUIDs that name drivers. That finds
//! too much rather than too little: a name in a list is a find, too. A packing that is
//! not known here is refused, since anything may be in it.

use std::io::Read as _;

use liblzma::{read::XzDecoder, stream::Stream};

use crate::{bytes::Reader, guid::Guid};

/// The driver that measures into a TPM instead of a TD's registers, and for which a
/// kernel asks first (edk2 `SecurityPkg/Tcg/Tcg2Dxe/Tcg2Dxe.inf`).
pub const TCG2_DXE: Guid = Guid::new(
    0xfdff_263d,
    0x5f68,
    0x4591,
    [0x87, 0xba, 0xb7, 0x68, 0xf4, 0x45, 0xa9, 0xaf],
);

/// Sections packed by LZMA (edk2 `gLzmaCustomDecompressGuid`).
const LZMA: Guid = Guid::new(
    0xee4e_5898,
    0x3914,
    0x4259,
    [0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf],
);
/// Packings that nothing here opens: Brotli, LZMA with converted jumps, and edk2's
/// own (`gBrotliCustomDecompressGuid`, `gLzmaF86CustomDecompressGuid`,
/// `gTianoCustomDecompressGuid`).
const OTHERS: [Guid; 3] = [
    Guid::new(
        0x3d53_2050,
        0x5cda,
        0x4fd0,
        [0x87, 0x9e, 0x0f, 0x7f, 0x63, 0x0d, 0x5a, 0xfb],
    ),
    Guid::new(
        0xd42a_e6bd,
        0x1352,
        0x4bfb,
        [0x90, 0x9a, 0xca, 0x72, 0xa6, 0xea, 0xe8, 0x89],
    ),
    Guid::new(
        0xa312_80ad,
        0x481e,
        0x41b6,
        [0x95, 0xe8, 0x12, 0x7f, 0x4c, 0x98, 0x47, 0x79],
    ),
];
/// Most bytes that all sections unpack to, and most memory that this takes.
const MAX_UNPACKED: u64 = 64 << 20;
/// How deep packed sections lie in packed sections.
const MAX_DEPTH: usize = 4;

/// A firmware file cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum DriversError {
    /// Packed otherwise.
    #[error(
        "A section at offset {at:#x} is packed by {guid}, which is not known here; LZMA ({LZMA}) would be right"
    )]
    Packing {
        /// Offset of the name, in bytes.
        at: usize,
        /// The packing.
        guid: Guid,
    },
    /// Not unpacked.
    #[error("The section packed by LZMA whose name is at offset {at:#x} cannot be unpacked")]
    Unpack {
        /// Offset of the name, in bytes.
        at: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Larger than any firmware.
    #[error(
        "The firmware unpacks to more than {MAX_UNPACKED} bytes, or more than {MAX_DEPTH} times"
    )]
    Large,
}

/// Whether a firmware file names a driver, packed or not.
///
/// # Errors
/// [`DriversError`].
pub fn names(firmware: &[u8], driver: &Guid) -> Result<bool, DriversError> {
    let mut left = MAX_UNPACKED;
    search(firmware, driver, &mut left, MAX_DEPTH)
}

fn search(bytes: &[u8], driver: &Guid, left: &mut u64, depth: usize) -> Result<bool, DriversError> {
    let mut found = false;
    for (at, window) in bytes.windows(16).enumerate() {
        found |= window == driver.0;
        let known = OTHERS.into_iter().chain([LZMA]);
        let Some(guid) = known.into_iter().find(|known| window == known.0) else {
            continue;
        };
        // Only where a section names it; the decoder's own file names it, too.
        let Some(packed) = section(bytes, at) else {
            continue;
        };
        if guid != LZMA {
            return Err(DriversError::Packing { at, guid });
        }
        let depth = depth.checked_sub(1).ok_or(DriversError::Large)?;
        let unpacked = unpack(packed, at, *left)?;
        *left = left.saturating_sub(unpacked.len() as u64);
        if *left == 0 {
            return Err(DriversError::Large);
        }
        found |= search(&unpacked, driver, left, depth)?;
    }
    Ok(found)
}

/// The data of the section whose packing is named at `at`.
fn section(bytes: &[u8], at: usize) -> Option<&[u8]> {
    const GUID_DEFINED: u8 = 2;
    let start = at.checked_sub(4)?;
    let mut reader = Reader::at(bytes, start);
    let [a, b, c]: [u8; 3] = reader.array("the size of a section").ok()?;
    let size = usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()?;
    let kind = reader.u8("the type of a section").ok()?;
    reader.take(16, "the packing of a section").ok()?;
    let data = usize::from(reader.u16("the offset of a section's data").ok()?);
    let section = bytes.get(start..start.checked_add(size)?)?;
    (kind == GUID_DEFINED).then(|| section.get(data..))?
}

/// The format of `lzma(1)`, which tells its length.
fn unpack(packed: &[u8], at: usize, most: u64) -> Result<Vec<u8>, DriversError> {
    let failed = |source| DriversError::Unpack { at, source };
    let stream = Stream::new_lzma_decoder(MAX_UNPACKED).map_err(|error| failed(error.into()))?;
    let mut unpacked = Vec::new();
    XzDecoder::new_stream(packed, stream)
        .take(most)
        .read_to_end(&mut unpacked)
        .map_err(failed)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use liblzma::{read::XzEncoder, stream::LzmaOptions};

    use super::*;

    fn packed(plain: &[u8], packing: &Guid) -> Vec<u8> {
        let options = LzmaOptions::new_preset(6).unwrap();
        let stream = Stream::new_lzma_encoder(&options).unwrap();
        let mut data = Vec::new();
        XzEncoder::new_stream(plain, stream)
            .read_to_end(&mut data)
            .unwrap();
        let size = u32::try_from(24 + data.len()).unwrap().to_le_bytes();
        let mut section = vec![0xff; 7];
        section.extend([size[0], size[1], size[2], 2]);
        section.extend(packing.0);
        section.extend(24_u16.to_le_bytes());
        section.extend([0, 0]);
        section.extend(data);
        section.extend([0xff; 9]);
        section
    }

    #[test]
    fn d1_a_driver_is_found_however_deep_it_is_packed() {
        let mut volume = vec![7; 1000];
        assert!(!names(&volume, &TCG2_DXE).unwrap());
        volume.extend(TCG2_DXE.0);
        for _ in 0..MAX_DEPTH {
            assert!(names(&volume, &TCG2_DXE).unwrap());
            volume = packed(&volume, &LZMA);
            assert!(!volume.windows(16).any(|window| window == TCG2_DXE.0));
        }
        assert!(names(&volume, &TCG2_DXE).unwrap());
        assert!(!names(&volume, &OTHERS[0]).unwrap());
        let deeper = packed(&volume, &LZMA);
        assert!(matches!(
            names(&deeper, &TCG2_DXE),
            Err(DriversError::Large)
        ));
    }

    #[test]
    fn d1_what_cannot_be_looked_into_is_refused() {
        let driver = packed(&TCG2_DXE.0, &OTHERS[0]);
        let error = names(&driver, &TCG2_DXE).unwrap_err().to_string();
        assert!(error.contains("3d532050"), "{error}");
        let mut broken = packed(&[1; 5000], &LZMA);
        broken.truncate(60);
        broken[7] = 50;
        broken[8] = 0;
        assert!(names(&broken, &TCG2_DXE).is_err());
        // Zeros in some kilobytes.
        let bomb = packed(&vec![0; 65 << 20], &LZMA);
        assert!(matches!(names(&bomb, &TCG2_DXE), Err(DriversError::Large)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), at in 0_usize..280) {
            let mut bytes = bytes;
            for (byte, of) in bytes.iter_mut().skip(at).zip(LZMA.0) {
                *byte = of;
            }
            let _ = names(&bytes, &TCG2_DXE);
        }
    }
}
