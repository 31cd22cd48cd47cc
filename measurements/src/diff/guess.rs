//! Likely causes of a register that differs, without a log: lists of events that
//! would give the register that was found.

use super::{
    Cause,
    cause::{guessed, reproduced},
};
use crate::{
    digest::{Digest384, extend, replay, sha384},
    event::Register,
    report::Report,
};

pub(super) fn of_register(report: &Report, register: Register, found: &Digest384) -> Cause {
    if *found == Digest384::ZERO {
        return guessed(
            "Nothing was measured into it: firmware without TD measurement, a kernel before 6.9, or a TPM that the host gave and the kernel took instead",
        );
    }
    if register == Register::Mrtd {
        return if report.mrtd_other_order.as_ref() == Some(found) {
            reproduced("The VMM adds and measures pages in the other order")
        } else {
            guessed("Another firmware file")
        };
    }
    let digests: Option<Vec<Digest384>> = report
        .events_of(register)
        .map(|event| event.digest)
        .collect();
    let Some(digests) = digests else {
        return guessed("Not every event has a predicted digest");
    };
    structure(report, register, &digests, found)
        .or_else(|| alternative(report, register, &digests, found))
        .unwrap_or_else(|| {
            guessed(match register {
                Register::Rtmr0 => {
                    "Another shape, QEMU, device or firmware: compare with an event log to see which"
                }
                Register::Rtmr1 => {
                    "Another kernel, one patched by an old QEMU, or another boot path: compare with an event log"
                }
                _ => "Another command line or initramfs: compare with an event log to see which",
            })
        })
}

/// One event more, or one less.
fn structure(
    report: &Report,
    register: Register,
    digests: &[Digest384],
    found: &Digest384,
) -> Option<Cause> {
    let separator = sha384(&[0; 4]);
    let names: Vec<&str> = report
        .events_of(register)
        .map(|e| e.event.as_str())
        .collect();
    for at in 0..=digests.len() {
        let (before, after) = digests.split_at_checked(at)?;
        let start = extend(&replay(before), &separator);
        if after
            .iter()
            .fold(start, |register, next| extend(&register, next))
            == *found
        {
            return Some(reproduced(format!(
                "An extra separator as event {} of the register",
                at + 1
            )));
        }
        let less = before.iter().chain(after.iter().skip(1));
        if at < digests.len() && replay(less) == *found {
            let name = names.get(at).copied().unwrap_or_default();
            return Some(reproduced(format!("`{name}` was not measured")));
        }
    }
    None
}

/// Another digest for the events that share a cause.
fn alternative(
    report: &Report,
    register: Register,
    digests: &[Digest384],
    found: &Digest384,
) -> Option<Cause> {
    let names: Vec<&str> = report
        .events_of(register)
        .map(|e| e.event.as_str())
        .collect();
    let mut causes: Vec<&str> = report
        .alternatives
        .iter()
        .filter(|other| other.register == register)
        .map(|other| other.cause.as_str())
        .collect();
    causes.dedup();
    causes.into_iter().find_map(|cause| {
        let changed: Vec<Digest384> = digests
            .iter()
            .zip(&names)
            .map(|(digest, name)| {
                let other = report.alternatives.iter().find(|other| {
                    other.register == register && other.cause == cause && other.event == *name
                });
                other.map_or(*digest, |other| other.digest)
            })
            .collect();
        (replay(&changed) == *found).then(|| reproduced(format!("This is measured when {cause}")))
    })
}
