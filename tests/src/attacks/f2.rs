//! F2: collateral that Intel signed ahead of its standard track keeps honest servers out.
//!
//! When a fault becomes public, Intel publishes an evaluation in which no platform is up to
//! date yet, beside the one that counts for another year: `update=early`. It is signed, and
//! newer by its number. A member, or whoever is between a process and its source, shows an
//! issue of it that is near its end.
//!
//! The control is how release 0.1.0 kept collateral: [`Edition::replaces`] alone. A higher
//! evaluation always won, and what had expired was never replaced by less. So all platforms
//! fell at once, and stayed down until the standard track had come to that number. What runs
//! now is a real [`Authority`], on both tracks: on `standard` the early issue is not taken
//! in, on `early` it counts as it should, and no longer than Intel says.
//!
//! A test cannot set this process's clock forward. So those who sign policies sign one each
//! day, which tells an authority what day it is.

use std::sync::Arc;

use zipnet_attest::{Collateral, Edition, Policy, SecretText, trusted_alone};
use zipnet_node::attestation::{CollateralSource, Credential, credential::expected};

use super::{
    ground::{Boot, DAY, Ground, clock, condemned, identity, machine, rule},
    report::{Outcome, Row},
};

/// Days in all.
const DAYS: u64 = 40;
/// The day from which on the attacker shows its collateral.
const FROM: u64 = 5;
/// Days for which that is in force from then on.
const LEFT: u64 = 10;

/// A committee with a member that is honest and one that is not.
struct Stage {
    ground: Ground,
    honest: Boot,
    attacker: Boot,
    start: u64,
}

/// On which days the honest server is refused.
struct Fallen(Vec<u64>);

impl Stage {
    fn new(seed: u64) -> Self {
        let start = clock();
        let ground = Ground::new(&format!("F2 {seed}"), start - 40 * DAY);
        let boot = |name: &str| ground.boot(&identity(&SecretText::from(name)), 1);
        Self {
            honest: boot("honest"),
            attacker: boot("attacker"),
            ground,
            start,
        }
    }

    const fn at(&self, day: u64) -> u64 {
        self.start + day * DAY
    }

    /// What the honest server shows on a day: the standard track's collateral of that day.
    fn of_the_day(&self, day: u64) -> Arc<Credential> {
        let at = self.at(day);
        self.ground
            .credential(&self.honest, at, machine(1), |draft| {
                draft.world = draft.world.clone().collateral_window(at, at + 30 * DAY);
            })
    }

    /// What the attacker shows: the early track's, once it is near its end, beside the
    /// revocation lists of the day, which are no track's.
    fn ahead(&self, day: u64) -> Arc<Credential> {
        let (at, end) = (self.at(day), self.at(FROM + LEFT));
        self.ground
            .credential(&self.attacker, at, condemned(2), |draft| {
                let world = draft.world.clone();
                let world = world.collateral_window(end - 30 * DAY, end);
                draft.world = world.crl_window(at, at + 30 * DAY);
            })
    }

    /// With the shelf of 0.1.0, where a policy had no track.
    fn control(&self) -> Fallen {
        let verifier = self.ground.verifier(&self.ground.early(1));
        let base = self.ground.intel.base().expect("a root");
        let mut kept: Option<Collateral> = None;
        let take = |kept: &mut Option<Collateral>, shown: &Collateral, now| {
            let edition = |of: &Collateral| Edition::of(of).expect("collateral of a world");
            let newer = kept
                .as_ref()
                .is_none_or(|kept| edition(shown).replaces(&edition(kept)));
            if newer && trusted_alone(base.root(), shown, now).is_ok() {
                *kept = Some(shown.clone());
            }
        };
        Fallen::days(|day| {
            let now = self.at(day) + 60;
            if day >= FROM {
                let (_, shown) = self.ahead(day).decode().expect("a credential");
                take(&mut kept, &shown, now);
            }
            let (evidence, shown) = self.of_the_day(day).decode().expect("a credential");
            take(&mut kept, &shown, now);
            let known = kept.as_ref().unwrap_or(&shown);
            let expected = expected(&self.ground.instance, &self.honest.admitted);
            verifier.verify(&evidence, known, &expected, now).is_ok()
        })
    }

    /// With a real authority.
    fn real(&self, policy: impl Fn(u64) -> Policy) -> Fallen {
        let authority = self.ground.authority(&policy(1), CollateralSource::Shown);
        let judge = |boot: &Boot, credential: &Arc<Credential>| {
            let judged = authority.judge(&self.ground.instance, &boot.admitted, credential);
            rule(judged)
        };
        Fallen::days(|day| {
            let mut today = policy(2 + day);
            today.issued = self.at(day) + 60;
            let signed = self.ground.intel.sign(&today).expect("a signature");
            assert!(authority.adopt(&signed), "a policy of the day");
            if day >= FROM {
                // What comes of that for its own server is the attacker's affair.
                let _ = judge(&self.attacker, &self.ahead(day));
            }
            judge(&self.honest, &self.of_the_day(day)).is_ok()
        })
    }
}

impl Fallen {
    /// The days on which something does not hold.
    fn days(mut holds: impl FnMut(u64) -> bool) -> Self {
        Self((0..DAYS).filter(|day| !holds(*day)).collect())
    }

    /// How many of these days are after the attacker's collateral has ended.
    fn after_its_end(&self) -> usize {
        self.0.iter().filter(|day| **day > FROM + LEFT).count()
    }
}

/// Runs it.
#[must_use]
pub fn run(seed: u64) -> Row {
    let stage = Stage::new(seed);
    let before = stage.control();
    let standard = stage.real(|serial| stage.ground.policy(serial));
    let early = stage.real(|serial| stage.ground.early(serial));
    let days = DAYS - FROM;
    Row {
        attack: "F2",
        title: "collateral ahead of the standard track, near its end",
        invariant: "I3, I5",
        before: Outcome::done(
            before.after_its_end() > 0,
            format!(
                "an honest server is refused on {} of {days} days, {} of them after that collateral has expired",
                before.0.len(),
                before.after_its_end(),
            ),
        ),
        after: Outcome::done(
            !standard.0.is_empty() || early.after_its_end() > 0,
            format!(
                "on {} of {days} on the track standard; on {} on early, {} of them after that",
                standard.0.len(),
                early.0.len(),
                early.after_its_end(),
            ),
        ),
        on: "a real authority",
    }
}
