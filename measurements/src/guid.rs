//! GUIDs as firmware stores them.

use core::fmt;

/// A GUID in its stored form, 16 bytes: the first three fields little endian.
/// UEFI specification, appendix A.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the fields of its printed form, `{a}-{b}-{c}-{d}`; `d` are the last
    /// two groups.
    #[must_use]
    pub const fn new(a: u32, b: u16, c: u16, d: [u8; 8]) -> Self {
        let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5],
            d[6], d[7],
        ])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, tail @ ..] = self.0;
        let (group, node) = tail.split_at(2);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{}-{}",
            u32::from_le_bytes([a0, a1, a2, a3]),
            u16::from_le_bytes([b0, b1]),
            u16::from_le_bytes([c0, c1]),
            hex::encode(group),
            hex::encode(node)
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_as_in_the_specification() {
        let guid = Guid::new(
            0x8be4_df61,
            0x93ca,
            0x11d2,
            [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c],
        );
        assert_eq!(guid.to_string(), "8be4df61-93ca-11d2-aa0d-00e098032b8c");
        assert_eq!(&guid.0[..4], &[0x61, 0xdf, 0xe4, 0x8b]);
    }
}
