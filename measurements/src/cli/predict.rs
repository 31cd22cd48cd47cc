//! `predict`: the registers that files give.

use crate::{Register, Report};
use clap::Args;
use serde_json::json;

use crate::cli::{
    Failure, Outcome,
    inputs::{Guest, GuestArguments},
    say, say_json,
};

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    guest: GuestArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let reports = Guest::read(&arguments.guest)?.reports()?;
    match (reports.as_slice(), arguments.json) {
        ([report], true) => say_json(report),
        (reports, true) => say_json(&json!({ "shapes": reports })),
        (reports, false) => say_table(reports),
    }
    Ok(Outcome::Done)
}

/// Prints registers for people: what all shapes share, then RTMR0 of each.
pub fn say_table(reports: &[Report]) {
    let Some(first) = reports.first() else {
        return;
    };
    for register in [Register::Mrtd, Register::Rtmr1, Register::Rtmr2] {
        say_register(&register.to_string(), first, register);
    }
    for report in reports {
        let name = match (reports, report.shape) {
            ([_], _) | (_, None) => "RTMR0".to_owned(),
            (_, Some(shape)) => format!("RTMR0 {}", shape.id()),
        };
        say_register(&name, report, Register::Rtmr0);
    }
    for register in Register::ALL {
        let of = first.standing.get(&register);
        if let Some(standing) = of.filter(|standing| !standing.confirmed) {
            say(&format!("{register} is unconfirmed: {}", standing.evidence));
        }
    }
    if let Some(other) = first.mrtd_other_order {
        say(&format!(
            "MRTD with a VMM that adds pages in the other order: {other}"
        ));
    }
}

fn say_register(name: &str, report: &Report, register: Register) {
    let value = match (report.register(register), report.reasons.get(&register)) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(reason)) => format!("no value: {reason}"),
        (None, None) => "no value".to_owned(),
    };
    say(&format!("{name:<12} {value}"));
}
