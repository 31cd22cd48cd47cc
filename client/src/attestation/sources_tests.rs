//! Where collateral comes from, and what a host or a member can do with that.

use std::{sync::Arc, time::Duration};

use zipnet_attest::{
    Collateral, Policy, Rule,
    fetch::Source,
    policy::Track,
    simulation::{Draft, Pccs, Platform, World},
};

use super::{Authority, AuthoritySettings, CollateralSource, Credential, upkeep};
use crate::testing::{
    Here, Server, clock,
    evidence::{DAY, publish},
};

/// How long a task may take.
const SOON: Duration = Duration::from_secs(20);

fn rated(status: &str, evaluation: u32) -> Platform {
    Platform {
        tcb_status: status.to_owned(),
        tcb_eval: evaluation,
        ..Platform::default()
    }
}

fn on(draft: &mut Draft, platform: Platform) {
    draft.world = draft.world.clone().platform(platform);
}

fn at(here: &Here, source: &str) -> Authority {
    let settings = here.settings(None);
    let source = Source::new(source).unwrap();
    Authority::open(AuthoritySettings {
        collateral: CollateralSource::Http(Arc::new(source)),
        ..settings
    })
    .unwrap()
}

/// A policy of Intel's standard track, which is at an evaluation.
fn standard(here: &Here, evaluation: u32) -> Policy {
    let mut policy = here.intel().policy(2).unwrap();
    policy.tcb.track = Track::Standard;
    policy.tcb.min_evaluation = evaluation;
    policy.tcb.max_evaluation = Some(evaluation);
    policy
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

fn first(here: &Here) -> &Server {
    here.world.servers.first().unwrap()
}

#[test]
fn f2_a_member_that_shows_early_collateral_condemns_nobody_on_the_standard_track() {
    let here = Here::new();
    let evaluation = Platform::default().tcb_eval;
    publish(
        here.intel(),
        &standard(&here, evaluation),
        &here.policy_file(),
    );
    let authority = here.authority();
    let [first, second, ..] = &here.world.servers[..] else {
        unreachable!()
    };
    let good = here.credential(first, |_| {});
    assert_eq!(here.judge(&authority, first, &good), Ok(()));
    // Intel signed it, for whoever asks for the early track.
    let early = here.credential(second, |draft| {
        on(draft, rated("OutOfDate", evaluation + 1));
    });
    assert_eq!(
        here.judge(&authority, second, &early),
        Err(Rule::CollateralTrack)
    );
    assert_eq!(here.judge(&authority, first, &good), Ok(()));
    let third = &here.world.servers[2];
    let again = here.credential(third, |_| {});
    assert_eq!(here.judge(&authority, third, &again), Ok(()));
    // Nor half of it: TCB info of the one beside the QE identity of the other.
    let mixed = here.credential(second, |_| {});
    let (evidence, shown) = mixed.decode().unwrap();
    let world = here
        .intel()
        .builder()
        .platform(rated("OutOfDate", evaluation + 1));
    let world = world.build().unwrap();
    let mut parts: serde_json::Value = serde_json::from_str(&shown.to_json()).unwrap();
    let early = world.collateral();
    parts["tcb_info"] = early.tcb_info.clone().into();
    parts["tcb_info_signature"] = hex::encode(&early.tcb_info_signature).into();
    let mixed = Collateral::from_json(parts.to_string().as_bytes()).unwrap();
    let mixed = Arc::new(Credential::of(&evidence, &mixed));
    assert_eq!(
        here.judge(&authority, second, &mixed),
        Err(Rule::CollateralTrack)
    );
    assert_eq!(here.judge(&authority, first, &good), Ok(()));
}

#[tokio::test]
async fn f3_nothing_is_believed_of_a_platform_before_the_own_source_was_asked() {
    let here = Here::new();
    let condemned = here.intel().builder().platform(rated("OutOfDate", 21));
    let pccs = Pccs::serve(&condemned.build().unwrap()).unwrap();
    let authority = Arc::new(at(&here, &pccs.address()));
    let server = first(&here);
    // It shows what was said of its platform before.
    let old = here.credential(server, |_| {});
    assert_eq!(
        here.judge(&authority, server, &old),
        Err(Rule::CollateralUnasked)
    );
    assert_eq!(pccs.requests(), 0, "who verifies waits for nobody");
    let keep = tokio::spawn(upkeep::run(authority.clone()));
    until("the source is asked", || {
        here.judge(&authority, server, &old) == Err(Rule::TcbStatus)
    })
    .await;
    assert_eq!(pccs.requests(), 4);
    keep.abort();
}

#[tokio::test]
async fn f3_a_source_that_hangs_holds_nobody_up_and_is_not_gone_around() {
    let here = Here::new();
    // It takes connections and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let authority = Arc::new(at(&here, &address));
    let server = first(&here);
    let shown = here.credential(server, |_| {});
    let keep = tokio::spawn(upkeep::run(authority.clone()));
    let start = std::time::Instant::now();
    assert_eq!(
        here.judge(&authority, server, &shown),
        Err(Rule::CollateralUnasked)
    );
    // A policy is taken all the same, once somebody looks.
    tokio::task::yield_now().await;
    here.publish(2);
    until("the policy is in force", || {
        authority.policy().serial() == 2
    })
    .await;
    assert_eq!(
        here.judge(&authority, server, &shown),
        Err(Rule::CollateralUnasked)
    );
    assert!(start.elapsed() < SOON);
    keep.abort();
}

#[tokio::test]
async fn f8_a_stranger_has_nothing_fetched() {
    let here = Here::new();
    let pccs = Pccs::serve(&here.intel().world().unwrap()).unwrap();
    let authority = Arc::new(at(&here, &pccs.address()));
    let keep = tokio::spawn(upkeep::run(authority.clone()));
    let server = first(&here);
    let issued = here.intel().issued();
    let judge = |change: &dyn Fn(&mut Draft)| {
        let shown = here.credential(server, change);
        here.judge(&authority, server, &shown)
    };
    for id in 0..8_u8 {
        let fmspc = [id; 6];
        let platform = || Platform {
            fmspc,
            ..Platform::default()
        };
        // Made up, and real but running something else.
        let made_up = World::builder(&[id], issued).platform(platform());
        let refused = judge(&|draft| draft.world = made_up.clone());
        assert_eq!(refused, Err(Rule::CertificateChain));
        let refused = judge(&|draft| {
            on(draft, platform());
            draft.td.mrtd = [9; 48];
        });
        assert_eq!(refused, Err(Rule::Measurements));
    }
    assert_eq!(judge(&|_| ()), Err(Rule::CollateralUnasked));
    until("the one that could be accepted is", || {
        judge(&|_| ()) == Ok(())
    })
    .await;
    assert_eq!(pccs.requests(), 4);
    keep.abort();
}

#[test]
fn f3_collateral_that_cannot_be_kept_is_not_judged_by() {
    let here = Here::new();
    let authority = here.authority();
    let server = first(&here);
    let good = here.credential(server, |_| {});
    let (evidence, shown) = good.decode().unwrap();
    let mut parts: serde_json::Value = serde_json::from_str(&shown.to_json()).unwrap();
    parts["pck_crl_issuer_chain"] = "".into();
    let bare = Collateral::from_json(parts.to_string().as_bytes()).unwrap();
    let bare = Arc::new(Credential::of(&evidence, &bare));
    assert_eq!(
        here.judge(&authority, server, &bare),
        Err(Rule::CertificateChain)
    );
}

#[test]
fn f3_a_corrupt_state_file_is_moved_aside_and_named() {
    let here = Here::new();
    let state = here.folder.path().join("state");
    let settings = || here.settings(Some(&state));
    let server = first(&here);
    let good = here.credential(server, |_| {});
    let authority = Authority::open(settings()).unwrap();
    assert_eq!(here.judge(&authority, server, &good), Ok(()));
    let folder = state.join("collateral");
    let file = folder.join("53494D464D53-platform.json");
    std::fs::write(&file, "rubbish").unwrap();
    let authority = Authority::open(settings()).unwrap();
    assert!(folder.join("53494D464D53-platform.corrupt").exists());
    assert_eq!(here.judge(&authority, server, &good), Ok(()));
    // One that breaks while the process runs is never taken for none.
    let authority = Authority::open(settings()).unwrap();
    std::fs::write(&file, "rubbish").unwrap();
    assert_eq!(
        here.judge(&authority, server, &good),
        Err(Rule::CollateralForm)
    );
}

#[test]
fn f7_what_intel_and_the_policy_say_moves_a_clock_that_is_behind() {
    let here = Here::new();
    let authority = here.authority();
    assert!(authority.now().abs_diff(clock()) <= 1);
    // Collateral of three days from now shows that they have passed.
    let server = first(&here);
    let later = clock() + 3 * DAY;
    let shown = here.credential(server, |draft| {
        draft.world = draft
            .world
            .clone()
            .collateral_window(later, later + 30 * DAY);
        draft.statement.not_before = clock() - 60;
        draft.statement.not_after = clock() + DAY;
    });
    let _ = here.judge(&authority, server, &shown);
    assert!(authority.now() >= later);
    // So does a policy; and what has ended by then has ended.
    let mut policy = here.intel().policy(2).unwrap();
    policy.issued = later + DAY;
    assert!(authority.adopt(&here.intel().sign(&policy).unwrap()));
    assert!(authority.now() >= later + DAY);
    let good = here.credential(server, |_| {});
    assert_eq!(
        here.judge(&authority, server, &good),
        Err(Rule::StatementExpired)
    );
}
