//! F7: a host turns its guest's clock back, so that what has ended is in force again.
//!
//! A test cannot turn its own clock back. So here the clock is right and the world is three
//! weeks ahead: Intel, those who sign policies and the other members live then. The
//! attacker has a statement and collateral of this process's day, long ended where all
//! others are.
//!
//! The control is release 0.1.0: what is issued later than the clock is refused (ZA-302),
//! and moves nothing. Now a real authority hears of the day in each of the ways in which it
//! can: from its source over HTTP, from a folder, by a policy, and from what Intel signed beside
//! a member's evidence. Members that lie about the time by themselves are not believed, however
//! many. A host that lets none of these through still
//! deceives its own guest, and nobody else.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use zipnet_attest::{Rule, SecretText, fetch::Source, simulation::Pccs, trusted_alone};
use zipnet_node::attestation::{
    Authority, CollateralSource, Credential, credential::expected, upkeep,
};

use super::{
    ground::{Boot, DAY, Ground, clock, collateral, identity, machine, rule},
    report::{Outcome, Row},
};

/// How far the clock is behind.
const BEHIND: u64 = 21 * DAY;
/// How long an authority may take to hear of it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    ground: Ground,
    attacker: Boot,
    /// Of the day that the clock shows.
    old: Arc<Credential>,
    now: u64,
}

/// What came of one way to hear of the time.
struct Heard {
    how: &'static str,
    /// Days that the clock has moved on.
    days: u64,
    attacker: Result<(), Rule>,
}

impl Scene {
    fn new() -> Self {
        let now = clock();
        let ground = Ground::new("F7", now - 40 * DAY);
        let attacker = ground.boot(&identity(&SecretText::from("the attacker's")), 1);
        // In force for five more days by this clock.
        let old = ground.credential(&attacker, now - 60, machine(66), |draft| {
            let window = (now - 25 * DAY, now + 5 * DAY);
            draft.world = draft.world.clone().collateral_window(window.0, window.1);
        });
        Self {
            ground,
            attacker,
            old,
            now,
        }
    }

    /// What Intel publishes where everybody else is.
    fn world(&self) -> zipnet_attest::simulation::World {
        let then = self.now + BEHIND;
        let builder = self.ground.intel.builder().platform(machine(1));
        let built = builder.collateral_window(then, then + 30 * DAY).build();
        built.expect("a world")
    }

    /// Whether release 0.1.0 believes the attacker after it has heard of the day.
    fn control(&self) -> bool {
        let base = self.ground.intel.base().expect("a root");
        let news = collateral(&self.world());
        let heard = trusted_alone(base.root(), &news, self.now);
        let moves = !matches!(heard, Err(refusal) if refusal.rule() == Rule::CollateralFuture);
        let (evidence, shown) = self.old.decode().expect("a credential");
        let expected = expected(&self.ground.instance, &self.attacker.admitted);
        let verifier = self.ground.verifier(&self.ground.policy(1));
        !moves
            && verifier
                .verify(&evidence, &shown, &expected, self.now)
                .is_ok()
    }

    fn judge(
        &self,
        authority: &Authority,
        boot: &Boot,
        shown: &Arc<Credential>,
    ) -> Result<(), Rule> {
        rule(authority.judge(&self.ground.instance, &boot.admitted, shown))
    }

    fn heard(&self, how: &'static str, authority: &Authority) -> Heard {
        Heard {
            how,
            days: authority.now().saturating_sub(clock()) / DAY,
            attacker: self.judge(authority, &self.attacker, &self.old),
        }
    }

    /// From a source that is asked in the background, once somebody has shown up.
    async fn hear_from(&self, how: &'static str, source: CollateralSource) -> Heard {
        let authority = self.ground.authority(&self.ground.policy(1), source);
        let early = self.judge(&authority, &self.attacker, &self.old);
        assert!(early.is_err(), "nothing is believed before it was asked");
        let keep = tokio::spawn(upkeep::run(authority.clone()));
        let until = Instant::now() + PATIENCE;
        while authority.now() < self.now + DAY && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        keep.abort();
        self.heard(how, &authority)
    }

    fn hear_of_a_policy(&self) -> Heard {
        let shown = CollateralSource::Shown;
        let authority = self.ground.authority(&self.ground.policy(1), shown);
        let before = self.judge(&authority, &self.attacker, &self.old);
        assert!(before.is_ok(), "until then its host's clock is believed");
        let mut policy = self.ground.policy(2);
        policy.issued = self.now + BEHIND;
        let signed = self.ground.intel.sign(&policy).expect("a signature");
        assert!(authority.adopt(&signed), "a policy that is newer");
        self.heard("a policy", &authority)
    }

    /// What a member shows in three weeks, with collateral from some day on.
    fn shown_then(&self, id: u8, from: u64) -> (Boot, Arc<Credential>) {
        let seed = SecretText::from(format!("member {id}").as_str());
        let member = self.ground.boot(&identity(&seed), 1);
        let then = self.now + BEHIND;
        let credential = self.ground.credential(&member, then, machine(id), |draft| {
            draft.world = draft.world.clone().collateral_window(from, from + 30 * DAY);
        });
        (member, credential)
    }

    fn hear_a_member(&self) -> Heard {
        let shown = CollateralSource::Shown;
        let authority = self.ground.authority(&self.ground.policy(1), shown);
        let (member, credential) = self.shown_then(1, self.now + BEHIND);
        let early = self.judge(&authority, &member, &credential);
        assert_eq!(early, Err(Rule::StatementFuture), "it is of another day");
        self.heard("what a member shows", &authority)
    }

    /// How far members on several machines move the clock by their own word, with nothing
    /// that Intel signed later than today: in days.
    fn lied(&self) -> u64 {
        let shown = CollateralSource::Shown;
        let authority = self.ground.authority(&self.ground.policy(1), shown);
        for id in [65, 66, 67] {
            let (member, credential) = self.shown_then(id, self.now - DAY);
            let early = self.judge(&authority, &member, &credential);
            assert_eq!(early, Err(Rule::StatementFuture), "it is of another day");
        }
        authority.now().saturating_sub(clock()) / DAY
    }
}

/// Runs it.
#[must_use]
pub fn run() -> Row {
    let scene = Scene::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let world = scene.world();
    let pccs = Pccs::serve(&world).expect("a PCCS");
    let source = Source::new(&pccs.address()).expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let json = collateral(&world).to_json();
    fs::write(folder.path().join("collateral.json"), json).expect("a file");
    let before = scene.control();
    let http = CollateralSource::Http(Arc::new(source));
    let file = CollateralSource::Folder(folder.path().to_owned());
    let lied = scene.lied();
    let heard = [
        runtime.block_on(scene.hear_from("the source", http)),
        runtime.block_on(scene.hear_from("a folder", file)),
        scene.hear_of_a_policy(),
        scene.hear_a_member(),
    ];
    let believed = heard
        .iter()
        .filter(|heard| heard.attacker.is_ok() || heard.days < BEHIND / DAY - 1);
    let believed = believed.count();
    let told: Vec<_> = heard
        .iter()
        .map(
            |Heard {
                 how,
                 days,
                 attacker,
             }| match attacker {
                Ok(()) => format!("{how}: believed"),
                Err(rule) => format!("{how}: {days} days on, {rule}"),
            },
        )
        .collect();
    Row {
        attack: "F7",
        title: "a host turns the clock back",
        invariant: "I3, I5",
        before: Outcome::done(
            before,
            "evidence that ended three weeks ago is believed, and the clock stays".to_owned(),
        ),
        after: Outcome::done(
            believed > 0 || lied > 0,
            format!("{}; three members that lie: {lied} days", told.join("; ")),
        ),
        on: "a real authority",
    }
}
