//! What a policy pins of a release.

use serde::Serialize;

use super::{Manifest, ReleaseError};
use crate::{digest::Digest384, event::Register};

/// What a policy of `zipnet-attest` pins of a release: its field `images` takes
/// such entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyImage {
    /// The release.
    pub id: String,
    /// Accepted from here on, seconds since 1970.
    pub not_before: u64,
    /// No longer accepted from here on; `null` for no end.
    pub not_after: Option<u64>,
    /// MRTD.
    pub mrtd: Digest384,
    /// RTMR1.
    pub rtmr1: Digest384,
    /// RTMR2.
    pub rtmr2: Digest384,
    /// The shapes that it may run in.
    pub shapes: Vec<PolicyShape>,
}

/// A shape in a [`PolicyImage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyShape {
    /// Its name.
    pub id: String,
    /// RTMR0.
    pub rtmr0: Digest384,
}

impl Manifest {
    /// The entry of a policy that accepts this release in all of its shapes.
    ///
    /// # Errors
    /// [`ReleaseError::NoValue`] if a register has no value: a policy pins all of
    /// them.
    pub fn policy_image(
        &self,
        not_before: u64,
        not_after: Option<u64>,
    ) -> Result<PolicyImage, ReleaseError> {
        let value = |register, digest: Option<Digest384>, reason: Option<&String>| {
            digest.ok_or_else(|| ReleaseError::NoValue {
                register,
                reason: reason.cloned().unwrap_or_default(),
            })
        };
        let own = |register, digest| value(register, digest, self.reasons.get(&register));
        let shapes = self.shapes.iter().map(|shape| {
            let rtmr0 = value(Register::Rtmr0, shape.rtmr0, shape.reason.as_ref())?;
            let id = shape.id.clone();
            Ok(PolicyShape { id, rtmr0 })
        });
        Ok(PolicyImage {
            id: self.version.clone(),
            not_before,
            not_after,
            mrtd: own(Register::Mrtd, self.mrtd)?,
            rtmr1: own(Register::Rtmr1, self.rtmr1)?,
            rtmr2: own(Register::Rtmr2, self.rtmr2)?,
            shapes: shapes.collect::<Result<_, ReleaseError>>()?,
        })
    }
}
