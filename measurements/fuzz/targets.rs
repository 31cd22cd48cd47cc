// The bodies of the fuzz targets: each parser over any bytes. None may panic or
// work without bound. `make fuzz` drives them by libFuzzer; `tests/files/corpus.rs`
// runs them over the seeds and mutations of these.

use zipnet_measurements::{
    Manifest, Report, Shape, acpi,
    confirm::Said,
    diff::{observed, reports, with_log},
    eventlog::{EventLog, LogKind, replay_pcr, rtmrs},
    hob::td_hob,
    linux::{BootHeader, patched_by_qemu},
    mrtd::{Order, mrtd},
    pe::Image,
    quote::QuoteRegisters,
    tdvf::Firmware,
    unified::Unified,
};

/// A fuzz target: its name, which is that of its folder of seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("tdvf", firmware),
    ("kernel", kernel),
    ("eventlog", log),
    ("acpi", tables),
    ("quote", quote),
    ("manifest", manifest),
];

fn firmware(data: &[u8]) {
    let Ok(firmware) = Firmware::parse(data) else {
        return;
    };
    for order in [Order::PageByPage, Order::SectionBySection] {
        let _ = mrtd(&firmware, order);
    }
    for memory in [64 << 20, 4 << 30] {
        let _ = td_hob(&firmware, Shape { cpus: 1, memory });
    }
}

fn kernel(data: &[u8]) {
    if let Ok(image) = Image::parse(data) {
        let _ = (image.sha256(), image.sha384());
    }
    let _ = Unified::parse(data);
    if let Ok(header) = BootHeader::parse(data) {
        let _ = patched_by_qemu(data, &header, 1 << 30, 1 << 20, "quiet");
    }
}

fn console(data: &[u8]) {
    let mut said = Said::default();
    String::from_utf8_lossy(data)
        .lines()
        .for_each(|line| said.line(line));
    let _ = said.is_whole();
}

fn log(data: &[u8]) {
    console(data);
    let Ok(log) = EventLog::parse(data) else {
        return;
    };
    let _ = rtmrs(&log);
    for (algorithm, _) in &log.algorithms {
        let _ = replay_pcr(&log, 0, *algorithm);
    }
    for kind in [LogKind::Cc, LogKind::Tpm] {
        let _ = observed(&log, kind);
    }
    for event in &log.events {
        let _ = event.text();
    }
}

/// The first byte says how many commands of 128 bytes the loader has.
fn tables(data: &[u8]) {
    let _ = acpi::ccel(data);
    if let Some((commands, rest)) = data.split_first()
        && let Some((loader, tables)) = rest.split_at_checked(usize::from(*commands) * 128)
    {
        let _ = acpi::tables(loader, tables);
    }
}

fn quote(data: &[u8]) {
    let _ = QuoteRegisters::parse(data);
}

fn manifest(data: &[u8]) {
    if let Ok(report) = Report::from_json(data) {
        let _ = reports(&report, &report);
    }
    let Ok(manifest) = Manifest::from_json(data) else {
        return;
    };
    for shape in &manifest.shapes {
        if let Some(report) = manifest.report(&shape.id) {
            let _ = reports(&report, &report);
            if let Ok(log) = EventLog::parse(data) {
                let _ = with_log(&report, &log, LogKind::Cc);
            }
        }
    }
}
