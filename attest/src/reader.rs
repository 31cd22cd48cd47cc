//! Takes the parts of a quote from its bytes, one after the other.

use crate::rules::{Refusal, Rule};

/// Bytes that are not read yet, and the rule that is broken if they run out.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    whole: Rule,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(rest: &'a [u8], whole: Rule) -> Self {
        Self { rest, whole }
    }

    /// What is not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], Refusal> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.whole.refuse(
                format!("{} bytes left", self.rest.len()),
                format!("{length} bytes of {what}"),
            ));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Refusal> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Refusal> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Refusal> {
        self.array(what).map(u32::from_le_bytes)
    }
}
