//! The leaves of a round: aggregators that each take a part of the clients, so that
//! clients times rounds grow with them and the servers see one aggregate.
//!
//! Which leaf a client's is follows from its id and the list in the header, by
//! rendezvous hashing: it stays the same from round to round, and when a leaf goes only
//! its own clients go to others. Who takes an envelope learns nothing from it; that a
//! leaf sees fewer clients than one aggregator would is the only thing that a list
//! changes in what anybody learns.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::Canonical,
    ids::{ClientId, PeerKey},
};

/// Most leaves of a round.
pub const MAX_LEAVES: usize = 16;

/// The leaves of a round, as its header lists them: ascending, or none if its aggregator
/// takes all envelopes itself. Not trusted before [`Leaves::is_sound`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaves(Vec<PeerKey>);

impl Leaves {
    /// Orders them.
    #[must_use]
    pub fn new(leaves: impl IntoIterator<Item = PeerKey>) -> Self {
        let mut leaves: Vec<_> = leaves.into_iter().collect();
        leaves.sort_unstable();
        leaves.dedup();
        Self(leaves)
    }

    /// Whether it is an ascending list of at most [`MAX_LEAVES`] distinct ones.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        self.0.len() <= MAX_LEAVES && pairs.into_iter().all(|(one, next)| one < next)
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the round's aggregator takes all envelopes itself.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They, ascending.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &PeerKey> {
        self.0.iter()
    }

    /// The one with a number.
    #[must_use]
    pub fn get(&self, number: u8) -> Option<&PeerKey> {
        self.0.get(usize::from(number))
    }

    /// The number of one.
    #[must_use]
    pub fn number(&self, leaf: &PeerKey) -> Option<u8> {
        let at = self.0.iter().position(|one| one == leaf)?;
        u8::try_from(at).ok()
    }

    /// The number of the leaf that takes a client's envelopes; `None` without leaves.
    #[must_use]
    pub fn number_of(&self, client: &ClientId) -> Option<u8> {
        let weight = |leaf: &PeerKey| {
            Canonical::new()
                .fixed(client.as_bytes())
                .fixed(leaf.as_bytes())
                .digest("zipnet/leaf/v1")
        };
        let heaviest = self.0.iter().max_by_key(|leaf| *weight(leaf).as_bytes())?;
        self.number(heaviest)
    }

    /// The leaf that takes a client's envelopes; `None` without leaves.
    #[must_use]
    pub fn of(&self, client: &ClientId) -> Option<&PeerKey> {
        self.get(self.number_of(client)?)
    }

    pub(crate) fn encode(&self, to: Canonical) -> Canonical {
        let start = to.count(self.0.len());
        self.0
            .iter()
            .fold(start, |to, leaf| to.fixed(leaf.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(seeds: impl IntoIterator<Item = u8>) -> Leaves {
        Leaves::new(seeds.into_iter().map(|seed| PeerKey::new([seed; 32])))
    }

    fn clients() -> impl Iterator<Item = ClientId> {
        (0_u32..1000).map(|number| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            ClientId::new(id)
        })
    }

    #[test]
    fn lists_are_ascending_distinct_and_short() {
        assert!(leaves([]).is_sound() && leaves([]).is_empty());
        assert!(leaves([3, 1, 2, 2]).is_sound());
        assert_eq!(leaves([3, 1, 2, 2]).len(), 3);
        assert!(leaves(0..16).is_sound());
        assert!(!leaves(0..17).is_sound());
        let key = |seed| PeerKey::new([seed; 32]);
        assert!(!Leaves(vec![key(2), key(1)]).is_sound());
        assert!(!Leaves(vec![key(1), key(1)]).is_sound());
    }

    #[test]
    fn clients_are_spread_evenly() {
        let ten = leaves(0..10);
        let mut counts = [0_usize; 10];
        for client in clients() {
            let number = ten.number_of(&client).unwrap();
            assert_eq!(ten.get(number), ten.of(&client));
            counts[usize::from(number)] += 1;
        }
        assert!(
            counts.iter().all(|count| (60..150).contains(count)),
            "{counts:?}"
        );
        assert_eq!(leaves([]).of(&clients().next().unwrap()), None);
    }

    #[test]
    fn only_the_clients_of_a_leaf_that_goes_move() {
        let (ten, nine) = (leaves(0..10), leaves((0..10).filter(|seed| *seed != 4)));
        let gone = PeerKey::new([4; 32]);
        for client in clients() {
            let before = ten.of(&client).unwrap();
            if *before != gone {
                assert_eq!(nine.of(&client), Some(before));
            }
        }
    }
}
