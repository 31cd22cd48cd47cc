//! F3: a machine that Intel has condemned shows the collateral of before.
//!
//! Servers bring collateral along with their evidence, and choose which: that of last week,
//! in which the machine was still up to date, is signed and in force.
//!
//! The control is release 0.1.0: what is shown is believed until the first refresh, after
//! twelve hours, brings something newer; and with the chain beside the revocation list left
//! out, which nobody signs, it is believed and not kept, so that nothing ever replaces it.
//! Now a real authority asks its own source, over HTTP, before it believes anything of a
//! model of platform: so first it says that it has not asked, and then what Intel says.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use zipnet_attest::{Rule, SecretText, fetch::Source, genuine, simulation::Pccs};
use zipnet_node::attestation::{CollateralSource, Credential, upkeep};

use super::{
    ground::{Boot, DAY, Ground, clock, condemned, identity, machine, rule},
    report::{Outcome, Row},
};

/// The machine that is condemned.
const MACHINE: u8 = 1;
/// How long the source may take to be asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server shows.
struct Shown {
    what: &'static str,
    credential: Arc<Credential>,
}

/// What came of it under today's rules.
struct Judged {
    what: &'static str,
    /// Before the source was asked, and afterwards.
    rules: [Result<(), Rule>; 2],
}

struct Scene {
    ground: Ground,
    server: Boot,
    shown: [Shown; 2],
}

impl Scene {
    fn new() -> Self {
        let now = clock();
        let ground = Ground::new("F3", now - 40 * DAY);
        let seed = SecretText::from("the server's seed");
        let server = ground.boot(&identity(&seed), 1);
        let week = now - 7 * DAY;
        let credential = ground.credential(&server, now - 60, machine(MACHINE), |draft| {
            draft.world = draft.world.clone().collateral_window(week, week + 30 * DAY);
        });
        let mut collateral: serde_json::Value =
            serde_json::from_slice(&credential.collateral).expect("JSON");
        collateral["pck_crl_issuer_chain"] = "".into();
        let chainless = Credential {
            evidence: credential.evidence.clone(),
            collateral: collateral.to_string().into_bytes().into(),
        };
        Self {
            ground,
            server,
            shown: [
                Shown {
                    what: "the collateral of last week",
                    credential,
                },
                Shown {
                    what: "the same without the list's chain",
                    credential: Arc::new(chainless),
                },
            ],
        }
    }

    /// How often release 0.1.0 believes: by what is shown, whatever Intel says by now.
    fn control(&self) -> usize {
        let base = self.ground.intel.base().expect("a root");
        let policy = self.ground.early(1);
        let believed = self.shown.iter().filter(|shown| {
            let (evidence, collateral) = shown.credential.decode().expect("a credential");
            genuine(base.root(), &evidence.quote, &collateral, clock())
                .is_ok_and(|found| policy.tcb.accept.contains(&found.status()))
        });
        believed.count()
    }

    fn judge(
        &self,
        authority: &zipnet_node::attestation::Authority,
        shown: &Shown,
    ) -> Result<(), Rule> {
        let judged = authority.judge(
            &self.ground.instance,
            &self.server.admitted,
            &shown.credential,
        );
        rule(judged)
    }

    /// What a real authority says before its source was asked, and afterwards.
    async fn real(&self, pccs: &Pccs) -> Vec<Judged> {
        let mut judged = Vec::new();
        for shown in &self.shown {
            let source = Source::new(&pccs.address()).expect("an address");
            let source = CollateralSource::Http(Arc::new(source));
            let authority = self.ground.authority(&self.ground.early(1), source);
            let first = self.judge(&authority, shown);
            let before = pccs.requests();
            let keep = tokio::spawn(upkeep::run(authority.clone()));
            let until = Instant::now() + PATIENCE;
            let mut then = first;
            while then == first && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(20)).await;
                then = self.judge(&authority, shown);
            }
            assert!(pccs.requests() > before, "the source was asked");
            keep.abort();
            judged.push(Judged {
                what: shown.what,
                rules: [first, then],
            });
        }
        judged
    }
}

/// Runs it.
#[must_use]
pub fn run() -> Row {
    let scene = Scene::new();
    let today = scene.ground.intel.builder().platform(condemned(MACHINE));
    let now = clock();
    let today = today.collateral_window(now - 60, now + 30 * DAY).build();
    let pccs = Pccs::serve(&today.expect("a world")).expect("a PCCS");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let before = scene.control();
    let after = runtime.block_on(scene.real(&pccs));
    let believed = after
        .iter()
        .filter(|judged| judged.rules.iter().any(Result::is_ok))
        .count();
    let told: Vec<_> = after
        .iter()
        .map(|Judged { what, rules }| {
            let said = rules.map(|rule| match rule {
                Ok(()) => "believed".to_owned(),
                Err(rule) => rule.to_string(),
            });
            format!("{what}: {}", said.join(", then "))
        })
        .collect();
    Row {
        attack: "F3",
        title: "a condemned machine shows the collateral of before",
        invariant: "I3, I5",
        before: Outcome::done(
            before == scene.shown.len(),
            format!(
                "{before} of {} shows are believed for twelve hours and more",
                scene.shown.len()
            ),
        ),
        after: Outcome::done(believed > 0, told.join("; ")),
        on: "a real authority and PCCS",
    }
}
