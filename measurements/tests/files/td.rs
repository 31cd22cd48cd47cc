//! Real TDs: their logs replay to their registers, and the rules that predict
//! RTMR0 to RTMR2 give what is in them.

use zipnet_measurements::{
    Digest384, Register, Shape,
    digest::{replay, sha384},
    eventlog::{EventLog, LogKind, rtmrs},
    hob,
};

use crate::{
    guest::Guest,
    vectors::{TDS, Td},
};

#[test]
fn logs_replay_to_the_registers() {
    let mut compared = 0;
    for name in TDS {
        let td = Td::read(name);
        let bytes = td.log();
        let log = EventLog::parse(&bytes).unwrap();
        assert_eq!(log.likely_kind(), LogKind::Cc);
        assert_eq!(log.events.len(), td.events.len());
        let [rtmr0, rtmr1, rtmr2, _] = rtmrs(&log);
        if let Some(registers) = &td.registers {
            // No log has what MRTD is of: it only tells TDs apart.
            assert_ne!(registers.mrtd, Digest384::ZERO, "{name}");
            assert_eq!(rtmr0, registers.rtmr0, "{name}");
            assert_eq!(rtmr1, registers.rtmr1, "{name}");
            assert_eq!(rtmr2, registers.rtmr2, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 2);
}

#[test]
fn padding_of_the_log_area_ends_a_log() {
    let log = Td::read("coco").log();
    for padding in [0, 0xff] {
        let mut padded = log.clone();
        padded.resize(0x1_0000, padding);
        let parsed = EventLog::parse(&padded).unwrap();
        assert_eq!(parsed.length, log.len());
        assert_eq!(parsed.events, EventLog::parse(&log).unwrap().events);
    }
}

/// The list that is predicted has the events of the real logs, in their order
/// and with their types; all digests agree but those of files that we do not
/// have: ACPI, kernel, command line, initramfs.
#[test]
fn real_logs_have_the_predicted_events() {
    for name in TDS {
        let td = Td::read(name);
        let bytes = td.log();
        let log = EventLog::parse(&bytes).unwrap();
        let guest = Guest {
            shape: Shape {
                cpus: 1,
                memory: td.memory_gib << 30,
            },
            ..Guest::default()
        };
        let predicted = guest.predict();
        for (index, register) in [
            (1, Register::Rtmr0),
            (2, Register::Rtmr1),
            (3, Register::Rtmr2),
        ] {
            let ours: Vec<_> = predicted
                .events
                .iter()
                .filter(|event| event.register == register)
                .collect();
            let theirs: Vec<_> = log.events.iter().filter(|e| e.index == index).collect();
            assert_eq!(ours.len(), theirs.len(), "{name} {register}");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours.kind, theirs.kind.to_string(), "{name} {}", ours.event);
                let of_other_files = ours.event.starts_with("ACPI")
                    || ["TD HOB", "CFV", "kernel", "command line", "initramfs"]
                        .contains(&ours.event.as_str());
                if !of_other_files {
                    assert_eq!(ours.digest, theirs.sha384(), "{name} {}", ours.event);
                }
            }
        }
    }
}

/// RTMR0 of a TD whose firmware has the sections of edk2 2025.02, predicted but
/// for its ACPI files: the hand-off block for its memory, an empty variable store.
#[test]
fn rtmr0_of_a_real_td_but_for_acpi() {
    let td = Td::read("near-2025");
    let bytes = td.log();
    let log = EventLog::parse(&bytes).unwrap();
    let in_log: Vec<_> = log
        .events
        .iter()
        .filter(|event| event.index == 1)
        .filter_map(zipnet_measurements::eventlog::LogEvent::sha384)
        .collect();
    let shape = Shape {
        cpus: 1,
        memory: td.memory_gib << 30,
    };
    let ranges = [
        (0x81_1000, 0xf000),
        (0x80_b000, 0x2000),
        (0x80_9000, 0x2000),
        (0x80_0000, 0x6000),
    ];
    let block = sha384(&hob::block(0x80_9000, &ranges, shape).unwrap());
    let guest = Guest {
        shape,
        ..Guest::default()
    };
    let digests: Vec<_> = guest
        .predict()
        .events
        .iter()
        .filter(|event| event.register == Register::Rtmr0)
        .enumerate()
        .map(|(number, event)| match event.event.as_str() {
            "TD HOB" => block,
            // The store of Debian's OVMF.fd has this digest (tests/machine).
            "CFV" => in_log[number],
            name if name.starts_with("ACPI") => in_log[number],
            _ => event.digest.unwrap(),
        })
        .collect();
    assert_eq!(replay(&digests), td.registers.unwrap().rtmr0);
}
