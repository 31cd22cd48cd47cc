//! The envelopes of the last rounds, to be shown to auditors.
//!
//! They are ciphertext, and the servers' keys live no longer than a boot; but
//! whoever took the memory of every server of a roster could open what is kept
//! here. So it is kept for as long as an audit takes to begin, and no longer.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;
use zipnet_protocol::{CheckedEnvelope, CheckedPart, ClientId, RoundContext, SealedEnvelope};

/// Rounds that are kept however long ago they were.
const ROUNDS: usize = 4;
/// How long others are kept: auditors take half a second to begin, and rounds may
/// be shorter than that.
const AGE: Duration = Duration::from_secs(10);
/// Most rounds that are kept.
const MOST: usize = 4096;
/// Most bytes of vectors that are kept, but for the newest round: that one is
/// kept whole, or nobody could ever audit a large one.
const BYTES: usize = 64 << 20;

/// A round's envelopes, by their clients' positions.
pub(super) type Envelopes = BTreeMap<usize, CheckedEnvelope>;

struct Round {
    context: RoundContext,
    envelopes: Envelopes,
    parts: Vec<CheckedPart>,
    bytes: usize,
    since: Instant,
}

impl Round {
    /// What an audit of this one is to be shown: an envelope that is in a leaf's part as
    /// well is the leaf's to show.
    fn shown(&self) -> impl Iterator<Item = &CheckedEnvelope> {
        let in_part = |position: &usize| {
            let mut parts = self.parts.iter();
            parts.any(|part| part.part().seal.participants.contains(*position))
        };
        let envelopes = self.envelopes.iter();
        let own = envelopes.filter(move |(position, _)| !in_part(position));
        own.map(|(_, envelope)| envelope)
    }
}

/// The rounds that are kept, oldest first.
#[derive(Default)]
pub(super) struct Kept(VecDeque<Round>);

impl Kept {
    /// Keeps a round, and forgets others for it.
    pub fn push(
        &mut self,
        context: RoundContext,
        envelopes: Envelopes,
        parts: Vec<CheckedPart>,
        now: Instant,
    ) {
        let vectors = envelopes.values().map(|one| one.envelope().vector.len());
        let vectors = vectors.chain(parts.iter().map(|one| one.part().vector.len()));
        let bytes = vectors.fold(0, usize::saturating_add);
        self.0.push_back(Round {
            context,
            envelopes,
            parts,
            bytes,
            since: now,
        });
        let total = |rounds: &VecDeque<Round>| {
            let bytes = rounds.iter().map(|round| round.bytes);
            bytes.fold(0, usize::saturating_add)
        };
        let is_old = |rounds: &VecDeque<Round>| {
            let oldest = rounds.front();
            oldest.is_some_and(|round| now.saturating_duration_since(round.since) >= AGE)
        };
        while self.0.len() > MOST
            || (self.0.len() > ROUNDS && is_old(&self.0))
            || (self.0.len() > 1 && total(&self.0) > BYTES)
        {
            self.0.pop_front();
        }
    }

    /// The envelopes of a round from the one with number `from` on, as many as
    /// fit into `bytes`, but one at least; `None` if the round is not kept.
    pub fn page(
        &self,
        context: &RoundContext,
        from: usize,
        bytes: usize,
    ) -> Option<Vec<SealedEnvelope>> {
        let round = self
            .0
            .iter()
            .rev()
            .find(|round| round.context == *context)?;
        let mut room = bytes;
        let mut page = Vec::new();
        for one in round.shown().skip(from) {
            let length = one.envelope().vector.len();
            if length > room && !page.is_empty() {
                break;
            }
            room = room.saturating_sub(length);
            page.push(one.envelope().clone());
        }
        Some(page)
    }

    /// A leaf's part in a round that is kept.
    pub fn part(&self, context: &RoundContext, leaf: u8) -> Option<&CheckedPart> {
        let mut rounds = self.0.iter().rev();
        let round = rounds.find(|round| round.context == *context)?;
        let mut parts = round.parts.iter();
        parts.find(|part| part.part().seal.leaf == leaf)
    }

    /// A client's envelope in a round that is kept.
    pub fn of(&self, context: &RoundContext, client: &ClientId) -> Option<&CheckedEnvelope> {
        let round = self
            .0
            .iter()
            .rev()
            .find(|round| round.context == *context)?;
        let mut envelopes = round.envelopes.values();
        envelopes.find(|one| one.envelope().client == *client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::tests::fixture::World;

    /// A round of all clients of a world: its context, and its envelopes.
    fn round(world: &mut World, clients: usize, bytes: usize) -> (RoundContext, Envelopes) {
        let mut state = world.founded_with(&(0..clients).collect::<Vec<_>>());
        let round = world.open(&mut state);
        let registry = state.current().unwrap().registry.clone();
        let envelopes = (0..clients).map(|client| {
            let (_, envelope) = world.client(client).seal(&round, None).unwrap();
            assert_eq!(envelope.vector.len(), bytes);
            let checked = envelope.check(round.context(), round.header(), &registry);
            let checked = checked.unwrap();
            (checked.position(), checked)
        });
        (*round.context(), envelopes.collect())
    }

    #[test]
    fn i19_the_newest_round_is_kept_whole_and_others_as_they_fit() {
        let mut world = World::new(1, 3);
        let (context, envelopes) = round(&mut world, 3, 256);
        let mut kept = Kept::default();
        let of = |number: u8| RoundContext::new([number; 32]);
        let start = Instant::now();
        for number in 0..10 {
            kept.push(of(number), envelopes.clone(), Vec::new(), start);
        }
        assert_eq!(kept.0.len(), 10, "an audit may be on its way");
        let later = start + AGE;
        kept.push(of(10), envelopes.clone(), Vec::new(), later);
        assert_eq!(kept.0.len(), ROUNDS);
        assert!(kept.page(&of(6), 0, 1 << 20).is_none());
        for number in 7..11 {
            assert_eq!(kept.page(&of(number), 0, 1 << 20).unwrap().len(), 3);
        }
        // As a round that is too large beside others.
        kept.push(context, envelopes.clone(), Vec::new(), later);
        kept.0.back_mut().unwrap().bytes = BYTES + 1;
        kept.push(of(20), envelopes, Vec::new(), later);
        assert_eq!(kept.0.len(), 1);
        assert!(kept.page(&of(20), 0, 1 << 20).is_some());
    }

    #[test]
    fn i19_a_page_is_bounded_by_bytes_and_holds_one_at_least() {
        let mut world = World::new(1, 3);
        let (context, envelopes) = round(&mut world, 3, 256);
        let order: Vec<_> = envelopes
            .values()
            .map(|one| one.envelope().clone())
            .collect();
        let mut kept = Kept::default();
        kept.push(context, envelopes, Vec::new(), Instant::now());
        for (bytes, expected) in [
            (0, 1),
            (255, 1),
            (256, 1),
            (511, 1),
            (512, 2),
            (768, 3),
            (9999, 3),
        ] {
            assert_eq!(
                kept.page(&context, 0, bytes).unwrap(),
                order[..expected],
                "{bytes}"
            );
        }
        assert_eq!(kept.page(&context, 1, 512).unwrap(), order[1..]);
        assert_eq!(kept.page(&context, 3, 512).unwrap(), []);
        assert_eq!(kept.page(&context, usize::MAX, 512).unwrap(), []);
        let client = order[1].client;
        assert_eq!(kept.of(&context, &client).unwrap().envelope(), &order[1]);
    }
}
