//! Every parser over a file whose digests are known from elsewhere.

use zipnet_measurements::{
    Shape,
    acpi::{ccel, tables},
    digest::sha384,
    eventlog::{Algorithm, EventKind, EventLog, LogKind, replay_pcr},
    linux::{BootHeader, patched_by_qemu},
    machine::FROZEN,
    mrtd::{Order, mrtd},
    pe::Image,
    quote::QuoteRegisters,
    tdvf::{Firmware, FoundBy, SectionKind},
};

use crate::vectors::{expected, path, read};

#[test]
fn firmware_by_both_pointers_in_both_orders() {
    for (name, found_by) in [
        ("guid-table.fd", FoundBy::GuidTable),
        ("pointer.fd", FoundBy::Pointer),
    ] {
        let bytes = read(&format!("tdvf/{name}"));
        let firmware = Firmware::parse(&bytes).unwrap();
        assert_eq!(firmware.found_by(), found_by);
        assert_eq!(firmware.metadata_offset(), 0x3d00);
        let kinds: Vec<_> = firmware.sections().iter().map(|s| s.kind).collect();
        assert_eq!(
            kinds,
            [
                SectionKind::Bfv,
                SectionKind::Cfv,
                SectionKind::TempMem,
                SectionKind::TdHob
            ]
        );
        for (order, key) in [
            (Order::PageByPage, "page-by-page"),
            (Order::SectionBySection, "section-by-section"),
        ] {
            let found = mrtd(&firmware, order).unwrap().to_string();
            assert_eq!(found, expected(name, key), "{name} {key}");
        }
    }
}

#[test]
fn kernel_and_its_patches() {
    let bytes = read("kernel/kernel.bz");
    let image = Image::parse(&bytes).unwrap();
    assert_eq!(image.sections().len(), 3);
    assert_eq!(image.sha256().to_string(), expected("kernel.bz", "sha256"));
    assert_eq!(image.sha384().to_string(), expected("kernel.bz", "sha384"));
    let header = BootHeader::parse(&bytes).unwrap();
    assert_eq!(header.protocol, 0x20f);
    assert_eq!(header.setup_size, 4096);
    assert_eq!(header.command_line_size, 2047);
    assert!(header.above_4g);
    assert_eq!(header.version, "6.12.0-golden (made by hand)");
    let patched = patched_by_qemu(&bytes, &header, 1 << 30, 1000, "quiet").unwrap();
    assert_eq!(
        Image::parse(&patched).unwrap().sha384().to_string(),
        expected("kernel.bz", "patched for 1 GiB and 1000 bytes of initramfs")
    );
    let refused = |memory, initrd, cmdline| {
        patched_by_qemu(&bytes, &header, memory, initrd, cmdline).is_none()
    };
    assert!(refused(1 << 30, 1000, "vga=ask"));
    assert!(refused(1 << 20, 1 << 20, ""));
    assert!(refused(1 << 17, 0, ""));
}

#[test]
fn tpm_log_replays_to_what_the_tpm_had() {
    let bytes = read("eventlog/tpm-qemu-10.0.2.log");
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!(log.likely_kind(), LogKind::Tpm);
    assert_eq!(log.length, bytes.len());
    assert_eq!(log.algorithms.len(), 4);
    for pcr in [0, 1, 2, 3, 4, 5, 6, 7, 9] {
        let found = replay_pcr(&log, pcr, Algorithm::SHA256).unwrap();
        let wanted = expected("tpm-qemu-10.0.2.log", &pcr.to_string());
        assert_eq!(hex::encode(found), wanted, "PCR {pcr}");
    }
    assert_eq!(replay_pcr(&log, 8, Algorithm::SHA256), None);
    let texts: Vec<_> = log
        .events
        .iter()
        .filter(|event| matches!(event.index, 4 | 9) && event.kind != EventKind::SEPARATOR)
        .filter_map(zipnet_measurements::eventlog::LogEvent::text)
        .collect();
    assert_eq!(
        texts,
        [
            "Calling EFI Application from Boot Option",
            "LOADED_IMAGE::LoadOptions",
            "Linux initrd"
        ]
    );
}

#[test]
fn acpi_tables_of_the_frozen_machine() {
    for cpus in FROZEN.cpus() {
        let memory = 1 << 30;
        let files = FROZEN.acpi(Shape { cpus, memory }).unwrap();
        let found = tables(&files.loader, &files.tables).unwrap();
        let signatures: Vec<_> = found.iter().map(|t| t.signature.as_str()).collect();
        assert_eq!(signatures, ["DSDT", "FACP", "APIC", "MCFG", "WAET", "RSDT"]);
        // A local APIC for each processor: 112 bytes, then 8 for each.
        let apic = &found[2];
        assert_eq!(apic.length, 112 + 8 * usize::try_from(cpus).unwrap());
        let bytes = &files.tables[apic.offset..][..apic.length];
        assert_eq!(apic.digest, sha384(bytes));
    }
}

#[test]
fn ccel_table() {
    let mut table = b"CCEL".to_vec();
    table.extend(56_u32.to_le_bytes());
    table.resize(36, 0);
    table.extend([2, 0, 0, 0]);
    table.extend(0x1_0000_u64.to_le_bytes());
    table.extend(0x7fbd_f000_u64.to_le_bytes());
    let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    table[9] = sum;
    let found = ccel(&table).unwrap();
    assert_eq!(found.area_length, 0x1_0000);
    assert_eq!(found.area_address, 0x7fbd_f000);
    for at in 0..table.len() {
        let mut wrong = table.clone();
        wrong[at] ^= 0x80;
        assert!(ccel(&wrong).is_err(), "offset {at}");
    }
}

/// The genuine quotes of `zipnet-attest`, of both versions and all bodies.
#[test]
fn registers_of_genuine_quotes() {
    let quotes = path("../../attest/vectors/quotes");
    for (name, mrtd) in [
        (
            "v4-uptodate",
            "91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407de03ae6dc5f87f27428b2538873118b7",
        ),
        (
            "v4-debug",
            "705ee9381b8633a9fbe532b52345e8433343d2868959f57889d84ca377c395b689cac1599ccea1b7d420483a9ce5f031",
        ),
    ] {
        let bytes = std::fs::read(quotes.join(format!("{name}.quote.bin"))).unwrap();
        let found = QuoteRegisters::parse(&bytes).unwrap();
        assert_eq!(found.mrtd.to_string(), mrtd, "{name}");
    }
    // v5: the same fields at other offsets.
    for name in ["v5-td15", "v5-td15ex", "v5-servicetd"] {
        let bytes = std::fs::read(quotes.join(format!("{name}.quote.bin"))).unwrap();
        let found = QuoteRegisters::parse(&bytes).unwrap();
        assert_eq!(found.mrtd.0[..], bytes[54 + 136..][..48], "{name}");
        assert_eq!(found.rtmr[3].0[..], bytes[54 + 472..][..48], "{name}");
    }
}
