//! F8: strangers decide what a giver asks its source of collateral.
//!
//! A quote says itself which collateral it takes. Whoever connects to a member shows one,
//! and each new model of platform means four requests, up to a minute, and a place on the
//! shelf for good.
//!
//! The control asks as release 0.1.0 did: for what the quote says, before anything of it is
//! verified. Now a real giver with a real authority asks, over HTTP; first it looks whether
//! the quote is of a certified platform, of an image of the policy, on a machine of its
//! list. Strangers fail in one of the three; whoever does not
//! leads to requests.

use std::sync::Arc;

use zipnet_attest::{
    Mode, Platforms,
    fetch::Source,
    policy::{Track, Wanted},
    provision::{Giver, Known, Machines},
    simulation::{Pccs, Platform, Td, World},
};
use zipnet_node::attestation::{Authority, CollateralSource};

use super::{
    doors::{by_hand, config, exchange, guest, key, pair, parcel, rule},
    ground::{Ground, INSTANCE, clock, listed, machine},
    report::{Outcome, Row},
};

/// The machine that the policy lists.
const LISTED: u8 = 1;

/// Somebody who wants to be given secrets.
struct Stranger {
    world: World,
    td: Td,
}

/// A giver, its source, and strangers.
struct Scene {
    ground: Ground,
    pccs: Pccs,
    strangers: Vec<Stranger>,
}

impl Scene {
    /// With so many strangers of each of three kinds, all of other models of platform.
    fn new(each: u8) -> Self {
        let ground = Ground::new("F8", clock() - 3600);
        let other = Ground::new("F8, an Intel of the strangers'", clock() - 3600);
        let model = |kind: u8, number: u8, id: u8| Platform {
            fmspc: [kind, number, 0, 0, 0, 0],
            ..machine(id)
        };
        let foreign = Td {
            mrtd: [0x66; 48],
            ..Td::default()
        };
        let mut strangers = Vec::new();
        for number in 0..each {
            strangers.extend([
                // Of a platform that nobody certifies.
                Stranger {
                    world: other.world(model(1, number, LISTED)),
                    td: Td::default(),
                },
                // Genuine, on a machine of the list, of another image.
                Stranger {
                    world: ground.world(model(2, number, LISTED)),
                    td: foreign.clone(),
                },
                // Genuine, of the image, on a machine of his own.
                Stranger {
                    world: ground.world(model(3, number, 66)),
                    td: Td::default(),
                },
            ]);
        }
        let own = ground.world(machine(LISTED));
        let pccs = Pccs::serve(&own).expect("a PCCS");
        for stranger in &strangers {
            // Intel knows all of these models, whoever shows them.
            let platform = stranger.world.platform().clone();
            pccs.publish(&ground.world(platform));
        }
        pccs.publish(&own);
        Self {
            ground,
            pccs,
            strangers,
        }
    }

    fn source(&self) -> Source {
        Source::new(&self.pccs.address()).expect("an address")
    }

    /// As release 0.1.0 asked.
    fn control(&self) -> usize {
        let before = self.pccs.requests();
        for stranger in &self.strangers {
            let quote = stranger.world.quote(&stranger.td);
            let said = Platforms::of_quote(&quote).expect("a quote");
            let fetched = self.source().fetch(said, &Wanted::newest(Track::Standard));
            assert!(fetched.is_ok(), "a model that Intel knows");
        }
        self.pccs.requests() - before
    }

    fn authority(&self) -> Arc<Authority> {
        let mut policy = self.ground.policy(1);
        policy.platforms = Some(listed(&[LISTED]));
        let source = CollateralSource::Http(Arc::new(self.source()));
        self.ground.authority(&policy, source)
    }

    /// Requests for the strangers, what they are told, and requests for one that is listed.
    fn real(&self) -> (usize, Vec<String>, usize) {
        let authority = self.authority();
        let policy = authority.policy();
        let giver = Giver {
            key: &key(),
            base: authority.base(),
            verifier: &policy.verifier,
            known: Known::Member {
                instance: INSTANCE,
                mode: Mode::Simulated,
            },
            machines: Machines::OfPolicy,
        };
        let give = |stream| {
            giver.give(
                stream,
                authority.now(),
                |platforms| Ok(authority.fresh_collateral_for(platforms)?),
                |_| Ok(parcel(&policy.file, None)),
            )
        };
        let before = self.pccs.requests();
        let mut told: Vec<_> = self
            .strangers
            .iter()
            .map(|Stranger { world, td }| {
                let (ours, theirs) = pair();
                let config = config(&self.ground, "stranger", "");
                let td = by_hand(&self.ground, world.clone(), td, config, theirs);
                let outcome = give(ours);
                assert!(td.join().expect("a TD").is_none(), "nothing is given");
                rule(&outcome)
            })
            .collect();
        told.sort();
        told.dedup();
        let strangers = self.pccs.requests();
        let (taken, outcome) = exchange(guest(&self.ground, "server-1", LISTED), give);
        assert!(taken.is_ok() && outcome.is_ok(), "{}", rule(&outcome));
        (strangers - before, told, self.pccs.requests() - strangers)
    }
}

/// Runs it, with so many strangers of each kind.
#[must_use]
pub fn run(each: u64) -> Row {
    let scene = Scene::new(u8::try_from(each).unwrap_or(u8::MAX));
    let strangers = scene.strangers.len();
    let before = scene.control();
    let (after, told, listed) = scene.real();
    Row {
        attack: "F8",
        title: "strangers decide what is asked of a source of collateral",
        invariant: "I19",
        before: Outcome::done(
            before > 0,
            format!("{before} requests for {strangers} strangers"),
        ),
        after: Outcome::done(
            after > 0,
            format!(
                "{after} requests for the same ({}); {listed} for a machine that is listed",
                told.join(", ")
            ),
        ),
        on: "a real giver and PCCS",
    }
}
