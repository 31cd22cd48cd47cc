//! What differs between a prediction and something measured, or between two
//! predictions: the first event of each register, and the likely cause.

mod cause;
mod guess;
mod observed;

use serde::Serialize;

pub use observed::{Observed, observed};

use crate::{
    digest::{Digest384, replay},
    event::{Event, Register},
    eventlog::{EventLog, LogKind},
    quote::QuoteRegisters,
    report::Report,
};

/// What an event is in a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Brief {
    /// Its type, as in `EV_SEPARATOR`.
    pub kind: String,
    /// What it is.
    pub event: String,
    /// Its digest.
    pub digest: Option<Digest384>,
}

/// Why a register may differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// In a sentence.
    pub text: String,
    /// Whether the digest was computed for that cause and is just the one found;
    /// else the cause is a guess by the kind of event.
    pub reproduced: bool,
}

/// One register that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which.
    pub register: Register,
    /// Its predicted value.
    pub expected: Option<Digest384>,
    /// The value found.
    pub found: Option<Digest384>,
    /// Number of the first event that differs, from 1; `null` where only the
    /// register is known.
    pub position: Option<usize>,
    /// That event, as predicted; `null` behind the last.
    pub expected_event: Option<Brief>,
    /// That event, as found; `null` behind the last.
    pub found_event: Option<Brief>,
    /// Why.
    pub cause: Cause,
}

impl From<&Event> for Brief {
    fn from(event: &Event) -> Self {
        Self {
            kind: event.kind.clone(),
            event: event.event.clone(),
            digest: event.digest,
        }
    }
}

impl From<&Observed> for Brief {
    fn from(event: &Observed) -> Self {
        Self {
            kind: event.kind.to_string(),
            event: event.text.clone().unwrap_or_default(),
            digest: Some(event.digest),
        }
    }
}

/// Compares a prediction with another one.
#[must_use]
pub fn reports(expected: &Report, found: &Report) -> Vec<Difference> {
    let mut differences = Vec::new();
    for register in Register::ALL {
        let (a, b) = (expected.register(register), found.register(register));
        let ours: Vec<&Event> = expected.events_of(register).collect();
        let theirs: Vec<&Event> = found.events_of(register).collect();
        let same = |(a, b): (&&Event, &&Event)| a.event == b.event && a.digest == b.digest;
        let alike = ours
            .iter()
            .zip(&theirs)
            .take_while(|pair| same(*pair))
            .count();
        if a == b && (a.is_some() || (alike == ours.len() && alike == theirs.len())) {
            continue;
        }
        let (ours, theirs) = (ours.get(alike).copied(), theirs.get(alike).copied());
        let cause = cause::of_reports(register, ours, theirs, expected, found);
        differences.push(Difference {
            register,
            expected: a,
            found: b,
            position: (ours.is_some() || theirs.is_some()).then_some(alike + 1),
            expected_event: ours.map(Brief::from),
            found_event: theirs.map(Brief::from),
            cause,
        });
    }
    differences
}

/// Compares a prediction with an event log. MRTD is in no log.
///
/// A TPM's log lacks what only a TD measures; [`observed`] says how the rest is
/// compared.
#[must_use]
pub fn with_log(expected: &Report, log: &EventLog<'_>, kind: LogKind) -> Vec<Difference> {
    let found = observed(log, kind);
    let mut differences = Vec::new();
    for register in [Register::Rtmr0, Register::Rtmr1, Register::Rtmr2] {
        let ours: Vec<&Event> = expected
            .events_of(register)
            .filter(|event| kind == LogKind::Cc || !observed::only_in_a_td(event))
            .collect();
        let of = |event: &&Observed| event.register == register;
        let theirs: Vec<&Observed> = found.iter().filter(of).collect();
        let register_found = replay(theirs.iter().map(|event| &event.digest));
        if ours.is_empty() {
            // Nothing was predicted, so nothing differs.
            continue;
        }
        let same = |(a, b): (&&Event, &&Observed)| a.digest == Some(b.digest);
        let alike = ours
            .iter()
            .zip(&theirs)
            .take_while(|pair| same(*pair))
            .count();
        if alike == ours.len() && alike == theirs.len() {
            continue;
        }
        let cause = cause::of_log(expected, &ours, &theirs, alike);
        differences.push(Difference {
            register,
            expected: (kind == LogKind::Cc)
                .then(|| expected.register(register))
                .flatten(),
            found: (kind == LogKind::Cc).then_some(register_found),
            position: Some(alike + 1),
            expected_event: ours.get(alike).map(|event| Brief::from(*event)),
            found_event: theirs.get(alike).map(|event| Brief::from(*event)),
            cause,
        });
    }
    differences
}

/// Compares a prediction with the registers of a quote. A register without a
/// prediction is not compared.
#[must_use]
pub fn with_quote(expected: &Report, quote: &QuoteRegisters) -> Vec<Difference> {
    let [rtmr0, rtmr1, rtmr2, _] = quote.rtmr;
    let found = [quote.mrtd, rtmr0, rtmr1, rtmr2];
    let mut differences = Vec::new();
    for (register, found) in Register::ALL.into_iter().zip(found) {
        let value = expected.register(register);
        if value.is_none() || value == Some(found) {
            continue;
        }
        differences.push(Difference {
            register,
            expected: value,
            found: Some(found),
            position: None,
            expected_event: None,
            found_event: None,
            cause: guess::of_register(expected, register, &found),
        });
    }
    differences
}
