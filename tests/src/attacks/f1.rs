//! F1: one machine meets every pin.
//!
//! A client pins the transport identities of three servers, so that whoever wants to see all
//! pads has to break three machines. An operator knows the committee secret, and one
//! machine is enough for any number of genuine TDs of the released image.
//!
//! The control is release 0.1.0: the seed of an identity follows from committee secret,
//! instance and name, which are the operator's or public; members give the secret to a TD
//! of any name on any machine; and a later boot of an identity takes its place in the
//! registry, wherever it is. Now seeds follow from nothing, the policy names the machine of
//! each server, and the registry remembers it where the policy does not. The attacker is
//! even handed the seeds, as if members had lost them.

use std::sync::Arc;

use hkdf::Hkdf;
use sha2::Sha256;
use zipnet_attest::{
    Mode, Policy, Rule, SecretText, Verifier,
    provision::{Giver, GuestStatement, Known, Machines, Welcome},
    source::SourceError,
};
use zipnet_node::{
    attestation::{Keepsakes, credential::expected},
    committee::state::{CommitteeState, Refusal},
};

use super::{
    doors::{exchange, guest, key, parcel, rule},
    ground::{
        Boot, COMMITTEE_SECRET, Ground, INSTANCE, clock, collateral, identity, machine, named,
    },
    report::{Outcome, Row},
};

const NAMES: [&str; 3] = ["server-1", "server-2", "server-3"];
/// The attacker's only machine; those of the servers are 1 to 3.
const THEIRS: u8 = 66;

struct Scene {
    ground: Ground,
    /// What the operators of the three chose.
    seeds: [SecretText; 3],
}

/// How release 0.1.0 made the seed of a guest.
fn derived(name: &str) -> SecretText {
    let mut seed = [0; 32];
    let keys = Hkdf::<Sha256>::new(None, COMMITTEE_SECRET.as_bytes());
    let instance = GuestStatement::instance(INSTANCE);
    let info = [&b"zipnet/transport-seed/v1"[..], &instance, name.as_bytes()];
    keys.expand_multi_info(&info, &mut seed).expect("32 bytes");
    SecretText::from(hex::encode(seed).as_str())
}

impl Scene {
    fn new() -> Self {
        Self {
            ground: Ground::new("F1", clock() - 3600),
            seeds: NAMES.map(|name| SecretText::from(format!("chosen for {name}").as_str())),
        }
    }

    /// The policy that names the three, each on a machine of its own.
    fn naming(&self) -> Policy {
        let mut policy = self.ground.policy(1);
        let servers = NAMES.iter().zip(&self.seeds).zip(1..);
        let named = servers.map(|((name, seed), id)| named(name, seed, id));
        policy.servers = Some(named.collect());
        policy
    }

    /// What a verifier says of a boot on a machine, if it is the pinned peer.
    fn meets(
        &self,
        verifier: &Verifier,
        boot: &Boot,
        pin: &SecretText,
        id: u8,
    ) -> Result<(), Option<Rule>> {
        let now = clock();
        let credential = self.ground.credential(boot, now - 60, machine(id), |_| {});
        let (evidence, collateral) = credential.decode().expect("a credential");
        let expected = expected(&self.ground.instance, &boot.admitted);
        verifier
            .verify(&evidence, &collateral, &expected, now)
            .map_err(|refusal| Some(refusal.rule()))?;
        let pinned = self.ground.boot(&identity(pin), 1);
        (boot.admitted.peer() == pinned.admitted.peer())
            .then_some(())
            .ok_or(None)
    }

    /// How many pins one machine meets with these seeds, and why not more.
    fn pins(
        &self,
        policy: &Policy,
        pins: &[SecretText; 3],
        seeds: &[SecretText; 3],
        id: u8,
    ) -> (usize, String) {
        let verifier = self.ground.verifier(policy);
        let met = seeds.iter().zip(pins).map(|(seed, pin)| {
            let boot = self.ground.boot(&identity(seed), 2);
            self.meets(&verifier, &boot, pin, id)
        });
        let met: Vec<_> = met.collect();
        let why = met.iter().filter_map(|met| met.err().flatten());
        let mut why: Vec<_> = why.map(|rule| rule.to_string()).collect();
        why.dedup();
        (met.iter().filter(|met| met.is_ok()).count(), why.join(", "))
    }

    /// Whether the attacker's boot of a server that stands takes its place.
    fn takes_over(&self, attested: bool) -> Result<(), Refusal> {
        let (ground, policy, now) = (&self.ground, self.ground.policy(1), clock());
        let seed = identity(&self.seeds[0]);
        let mut state = CommitteeState::new(ground.rules(attested));
        let mut register = |boot: &Boot, id: u8| {
            let shown = ground.credential(boot, now - 60, machine(id), |_| {});
            let shown = attested.then_some((&shown, &policy));
            state.apply(&ground.registration(boot, shown, now))
        };
        register(&ground.boot(&seed, 1), 1).expect("the server itself");
        register(&ground.boot(&seed, 2), THEIRS).map(|_| ())
    }

    /// What a member with the identities of all three, who judges by a policy, gives to a
    /// guest of a name.
    fn asks(
        &self,
        name: &str,
        id: u8,
        by: &Policy,
        machines: Machines<'_>,
    ) -> (Option<String>, String) {
        let policy = self.naming();
        let kept = Keepsakes::new().expect("a key");
        for seed in &self.seeds {
            let boot = self.ground.boot(&identity(seed), 1);
            let left = kept.keep(&policy, boot.admitted.peer(), seed.clone());
            left.expect("an identity that the policy names");
        }
        let file = self.ground.intel.sign(&policy).expect("a signature");
        let base = self.ground.intel.base().expect("a root");
        let giver = Giver {
            key: &key(),
            base: &base,
            verifier: &self.ground.verifier(by),
            known: Known::Member {
                instance: INSTANCE,
                mode: Mode::Simulated,
            },
            machines,
        };
        let published = Arc::new(collateral(&self.ground.world(machine(id))));
        // As the door of a member packs.
        let pack = |guest: &Welcome| -> Result<_, SourceError> {
            let server = policy.server(guest.name().unwrap_or_default());
            let seed = server.and_then(|server| kept.of(&server.peer.0));
            Ok(parcel(&file, Some(seed.ok_or("nobody of that name")?)))
        };
        let (taken, outcome) = exchange(guest(&self.ground, name, id), |stream| {
            giver.give(stream, clock(), |_| Ok(published), pack)
        });
        let seed = taken.ok().map(|taken| taken.secret().expose().to_owned());
        (seed, rule(&outcome))
    }
}

/// Runs it.
#[must_use]
pub fn run() -> Row {
    let scene = Scene::new();
    let (any, naming) = (scene.ground.policy(1), scene.naming());
    let old = NAMES.map(derived);
    let (before, _) = scene.pins(&any, &old, &old, THEIRS);
    let taken_before = scene.takes_over(false).is_ok();
    let (given, _) = scene.asks(NAMES[0], THEIRS, &any, Machines::Any);

    let (without, why_without) = scene.pins(&naming, &scene.seeds, &old, THEIRS);
    let (handed, why_handed) = scene.pins(&naming, &scene.seeds, &scene.seeds, THEIRS);
    // If the attacker is the operator of the first of them.
    let (insider, _) = scene.pins(&naming, &scene.seeds, &scene.seeds, 1);
    assert!(insider > 0, "a named server meets its own pin");
    let moved = scene.takes_over(true);
    let (honest, said) = scene.asks(NAMES[0], 1, &naming, Machines::OfPolicy);
    assert_eq!(
        honest.as_deref(),
        Some(scene.seeds[0].expose()),
        "a server comes back as who it was: {said}"
    );
    // By the victim's name, by none, and by one that only looks like it.
    let tries = [NAMES[0], "", "SERVER-1", "server-1\u{200b}", "server-4"];
    let asked = tries.map(|name| scene.asks(name, THEIRS, &naming, Machines::OfPolicy));
    let got = asked.iter().filter(|(seed, _)| seed.is_some()).count();
    let stands = matches!(moved, Err(Refusal::Moved { .. }));
    Row {
        attack: "F1",
        title: "one machine meets three pins",
        invariant: "I3, I5",
        before: Outcome::done(
            before == NAMES.len() && taken_before && given.is_some(),
            format!("{before} of 3 pins met; a later boot takes a place that stands; members give"),
        ),
        after: Outcome::done(
            without + handed + got > 0 || insider > 1 || !stands,
            format!(
                "{without} of 3 ({why_without}), handed their seeds {handed} ({why_handed}), on a server's own machine {insider}; a later boot elsewhere is {}; \
                 members give in {got} of {} cases (by the right name {})",
                if stands {
                    "refused"
                } else {
                    "not refused as moved"
                },
                tries.len(),
                asked[0].1,
            ),
        ),
        on: "real rules",
    }
}
