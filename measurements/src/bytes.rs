//! Reading of untrusted bytes: every look is checked, every refusal names its
//! offset.

/// Bytes that a structure needs are not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Truncated at offset {at:#x}: {what} needs {needed} bytes, {left} are left")]
pub struct Truncated {
    /// What was to be read.
    pub what: &'static str,
    /// Offset from the start of the input, in bytes.
    pub at: usize,
    /// Length of what was to be read, in bytes.
    pub needed: usize,
    /// Bytes from the offset to the end of the input.
    pub left: usize,
}

/// Reads integers (little endian) and byte strings one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from offset `at` on.
    pub(crate) const fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next look goes, in bytes from the start of the input.
    pub(crate) const fn offset(&self) -> usize {
        self.at
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next `length` bytes.
    pub(crate) fn take(
        &mut self,
        length: usize,
        what: &'static str,
    ) -> Result<&'a [u8], Truncated> {
        let rest = self.rest();
        let Some(taken) = rest.get(..length) else {
            return Err(Truncated {
                what,
                at: self.at,
                needed: length,
                left: rest.len(),
            });
        };
        self.at += length;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Truncated> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Truncated> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Truncated> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Truncated> {
        self.array(what).map(u64::from_le_bytes)
    }
}

/// A 32-bit offset or length as an index; never loses bits on the platforms
/// that this crate builds for.
pub(crate) fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The first byte that is in two of the ranges (offset, length in bytes).
pub(crate) fn overlap(ranges: impl IntoIterator<Item = (u64, u64)>) -> Option<u64> {
    let mut ranges: Vec<_> = ranges.into_iter().filter(|range| range.1 > 0).collect();
    ranges.sort_unstable();
    let mut end = 0;
    for (start, length) in ranges {
        if start < end {
            return Some(start);
        }
        end = start.saturating_add(length);
    }
    None
}
