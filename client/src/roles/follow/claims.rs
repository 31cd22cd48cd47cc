//! Light records that nothing verified names yet.
//!
//! A claim is one server's word. It becomes news when a certified round that is trusted
//! names its digest, or a record that came out that way does. Until then it counts for
//! nothing but this: whoever made it is not taken for silent.

use std::{collections::VecDeque, sync::Arc};

use zipnet_door::PeerId;
use zipnet_protocol::{CertifiedRound, ClaimedRound, Digest, Epoch, FinalizedRound, RoundContext};

/// Most claims that are held, and most bytes of broadcasts, unless one alone has more.
/// Whoever is farther behind asks for records as for any that are missing.
const MOST: usize = 64;
const MOST_BYTES: usize = 8 << 20;
/// Most of what was told that is remembered.
const MOST_TOLD: usize = 8;

/// What servers claim.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: VecDeque<ClaimedRound>,
    bytes: usize,
    reach: Option<(Epoch, u64)>,
    /// Which digest who told of which round.
    told: VecDeque<(PeerId, RoundContext, Digest)>,
    /// The newest certified round that is trusted.
    certified: Option<Arc<CertifiedRound>>,
}

impl Claims {
    /// Takes a claim down, of somebody who was `asked` for records or not. `false` if it is
    /// held already.
    pub fn push(&mut self, claim: ClaimedRound, asked: bool) -> bool {
        if asked {
            self.reach = Some(claim.round().position());
        }
        if self.held.iter().any(|held| held.digest() == claim.digest()) {
            return false;
        }
        self.bytes = self.bytes.saturating_add(claim.length());
        self.held.push_back(claim);
        while self.held.len() > MOST || (self.held.len() > 1 && self.bytes > MOST_BYTES) {
            if let Some(oldest) = self.held.pop_front() {
                self.bytes = self.bytes.saturating_sub(oldest.length());
            }
        }
        true
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// A server tells of a round that its record has this digest.
    pub fn tell(&mut self, from: PeerId, context: RoundContext, digest: Digest) {
        if self.told.len() >= MOST_TOLD {
            self.told.pop_front();
        }
        self.told.push_back((from, context, digest));
    }

    /// The digest that a server told of a round, or else another one did.
    pub fn told(&self, from: &PeerId, context: &RoundContext) -> Option<&Digest> {
        let newest = self.told.iter().rev();
        let of = newest.filter(|(_, round, _)| round == context);
        let found = of.clone().find(|(who, ..)| who == from);
        found
            .or_else(|| of.clone().next())
            .map(|(.., digest)| digest)
    }

    /// A certified round is trusted.
    pub fn certify(&mut self, round: &Arc<CertifiedRound>) {
        self.certified = Some(round.clone());
    }

    /// Where the newest claim stands that was made by whoever is asked for records: what
    /// comes after it is to be asked for.
    pub const fn reach(&self) -> Option<(Epoch, u64)> {
        self.reach
    }

    /// Whoever is asked for records has made none, or made them up: what is claimed leads
    /// nowhere any more.
    pub fn forget(&mut self) {
        self.held.clear();
        (self.bytes, self.reach) = (0, None);
    }

    /// The records that the newest certified round proves, oldest first. Claims of its
    /// epoch that it passes by are forgotten: they are not in the chain.
    pub fn proven(&mut self) -> Vec<FinalizedRound> {
        let Some(round) = &self.certified else {
            return Vec::new();
        };
        let (epoch, number) = round.position();
        let mut proven: Vec<FinalizedRound> = Vec::new();
        while let Some(claim) = {
            let later = proven.last().map_or(round.round(), FinalizedRound::round);
            let wanted = later.header().previous;
            let at = self.held.iter().position(|held| *held.digest() == wanted);
            at.and_then(|at| self.held.remove(at))
        } {
            let done = match proven.last() {
                Some(later) => claim.behind(later),
                None => claim.named_by(round),
            };
            // It has that digest.
            proven.extend(done);
        }
        if !proven.is_empty() {
            self.held.retain(|held| {
                let (of, at) = held.round().position();
                of != epoch || at >= number
            });
        }
        self.bytes = self.held.iter().map(ClaimedRound::length).sum();
        proven.reverse();
        proven
    }
}
