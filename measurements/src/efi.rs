//! Events of UEFI firmware: the bytes that are hashed.

use crate::guid::Guid;

/// `EFI_GLOBAL_VARIABLE`: boot options, PK, KEK, `SecureBoot`.
pub const GLOBAL_VARIABLE: Guid = Guid::new(
    0x8be4_df61,
    0x93ca,
    0x11d2,
    [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c],
);

/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: db, dbx.
pub const IMAGE_SECURITY_DATABASE: Guid = Guid::new(
    0xd719_b2cb,
    0x3d3a,
    0x4596,
    [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f],
);

/// OVMF's volume of DXE drivers (`OvmfPkg/OvmfPkgX64.fdf`, `FvNameGuid` of DXEFV).
pub const DXE_VOLUME: Guid = Guid::new(
    0x7cb8_bdc9,
    0xf8eb,
    0x4f34,
    [0xaa, 0xea, 0x3e, 0xe4, 0xaf, 0x65, 0x16, 0xa1],
);

/// The setup program (`MdeModulePkg/Application/UiApp/UiApp.inf`, `FILE_GUID`).
pub const UI_APP: Guid = Guid::new(
    0x462c_aa21,
    0x7614,
    0x4503,
    [0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31],
);

/// Text as UTF-16, little endian, without a NUL.
#[must_use]
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// `UEFI_VARIABLE_DATA`: vendor, lengths of name (in characters) and data, name,
/// data. TCG, "PC Client Platform Firmware Profile", section 10.2.6.
#[must_use]
pub fn variable_data(vendor: Guid, name: &str, data: &[u8]) -> Vec<u8> {
    let units = utf16(name);
    let mut bytes = vendor.0.to_vec();
    bytes.extend((units.len() as u64 / 2).to_le_bytes());
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.extend(units);
    bytes.extend(data);
    bytes
}

/// A boot option that starts an application in OVMF's volume of drivers:
/// `EFI_LOAD_OPTION` (UEFI specification, section 3.1.3) with a path of two
/// nodes, volume and file, and the end node (section 10.3.5).
#[must_use]
pub fn volume_option(attributes: u32, description: &str, file: Guid) -> Vec<u8> {
    let mut path = vec![4, 7, 20, 0];
    path.extend(DXE_VOLUME.0);
    path.extend([4, 6, 20, 0]);
    path.extend(file.0);
    path.extend([0x7f, 0xff, 4, 0]);
    let mut bytes = attributes.to_le_bytes().to_vec();
    bytes.extend(u16::try_from(path.len()).unwrap_or_default().to_le_bytes());
    bytes.extend(utf16(description));
    bytes.extend([0, 0]);
    bytes.extend(path);
    bytes
}
