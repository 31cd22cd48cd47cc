//! A client's messages in rounds that a committee in memory plays.

use core::time::Duration;
use std::sync::Arc;

use tokio::sync::oneshot::{self, error::TryRecvError};
use zipnet_protocol::{CertifiedRound, Fold, SealedEnvelope, Sealer};

use super::*;
use crate::{
    roles::client::publisher::PublishOptions,
    testing::{State, World},
};

type Told = oneshot::Receiver<Result<Receipt, PublishError>>;

fn outgoing(world: &World, text: &str, options: PublishOptions) -> (Outgoing, Told) {
    let (done, told) = oneshot::channel();
    let outgoing = Outgoing {
        message: Message::new(text.as_bytes().to_vec(), &world.rules.params).unwrap(),
        options,
        until: Instant::now() + Duration::from_mins(5),
        done: done.into(),
    };
    (outgoing, told)
}

/// Client 0 of a world with its messages; the others cover.
struct Scene {
    world: World,
    state: State,
    sealers: Vec<Sealer>,
    pending: Pending,
}

impl Scene {
    fn new() -> Self {
        let world = World::new(3, 3);
        Self {
            state: world.founded(),
            sealers: (0..3).map(|client| world.client(client)).collect(),
            pending: Pending::default(),
            world,
        }
    }

    fn publish(&mut self, text: &str, options: PublishOptions) -> Told {
        let (outgoing, told) = outgoing(&self.world, text, options);
        self.pending.push(outgoing);
        told
    }

    /// Plays a round in which all take part. The client hears of it if it
    /// `hears`; its slot is garbled by another if it is `jammed`. Whether the
    /// message was sealed, and the record.
    fn round(&mut self, hears: bool, jammed: bool) -> (bool, Arc<FinalizedRound>) {
        let round: Arc<CertifiedRound> = self.world.open(&mut self.state);
        let facts = facts(&round);
        if hears {
            self.pending.opened(&facts);
        }
        let [ours, others @ ..] = &mut self.sealers[..] else {
            panic!("three sealers");
        };
        let chosen = if hears {
            self.pending.sealable(&facts)
        } else {
            None
        };
        let talks = chosen.is_some();
        let (slot, envelope) = match chosen {
            Some((message, permit)) => {
                let (slot, envelope) = ours.seal(&round, Some(message)).unwrap();
                permit.sealed(slot);
                (slot, envelope)
            }
            None => ours.seal(&round, None).unwrap(),
        };
        let mut envelopes = vec![envelope];
        for other in others {
            envelopes.push(other.seal(&round, None).unwrap().1);
        }
        if jammed {
            let params = self.world.rules.params;
            let at = slot as usize * params.slot_bytes();
            let mut vector = envelopes[1].vector.to_vec();
            vector[at] ^= 1;
            let transport = self.world.client_transport(1);
            let client = envelopes[1].client;
            envelopes[1] =
                SealedEnvelope::sign(*round.context(), client, vector.into(), params, &transport);
        }
        let registry = self.state.current().unwrap().registry.clone();
        let mut fold = Fold::new(*round.context(), round.header(), registry.len());
        for envelope in &envelopes {
            fold.add(&registry, envelope).unwrap();
        }
        let aggregate = fold.finish(&self.world.aggregator_transport(0));
        self.world.submit(&mut self.state, &aggregate);
        let done = self.world.partials(&mut self.state, &[0, 1, 2]).unwrap();
        let done = done
            .published
            .record
            .verify(&self.world.rules.instance, &done.published.bundles);
        (talks, Arc::new(done.unwrap()))
    }
}

#[test]
fn i16_a_receipt_says_where_it_landed_and_who_was_there() {
    let mut scene = Scene::new();
    let mut told = scene.publish("hello", PublishOptions::default());
    let (talks, done) = scene.round(true, false);
    assert!(talks);
    scene.pending.recorded(&done);
    let receipt = told.try_recv().unwrap().unwrap();
    assert_eq!(receipt.epoch, done.round().header().epoch);
    assert_eq!(receipt.round, done.round().header().number);
    assert_eq!(receipt.record, *done.digest());
    assert_eq!(
        (receipt.attempts, receipt.participants, receipt.servers),
        (1, 3, 3)
    );
    assert!(
        done.messages()
            .any(|(slot, bytes)| slot == receipt.slot && bytes == b"hello")
    );
}

#[test]
fn a1_while_records_are_kept_back_a_message_is_sealed_once() {
    let mut scene = Scene::new();
    let mut told = scene.publish("only once", PublishOptions::default());
    let (talks, first) = scene.round(true, false);
    assert!(talks);
    // Genuine rounds, and none of their records.
    for _ in 0..5 {
        let (talks, done) = scene.round(true, false);
        assert!(!talks, "it covers");
        assert_eq!(done.messages().count(), 0);
    }
    assert_eq!(told.try_recv().unwrap_err(), TryRecvError::Empty);
    // Another server hands the record on.
    scene.pending.recorded(&first);
    assert_eq!(told.try_recv().unwrap().unwrap().attempts, 1);
}

#[test]
fn i16_a_garbled_message_is_sealed_again_until_the_budget_is_spent() {
    let mut scene = Scene::new();
    let options = PublishOptions {
        attempts: 3,
        ..PublishOptions::default()
    };
    let mut told = scene.publish("jammed", options);
    for _ in 0..3 {
        let (talks, done) = scene.round(true, true);
        assert!(talks);
        scene.pending.recorded(&done);
    }
    assert_eq!(told.try_recv().unwrap_err(), TryRecvError::Empty);
    let (talks, _) = scene.round(true, true);
    assert!(!talks);
    assert!(matches!(
        told.try_recv().unwrap(),
        Err(PublishError::NotLanded {
            attempts: 3,
            because: GivenUp::Attempts
        })
    ));
}

#[test]
fn i16_at_most_once_is_once_even_if_it_is_known_to_be_lost() {
    let mut scene = Scene::new();
    let options = PublishOptions {
        at_most_once: true,
        ..PublishOptions::default()
    };
    let mut told = scene.publish("once", options);
    let (talks, done) = scene.round(true, true);
    assert!(talks);
    scene.pending.recorded(&done);
    let (talks, _) = scene.round(true, false);
    assert!(!talks);
    assert!(matches!(
        told.try_recv().unwrap(),
        Err(PublishError::NotLanded {
            attempts: 1,
            because: GivenUp::AtMostOnce
        })
    ));
}

#[test]
fn a18_a_dropped_publish_is_withdrawn() {
    let mut scene = Scene::new();
    drop(scene.publish("never mind", PublishOptions::default()));
    let mut second = scene.publish("this one", PublishOptions::default());
    scene.pending.expire(Instant::now());
    let (talks, done) = scene.round(true, false);
    assert!(talks);
    scene.pending.recorded(&done);
    assert!(second.try_recv().unwrap().is_ok());
    let texts: Vec<_> = done.messages().map(|(_, bytes)| bytes).collect();
    assert_eq!(texts, [b"this one".to_vec()]);

    // One that was garbled is not sealed again either.
    let told = scene.publish("garbled", PublishOptions::default());
    let (talks, done) = scene.round(true, true);
    assert!(talks);
    scene.pending.recorded(&done);
    drop(told);
    scene.pending.expire(Instant::now());
    let (talks, _) = scene.round(true, false);
    assert!(!talks);
}

#[test]
fn i16_what_is_known_at_the_deadline_is_told() {
    let mut scene = Scene::new();
    let mut sealed = scene.publish("sealed", PublishOptions::default());
    let mut waiting = scene.publish("waiting", PublishOptions::default());
    let (talks, _) = scene.round(true, false);
    assert!(talks);
    let until = scene.pending.until().unwrap();
    scene.pending.expire(until - Duration::from_secs(1));
    assert_eq!(sealed.try_recv().unwrap_err(), TryRecvError::Empty);
    scene.pending.expire(until + Duration::from_mins(1));
    assert!(matches!(
        sealed.try_recv().unwrap(),
        Err(PublishError::Unknown { attempts: 1 })
    ));
    assert!(matches!(
        waiting.try_recv().unwrap(),
        Err(PublishError::NotLanded {
            attempts: 0,
            because: GivenUp::Deadline
        })
    ));
    assert_eq!(scene.pending.until(), None);
}

#[test]
fn i14_a_round_that_the_client_never_heard_of_decides_nothing_before_its_record() {
    let mut scene = Scene::new();
    let mut told = scene.publish("patience", PublishOptions::default());
    let (_, first) = scene.round(true, true);
    let (_, second) = scene.round(false, false);
    // The third round names the second record, which is not in hand.
    let (talks, _) = scene.round(true, false);
    assert!(!talks);
    scene.pending.recorded(&second);
    scene.pending.recorded(&first);
    let (talks, fourth) = scene.round(true, false);
    assert!(talks, "garbled for certain");
    scene.pending.recorded(&fourth);
    assert_eq!(told.try_recv().unwrap().unwrap().attempts, 2);
}
