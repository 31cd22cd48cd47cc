//! Who took part in a round: one bit for each position of the registry.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A bitmap that does not fit the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParticipantsError {
    /// Another number of bytes than the registry needs.
    #[error("The participant bitmap has {found} bytes; {expected} would fit the registry")]
    Length {
        /// Bytes that came.
        found: usize,
        /// Bytes for this registry.
        expected: usize,
    },
    /// A bit beyond the last client.
    #[error("The participant bitmap names a client that is not registered")]
    Unregistered,
}

/// A set of positions in a client registry. Distinct by construction; that
/// they are registered, [`Participants::check`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participants(Bytes);

impl Participants {
    /// Builds the bitmap for a registry of `clients`; positions outside of it
    /// are left out.
    #[must_use]
    pub fn from_positions(clients: usize, positions: impl IntoIterator<Item = usize>) -> Self {
        let mut bits = vec![0_u8; clients.div_ceil(8)];
        for position in positions.into_iter().filter(|position| *position < clients) {
            if let Some(byte) = bits.get_mut(position / 8) {
                *byte |= 1 << (position % 8);
            }
        }
        Self(bits.into())
    }

    /// Wraps bytes that came from outside.
    #[must_use]
    pub const fn from_bytes(bits: Bytes) -> Self {
        Self(bits)
    }

    /// The bytes: bit `i % 8` of byte `i / 8` stands for position `i`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many take part.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().fold(0_usize, |sum, byte| {
            sum.saturating_add(byte.count_ones() as usize)
        })
    }

    /// The positions, ascending.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, byte)| {
            let base = at.saturating_mul(8);
            (0..8_usize)
                .filter(move |bit| byte >> bit & 1 == 1)
                .map(move |bit| base.saturating_add(bit))
        })
    }

    /// Whether a position takes part.
    #[must_use]
    pub fn contains(&self, position: usize) -> bool {
        self.0
            .get(position / 8)
            .is_some_and(|byte| byte >> (position % 8) & 1 == 1)
    }

    /// Checks that the bitmap fits a registry of `clients`.
    ///
    /// # Errors
    /// [`ParticipantsError`].
    pub fn check(&self, clients: usize) -> Result<(), ParticipantsError> {
        let expected = clients.div_ceil(8);
        if self.0.len() != expected {
            return Err(ParticipantsError::Length {
                found: self.0.len(),
                expected,
            });
        }
        match self.positions().last() {
            Some(last) if last >= clients => Err(ParticipantsError::Unregistered),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_positions() {
        let some = Participants::from_positions(11, [0, 3, 10, 10, 11, 99]);
        assert_eq!(some.positions().collect::<Vec<_>>(), [0, 3, 10]);
        assert_eq!(some.count(), 3);
        assert!(some.contains(10) && !some.contains(9) && !some.contains(4000));
        assert_eq!(some.check(11), Ok(()));
    }

    #[test]
    fn i2_bits_beyond_the_registry_are_refused() {
        let forged = Participants::from_bytes(Bytes::from_static(&[0, 0b1000]));
        assert_eq!(forged.check(11), Err(ParticipantsError::Unregistered));
        assert_eq!(
            forged.check(17),
            Err(ParticipantsError::Length {
                found: 2,
                expected: 3
            })
        );
    }
}
