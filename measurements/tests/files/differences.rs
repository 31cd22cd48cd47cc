//! What `diff` says of every known way in which measurements come out other than
//! expected.

use zipnet_measurements::{
    Digest384, Register, Report,
    diff::{Difference, reports, with_log, with_quote},
    digest::{replay, sha384},
    efi::utf16,
    eventlog::{EventKind, EventLog, LogKind},
    mrtd::Order,
    quote::QuoteRegisters,
};

use crate::{
    guest::Guest,
    vectors::{add, log_header},
};

type Entry = (Register, EventKind, Digest384);

/// The events that a TD of this report would log, in the order of registers.
fn entries(report: &Report) -> Vec<Entry> {
    report
        .events
        .iter()
        .filter(|event| event.register != Register::Mrtd)
        .map(|event| {
            let kind = EventKind::from_name(&event.kind).unwrap();
            (event.register, kind, event.digest.unwrap())
        })
        .collect()
}

fn compare(report: &Report, entries: &[Entry]) -> Vec<Difference> {
    let mut bytes = log_header();
    for (register, kind, digest) in entries {
        let index = match register {
            Register::Mrtd => 0,
            Register::Rtmr0 => 1,
            Register::Rtmr1 => 2,
            Register::Rtmr2 => 3,
        };
        add(&mut bytes, index, *kind, digest, b"");
    }
    with_log(report, &EventLog::parse(&bytes).unwrap(), LogKind::Cc)
}

/// The quote of a TD with these events.
fn quote(report: &Report, entries: &[Entry]) -> QuoteRegisters {
    let of = |register: Register| {
        replay(
            entries
                .iter()
                .filter(|entry| entry.0 == register)
                .map(|entry| &entry.2),
        )
    };
    QuoteRegisters {
        mrtd: report.mrtd.unwrap(),
        rtmr: [
            of(Register::Rtmr0),
            of(Register::Rtmr1),
            of(Register::Rtmr2),
            Digest384::ZERO,
        ],
    }
}

#[test]
fn what_is_predicted_does_not_differ() {
    let report = Guest::default().report();
    let entries = entries(&report);
    assert_eq!(compare(&report, &entries), []);
    assert_eq!(with_quote(&report, &quote(&report, &entries)), []);
    assert_eq!(reports(&report, &report), []);
}

/// Finds the one difference and checks what is said of it.
fn one(differences: &[Difference], register: Register, reproduced: bool, says: &str) {
    let [difference] = differences else {
        panic!("{says}: {} differences", differences.len());
    };
    assert_eq!(difference.register, register, "{says}");
    let cause = &difference.cause;
    assert!(cause.text.contains(says), "{says}: {}", cause.text);
    assert_eq!(cause.reproduced, reproduced, "{says}");
}

fn position(entries: &[Entry], kind: EventKind, nth: usize) -> usize {
    let mut of_kind = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.1 == kind);
    of_kind.nth(nth).unwrap().0
}

#[test]
fn another_memory_size() {
    let report = Guest::default().report();
    let mut other = Guest::default();
    other.shape.memory = 4 << 30;
    let found = compare(&report, &entries(&other.report()));
    one(&found, Register::Rtmr0, true, "the machine had 4G, not 2G");
    assert_eq!(found[0].position, Some(1));
    one(
        &reports(&report, &other.report()),
        Register::Rtmr0,
        true,
        "4G, not 2G",
    );
}

#[test]
fn an_extra_separator() {
    let report = Guest::default().report();
    for (register, nth) in [(Register::Rtmr0, 0), (Register::Rtmr1, 1)] {
        let mut other = entries(&report);
        let at = position(&other, EventKind::SEPARATOR, nth);
        // In front of the event behind the separator.
        other.insert(at + 1, other[at]);
        one(
            &compare(&report, &other),
            register,
            true,
            "An extra separator",
        );
        let quote = quote(&report, &other);
        one(
            &with_quote(&report, &quote),
            register,
            true,
            "An extra separator",
        );
    }
}

#[test]
fn an_event_that_was_not_measured() {
    let report = Guest::default().report();
    let mut other = entries(&report);
    other.remove(position(&other, EventKind::EFI_ACTION, 1));
    let says = "`Exit Boot Services Invocation` was not measured";
    one(&compare(&report, &other), Register::Rtmr1, true, says);
    one(
        &with_quote(&report, &quote(&report, &other)),
        Register::Rtmr1,
        true,
        says,
    );
    let mut other = entries(&report);
    other.pop();
    one(
        &compare(&report, &other),
        Register::Rtmr2,
        false,
        "The log ends before `initramfs`",
    );
}

#[test]
fn a_kernel_that_an_old_qemu_patched() {
    let report = Guest::default().report();
    let mut other = entries(&report);
    let at = position(&other, EventKind::BOOT_SERVICES_APPLICATION, 0);
    other[at].2 = report.alternatives[0].digest;
    let says = "an old QEMU patches the kernel's header";
    one(&compare(&report, &other), Register::Rtmr1, true, says);
    one(
        &with_quote(&report, &quote(&report, &other)),
        Register::Rtmr1,
        true,
        says,
    );
    other[at].2 = sha384(b"another kernel");
    one(
        &compare(&report, &other),
        Register::Rtmr1,
        false,
        "Another kernel file",
    );
    one(
        &with_quote(&report, &quote(&report, &other)),
        Register::Rtmr1,
        false,
        "compare with an event log",
    );
}

#[test]
fn a_command_line_that_the_firmware_edited() {
    let guest = Guest::default();
    let report = guest.report();
    for (text, says) in [
        (
            format!("initrd=initrd {}", guest.cmdline),
            "in front, as edk2 2026.08 does",
        ),
        (guest.cmdline.clone(), "the firmware adds nothing"),
        (
            format!("kernel {} initrd=initrd", guest.cmdline),
            "by a shim",
        ),
    ] {
        let mut other = entries(&report);
        let at = position(&other, EventKind::EVENT_TAG, 0);
        let mut bytes = utf16(&text);
        bytes.extend([0, 0]);
        other[at].2 = sha384(&bytes);
        one(&compare(&report, &other), Register::Rtmr2, true, says);
    }
}

#[test]
fn other_firmware_and_devices() {
    let report = Guest::default().report();
    for (kind, nth, says) in [
        (EventKind::PLATFORM_FIRMWARE_BLOB2, 0, "Firmware variant"),
        (
            EventKind::VARIABLE_DRIVER_CONFIG,
            2,
            "Secure Boot is set up",
        ),
        (
            EventKind::PLATFORM_CONFIG_FLAGS,
            0,
            "Number of processors, devices",
        ),
        (EventKind::PLATFORM_CONFIG_FLAGS, 2, "physical address bits"),
        (EventKind::VARIABLE_BOOT, 0, "other boot options"),
        (
            EventKind::HANDOFF_TABLES2,
            0,
            "no size up to 2 TiB gives this digest",
        ),
    ] {
        let mut other = entries(&report);
        let at = position(&other, kind, nth);
        other[at].2 = sha384(b"other");
        one(&compare(&report, &other), Register::Rtmr0, false, says);
    }
}

#[test]
fn mrtd_in_the_other_order_and_of_another_firmware() {
    let report = Guest::default().report();
    assert_eq!(report.mrtd_order, Order::PageByPage);
    let mut quote = quote(&report, &entries(&report));
    quote.mrtd = report.mrtd_other_order.unwrap();
    one(
        &with_quote(&report, &quote),
        Register::Mrtd,
        true,
        "in the other order",
    );
    quote.mrtd = sha384(b"other");
    one(
        &with_quote(&report, &quote),
        Register::Mrtd,
        false,
        "Another firmware file",
    );
}

#[test]
fn nothing_was_measured() {
    let report = Guest::default().report();
    let mut quote = quote(&report, &entries(&report));
    quote.rtmr[2] = Digest384::ZERO;
    one(
        &with_quote(&report, &quote),
        Register::Rtmr2,
        false,
        "a kernel before 6.9",
    );
}

/// RTMR0 of 3 processors is not predicted: a log is not blamed for that.
#[test]
fn what_has_no_prediction_has_no_cause() {
    let report = Guest::default().report();
    let mut unknown = Guest::default();
    unknown.shape.cpus = 3;
    let unknown = unknown.report();
    one(
        &compare(&unknown, &entries(&report)),
        Register::Rtmr0,
        false,
        "`ACPI loader` has no predicted digest to compare",
    );
    assert_eq!(with_quote(&unknown, &quote(&report, &entries(&report))), []);
    // Without MRTD on one side there is no order to speak of.
    let mut without = report.clone();
    without.mrtd = None;
    without.mrtd_other_order = None;
    let mut other = report;
    other.mrtd_other_order = None;
    one(
        &reports(&without, &other),
        Register::Mrtd,
        false,
        "Only one side has a value",
    );
}
