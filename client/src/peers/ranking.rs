//! In which order peers are asked.

use std::collections::BTreeMap;

use zipnet_door::PeerId;

use crate::entropy::Dice;

/// The order in which peers are asked: by chance, but the one that answered
/// last comes first, and those that failed come last, the longest ago first.
///
/// By chance, since ids are free to make: any order that follows from them lets
/// an adversary choose whom everybody asks first (A6, A9). Those that failed
/// last, so that distrusting one peer after the other comes round to each
/// before any is asked a second time, whoever they are and however many.
#[derive(Debug)]
pub(super) struct Ranking {
    dice: Dice,
    preferred: Option<PeerId>,
    /// When a peer failed, counted in failures.
    failed: BTreeMap<PeerId, u64>,
    failures: u64,
}

impl Ranking {
    pub(super) const fn new(dice: Dice) -> Self {
        Self {
            dice,
            preferred: None,
            failed: BTreeMap::new(),
            failures: 0,
        }
    }

    /// The order of these peers, for one call.
    pub(super) fn order(&mut self, mut peers: Vec<PeerId>) -> Vec<PeerId> {
        // What is remembered is bounded by who is there.
        self.failed.retain(|peer, _| peers.contains(peer));
        self.dice.shuffle(&mut peers);
        peers.sort_by_key(|peer| {
            let failed = self.failed.get(peer).copied().unwrap_or(0);
            (failed, Some(*peer) != self.preferred)
        });
        peers
    }

    /// The peer answered.
    pub(super) fn prefer(&mut self, peer: PeerId) {
        self.failed.remove(&peer);
        self.preferred = Some(peer);
    }

    /// The peer refused, for reasons that may pass: it is as good as any other.
    pub(super) fn disregard(&mut self, peer: &PeerId) {
        if self.preferred == Some(*peer) {
            self.preferred = None;
        }
    }

    /// The peer failed: all others are asked before it.
    pub(super) fn distrust(&mut self, peer: PeerId) {
        self.disregard(&peer);
        self.failures = self.failures.saturating_add(1);
        self.failed.insert(peer, self.failures);
    }

    /// The peer that answered last failed, by what it answered.
    pub(super) fn distrust_preferred(&mut self) {
        if let Some(peer) = self.preferred.take() {
            self.distrust(peer);
        }
    }

    /// So many places of the order, by chance, of those that did not fail
    /// if there are enough.
    pub(super) fn pick(&mut self, peers: Vec<PeerId>, many: usize) -> Vec<PeerId> {
        let preferred = self.preferred.take();
        let mut order = self.order(peers);
        self.preferred = preferred;
        order.truncate(many);
        order
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use zipnet_door::iroh::SecretKey;

    use super::*;

    fn peers(many: u8) -> Vec<PeerId> {
        let mut peers: Vec<_> = (1..=many)
            .map(|seed| SecretKey::from_bytes(&[seed; 32]).public())
            .collect();
        peers.sort();
        peers
    }

    fn ranking(seed: u8) -> Ranking {
        Ranking::new(Dice::seeded(&[seed; 32]))
    }

    #[test]
    fn a6_who_is_asked_first_does_not_follow_from_ids() {
        let peers = peers(5);
        let first: BTreeSet<_> = (0..100)
            .filter_map(|seed| ranking(seed).order(peers.clone()).first().copied())
            .collect();
        assert_eq!(first.len(), 5, "each is somebody's first");
        let mut one = ranking(0);
        let orders: BTreeSet<_> = (0..100).map(|_| one.order(peers.clone())).collect();
        assert!(orders.len() > 30, "each call has an order of its own");
    }

    #[test]
    fn a6_distrust_comes_round_to_all_before_it_comes_back() {
        let peers = peers(7);
        let mut ranking = ranking(1);
        let mut asked = Vec::new();
        for _ in 0..3 * peers.len() {
            let next = ranking.order(peers.clone())[0];
            // It answers, and what it answers is worth nothing.
            ranking.prefer(next);
            ranking.distrust_preferred();
            asked.push(next);
        }
        let (first, rest) = asked.split_at(peers.len());
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), peers.len());
        assert_eq!(first, &rest[..7]);
        assert_eq!(first, &rest[7..]);
    }

    #[test]
    fn a6_a_refusal_ends_the_preference_and_a_failure_puts_last() {
        let peers = peers(4);
        let mut ranking = ranking(2);
        let liked = peers[2];
        ranking.prefer(liked);
        for _ in 0..20 {
            assert_eq!(ranking.order(peers.clone())[0], liked);
        }
        ranking.disregard(&liked);
        let first: BTreeSet<_> = (0..100).map(|_| ranking.order(peers.clone())[0]).collect();
        assert_eq!(first.len(), 4);
        ranking.distrust(liked);
        for _ in 0..20 {
            assert_eq!(ranking.order(peers.clone())[3], liked);
        }
        ranking.prefer(liked);
        assert_eq!(ranking.order(peers)[0], liked);
    }

    #[test]
    fn a6_two_are_picked_by_chance_whoever_is_preferred() {
        let peers = peers(5);
        let mut ranking = ranking(3);
        ranking.prefer(peers[0]);
        let mut pairs = BTreeSet::new();
        for _ in 0..200 {
            let mut pair = ranking.pick(peers.clone(), 2);
            pair.sort();
            assert_eq!(pair.iter().collect::<BTreeSet<_>>().len(), 2);
            pairs.insert(pair);
        }
        assert_eq!(pairs.len(), 10, "all pairs of five");
        ranking.distrust(peers[4]);
        for _ in 0..50 {
            assert!(!ranking.pick(peers.clone(), 2).contains(&peers[4]));
        }
        assert_eq!(ranking.pick(peers[..1].to_vec(), 2), peers[..1]);
        assert_eq!(ranking.order(peers.clone()).len(), 5);
        assert!(ranking.pick(Vec::new(), 2).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded_by_who_is_there() {
        let peers = peers(40);
        let mut ranking = ranking(4);
        for peer in &peers {
            ranking.distrust(*peer);
        }
        ranking.order(peers[..3].to_vec());
        assert_eq!(ranking.failed.len(), 3);
    }
}
