//! Likely causes of an event that differs.

use super::{Cause, Observed};
use crate::{
    digest::{Digest384, sha384},
    efi::utf16,
    event::{Event, Register},
    eventlog::EventKind,
    hob,
    report::Report,
    shape::{Memory, Shape},
};

/// Largest memory that is tried, in bytes, and in which steps.
const MOST_MEMORY: u64 = 2 << 40;
const FINE_STEP: u64 = 64 << 20;
const COARSE_STEP: u64 = 1 << 30;
/// From here on only whole GiB are tried.
const COARSE_FROM: u64 = 64 << 30;

pub(super) fn reproduced(text: impl Into<String>) -> Cause {
    Cause {
        text: text.into(),
        reproduced: true,
    }
}

pub(super) fn guessed(text: impl Into<String>) -> Cause {
    Cause {
        text: text.into(),
        reproduced: false,
    }
}

/// Two predictions: both say what they are made of.
pub(super) fn of_reports(
    register: Register,
    ours: Option<&Event>,
    theirs: Option<&Event>,
    expected: &Report,
    found: &Report,
) -> Cause {
    let other = found.mrtd_other_order;
    if register == Register::Mrtd && other.is_some() && expected.mrtd == other {
        return reproduced("The pages are added in the other order");
    }
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.event == theirs.event => {
            if let (Some(a), Some(b)) = (ours.digest, theirs.digest) {
                return of_digest(expected, ours, &b)
                    .or_else(|| of_digest(found, theirs, &a))
                    .unwrap_or_else(|| by_kind(ours));
            }
            let reason = ours.reason.as_deref().or(theirs.reason.as_deref());
            guessed(format!(
                "Only one side knows the digest: {}",
                reason.unwrap_or("no reason given")
            ))
        }
        (Some(ours), None) => guessed(format!("Only one side has the event `{}`", ours.event)),
        (None, Some(theirs)) => guessed(format!("Only one side has the event `{}`", theirs.event)),
        (Some(_), Some(_)) => guessed("The lists of events differ: another firmware build"),
        (None, None) => {
            let reasons = [&expected.reasons, &found.reasons];
            let reason = reasons
                .into_iter()
                .find_map(|reasons| reasons.get(&register));
            guessed(format!(
                "Only one side has a value: {}",
                reason.map_or("no reason given", String::as_str)
            ))
        }
    }
}

/// A log: lists are compared around the first difference.
pub(super) fn of_log(report: &Report, ours: &[&Event], theirs: &[&Observed], at: usize) -> Cause {
    let (Some(our), Some(their)) = (ours.get(at), theirs.get(at)) else {
        return match (ours.get(at), theirs.get(at)) {
            (Some(our), _) => guessed(format!(
                "The log ends before `{}`: it is cut off, or that was not measured",
                our.event
            )),
            (_, Some(their)) => guessed(format!("The log goes on with {}", name(their))),
            _ => guessed("The lists are the same"),
        };
    };
    if our.digest.is_none() {
        let reason = our.reason.as_deref().unwrap_or("no reason given");
        return guessed(format!(
            "`{}` has no predicted digest to compare ({reason}); what comes behind it was not looked at",
            our.event
        ));
    }
    if let Some(cause) = of_digest(report, our, &their.digest) {
        return cause;
    }
    let digest_of = |event: Option<&&Event>| event.and_then(|event| event.digest);
    let after = theirs.get(at + 1).map(|event| event.digest);
    if digest_of(ours.get(at)).is_some() && digest_of(ours.get(at)) == after {
        return if their.kind == EventKind::SEPARATOR {
            reproduced(
                "An extra separator: a firmware that draws one line more (some builds of OVMF do so in each register)",
            )
        } else {
            reproduced(format!("An extra event, {}", name(their)))
        };
    }
    if digest_of(ours.get(at + 1)) == Some(their.digest) {
        return reproduced(format!("`{}` was not measured", our.event));
    }
    by_kind(our)
}

fn name(event: &Observed) -> String {
    match &event.text {
        Some(text) => format!("{} `{text}`", event.kind),
        None => event.kind.to_string(),
    }
}

/// Causes under which `event` would have just the digest that was found.
pub(super) fn of_digest(report: &Report, event: &Event, found: &Digest384) -> Option<Cause> {
    let known = report
        .alternatives
        .iter()
        .find(|other| other.event == event.event && other.digest == *found);
    if let Some(known) = known {
        return Some(reproduced(format!("This is measured when {}", known.cause)));
    }
    match event.event.as_str() {
        "TD HOB" => memory(report, found),
        "command line" => edited(report.cmdline.as_deref()?, found),
        "initramfs" if *found == sha384(&[]) => Some(reproduced("The initramfs was empty")),
        _ => None,
    }
}

/// The amount of memory whose hand-off block has this digest.
fn memory(report: &Report, found: &Digest384) -> Option<Cause> {
    let early = report.early_memory.as_ref()?;
    let cpus = 1;
    let fine = (FINE_STEP..COARSE_FROM).step_by(usize::try_from(FINE_STEP).ok()?);
    let coarse = (COARSE_FROM..=MOST_MEMORY).step_by(usize::try_from(COARSE_STEP).ok()?);
    fine.chain(coarse).find_map(|memory| {
        let block = hob::block(early.td_hob, &early.ranges, Shape { cpus, memory }).ok()?;
        (sha384(&block) == *found).then(|| {
            let own = report.shape.map(|shape| Memory(shape.memory).to_string());
            reproduced(format!(
                "Memory size: the machine had {}, not {}",
                Memory(memory),
                own.as_deref().unwrap_or("the one predicted for")
            ))
        })
    })
}

/// What firmware is known to make of a command line.
fn edited(cmdline: &str, found: &Digest384) -> Option<Cause> {
    [
        (
            format!("{cmdline} initrd=initrd"),
            "the firmware appends ` initrd=initrd`",
        ),
        (
            format!("initrd=initrd {cmdline}"),
            "the firmware puts `initrd=initrd ` in front, as edk2 2026.08 does",
        ),
        (
            cmdline.to_owned(),
            "the firmware adds nothing: a unified kernel image, or no initramfs",
        ),
        (
            format!("kernel {cmdline} initrd=initrd"),
            "the kernel is booted by a shim, which puts its name in front",
        ),
    ]
    .into_iter()
    .find(|(text, _)| {
        let mut bytes = utf16(text);
        bytes.extend([0, 0]);
        sha384(&bytes) == *found
    })
    .map(|(text, why)| reproduced(format!("The command line was `{text}`: {why}")))
}

/// What an event is known to depend on.
fn by_kind(event: &Event) -> Cause {
    guessed(match event.event.as_str() {
        "TD HOB" => {
            "Memory size, or firmware with other sections: no size up to 2 TiB gives this digest"
        }
        "CFV" => "Firmware variant: another variable store in the file",
        "SecureBoot" | "PK" | "KEK" | "db" | "dbx" => {
            "Firmware variant: Secure Boot is set up, or variables were stored"
        }
        "ACPI loader" | "ACPI RSDP" => "Number of processors, devices, or another version of QEMU",
        "ACPI tables" => {
            "Memory size, number of processors, devices, physical address bits, or another version of QEMU"
        }
        "BootOrder" | "Boot0000" => "Boot devices or firmware variant: other boot options",
        "image" => "Another kernel, command line or initramfs: they are in one file",
        "kernel" => {
            "Another kernel file; or its header was patched by an old QEMU for another memory size or initramfs"
        }
        "command line" => "Another command line, or one that the firmware edited",
        "initramfs" => "Another initramfs",
        "separator" => "Firmware that failed: its separator is not 4 zeros",
        _ => "Another firmware build, or another boot path",
    })
}
