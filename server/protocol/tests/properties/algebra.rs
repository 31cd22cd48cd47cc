//! What goes in comes out, whoever takes part and in whatever order.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};
use zipnet_protocol::{
    Aggregate, BroadcastRecord, CertifiedRound, FinalizedRound, Fold, FoldError, RoundParams,
    SealedEnvelope, SlotContent, Tally,
};

use crate::common::World;

/// What a client does in a round.
#[derive(Debug, Clone)]
enum Act {
    Absent,
    Cover,
    Say(Vec<u8>),
}

/// A committee, a shape, and what each client does.
#[derive(Debug, Clone)]
struct Play {
    servers: usize,
    params: RoundParams,
    acts: Vec<Act>,
}

fn play() -> impl Strategy<Value = Play> {
    let shape = (1_usize..=5, 1_u32..=24, 32_u32..=80);
    shape.prop_flat_map(|(servers, slots, slot_bytes)| {
        let params = RoundParams::new(slots, slot_bytes).unwrap();
        let act = prop_oneof![
            Just(Act::Absent),
            Just(Act::Cover),
            vec(any::<u8>(), 0..=params.message_bytes()).prop_map(Act::Say),
            // Few enough that equal messages meet in one slot.
            vec(0_u8..=1, 0..=1).prop_map(Act::Say),
        ];
        vec(act, 1..=16).prop_map(move |mut acts| {
            if acts.iter().all(|act| matches!(act, Act::Absent)) {
                acts[0] = Act::Cover;
            }
            Play {
                servers,
                params,
                acts,
            }
        })
    })
}

/// A play up to its envelopes.
struct Stage {
    world: World,
    round: CertifiedRound,
    said: BTreeMap<u32, Vec<Vec<u8>>>,
    speakers: Vec<SealedEnvelope>,
    covers: Vec<SealedEnvelope>,
}

impl Stage {
    fn new(play: &Play) -> Self {
        let mut world = World::new(play.servers, play.acts.len());
        let round = world.open(world.header(play.params, 1));
        let mut stage = Self {
            said: BTreeMap::new(),
            speakers: Vec::new(),
            covers: Vec::new(),
            round: round.clone(),
            world: World::new(0, 0),
        };
        for (client, act) in play.acts.iter().enumerate() {
            match act {
                Act::Absent => {}
                Act::Cover => {
                    let sealed = world.seal(&round, [(client, None)]);
                    stage
                        .covers
                        .extend(sealed.into_iter().map(|(_, cover)| cover));
                }
                Act::Say(message) => {
                    for (slot, envelope) in world.seal(&round, [(client, Some(message.clone()))]) {
                        stage.said.entry(slot).or_default().push(message.clone());
                        stage.speakers.push(envelope);
                    }
                }
            }
        }
        stage.world = world;
        stage
    }

    fn envelopes(&self) -> Vec<SealedEnvelope> {
        self.speakers.iter().chain(&self.covers).cloned().collect()
    }

    fn aggregate(&self) -> Aggregate {
        self.world.fold(&self.round, &self.envelopes())
    }

    fn read(&self, record: &BroadcastRecord) -> FinalizedRound {
        record
            .verify(&self.world.instance, &self.world.bundles())
            .unwrap()
    }

    /// What a slot must hold: equal messages cancel out in pairs.
    fn expected(&self, slot: u32) -> SlotContent {
        let mut left: Vec<&Vec<u8>> = Vec::new();
        for message in self.said.get(&slot).into_iter().flatten() {
            match left.iter().position(|other| *other == message) {
                Some(at) => drop(left.remove(at)),
                None => left.push(message),
            }
        }
        match left.as_slice() {
            [] => SlotContent::Empty,
            [message] => SlotContent::Message((*message).clone()),
            _ => SlotContent::Garbled,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn i6_messages_in_slots_of_their_own_come_back(play in play()) {
        let stage = Stage::new(&play);
        let record = stage.world.unblind(&stage.round, &stage.aggregate());
        let read = stage.read(&record);
        let taking_part = play.acts.iter().filter(|act| !matches!(act, Act::Absent));
        prop_assert_eq!(read.participants(), taking_part.count());
        prop_assert_eq!(read.slots().count(), play.params.slots() as usize);
        for (slot, content) in read.slots() {
            prop_assert_eq!(content, stage.expected(slot), "slot {}", slot);
        }
    }

    #[test]
    fn i11_cover_is_invisible(play in play()) {
        let stage = Stage::new(&play);
        for cover in &stage.covers {
            prop_assert_eq!(cover.vector.len(), play.params.broadcast_bytes());
            prop_assert!(cover.vector.chunks_exact(32).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
        }
        let all = stage.world.unblind(&stage.round, &stage.aggregate());
        let all = stage.read(&all);
        if stage.speakers.is_empty() {
            prop_assert!(all.broadcast().iter().all(|byte| *byte == 0));
        } else {
            let speakers = stage.world.fold(&stage.round, &stage.speakers);
            let speakers = stage.world.unblind(&stage.round, &speakers);
            let speakers = stage.read(&speakers);
            prop_assert_eq!(all.broadcast(), speakers.broadcast());
        }
    }

    #[test]
    fn the_order_of_envelopes_and_partials_does_not_matter(
        play in play(),
        swaps in vec(any::<(Index, Index)>(), 0..32),
    ) {
        let stage = Stage::new(&play);
        let aggregate = stage.aggregate();
        let mut envelopes = stage.envelopes();
        let mut order: Vec<_> = (0..play.servers).collect();
        for (a, b) in &swaps {
            let (from, to) = (a.index(envelopes.len()), b.index(envelopes.len()));
            envelopes.swap(from, to);
            order.swap(a.index(play.servers), b.index(play.servers));
        }
        prop_assert_eq!(&stage.world.fold(&stage.round, &envelopes), &aggregate);

        let round = &stage.round;
        let registry = &stage.world.registry;
        let checked = aggregate.check(round.context(), round.header(), registry).unwrap();
        let mut tally = Tally::new(&checked);
        let partials: Vec<_> = order
            .iter()
            .map(|server| stage.world.partial(round, &aggregate, *server))
            .collect();
        for partial in partials.iter().rev() {
            tally.commit(round, *partial.server(), partial.commitment()).unwrap();
        }
        let mut record = None;
        for partial in partials {
            prop_assert!(record.is_none());
            let signed = stage.world.give(&partial, tally.committed(round).unwrap());
            record = tally.add(round, signed).unwrap();
        }
        prop_assert_eq!(record.unwrap(), stage.world.unblind(round, &aggregate));
    }

    #[test]
    fn one_missing_envelope_hides_the_whole_broadcast(play in play(), lost in any::<Index>()) {
        let stage = Stage::new(&play);
        let whole = stage.aggregate();
        let mut envelopes = stage.envelopes();
        envelopes.remove(lost.index(envelopes.len()));
        let aggregate = Aggregate::sign(
            whole.context,
            whole.participants,
            whole.envelopes,
            stage.world.fold(&stage.round, &envelopes).vector,
            &stage.world.aggregator,
        );
        let record = stage.world.unblind(&stage.round, &aggregate);
        prop_assert!(stage.read(&record).slots().all(|(_, slot)| slot == SlotContent::Garbled));
    }
}

#[test]
fn collisions_are_garbled_and_equal_messages_cancel() {
    let slot_of = |messages: &[&[u8]]| {
        let mut world = World::new(2, messages.len());
        let round = world.open(world.header(RoundParams::new(1, 48).unwrap(), 1));
        let messages: Vec<_> = messages.iter().map(|message| Some(*message)).collect();
        let record = world.record(&round, &messages);
        let read = record.verify(&world.instance, &world.bundles()).unwrap();
        read.slots().next().unwrap().1
    };
    assert_eq!(slot_of(&[b"a"]), SlotContent::Message(b"a".to_vec()));
    assert_eq!(slot_of(&[b"a", b"b"]), SlotContent::Garbled);
    assert_eq!(slot_of(&[b"a", b"b", b"c"]), SlotContent::Garbled);
    assert_eq!(slot_of(&[b"", &[0; 32]]), SlotContent::Garbled);
    assert_eq!(slot_of(&[b"a", b"a"]), SlotContent::Empty);
    assert_eq!(
        slot_of(&[b"a", b"a", b"a"]),
        SlotContent::Message(b"a".to_vec())
    );
}

#[test]
fn i2_a_refused_envelope_leaves_the_fold_as_it_was() {
    let mut world = World::new(2, 3);
    let params = RoundParams::new(2, 32).unwrap();
    let round = world.open(world.header(params, 1));
    let later = world.open(world.header(params, 2));
    let sealed: Vec<_> = world
        .seal(&round, [(0, None), (1, None)])
        .into_iter()
        .map(|(_, envelope)| envelope)
        .collect();
    let (_, of_later) = world.seal(&later, [(2, None)]).remove(0);
    let mut stranger = sealed[1].clone();
    stranger.client = *world.registered(77).id();
    let client = sealed[0].client;

    let mut fold = Fold::new(*round.context(), round.header(), 3);
    fold.add(&world.registry, &sealed[0]).unwrap();
    for (envelope, error) in [
        (&sealed[0], FoldError::Repeated { client }),
        (&of_later, FoldError::Context),
        (
            &stranger,
            FoldError::Unregistered {
                client: stranger.client,
            },
        ),
    ] {
        assert_eq!(fold.add(&world.registry, envelope), Err(error));
    }
    assert_eq!((fold.count(), fold.is_complete()), (1, false));
    assert_eq!(
        fold.finish(&world.aggregator),
        world.fold(&round, &sealed[..1])
    );
}
