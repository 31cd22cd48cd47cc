//! Secrets reach a guest that the policy accepts, and nobody else.
#![allow(missing_docs, clippy::unwrap_used)]

mod attacks;
mod connections;
mod fixture;
mod hosts;
mod raw;

use fixture::{COMMITTEE_SECRET, SECRET, Setting, exchange};
use zipnet_attest::simulation::IMAGE;

#[test]
fn a_guest_that_the_policy_accepts_gets_its_secrets() {
    let setting = Setting::new("a good guest");
    let (taken, given) = exchange(setting.guest(), &setting.operator());
    let (taken, given) = (taken.unwrap(), given.unwrap());
    assert_eq!(taken.committee_secret().expose(), COMMITTEE_SECRET);
    assert_eq!(taken.secret().expose(), SECRET);
    assert!(
        setting
            .publisher
            .base()
            .unwrap()
            .open(taken.policy(), 0)
            .is_ok()
    );
    assert_eq!(given.td().image(), IMAGE);
    assert_eq!(*given.config(), setting.config(""));
}
