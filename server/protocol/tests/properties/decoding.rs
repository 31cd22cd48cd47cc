//! Any bytes at all: what decodes goes through its checks without a panic, and
//! what passes them is what was signed.

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*, sample::Index};
use zipnet_protocol::{
    Aggregate, BroadcastRecord, CertifiedRound, ClientBundle, ClientRegistry, Fold, Participants,
    RoundParams, SealedEnvelope, ServerBundle, SignedHeader, SignedPartial, Tally, Withdrawal,
};

use crate::common::{World, signing};

/// A finalized round, and the wire encoding of everything that led to it.
struct Ground {
    world: World,
    round: CertifiedRound,
    envelope: SealedEnvelope,
    record: BroadcastRecord,
    withdrawal: Withdrawal,
}

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let mut world = World::new(2, 9);
    let round = world.open(world.header(RoundParams::new(2, 32).unwrap(), 1));
    let sealed = world.seal(&round, (0..9).map(|client| (client, None)));
    let aggregate = world.fold(&round, sealed.iter().map(|(_, envelope)| envelope));
    let client = &world.clients[0];
    Ground {
        record: world.unblind(&round, &aggregate),
        envelope: sealed[0].1.clone(),
        withdrawal: Withdrawal::sign(
            &world.instance,
            client.sealer.id(),
            &signing("client transport", client.index),
        ),
        round,
        world,
    }
});

impl Ground {
    fn wires(&self) -> [Vec<u8>; 10] {
        let wire = postcard::to_stdvec;
        [
            postcard::to_stdvec(self.world.clients[0].sealer.bundle()).unwrap(),
            postcard::to_stdvec(&self.withdrawal).unwrap(),
            postcard::to_stdvec(self.world.servers[0].admitted.bundle()).unwrap(),
            postcard::to_stdvec(self.round.signed()).unwrap(),
            postcard::to_stdvec(&self.envelope).unwrap(),
            postcard::to_stdvec(&self.record.aggregate).unwrap(),
            postcard::to_stdvec(&self.record.partials[0]).unwrap(),
            postcard::to_stdvec(&self.record).unwrap(),
            postcard::to_stdvec(&self.round.header().params).unwrap(),
            wire(&self.record.aggregate.participants).unwrap(),
        ]
    }

    /// Decodes the bytes as each type and drives what comes out as far as it
    /// goes. For each, whether it decoded and whether it was accepted.
    fn swallow(&self, data: &[u8]) -> [Option<bool>; 10] {
        [
            decoded(data, |bundle| self.client_bundle(bundle)),
            decoded(data, |withdrawal: Withdrawal| {
                let client = self.world.registry.at(0).unwrap();
                let accepted = withdrawal.verify(&self.world.instance, client).is_ok();
                assert!(!accepted || withdrawal == self.withdrawal);
                accepted
            }),
            decoded(data, |bundle: ServerBundle| {
                let accepted = bundle.verify(&self.world.instance).is_ok();
                assert!(!accepted || self.world.bundles().contains(&bundle));
                let bundles = [bundle];
                let _ = self.round.signed().verify(&self.world.instance, &bundles);
                accepted
            }),
            decoded(data, |header: SignedHeader| {
                let bundles = self.world.bundles();
                let accepted = header.verify(&self.world.instance, &bundles).is_ok();
                let admitted = self.world.admitted();
                let again = header.verify_with(&self.world.instance, admitted).is_ok();
                assert_eq!(accepted, again);
                assert!(!accepted || header == *self.round.signed());
                let _ = header.header().context();
                accepted
            }),
            decoded(data, |envelope: SealedEnvelope| {
                let mut fold = Fold::new(*self.round.context(), self.round.header(), 9);
                let accepted = fold.add(&self.world.registry, &envelope).is_ok();
                assert_eq!(
                    fold.finish(&self.world.aggregator).participants.count(),
                    usize::from(accepted)
                );
                accepted
            }),
            decoded(data, |aggregate| self.aggregate(&aggregate)),
            decoded(data, |partial| self.partial(partial)),
            decoded(data, |record: BroadcastRecord| {
                let bundles = self.world.bundles();
                let accepted = record.verify(&self.world.instance, &bundles).is_ok();
                assert_eq!(
                    accepted,
                    record.verify_in(self.round.round().clone()).is_ok()
                );
                assert!(!accepted || record == self.record);
                accepted
            }),
            decoded(data, |params: RoundParams| {
                assert!(params.broadcast_bytes() <= 1 << 20);
                assert!(params.message_bytes() >= 16 && params.slots() >= 1);
                true
            }),
            decoded(data, |participants: Participants| {
                assert_eq!(participants.positions().count(), participants.count());
                participants.check(9).is_ok()
            }),
        ]
    }

    fn client_bundle(&self, bundle: ClientBundle) -> bool {
        let verified = bundle.verify(&self.world.instance);
        let known = self.world.clients[0].sealer.bundle();
        assert!(verified.is_err() || bundle == *known);
        let registry = ClientRegistry::verify(&self.world.instance, &[bundle]);
        assert_eq!(verified.is_ok(), registry.is_ok_and(|one| one.len() == 1));
        verified.is_ok()
    }

    fn aggregate(&self, aggregate: &Aggregate) -> bool {
        let _ = aggregate.digest();
        let checked = aggregate.check(
            self.round.context(),
            self.round.header(),
            &self.world.registry,
        );
        checked.is_ok_and(|checked| {
            assert_eq!(*checked.digest(), aggregate.digest());
            assert_eq!(Tally::new(&checked).aggregate(), aggregate);
            true
        })
    }

    fn partial(&self, partial: SignedPartial) -> bool {
        let _ = partial.vector_digest();
        let aggregate = &self.record.aggregate;
        let verified = partial.verify(&self.round, &aggregate.digest()).is_ok();
        assert!(!verified || self.record.partials.contains(&partial));
        let checked = aggregate.check(
            self.round.context(),
            self.round.header(),
            &self.world.registry,
        );
        let mut tally = Tally::new(&checked.unwrap());
        for partial in &self.record.partials {
            let commitment = partial.commitment();
            tally
                .commit(&self.round, partial.server, commitment)
                .unwrap();
        }
        assert_eq!(tally.add(&self.round, partial).is_ok(), verified);
        verified
    }
}

fn decoded<T: serde::de::DeserializeOwned>(
    data: &[u8],
    accepted: impl FnOnce(T) -> bool,
) -> Option<bool> {
    postcard::from_bytes(data).ok().map(accepted)
}

#[test]
fn the_right_bytes_are_accepted_as_what_they_are() {
    for (at, wire) in GROUND.wires().iter().enumerate() {
        assert_eq!(GROUND.swallow(wire)[at], Some(true), "type {at}");
        let short = &wire[..wire.len() - 1];
        assert_eq!(GROUND.swallow(short)[at], None, "type {at}, cut short");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn i8_any_bytes_are_survived(data in vec(any::<u8>(), 0..2048)) {
        GROUND.swallow(&data);
    }

    #[test]
    fn i8_huge_lengths_are_survived(lead in 0_usize..400, length in any::<u32>()) {
        let mut data = vec![0; lead];
        data.extend(postcard::to_stdvec(&length).unwrap());
        data.extend([0xff; 16]);
        GROUND.swallow(&data);
    }

    #[test]
    fn i8_damaged_messages_are_survived(
        which in any::<Index>(),
        edits in vec((any::<Index>(), any::<u8>()), 1..6),
        cut in any::<Index>(),
        whole in any::<bool>(),
    ) {
        let mut wire = which.get(&GROUND.wires()).clone();
        for (at, byte) in edits {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        if !whole {
            wire.truncate(cut.index(wire.len()));
        }
        GROUND.swallow(&wire);
    }
}
