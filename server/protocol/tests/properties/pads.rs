//! No pad twice, no envelope twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use zipnet_protocol::{
    CertifiedRound, ClientId, Epoch, Message, Nonce, PadTable, Participants, RoundContext,
    RoundHeader, RoundPads, RoundParams, SealError, ServerId, SlotKey,
};

use crate::common::{World, dh, entropy};

/// A round that differs from the others of the world by its nonce only.
fn with_nonce(world: &World, nonce: u8) -> CertifiedRound {
    world.open(RoundHeader {
        nonce: Nonce::new([nonce; 32]),
        ..world.header(RoundParams::default(), 1)
    })
}

/// Counts the aligned 32-byte blocks of pads, and refuses one seen before.
#[derive(Default)]
struct Blocks(BTreeSet<[u8; 32]>);

impl Blocks {
    fn add(&mut self, pad: &[u8]) {
        for block in pad.chunks_exact(32) {
            assert!(self.0.insert(block.try_into().unwrap()), "a block repeats");
        }
    }
}

#[test]
fn i4_no_block_repeats_across_rounds_clients_and_servers() {
    let (nonces, servers, clients) = (6, 3, 5);
    let world = World::new(servers, clients);
    let mut blocks = Blocks::default();
    for nonce in 0..nonces {
        let round = with_nonce(&world, nonce);
        let pads = RoundPads::new(round.context());
        for client in &world.clients {
            let secret = dh("client dh", client.index);
            for server in &world.servers {
                let shared = secret.agree(server.admitted.dh()).unwrap();
                let mut pad = vec![0; 2048];
                pads.xor_into(&mut pad, &shared, &client.sealer.id(), server.admitted.id());
                blocks.add(&pad);
            }
        }
    }
    assert_eq!(blocks.0.len(), usize::from(nonces) * servers * clients * 64);
}

#[test]
fn i4_every_input_of_a_pad_matters() {
    let pad = |secret: usize, context: u8, client: u8, server: u8| {
        let secret = dh("any", secret).agree(&dh("other", 0).public()).unwrap();
        let mut pad = vec![0; 4096];
        RoundPads::new(&RoundContext::new([context; 32])).xor_into(
            &mut pad,
            &secret,
            &ClientId::new([client; 32]),
            &ServerId::new([server; 32]),
        );
        pad
    };
    let mut blocks = Blocks::default();
    for inputs in [
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (0, 1, 0, 0),
        (0, 0, 1, 0),
        (0, 0, 0, 1),
    ] {
        blocks.add(&pad(inputs.0, inputs.1, inputs.2, inputs.3));
    }
    // Client and server in each other's place.
    blocks.add(&pad(0, 0, 2, 3));
    blocks.add(&pad(0, 0, 3, 2));
    assert_eq!(blocks.0.len(), 7 * 128);
}

#[test]
fn i4_envelopes_of_silent_clients_share_no_block() {
    // One server, so that the envelope of a silent client is a pad.
    let mut world = World::new(1, 4);
    let mut blocks = Blocks::default();
    for number in 1..=4 {
        let round = world.open(world.header(RoundParams::default(), number));
        for (_, envelope) in world.seal(&round, (0..4).map(|client| (client, None))) {
            blocks.add(&envelope.vector);
        }
    }
    assert_eq!(blocks.0.len(), 4 * 4 * 512);
}

/// Tries to make one client seal; the numbers say which round of which epoch.
fn attempt(world: &mut World, epoch: u8, number: u64, nonce: u8) -> Result<(), SealError> {
    let mut header = world.header(RoundParams::new(1, 32).unwrap(), 0);
    header.epoch = Epoch::new([epoch; 32]);
    header.number = number;
    header.nonce = Nonce::new([nonce; 32]);
    let round = world.open(header);
    world.clients[0].sealer.seal(&round, None).map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn i5_a_number_is_sealed_once_and_never_a_lower_one(
        attempts in vec((0_u8..3, 0_u64..12, any::<u8>()), 1..40),
    ) {
        let mut world = World::new(1, 1);
        let mut last = BTreeMap::new();
        for (epoch, number, nonce) in attempts {
            let sealed = attempt(&mut world, epoch, number, nonce);
            if last.get(&epoch).is_some_and(|last| number <= *last) {
                prop_assert_eq!(sealed, Err(SealError::Sealed { number }));
            } else {
                prop_assert_eq!(sealed, Ok(()));
                last.insert(epoch, number);
            }
        }
    }

    #[test]
    fn the_partial_of_any_participants_is_the_xor_of_their_pads(
        chosen in vec(any::<bool>(), 1..20),
        bytes in 1_usize..400,
        threads in 1_usize..4,
    ) {
        let world = World::new(1, chosen.len());
        let server = &world.servers[0];
        let context = RoundContext::new([5; 32]);
        let table = PadTable::agree(&server.dh, &world.registry, None).unwrap();
        let known = PadTable::agree(&dh("none", 0), &world.registry, Some(&table)).unwrap();
        let positions = (0..chosen.len()).filter(|at| chosen[*at]);
        let participants = Participants::from_positions(chosen.len(), positions.clone());

        let mut expected = vec![0; bytes];
        let pads = RoundPads::new(&context);
        for position in positions {
            let client = world.registry.at(position).unwrap();
            let secret = server.dh.agree(client.dh()).unwrap();
            pads.xor_into(&mut expected, &secret, client.id(), server.admitted.id());
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for table in [table, known] {
            let partial = pool.install(|| {
                table.xor_of(&context, &participants, server.admitted.id(), bytes)
            });
            prop_assert_eq!(&partial, &expected);
        }
    }
}

#[test]
fn i5_a_refused_message_does_not_use_the_round_up() {
    let mut world = World::new(1, 1);
    let round = world.open(world.header(RoundParams::new(1, 32).unwrap(), 1));
    let long = Message::new(vec![0; 17], &RoundParams::default()).unwrap();
    let sealer = &mut world.clients[0].sealer;
    let refused = SealError::Message {
        length: 17,
        limit: 16,
    };
    assert_eq!(sealer.seal(&round, Some(&long)), Err(refused));
    assert!(sealer.seal(&round, None).is_ok());
    assert_eq!(
        sealer.seal(&round, None),
        Err(SealError::Sealed { number: 1 })
    );
}

#[test]
fn i5_epochs_are_bounded() {
    let mut world = World::new(1, 1);
    for epoch in 0..1024_u32 {
        let mut header = world.header(RoundParams::new(1, 32).unwrap(), 1);
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&epoch.to_be_bytes());
        header.epoch = Epoch::new(bytes);
        let round = world.open(header);
        assert!(world.clients[0].sealer.seal(&round, None).is_ok());
    }
    assert_eq!(attempt(&mut world, 0xff, 1, 0), Err(SealError::Epochs));
    assert_eq!(
        attempt(&mut world, 0, 2, 0),
        Ok(()),
        "a known epoch goes on"
    );
}

#[test]
fn i11_slots_are_even_and_need_the_key() {
    let params = RoundParams::default();
    let mut counts = [0_u32; 64];
    let mut same = 0;
    let key = |index| SlotKey::from_entropy(entropy("slot key", index));
    let (mine, guess) = (key(0), key(1));
    for round in 0..6400 {
        let context = RoundContext::new(*entropy("context", round));
        let slot = mine.slot(&context, &params);
        counts[slot as usize] += 1;
        same += u32::from(slot == guess.slot(&context, &params));
    }
    // 100 are expected everywhere; five standard deviations are 50.
    assert!(
        counts.iter().all(|count| (50..=150).contains(count)),
        "{counts:?}"
    );
    assert!((50..=150).contains(&same), "{same}");
}
