//! A hundred thousand rounds of a committee that is cut in two, restarted and lied to.

#![allow(missing_docs)]

use std::{env, error::Error, time::Instant};

use zipnet_tests::sim::{Plan, run_many};

type TestResult = Result<(), Box<dyn Error>>;

/// Rounds, unless `ZIPNET_SIM_ROUNDS` says otherwise.
const ROUNDS: u64 = 100_000;
/// Where seeds begin.
const FIRST: u64 = 1;

fn number(name: &str) -> Result<Option<u64>, Box<dyn Error>> {
    let value = env::var(name).ok();
    Ok(value.map(|value| value.parse()).transpose()?)
}

#[test]
fn i2_i4_i5_i7_i14_hold_in_a_hundred_thousand_rounds() -> TestResult {
    let started = Instant::now();
    let rounds = number("ZIPNET_SIM_ROUNDS")?.unwrap_or(ROUNDS);
    let seen = run_many(FIRST, rounds, Plan::of).map_err(|violation| violation.to_string())?;
    println!("{seen:?} in {:.1} s", started.elapsed().as_secs_f64());
    assert!(seen.landed * 2 > seen.finalized, "hardly anybody was heard");
    assert!(seen.parted * 5 > seen.finalized, "hardly any leaves");
    assert!(
        seen.troubles * 50 > seen.finalized,
        "hardly anything went wrong"
    );
    Ok(())
}

/// Repeats one simulation, by `ZIPNET_SIM_SEED`; without it, the first, twice, which
/// has to come out the same.
#[test]
fn one_seed_is_one_history() -> TestResult {
    let seed = number("ZIPNET_SIM_SEED")?.unwrap_or(FIRST);
    let once = Plan::of(seed)
        .run(seed)
        .map_err(|violation| violation.to_string())?;
    let again = Plan::of(seed)
        .run(seed)
        .map_err(|violation| violation.to_string())?;
    println!("{once:?}");
    assert_eq!(once, again);
    Ok(())
}

/// The simulation finds what is there to be found.
#[test]
fn i14_the_clients_of_release_0_1_0_repeat_themselves() {
    let found =
        (FIRST..=FIRST + 49).find_map(|seed| Plan::of(seed).of_release_0_1_0().run(seed).err());
    assert_eq!(found.map(|violation| violation.invariant), Some("I14"));
}
