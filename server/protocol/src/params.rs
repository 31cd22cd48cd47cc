//! The shape of a broadcast.

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;

/// Bytes of the tag at the end of each slot.
pub const TAG_BYTES: usize = 16;

/// Refused round parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// No slot, or too many.
    #[error("{slots} slots were asked for; 1 to 4096 would be right")]
    Slots {
        /// What was given.
        slots: u32,
    },
    /// A slot that holds no message, or too much of one.
    #[error("{bytes} bytes a slot were asked for; 32 to 65536 would be right")]
    SlotBytes {
        /// What was given.
        bytes: u32,
    },
    /// A broadcast that is too long altogether.
    #[error("The broadcast would have {bytes} bytes; at most 1048576 would be right")]
    Broadcast {
        /// What was given.
        bytes: u64,
    },
}

/// How many slots a broadcast has, and how long each is. By default 64 slots
/// of 256 bytes: 16 KiB, of which each slot carries 240 bytes of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct RoundParams {
    slots: u32,
    slot_bytes: u32,
}

impl RoundParams {
    /// Checks and builds.
    ///
    /// # Errors
    /// [`ParamsError`] outside of the limits that bound memory and work.
    pub fn new(slots: u32, slot_bytes: u32) -> Result<Self, ParamsError> {
        if !(1..=4096).contains(&slots) {
            return Err(ParamsError::Slots { slots });
        }
        if !(32..=65536).contains(&slot_bytes) {
            return Err(ParamsError::SlotBytes { bytes: slot_bytes });
        }
        let bytes = u64::from(slots).saturating_mul(u64::from(slot_bytes));
        if bytes > 1 << 20 {
            return Err(ParamsError::Broadcast { bytes });
        }
        Ok(Self { slots, slot_bytes })
    }

    /// Number of slots.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Bytes of a slot, its tag included.
    #[must_use]
    pub const fn slot_bytes(&self) -> usize {
        self.slot_bytes as usize
    }

    /// Bytes of message that a slot holds.
    #[must_use]
    pub const fn message_bytes(&self) -> usize {
        self.slot_bytes().saturating_sub(TAG_BYTES)
    }

    /// Bytes of a broadcast, and so of every envelope, aggregate and partial.
    #[must_use]
    pub const fn broadcast_bytes(&self) -> usize {
        (self.slots as usize).saturating_mul(self.slot_bytes())
    }

    pub(crate) fn encode(self, to: Canonical) -> Canonical {
        to.u32(self.slots).u32(self.slot_bytes)
    }
}

impl Default for RoundParams {
    fn default() -> Self {
        Self {
            slots: 64,
            slot_bytes: 256,
        }
    }
}

impl TryFrom<(u32, u32)> for RoundParams {
    type Error = ParamsError;

    fn try_from((slots, slot_bytes): (u32, u32)) -> Result<Self, ParamsError> {
        Self::new(slots, slot_bytes)
    }
}

impl From<RoundParams> for (u32, u32) {
    fn from(params: RoundParams) -> Self {
        (params.slots, params.slot_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_bound_the_broadcast() {
        let default = RoundParams::default();
        assert_eq!(default.broadcast_bytes(), 16 * 1024);
        assert_eq!(default.message_bytes(), 240);
        assert!(RoundParams::new(0, 256).is_err());
        assert!(RoundParams::new(4097, 32).is_err());
        assert!(RoundParams::new(64, 31).is_err());
        assert!(RoundParams::new(17, 65536).is_err());
        assert!(RoundParams::new(16, 65536).is_ok());
    }
}
