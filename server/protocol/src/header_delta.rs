//! Headers by what is new in them: a follower has the one before.
//!
//! A roster of three is more than half of a header, and changes with a restart of a
//! server. What is rebuilt is a header like any other, and verified as one: whoever
//! tells of it can lie about nothing but by a signature that does not hold.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Digest, Nonce},
    keys::Signature,
    round::{RoundHeader, SignedHeader},
};

/// A header that cannot be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoBase {
    /// It builds on another header.
    #[error("The header builds on the one of round {wanted}, and this is that of round {found}")]
    Number {
        /// By its word.
        wanted: u64,
        /// At hand.
        found: u64,
    },
    /// It leaves out the record before it, which is not at hand.
    #[error("The header does not name the record before it, which is not at hand")]
    Previous,
    /// Opened by nobody.
    #[error("The header is opened by server number {place} of a roster of {servers}")]
    Opener {
        /// By its word.
        place: u8,
        /// Servers in the roster.
        servers: usize,
    },
}

/// What a header says that an earlier one does not, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderDelta {
    base: u64,
    number: u64,
    nonce: Nonce,
    /// Left out where the record itself has been told.
    previous: Option<Digest>,
    floor: u32,
    /// How many clients there are, and the registry's root, if it has changed.
    registry: Option<(u32, Digest)>,
    /// The opener's place in the roster.
    opener: u8,
    signature: Signature,
}

impl HeaderDelta {
    /// What `header` says that `base` does not; `None` if more has changed than a delta
    /// can say. `told`: the record before it is at hand where this goes.
    #[must_use]
    pub fn between(base: &RoundHeader, header: &SignedHeader, told: bool) -> Option<Self> {
        let new = header.header();
        let opener = new
            .roster
            .iter()
            .position(|entry| entry.server == *header.opener())?;
        let delta = Self {
            base: base.number,
            number: new.number,
            nonce: new.nonce,
            previous: (!told).then_some(new.previous),
            floor: new.floor,
            registry: (new.clients, new.registry)
                .ne(&(base.clients, base.registry))
                .then_some((new.clients, new.registry)),
            opener: u8::try_from(opener).ok()?,
            signature: *header.signature(),
        };
        let rebuilt = delta.onto(base, Some(&new.previous)).ok()?;
        (rebuilt == *header).then_some(delta)
    }

    /// The number of the round whose header it builds on.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Rebuilds the header, which is not trusted before
    /// [`SignedHeader::verify`]. `previous` is the digest of the record before it, if that
    /// is at hand.
    ///
    /// # Errors
    /// [`NoBase`].
    pub fn onto(
        &self,
        base: &RoundHeader,
        previous: Option<&Digest>,
    ) -> Result<SignedHeader, NoBase> {
        if base.number != self.base {
            return Err(NoBase::Number {
                wanted: self.base,
                found: base.number,
            });
        }
        let previous = self.previous.as_ref().or(previous);
        let previous = *previous.ok_or(NoBase::Previous)?;
        let opener = base.roster.get(usize::from(self.opener));
        let opener = opener.map(|entry| entry.server).ok_or(NoBase::Opener {
            place: self.opener,
            servers: base.roster.len(),
        })?;
        let (clients, registry) = self.registry.unwrap_or((base.clients, base.registry));
        let header = RoundHeader {
            number: self.number,
            nonce: self.nonce,
            previous,
            floor: self.floor,
            clients,
            registry,
            ..base.clone()
        };
        Ok(SignedHeader::from_parts(header, opener, self.signature))
    }
}
