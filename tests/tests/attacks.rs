//! The attacks of the review, in their short form: each wins against the rule of release
//! 0.1.0, and gets nothing from the rules as they are. `make attack` runs the long form.

#![allow(missing_docs)]

use std::error::Error;

use zipnet_tests::attacks::{ATTACKS, Form, run};

type TestResult = Result<(), Box<dyn Error>>;

fn attack(name: &str) -> TestResult {
    let mut ran = 0;
    for (_, attack) in ATTACKS.iter().filter(|(known, _)| *known == name) {
        let row = run(*attack, Form::Short);
        println!("{row}");
        if let Some(problem) = row.problem() {
            return Err(problem.into());
        }
        ran += 1;
    }
    assert!(ran > 0, "there is no attack {name}");
    Ok(())
}

#[test]
fn a1_withheld_records_tell_no_author() -> TestResult {
    attack("A1")
}

#[test]
fn a2_noise_and_varied_participants_tell_no_author() -> TestResult {
    attack("A2")
}

#[test]
fn a3_an_outsider_isolates_nobody() -> TestResult {
    attack("A3")
}

#[test]
fn a8_coming_and_going_tells_no_author() -> TestResult {
    attack("A8")
}

#[test]
fn a9_silent_peers_keep_nobody_from_the_servers() -> TestResult {
    attack("A9")
}

#[test]
fn a10_a_made_up_header_silences_nobody() -> TestResult {
    attack("A10")
}

#[test]
fn a13_an_old_epoch_blinds_nobody() -> TestResult {
    attack("A13")
}

#[test]
fn a15_the_last_server_does_not_choose_the_broadcast() -> TestResult {
    attack("A15")
}

#[test]
fn d1_a_tpm_hides_no_initramfs() -> TestResult {
    attack("D1")
}

#[test]
fn f1_one_machine_does_not_meet_three_pins() -> TestResult {
    attack("F1")
}

#[test]
fn f2_collateral_ahead_of_the_track_keeps_nobody_out() -> TestResult {
    attack("F2")
}

#[test]
fn f3_a_condemned_machine_does_not_choose_its_collateral() -> TestResult {
    attack("F3")
}

#[test]
fn f4_secrets_go_to_no_other_machine() -> TestResult {
    attack("F4")
}

#[test]
fn f5_a_host_in_between_deceives_neither_side() -> TestResult {
    attack("F5")
}

#[test]
fn f7_a_clock_turned_back_moves_on() -> TestResult {
    attack("F7")
}

#[test]
fn f8_strangers_ask_nobody_for_collateral() -> TestResult {
    attack("F8")
}
