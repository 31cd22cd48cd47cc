//! Which of Intel's evaluations counts.

use serde::{Deserialize, Serialize};

use crate::{collateral::Collateral, rules::Refusal, tcb::check_track};

/// Which of the TCB evaluations that Intel publishes side by side counts: Intel, "Provisioning
/// Certification Service", version 4, parameter `update`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// The one by which platforms have had time to be updated.
    Standard,
    /// The newest one, from the day on which a fault is made public.
    Early,
}

/// Which collateral to ask Intel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The track.
    pub track: Track,
    /// The highest TCB evaluation; `None` for whatever the track is at.
    pub highest: Option<u32>,
}

impl Wanted {
    /// What a track is at, whatever that is.
    #[must_use]
    pub const fn newest(track: Track) -> Self {
        Self {
            track,
            highest: None,
        }
    }

    /// Whether no part of collateral is beyond it.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-309.
    pub fn check(&self, collateral: &Collateral) -> Result<(), Refusal> {
        check_track(collateral.evaluations.1, self.highest)
    }
}
