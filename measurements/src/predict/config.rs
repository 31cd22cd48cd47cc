//! RTMR0: the firmware's configuration.

use super::Inputs;
use crate::{
    digest::{Digest384, sha384},
    efi::{GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE, UI_APP, variable_data, volume_option},
    event::{DependsOn, Event, Register},
    eventlog::EventKind,
    hob::td_hob,
    machine::AcpiFiles,
    tdvf::SectionKind,
};

/// Active, hidden, an application: how OVMF registers its setup program
/// (`MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c`,
/// `BmRegisterBootManagerMenu`).
const UI_APP_ATTRIBUTES: u32 = 0x109;

const SEC: &str = "edk2 OvmfPkg/IntelTdx/TdxHelperLib/SecTdxHelper.c";
const TCG2: &str = "edk2 OvmfPkg/Tcg/TdTcg2Dxe/TdTcg2Dxe.c";
const ACPI: &str = "edk2 OvmfPkg/Library/AcpiPlatformLib/QemuFwCfgAcpi.c";

/// The events of RTMR0 in the order of edk2 2025.02: hand-off block and variable
/// store in SEC, the Secure Boot variables and a separator when variables can be
/// written, ACPI as it is read, boot options at "ready to boot".
#[must_use]
pub fn config_events(inputs: &Inputs<'_>, acpi: Result<&AcpiFiles, String>) -> Vec<Event> {
    let mut events = vec![hob(inputs), variable_store(inputs)];
    // No Secure Boot: `mVariableType` of TdTcg2Dxe.c, all empty.
    for (vendor, name) in [
        (GLOBAL_VARIABLE, "SecureBoot"),
        (GLOBAL_VARIABLE, "PK"),
        (GLOBAL_VARIABLE, "KEK"),
        (IMAGE_SECURITY_DATABASE, "db"),
        (IMAGE_SECURITY_DATABASE, "dbx"),
    ] {
        let hashed = variable_data(vendor, name, &[]);
        events.push(
            of(EventKind::VARIABLE_DRIVER_CONFIG, name, &hashed)
                .hashing("UEFI_VARIABLE_DATA of a variable that is not there")
                .with(&[DependsOn::Firmware])
                .by(TCG2),
        );
    }
    events.push(
        of(EventKind::SEPARATOR, "separator", &[0; 4])
            .hashing("4 zeros")
            .by(TCG2),
    );
    events.extend(acpi_events(acpi));
    events.push(
        of(EventKind::VARIABLE_BOOT, "BootOrder", &[0, 0])
            .hashing("the variable's value: Boot0000")
            .with(&[DependsOn::Firmware])
            .by(TCG2),
    );
    let option = volume_option(UI_APP_ATTRIBUTES, "UiApp", UI_APP);
    events.push(
        of(EventKind::VARIABLE_BOOT, "Boot0000", &option)
            .hashing("the variable's value: UiApp in the firmware's volume of drivers")
            .with(&[DependsOn::Firmware])
            .by(TCG2),
    );
    events
}

fn of(kind: EventKind, event: &str, hashed: &[u8]) -> Event {
    Event::of_bytes(Register::Rtmr0, kind, event, hashed)
}

fn unknown(kind: EventKind, event: &str, digest: Result<Digest384, String>) -> Event {
    Event::new(Register::Rtmr0, kind, event, digest)
}

fn hob(inputs: &Inputs<'_>) -> Event {
    let digest = match inputs.shape {
        Some(shape) => td_hob(inputs.firmware.firmware(), shape)
            .map(|block| sha384(&block))
            .map_err(|error| error.to_string()),
        None => Err("the amount of memory is not given".to_owned()),
    };
    unknown(EventKind::HANDOFF_TABLES2, "TD HOB", digest)
        .hashing("the VMM's list of memory, without its end marker")
        .with(&[DependsOn::Firmware, DependsOn::Memory])
        .by(SEC)
}

fn variable_store(inputs: &Inputs<'_>) -> Event {
    let digest = inputs
        .firmware
        .sections()
        .find(|(section, _)| section.kind == SectionKind::Cfv)
        .map(|(_, contents)| *contents)
        .ok_or_else(|| "the firmware has no CFV section".to_owned());
    unknown(EventKind::PLATFORM_FIRMWARE_BLOB2, "CFV", digest)
        .hashing("the variable store in the firmware file")
        .with(&[DependsOn::Firmware])
        .by(SEC)
}

fn acpi_events(acpi: Result<&AcpiFiles, String>) -> [Event; 3] {
    let digests = acpi.map(AcpiFiles::digests);
    [
        ("ACPI loader", "fw_cfg etc/table-loader", false),
        ("ACPI RSDP", "fw_cfg etc/acpi/rsdp", false),
        ("ACPI tables", "fw_cfg etc/acpi/tables", true),
    ]
    .map(|(event, bytes, with_memory)| {
        let digest = match (&digests, event) {
            (Ok([loader, _, _]), "ACPI loader") => Ok(*loader),
            (Ok([_, rsdp, _]), "ACPI RSDP") => Ok(*rsdp),
            (Ok([_, _, tables]), _) => Ok(*tables),
            (Err(reason), _) => Err(reason.clone()),
        };
        let mut depends_on = vec![DependsOn::Cpus, DependsOn::Machine];
        if with_memory {
            depends_on.insert(0, DependsOn::Memory);
        }
        unknown(EventKind::PLATFORM_CONFIG_FLAGS, event, digest)
            .hashing(bytes)
            .with(&depends_on)
            .by(ACPI)
    })
}
