//! What a boot on TDX hardware confirms of what nobody could see without any.
//!
//! A guest's console says what its quote holds, what its clock goes by and, if it was
//! asked to, what its firmware and kernel have logged. All of that passes through the
//! host: whoever runs this on a host that he does not trust has confirmed nothing.

use serde::Serialize;

use crate::{
    diff::with_log,
    digest::Digest384,
    event::Register,
    eventlog::{EventLog, LogKind, rtmrs},
    report::Report,
};

/// Longest log that a console prints, in bytes.
const MAX_LOG: usize = 1 << 20;
/// What a guest says of where its quotes come from, in a TD.
const IN_A_TD: &str = "attestation: configfs-tsm (provider tdx_guest)";

/// What a guest said on its console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether its quotes are a TD's.
    pub td: bool,
    /// MRTD and RTMR0 to RTMR3 of its own quote, as far as it said them.
    pub registers: [Option<Digest384>; 5],
    /// What its clock goes by.
    pub clock: Option<String>,
    /// The event log.
    pub log: Vec<u8>,
    /// Why it did not go on.
    pub error: Option<String>,
}

impl Said {
    /// Takes a line of the console in.
    pub fn line(&mut self, line: &str) {
        let line = line.trim();
        self.td |= line == IN_A_TD;
        if let Some((name, value)) = line
            .strip_prefix("measurement: ")
            .and_then(|rest| rest.split_once(' '))
        {
            let names = ["MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3"];
            let digest = Digest384::from_hex(value.trim()).ok();
            for (known, register) in names.iter().zip(&mut self.registers) {
                if *known == name {
                    *register = digest;
                }
            }
        }
        if let Some(clock) = line.strip_prefix("clock: ") {
            self.clock = Some(clock.to_owned());
        }
        if let Some(part) = line.strip_prefix("event log: ")
            && let Ok(part) = hex::decode(part)
            && self.log.len() + part.len() <= MAX_LOG
        {
            self.log.extend(part);
        }
        if let Some((_, error)) = line.split_once("error: ") {
            self.error.get_or_insert_with(|| error.to_owned());
        }
    }

    /// Whether there is nothing to wait for: its registers are known, or it does not
    /// go on.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.error.is_some() || self.registers.iter().all(Option::is_some)
    }

    const fn register(&self, register: Register) -> Option<Digest384> {
        let [mrtd, rtmr0, rtmr1, rtmr2, _] = self.registers;
        match register {
            Register::Mrtd => mrtd,
            Register::Rtmr0 => rtmr0,
            Register::Rtmr1 => rtmr1,
            Register::Rtmr2 => rtmr2,
        }
    }
}

/// What became of one thing that was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is as predicted.
    Confirmed,
    /// It is not.
    Wrong,
    /// This boot says nothing of it.
    NotSeen,
}

/// One thing and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Which, as `docs/measurements.md` and the threat model name it.
    pub what: &'static str,
    /// Whether it is so.
    pub verdict: Verdict,
    /// By what, or what was found instead.
    pub because: String,
}

/// Judges a boot of the image, and one of the image with a TPM that the host gave it, if
/// there was one.
#[must_use]
pub fn judge(expected: &Report, boot: &Said, with_tpm: Option<&Said>) -> Vec<Row> {
    let row = |what, verdict, because: String| Row {
        what,
        verdict,
        because,
    };
    let mut rows = vec![row(
        "the image's firmware starts as a TD",
        if boot.td {
            Verdict::Confirmed
        } else {
            Verdict::NotSeen
        },
        match &boot.error {
            _ if boot.td => "the guest asked the kernel for quotes of tdx_guest".to_owned(),
            Some(error) => format!("the guest did not go on: {error}"),
            None => {
                "this guest is no TD: nothing that follows would say anything of one".to_owned()
            }
        },
    )];
    for (what, register) in [
        ("MRTD", Register::Mrtd),
        ("RTMR0 with the machine's ACPI files", Register::Rtmr0),
        ("RTMR1", Register::Rtmr1),
        ("RTMR2", Register::Rtmr2),
    ] {
        let (verdict, because) = of_register(expected, boot, register);
        rows.push(row(what, verdict, because));
    }
    let zero = boot.registers[4].map(|rtmr3| rtmr3 == Digest384::ZERO);
    rows.push(row(
        "RTMR3 is zeros",
        verdict(boot, zero),
        shown(boot.registers[4]),
    ));
    let (found, because) = of_log(expected, boot);
    rows.push(row(
        "the event log gives the registers",
        verdict(boot, found),
        because,
    ));
    let clock = boot.clock.as_deref();
    rows.push(row(
        "the clock is held against the processor's counter (D2)",
        verdict(
            boot,
            clock.map(|clock| clock.contains("that the processor tells")),
        ),
        clock
            .unwrap_or("the guest said nothing of its clock")
            .to_owned(),
    ));
    let refused = with_tpm.and_then(|said| {
        let error = said.error.as_deref().unwrap_or_default();
        // Firmware that drove it would have left RTMR2 at zeros. A guest that ended for
        // another reason says nothing of it.
        let found = said.register(Register::Rtmr2);
        let same = || found.map(|found| Some(found) == expected.register(Register::Rtmr2));
        error.contains("a TPM").then_some(true).or_else(same)
    });
    rows.push(row(
        "a TPM of the host's hides nothing (D1)",
        verdict(boot, refused),
        with_tpm.map_or_else(
            || "no boot with a TPM was asked for".to_owned(),
            |said| {
                let rtmr2 = format!("it runs, and RTMR2 is {}", shown(said.registers[3]));
                said.error.clone().unwrap_or(rtmr2)
            },
        ),
    ));
    rows
}

/// Nothing is said of a TD by a guest that is none.
const fn verdict(boot: &Said, holds: Option<bool>) -> Verdict {
    match holds {
        Some(true) if boot.td => Verdict::Confirmed,
        Some(false) if boot.td => Verdict::Wrong,
        _ => Verdict::NotSeen,
    }
}

fn shown(digest: Option<Digest384>) -> String {
    digest.map_or_else(|| "not said".to_owned(), |digest| digest.to_string())
}

fn of_register(expected: &Report, boot: &Said, register: Register) -> (Verdict, String) {
    let (Some(right), Some(found)) = (expected.register(register), boot.register(register)) else {
        return (Verdict::NotSeen, shown(boot.register(register)));
    };
    let because = if found == right {
        format!("the quote has {found}")
    } else if register == Register::Mrtd && expected.mrtd_other_order == Some(found) {
        format!("the quote has {found}: the VMM adds and measures pages in the other order")
    } else {
        format!("the quote has {found}; {right} was predicted")
    };
    (verdict(boot, Some(found == right)), because)
}

/// Whether the log is that of the registers, and where it differs from the prediction.
fn of_log(expected: &Report, boot: &Said) -> (Option<bool>, String) {
    if boot.log.is_empty() {
        let why = "the guest printed none; GUEST_EVENT_LOG=yes in its configuration would be right";
        return (None, why.to_owned());
    }
    let log = match EventLog::parse(&boot.log) {
        Ok(log) => log,
        Err(error) => return (Some(false), error.to_string()),
    };
    let [_, quoted @ ..] = boot.registers;
    if rtmrs(&log).map(Some) != quoted {
        return (
            Some(false),
            "it gives other registers than the quote has".to_owned(),
        );
    }
    let differences = with_log(expected, &log, LogKind::Cc);
    let named: Vec<_> = differences
        .iter()
        .map(|one| format!("{}: {}", one.register, one.cause.text))
        .collect();
    if named.is_empty() {
        (
            Some(true),
            "and its events are those that were predicted".to_owned(),
        )
    } else {
        (
            Some(true),
            format!("but differs from the prediction. {}", named.join("; ")),
        )
    }
}
