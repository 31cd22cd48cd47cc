//! The parts of MRTD.

use crate::{
    digest::Digest384,
    event::{DependsOn, Event, Register},
    mrtd::MeasuredFirmware,
    tdvf::{PAGE, Section},
};

/// One entry a section, in the order in which a VMM adds them.
pub(super) fn memory_events(firmware: &MeasuredFirmware<'_>) -> Vec<Event> {
    firmware
        .sections()
        .map(|(section, contents)| memory_event(section, *contents))
        .collect()
}

fn memory_event(section: &Section, contents: Digest384) -> Event {
    let end = section.address.saturating_add(section.memory_size);
    let place = format!("{:#x} to {end:#x}", section.address);
    let pages = section.memory_size / PAGE;
    let measured = section.is_measured();
    Event {
        register: Register::Mrtd,
        kind: if measured {
            "MEM.PAGE.ADD, MR.EXTEND".to_owned()
        } else {
            "MEM.PAGE.ADD".to_owned()
        },
        event: section.kind.to_string(),
        bytes: if measured {
            format!(
                "addresses of {pages} pages, {place}, and {:#x} bytes of the firmware at {:#x}",
                section.raw_size, section.data_offset
            )
        } else {
            format!("addresses of {pages} pages, {place}")
        },
        digest: measured.then_some(contents),
        reason: (!measured).then(|| "only addresses are measured, not contents".to_owned()),
        depends_on: vec![DependsOn::Firmware],
        source: "TDX module src/vmm_dispatcher/api_calls/tdh_mem_page_add.c, tdh_mr_extend.c"
            .to_owned(),
    }
}
