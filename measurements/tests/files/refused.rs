//! Broken and hostile files: each refusal says what, where, and what would be
//! right; none panics.

use zipnet_measurements::{
    acpi::tables, eventlog::EventLog, linux::BootHeader, machine::FROZEN, pe::Image,
    quote::QuoteRegisters, tdvf::Firmware,
};

use crate::{
    guest::Guest,
    vectors::{Td, read},
};

/// Where the metadata of `guid-table.fd` begins.
const METADATA: usize = 0x3d00;

fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

fn firmware_error(at: usize, with: &[u8]) -> String {
    let bytes = patched(read("tdvf/guid-table.fd"), at, with);
    Firmware::parse(&bytes).unwrap_err().to_string()
}

#[test]
fn firmware() {
    // Field, value, what the message says.
    let section = |number: usize, field: usize| METADATA + 16 + 32 * number + field;
    for (at, value, says) in [
        (
            METADATA,
            b"TDVX".to_vec(),
            "offset 0x3d00 is broken: it begins with TDVX",
        ),
        (
            METADATA + 4,
            vec![1],
            "it is 1 bytes long; 144 fit 4 sections",
        ),
        (METADATA + 8, vec![2], "version 2; 1 is known"),
        (METADATA + 12, vec![0], "it lists 0 sections"),
        (METADATA + 12, vec![0xff; 4], "it lists 4294967295 sections"),
        (
            section(0, 0),
            vec![0, 0x20],
            "contents end at offset 0x5000; the file has 0x4000 bytes",
        ),
        (
            section(0, 8),
            vec![1],
            "0xffffd001 is not a multiple of 4096",
        ),
        (
            section(0, 16),
            vec![0, 0x40],
            "0x3000 bytes fills 0x4000 bytes of memory",
        ),
        (section(0, 24), vec![9], "it is of type 9"),
        (
            section(1, 4),
            vec![0, 0x20, 0],
            "a CFV of 0x2000 bytes fills 0x1000",
        ),
        (
            section(1, 0),
            vec![0, 0x10],
            "overlap in the file at 0x1000",
        ),
        (
            section(1, 8),
            vec![0, 0xd0],
            "overlap in memory at 0xffffd000",
        ),
        (section(2, 4), vec![1], "TempMem has 0x1 bytes in the file"),
        (
            section(2, 16),
            vec![0, 0, 0, 0, 0, 0, 0, 0x80],
            "cover 0x8000000000004000 bytes",
        ),
        (
            section(2, 16),
            vec![0; 8],
            "memory size 0x0 is not whole pages",
        ),
        (section(2, 28), vec![1], "TempMem is marked as measured"),
        (section(2, 24), vec![2], "lists several TD_HOB sections"),
        (
            section(3, 8),
            vec![0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "wraps around",
        ),
    ] {
        let error = firmware_error(at, &value);
        assert!(error.contains(says), "{at:#x}: {error}");
        assert!(error.contains("0x"), "no offset: {error}");
    }
}

#[test]
fn firmware_without_metadata() {
    let none = Firmware::parse(&[0; 0x4000]).unwrap_err().to_string();
    assert!(
        none.contains("no TDX metadata") && none.contains("0x3fe0"),
        "{none}"
    );
    let short = Firmware::parse(b"TDVF").unwrap_err().to_string();
    assert!(short.contains("Truncated at offset 0x0"), "{short}");
    // The GUID table: its length, an entry's length, the offset in the entry.
    let table = 0x4000 - 32;
    for (at, value, says) in [
        (table - 18, [0xff, 0xff], "begins before the file does"),
        (table - 18, [1, 0], "no room for its own footer"),
        (table - 18 - 18, [1, 0], "shorter than its GUID and length"),
        (table - 18 - 18, [0xff, 0], "begins before the table does"),
        (
            table - 18 - 22 - 18,
            [23, 0],
            "begins before the table does",
        ),
        (table - 18 - 22 - 22, [1, 0], "points outside of the file"),
    ] {
        let error = firmware_error(at, &value);
        assert!(error.contains(says), "{at:#x}: {error}");
    }
}

/// Every prefix of every file is refused or read, never a panic; a prefix of a
/// log that ends between two events is a shorter log.
#[test]
fn every_truncation() {
    let firmware = read("tdvf/guid-table.fd");
    for length in (0..firmware.len()).step_by(61) {
        assert!(Firmware::parse(&firmware[..length]).is_err());
    }
    let kernel = read("kernel/kernel.bz");
    for length in 0..0x2200 {
        assert!(Image::parse(&kernel[..length]).is_err(), "{length}");
    }
    for length in 0..0x240 {
        assert!(BootHeader::parse(&kernel[..length]).is_err());
    }
    let log = Td::read("coco").log();
    let whole = EventLog::parse(&log).unwrap();
    for length in 0..log.len() {
        match EventLog::parse(&log[..length]) {
            Ok(shorter) => {
                let ends = whole.events.iter().position(|event| event.offset == length);
                assert_eq!(ends, Some(shorter.events.len()));
            }
            Err(error) => assert!(error.to_string().contains("0x"), "{error}"),
        }
    }
    let quote = [4, 0, 2, 0, 0x81, 0, 0, 0].repeat(79);
    for length in 0..quote.len() {
        let read = QuoteRegisters::parse(&quote[..length]);
        assert_eq!(read.is_ok(), length >= 568, "{length}");
    }
}

#[test]
fn kernels() {
    let kernel = read("kernel/kernel.bz");
    let optional = 0x80 + 24;
    let first_section = optional + 0xa0;
    for (at, value, says) in [
        (0, b"ZM".to_vec(), "DOS signature at offset 0x0 is 5a4d"),
        (0x3c, vec![0xff; 4], "Truncated at offset 0xffffffff"),
        (0x80, b"PX".to_vec(), "PE signature at offset 0x80"),
        (optional, vec![7], "optional header at offset 0x98 is 0702"),
        (
            optional + 60,
            vec![0x10, 0],
            "headers say 16 bytes at offset 0xd4",
        ),
        (optional + 60, vec![0xff; 4], "the file has 0x3000"),
        (
            first_section + 16,
            vec![0, 0x40],
            "Section 0 of the PE image, at offset 0x138, ends at 0x5800",
        ),
        (
            first_section + 20,
            vec![0, 0x10],
            "overlap at offset 0x1000",
        ),
        (first_section + 20, vec![0, 0x0c], "overlap at offset 0xc00"),
        (
            optional + 148,
            vec![0, 0x20],
            "certificates of 0x2000 bytes (offset 0x128) do not fit",
        ),
    ] {
        let error = Image::parse(&patched(kernel.clone(), at, &value)).unwrap_err();
        assert!(error.to_string().contains(says), "{at:#x}: {error}");
    }
    for (at, value, says) in [
        (0x202, b"HdrT".to_vec(), "offset 0x202 holds 48647254"),
        (0x206, vec![0x0b, 2], "boot protocol 2.11; 2.12 or later"),
        (
            0x1f1,
            vec![0xff],
            "setup part has 131072 bytes (offset 0x1f1)",
        ),
    ] {
        let error = BootHeader::parse(&patched(kernel.clone(), at, &value)).unwrap_err();
        assert!(error.to_string().contains(says), "{at:#x}: {error}");
    }
}

#[test]
fn logs() {
    let log = Td::read("coco").log();
    // The header has 65 bytes.
    for (at, value, says) in [
        (4, vec![4], "first event is of type EV_SEPARATOR"),
        (28, vec![0xff; 4], "the header needs 4294967295 bytes"),
        (32, b"x".to_vec(), "not `Spec ID Event03` at offset 0x20"),
        (
            56,
            vec![0],
            "0 algorithms; 1 to 8 are sensible at offset 0x38",
        ),
        (
            62,
            vec![47],
            "digests of algorithm 0xc have 47 bytes at offset 0x3c",
        ),
        (
            65 + 8,
            vec![2],
            "Event 1 of the log, at offset 0x41, is broken: it has 2 digests",
        ),
        (65 + 12, vec![0xb], "algorithm 0xb is not in the header"),
        (
            65 + 62,
            vec![0xff; 4],
            "the data of an event needs 4294967295 bytes",
        ),
    ] {
        let bytes = patched(log.clone(), at, &value);
        let error = EventLog::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains(says), "{at}: {error}");
    }
}

#[test]
fn acpi_tables() {
    let guest = Guest::default();
    let files = FROZEN.acpi(guest.shape).unwrap();
    let found = tables(&files.loader, &files.tables).unwrap();
    let error = tables(&files.loader[1..], &files.tables).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("4095 bytes; whole commands of 128"),
        "{error}"
    );
    let error = tables(&files.loader, &files.tables[..found[0].length]).unwrap_err();
    assert!(error.to_string().contains("the tables have"), "{error}");
    let mut wrong = files.tables.clone();
    wrong[found[0].offset + 4] ^= 1;
    let error = tables(&files.loader, &wrong).unwrap_err();
    assert!(
        error.to_string().contains("the length in the table itself"),
        "{error}"
    );
    // The same table named twice: no more is hashed than there is.
    let named = |command: &[u8]| command.starts_with(&3_u32.to_le_bytes());
    let mut twice = files.loader.clone();
    let command = twice.chunks_exact(128).find(|c| named(c)).unwrap().to_vec();
    twice.extend(command);
    let error = tables(&twice, &files.tables).unwrap_err().to_string();
    assert!(error.contains("overlap at offset 0x"), "{error}");
}

#[test]
fn shapes_of_other_families_have_a_reason() {
    let mut guest = Guest::default();
    guest.shape.cpus = 3;
    let prediction = guest.predict();
    let rtmr0 = prediction.value(zipnet_measurements::Register::Rtmr0);
    assert_eq!(rtmr0.digest, None);
    let reason = rtmr0.reason.as_deref().unwrap();
    assert!(reason.contains("not seen with 3 processors"), "{reason}");
    assert!(
        prediction
            .value(zipnet_measurements::Register::Rtmr1)
            .digest
            .is_some()
    );
}

#[test]
fn command_lines_and_kernels_that_are_not_predicted() {
    use zipnet_measurements::Register::Rtmr2;
    for (cmdline, says) in [
        ("console=ttyS0 naïve", "holds 'ï'"),
        ("a\nb", "holds '\\n'"),
        (&"x".repeat(2040), "2054 bytes with what the firmware adds"),
    ] {
        let guest = Guest {
            cmdline: cmdline.to_owned(),
            ..Guest::default()
        };
        let value = guest.predict().value(Rtmr2).clone();
        assert_eq!(value.digest, None);
        assert!(value.reason.as_ref().unwrap().contains(says), "{value:?}");
    }
    // A kernel from before 6.9 measures nothing there.
    let mut guest = Guest::default();
    guest.kernel[0x500..0x504].copy_from_slice(b"6.8.");
    let value = guest.predict().value(Rtmr2).clone();
    assert!(value.reason.unwrap().contains("Linux 6.8 measures neither"));
}
