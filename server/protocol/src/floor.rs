//! The participation floor (I15): how many must take part in a round, by a
//! public rule over what the committee has recorded.
//!
//! Whoever chooses the participants of many rounds finds out who writes what,
//! by leaving out a part of them each time. So the participants of a round may
//! be fewer than those of the last record only by a tenth, or by those who have
//! left the registry since: who withdrew, or sat out a lease.

use std::collections::BTreeSet;

use crate::{
    bundle::RegisteredClient, ids::PeerKey, participants::Participants, registry::ClientRegistry,
};

/// Nine tenths of the last participants have to be there again.
const NUMERATOR: u64 = 9;
const DENOMINATOR: u64 = 10;

/// How many distinct peers the participants are, by the registry that their
/// bits refer to. One peer may register several clients; it counts once.
#[must_use]
pub fn distinct_peers(participants: &Participants, registry: &ClientRegistry) -> usize {
    peers(participants, registry, |_| true).len()
}

/// The peers of those participants whom `counts` accepts.
fn peers<'a>(
    participants: &'a Participants,
    registry: &'a ClientRegistry,
    counts: impl Fn(&RegisteredClient) -> bool,
) -> BTreeSet<&'a PeerKey> {
    participants
        .positions()
        .filter_map(|position| registry.at(position))
        .filter(|client| counts(client))
        .map(RegisteredClient::peer)
        .collect()
}

/// The floor of the next round: `minimum`, and nine tenths (rounded down) of
/// the peers that took part in the last record with a client that is still
/// registered. `last` is that record's participants with the registry that
/// they refer to.
#[must_use]
pub fn participation_floor(
    minimum: u32,
    last: Option<(&Participants, &ClientRegistry)>,
    registered: &ClientRegistry,
) -> u32 {
    let minimum = minimum.max(1);
    let Some((participants, then)) = last else {
        return minimum;
    };
    let still = peers(participants, then, |client| {
        registered.get(client.id()).is_some()
    });
    let there = u64::try_from(still.len()).unwrap_or(u64::MAX);
    let floor = there
        .saturating_mul(NUMERATOR)
        .checked_div(DENOMINATOR)
        .unwrap_or(0);
    u32::try_from(floor).unwrap_or(u32::MAX).max(minimum)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        bundle::{ClientBundle, LeastServers},
        instance::{CommitteeSecret, Instance},
        keys::{DhSecret, SigningSecret},
    };

    /// Clients by number, several to a peer.
    fn registry(clients: impl IntoIterator<Item = u8>, to_a_peer: u8) -> ClientRegistry {
        let name = "acme.mix.test".parse().unwrap();
        let secret = CommitteeSecret::new(Zeroizing::new(b"a secret for the tests".to_vec()));
        let committee = secret.committee_key(&name).public();
        let instance = Instance::new(name, committee);
        let client = |number: u8| {
            let dh = DhSecret::from_entropy(&Zeroizing::new([number; 32]));
            let peer = SigningSecret::from_seed(&Zeroizing::new([number / to_a_peer; 32]));
            let bundle = ClientBundle::sign(&instance, &dh.public(), LeastServers::ALL, &peer);
            bundle.verify(&instance).unwrap()
        };
        ClientRegistry::from_clients(clients.into_iter().map(client).collect())
    }

    fn all(registry: &ClientRegistry) -> Participants {
        Participants::from_positions(registry.len(), 0..registry.len())
    }

    #[test]
    fn i15_a_peer_with_many_clients_counts_once() {
        let many = registry(1..31, 10);
        assert_eq!(distinct_peers(&all(&many), &many), 4, "of 0, 1, 2 and 3");
        let none = Participants::from_positions(many.len(), []);
        assert_eq!(distinct_peers(&none, &many), 0);
        assert_eq!(
            participation_floor(2, Some((&all(&many), &many)), &many),
            3,
            "nine tenths of four"
        );
    }

    #[test]
    fn i15_nine_tenths_of_who_is_still_there() {
        let before = registry(0..100, 1);
        let part = all(&before);
        let floor = |now: &ClientRegistry| participation_floor(2, Some((&part, &before)), now);
        assert_eq!(floor(&before), 90);
        assert_eq!(floor(&registry(0..150, 1)), 90, "newcomers do not raise it");
        assert_eq!(floor(&registry(0..67, 1)), 60, "a third has left");
        assert_eq!(floor(&registry(100..150, 1)), 2, "nobody is left");
        assert_eq!(participation_floor(2, None, &before), 2, "no record yet");
        assert_eq!(participation_floor(0, None, &before), 1);
        let half = Participants::from_positions(100, 0..50);
        assert_eq!(participation_floor(2, Some((&half, &before)), &before), 45);
    }
}
