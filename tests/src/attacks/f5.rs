//! F5: a host between an operator and a guest puts messages of its own in the place of
//! theirs.
//!
//! It sees the offer, and so knows the guest's key and all that secrets are bound to; the
//! signed policy is public. So it can seal a parcel of its own, with which the guest would
//! serve another committee, and tell the operator that all went well.
//!
//! The control is release 0.1.0 in a few lines: HPKE in its base mode, in which anybody may
//! have sealed, and an acceptance without a word in it. Now giver and guest are real ones;
//! the host swaps each message in turn, and last the two that made the attack. It has won
//! if the operator reads "given" of a guest that has not what was given, or if the guest
//! takes anything else.

use std::sync::Arc;

use hpke::{
    Kem as _, OpModeR, OpModeS, aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::X25519HkdfSha256,
    setup_receiver, setup_sender,
};
use zipnet_attest::{
    PolicyFile, SecretText,
    provision::{Config, Giver, GiverKey, Guest, Known, Machines, Parcel},
};

use super::{
    doors::{
        ACCEPTED, HELLO, KEY, OFFER, REFUSED, SEALED, STATEMENT, attempt, between, config, key,
        pair, parcel, rule,
    },
    ground::{COMMITTEE_SECRET, Ground, INSTANCE, clock, collateral, listed, machine},
    report::{Outcome, Row},
};
use crate::sim::rng::entropy;

/// What the host would have the guest serve.
const HOSTS: &str = "the host's own committee secret";
const MACHINE: u8 = 1;

/// What a guest that has been told lies runs with, and what the operator thinks.
struct End {
    given: bool,
    took: Option<String>,
}

impl End {
    /// Whether the host got what it wanted.
    fn fooled(&self) -> bool {
        let right = self.took.as_deref() == Some(COMMITTEE_SECRET);
        (self.given && !right) || self.took.as_deref() == Some(HOSTS)
    }
}

fn of_the_host(policy: &PolicyFile) -> Parcel {
    Parcel {
        committee_secret: SecretText::from(HOSTS),
        ..parcel(policy, Some(SecretText::from("a seed of the host's")))
    }
}

/// Release 0.1.0.
fn control(policy: &PolicyFile) -> End {
    type Kem = X25519HkdfSha256;
    let info = b"zipnet/provisioning/v1";
    let aad = b"the guest's statement, which the host has seen";
    let (secret, public) = Kem::derive_keypair(&*entropy("guest", 0, 0));
    // What the operator seals never arrives; the host seals likewise.
    let seal = |parcel: &Parcel| {
        let message = parcel.pack().expect("a parcel");
        let (encapsulated, mut context) =
            setup_sender::<ChaCha20Poly1305, HkdfSha256, Kem>(&OpModeS::Base, &public, info)
                .expect("a key");
        let ciphertext = context.seal(&message, aad).expect("a message");
        (encapsulated, ciphertext)
    };
    let (encapsulated, ciphertext) = seal(&of_the_host(policy));
    let opened = setup_receiver::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        &secret,
        &encapsulated,
        info,
    );
    let opened = opened.and_then(|mut context| context.open(&ciphertext, aad));
    let taken = opened
        .ok()
        .and_then(|message| Parcel::unpack(&message).ok());
    let took = taken.map(|parcel| parcel.committee_secret.expose().to_owned());
    // The guest accepts what it opened, with a message of no bytes; any would do.
    let accepted: Option<[u8; 0]> = took.is_some().then_some([]);
    End {
        given: accepted.is_some(),
        took,
    }
}

/// A guest, an operator who launched it, and the host of both their words.
struct Scene {
    ground: Ground,
    policy: PolicyFile,
    config: Config,
}

impl Scene {
    fn new() -> Self {
        let ground = Ground::new("F5", clock() - 3600);
        let mut policy = ground.policy(1);
        policy.platforms = Some(listed(&[MACHINE]));
        let id = hex::encode([MACHINE; 16]);
        let more = format!("ZIPNET_SIMULATION_PLATFORM={id}\n");
        Self {
            policy: ground.intel.sign(&policy).expect("a signature"),
            config: config(&ground, "server-1", &more),
            ground,
        }
    }

    /// One exchange with the host in between; what the operator reads, too.
    fn exchange(&self, kinds: &[u8]) -> (End, String) {
        let base = self.ground.intel.base().expect("a root");
        let verifier = base.open(&self.policy, 0).expect("a policy");
        let giver = Giver {
            key: &key(),
            base: &base,
            verifier: &verifier,
            known: Known::Config(&self.config),
            machines: Machines::OfPolicy,
        };
        let published = collateral(&self.ground.world(machine(MACHINE)));
        let guest = Guest::new(self.config.clone(), "/nowhere".as_ref()).expect("a guest");
        let ((ours, theirs), (host, door)) = (pair(), pair());
        let guest = attempt(guest, door);
        let host = between(theirs, host, self.swap(kinds.to_vec()));
        let outcome = giver.give(
            ours,
            clock(),
            |_| Ok(Arc::new(published)),
            |_| Ok(parcel(&self.policy, Some(SecretText::from("a seed")))),
        );
        let said = rule(&outcome);
        let taken = guest.join().expect("a guest");
        host.join().expect("the host");
        let took = taken.map(|taken| taken.committee_secret().expose().to_owned());
        (
            End {
                given: outcome.is_ok(),
                took: took.ok(),
            },
            said,
        )
    }

    /// What the host sends instead of messages of these kinds.
    fn swap(&self, kinds: Vec<u8>) -> impl FnMut(u8, Vec<u8>) -> (u8, Vec<u8>) + Send + 'static {
        let own = of_the_host(&self.policy).pack().expect("a parcel");
        let other = GiverKey::new(&SecretText::from(HOSTS), INSTANCE);
        let mut offer = Vec::new();
        move |kind, mut body| {
            if kind == OFFER {
                offer.clone_from(&body);
            }
            let forges = kind == REFUSED && kinds.contains(&ACCEPTED);
            if !kinds.contains(&kind) && !forges {
                return (kind, body);
            }
            match kind {
                HELLO => body[32..].copy_from_slice(&*entropy("a nonce", 0, 0)),
                OFFER => body[KEY].copy_from_slice(&*entropy("a key", 0, 0)),
                SEALED => {
                    let to = offer[KEY].try_into().expect("32 bytes");
                    let (sealed, _) = other
                        .seal(&to, &own, &offer[..STATEMENT])
                        .expect("a guest's key");
                    body = [&sealed.encapsulated[..], &sealed.ciphertext].concat();
                }
                _ => return (ACCEPTED, entropy("an acceptance", 0, 0).to_vec()),
            }
            (kind, body)
        }
    }
}

/// Runs it.
#[must_use]
pub fn run() -> Row {
    let scene = Scene::new();
    let (peaceful, said) = scene.exchange(&[]);
    assert!(
        peaceful.given && !peaceful.fooled(),
        "an operator and its guest understand each other: {said}"
    );
    let before = control(&scene.policy);
    let swaps: [(&str, &[u8]); 5] = [
        ("Hello", &[HELLO]),
        ("Offer", &[OFFER]),
        ("Sealed", &[SEALED]),
        ("Accepted", &[ACCEPTED]),
        ("the last two", &[SEALED, ACCEPTED]),
    ];
    let ends = swaps.map(|(name, kinds)| (name, scene.exchange(kinds)));
    let fooled = ends
        .iter()
        .filter(|(_, (end, _))| end.given || end.fooled());
    let fooled = fooled.count();
    let told: Vec<_> = ends
        .iter()
        .map(|(name, (_, said))| format!("{name}: {said}"))
        .collect();
    Row {
        attack: "F5",
        title: "a host swaps the messages of provisioning",
        invariant: "-",
        before: Outcome::done(
            before.fooled() && before.given,
            "the guest takes the host's committee secret, and the operator reads \"given\""
                .to_owned(),
        ),
        after: Outcome::done(
            fooled > 0,
            format!(
                "{fooled} of {} swaps do anything ({})",
                ends.len(),
                told.join("; ")
            ),
        ),
        on: "real givers and guests",
    }
}
