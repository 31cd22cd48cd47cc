//! What a process believes of evidence, and for how long.

use std::time::Duration;

use zipnet_attest::{Rule, simulation::Platform};

use super::Authority;
use crate::testing::{Here, clock};

fn with_status(status: &str, evaluation: u32) -> Platform {
    Platform {
        tcb_status: status.to_owned(),
        tcb_eval: evaluation,
        ..Platform::default()
    }
}

#[test]
fn i3_collateral_is_not_rolled_back() {
    let here = Here::new();
    let authority = here.authority();
    let [first, second, ..] = &here.world.servers[..] else {
        unreachable!()
    };
    let evaluation = Platform::default().tcb_eval;
    let old = here.credential(first, |_| {});
    assert_eq!(here.judge(&authority, first, &old), Ok(()));
    // Intel condemns the platform; the news come with somebody's evidence.
    let news = here.credential(second, |draft| {
        let platform = with_status("OutOfDate", evaluation + 1);
        draft.world = draft.world.clone().platform(platform);
    });
    assert_eq!(here.judge(&authority, second, &news), Err(Rule::TcbStatus));
    // From now on the old collateral, in which all was well, helps nobody:
    // neither who was verified by it nor who comes with it now.
    assert_eq!(here.judge(&authority, first, &old), Err(Rule::TcbStatus));
    let third = &here.world.servers[2];
    let rolled = here.credential(third, |_| {});
    assert_eq!(here.judge(&authority, third, &rolled), Err(Rule::TcbStatus));
    // A process that never heard the news would have taken it.
    assert_eq!(here.judge(&here.authority(), third, &rolled), Ok(()));
}

#[test]
fn expired_collateral_admits_nobody_and_whoever_was_admitted_stays() {
    let here = Here::new();
    let authority = here.authority();
    let [first, second, ..] = &here.world.servers[..] else {
        unreachable!()
    };
    // In force for two more seconds.
    let until = clock() + 2;
    let shown = |server| {
        here.credential(server, |draft| {
            let issued = clock() - 3600;
            draft.world = draft.world.clone().collateral_window(issued, until);
        })
    };
    let (of_first, of_second) = (shown(first), shown(second));
    assert_eq!(here.judge(&authority, first, &of_first), Ok(()));
    while clock() <= until {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(
        here.judge(&authority, second, &of_second),
        Err(Rule::CollateralExpired)
    );
    // Also when it is judged anew, under a later policy.
    here.publish(2);
    authority.reload();
    assert_eq!(authority.policy().serial(), 2);
    assert_eq!(here.judge(&authority, first, &of_first), Ok(()));
}

#[test]
fn a_policy_of_a_lower_serial_is_never_in_force_again() {
    let here = Here::new();
    let state = here.folder.path().join("state");
    let open = || Authority::open(here.settings(Some(&state))).unwrap();
    here.publish(7);
    assert_eq!(open().policy().serial(), 7);
    here.publish(6);
    let authority = open();
    assert_eq!(authority.policy().serial(), 7, "after a restart");
    authority.reload();
    assert_eq!(authority.policy().serial(), 7, "while it runs");
    let signed = |serial| {
        here.intel()
            .sign(&here.intel().policy(serial).unwrap())
            .unwrap()
    };
    assert!(!authority.adopt(&signed(6)));
    assert!(authority.adopt(&signed(8)));
    assert_eq!(open().policy().serial(), 8, "what was adopted is kept");
    // Without the folder nobody knows.
    assert_eq!(here.authority().policy().serial(), 6);
}
