//! Predictions against what real firmware and a real kernel measure: QEMU without
//! acceleration, with a TPM emulator, in two versions and two sizes.

#![allow(clippy::unwrap_used)]

mod guest;
mod initramfs;

use std::path::Path;

use guest::{CMDLINE, Guest, MACHINE, Qemu, Said};
use zipnet_measurements::{
    Inputs, Kernel, Register, Report, Shape,
    diff::with_log,
    digest::{sha256, sha384},
    eventlog::{Algorithm, EventKind, EventLog, LogKind, replay_pcr},
    machine::{AcpiFiles, FROZEN},
    mrtd::{EXPECTED, MeasuredFirmware},
    predict, profile,
    tdvf::Firmware,
};

const MIB: u64 = 1 << 20;

/// Every PCR that the guest read is what its log replays to.
fn check_replay(said: &Said, log: &EventLog<'_>) {
    let sha256 = said.pcrs.iter().filter(|(bank, ..)| bank == "sha256");
    assert_eq!(sha256.count(), 5, "PCRs 1, 4, 5, 7 and 9");
    for (bank, number, value) in &said.pcrs {
        let algorithm = match bank.as_str() {
            "sha256" => Algorithm::SHA256,
            "sha384" => Algorithm::SHA384,
            other => panic!("a bank {other}"),
        };
        let replayed = replay_pcr(log, *number, algorithm);
        assert_eq!(replayed.as_ref(), Some(value), "{bank} PCR {number}");
    }
}

/// What is predicted for a guest with these ACPI tables.
fn predicted(guest: &Guest, said: &Said, acpi: &AcpiFiles) -> Report {
    let bytes = std::fs::read(MACHINE.join("OVMF.fd")).unwrap();
    let kernel = std::fs::read(MACHINE.join("vmlinuz")).unwrap();
    let firmware = Firmware::parse(&bytes).unwrap();
    let length = u32::try_from(said.initrd.len()).unwrap();
    let kernel = match guest.qemu {
        Qemu::V7_2 => Kernel::parse_patched(&kernel, guest.shape, length, CMDLINE)
            .unwrap()
            .unwrap(),
        Qemu::V11_1 => Kernel::parse(&kernel).unwrap(),
    };
    let inputs = Inputs {
        firmware: &MeasuredFirmware::new(&firmware),
        profile: profile::of(&sha256(&bytes)),
        order: EXPECTED,
        unified: None,
        kernel: Some(&kernel),
        initrd: Some((sha384(&said.initrd), u64::from(length))),
        cmdline: Some(CMDLINE),
        shape: Some(guest.shape),
    };
    let prediction = predict(&inputs, Ok(acpi));
    Report::new(&inputs, prediction, Vec::new())
}

/// Boots with a TPM; every event of the log that a TD would have is the
/// predicted one: Secure Boot variables, separators, ACPI, boot options, kernel,
/// both exits of boot services, command line, initramfs.
fn firmware_measures_what_is_predicted(qemu: Qemu, memory: u64) {
    let frozen = frozen_guest(Shape { cpus: 1, memory });
    let guest = match qemu {
        Qemu::V11_1 => Guest {
            tpm: true,
            ..frozen
        },
        Qemu::V7_2 => Guest {
            qemu,
            tpm: true,
            arguments: &[
                "-machine",
                "q35",
                "-netdev",
                "user,id=n",
                "-device",
                "virtio-net-pci,netdev=n,addr=2,disable-legacy=on,romfile=",
            ],
            ..frozen
        },
    };
    let said = guest.boot();
    let log = EventLog::parse(said.file("log")).unwrap();
    assert_eq!(log.likely_kind(), LogKind::Tpm);
    check_replay(&said, &log);
    let report = predicted(&guest, &said, &said.acpi());
    assert_eq!(with_log(&report, &log, LogKind::Tpm), []);
    // The comparison is of something: it fails for each event that is wrong.
    for (number, event) in report.events.iter().enumerate() {
        let seen = event.digest.is_some()
            && EventKind::from_name(&event.kind).is_some()
            && !matches!(event.event.as_str(), "TD HOB" | "CFV");
        let mut wrong = report.clone();
        wrong.events[number].digest = Some(sha384(b"wrong"));
        let found = with_log(&wrong, &log, LogKind::Tpm);
        assert_eq!(found.len(), usize::from(seen), "{}", event.event);
    }
}

#[test]
fn qemu_7_2_with_512_mib() {
    firmware_measures_what_is_predicted(Qemu::V7_2, 512 * MIB);
}

#[test]
fn qemu_7_2_with_3_gib() {
    firmware_measures_what_is_predicted(Qemu::V7_2, 3072 * MIB);
}

#[test]
fn qemu_11_1_with_512_mib() {
    firmware_measures_what_is_predicted(Qemu::V11_1, 512 * MIB);
}

#[test]
fn qemu_11_1_with_3_gib() {
    firmware_measures_what_is_predicted(Qemu::V11_1, 3072 * MIB);
}

/// `BadAML`: a host may add tables with code that the guest's kernel runs and that
/// reads and writes its memory. Every byte of it is in an event of RTMR0, before
/// the kernel starts.
#[test]
fn code_in_a_table_of_the_host_is_measured() {
    const HOST: &[u8] = include_bytes!("host.aml");
    let guest = Guest {
        tpm: true,
        arguments: &[
            "-machine",
            "q35",
            "-acpitable",
            concat!(
                "sig=SSDT,data=",
                env!("CARGO_MANIFEST_DIR"),
                "/tests/machine/host.aml"
            ),
        ],
        ..frozen_guest(Shape {
            cpus: 1,
            memory: 512 * MIB,
        })
    };
    let said = guest.boot();
    let log = EventLog::parse(said.file("log")).unwrap();
    let mut files = said.acpi();
    let with = |files: &AcpiFiles| {
        let report = predicted(&guest, &said, files);
        let found = with_log(&report, &log, LogKind::Tpm);
        found.into_iter().map(|found| found.register)
    };
    assert_eq!(with(&files).count(), 0);
    let tables = &files.tables;
    let mut places = 0..tables.len().saturating_sub(HOST.len());
    let at = places.find(|at| tables[*at..].starts_with(HOST)).unwrap();
    for byte in at..at + HOST.len() {
        files.tables[byte] ^= 1;
        assert!(with(&files).eq([Register::Rtmr0]), "byte {byte}");
        files.tables[byte] ^= 1;
    }
}

/// The machine whose tables `machines/` holds.
fn frozen_guest(shape: Shape) -> Guest {
    Guest {
        qemu: Qemu::V11_1,
        shape,
        tpm: false,
        arguments: &[
            "-machine",
            "q35,smm=off,pic=off,hpet=off,kernel_irqchip=split",
            "-netdev",
            "user,id=n",
            "-device",
            "virtio-net-pci,netdev=n,addr=2,disable-legacy=on,romfile=",
        ],
    }
}

/// The frozen machine's own arguments give just the ACPI files that are
/// predicted for it.
fn acpi_is_as_predicted(cpus: u32, memory: u64) {
    let shape = Shape { cpus, memory };
    let said = frozen_guest(shape).boot().acpi();
    let predicted = FROZEN.acpi(shape).unwrap();
    assert!(said.loader == predicted.loader, "loader");
    assert_eq!(said.rsdp, predicted.rsdp);
    let differs = said.tables.iter().zip(&predicted.tables);
    assert_eq!(differs.clone().position(|(a, b)| a != b), None, "tables");
    assert_eq!(said.tables.len(), predicted.tables.len());
}

#[test]
fn acpi_of_1_cpu_and_768_mib() {
    acpi_is_as_predicted(1, 768 * MIB);
}

#[test]
fn acpi_of_2_cpus_and_6_gib() {
    acpi_is_as_predicted(2, 6144 * MIB);
}

/// The files of `machines/` are what the frozen machine hands to its firmware.
/// With `ZIPNET_BLESS=1` all of them are taken anew, after a change of QEMU.
#[test]
fn the_frozen_machine_hands_out_these_acpi_files() {
    let bless = std::env::var_os("ZIPNET_BLESS").is_some();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("machines")
        .join(FROZEN.id);
    // Each takes a boot.
    for cpus in FROZEN.cpus().filter(|cpus| bless || *cpus == 8) {
        let memory = 1024 * MIB;
        let files = frozen_guest(Shape { cpus, memory }).boot().acpi();
        let trimmed = |bytes: &[u8]| {
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            bytes[..end].to_vec()
        };
        for (name, bytes) in [
            ("loader", trimmed(&files.loader)),
            ("rsdp", files.rsdp),
            ("tables", trimmed(&files.tables)),
        ] {
            let path = dir.join(format!("{cpus}.{name}"));
            if bless {
                std::fs::write(path, bytes).unwrap();
            } else {
                assert!(std::fs::read(&path).unwrap() == bytes, "{}", path.display());
            }
        }
    }
}

/// MRTD of the locked firmware, as a program that shares no code with this crate
/// computes it; its variable store is that of three real TDs.
#[test]
fn locked_firmware() {
    use zipnet_measurements::{
        Digest384,
        mrtd::{Order, mrtd},
        tdvf::SectionKind,
    };
    let bytes = std::fs::read(MACHINE.join("OVMF.fd")).unwrap();
    let firmware = Firmware::parse(&bytes).unwrap();
    let digest = |hex| Ok(Digest384::from_hex(hex).unwrap());
    assert_eq!(
        mrtd(&firmware, Order::PageByPage),
        digest(
            "bdc6fb145880f06f30c8b346b8dce2a99d9351b56892df22f80fcf6574caa9f9c31df8e8576d53b4d0cd1c3f28910e11"
        )
    );
    assert_eq!(
        mrtd(&firmware, Order::SectionBySection),
        digest(
            "456f07902150d008bb913c3e1e84e9297f735a6c83cd2a957a1f0a8bbedb06df188e3837ae48d32c73d473d097dc0db2"
        )
    );
    let store = firmware.section(SectionKind::Cfv).unwrap();
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/td");
    for name in ["coco", "near-old", "near-2025"] {
        let log = std::fs::read_to_string(logs.join(format!("{name}.json"))).unwrap();
        assert!(
            log.contains(&sha384(firmware.data(store)).to_string()),
            "{name}"
        );
    }
}
