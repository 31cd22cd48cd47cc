//! Which devices this machine may have, and that no driver takes another one.
//!
//! Devices are the host's, and so is what they say to their drivers, which were not
//! written against that. The kernel drives what it finds before PID 1 runs; what is found
//! here and is not of the image's machine ends the guest, by name. Drivers take nothing
//! by themselves from then on: the one network card is bound by hand, and what is plugged
//! in later finds nobody.
//!
//! Buses whose devices come out of ACPI tables are left alone: RTMR0 has every byte of
//! these. A TPM is looked for nevertheless, since firmware finds one without a table.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where sysfs is.
pub const SYS: &str = "/sys";

/// The machine's own PCI devices by address and alias: QEMU's q35 without a default
/// device (`measurements/src/machine.rs`).
const PCI: [(&str, &str); 4] = [
    (
        "0000:00:00.0",
        "pci:v00008086d000029C0sv00001AF4sd00001100bc06sc00i00",
    ),
    (
        "0000:00:1f.0",
        "pci:v00008086d00002918sv00001AF4sd00001100bc06sc01i00",
    ),
    (
        "0000:00:1f.2",
        "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
    ),
    (
        "0000:00:1f.3",
        "pci:v00008086d00002930sv00001AF4sd00001100bc0Csc05i00",
    ),
];
/// The network card, without what PCI had before virtio 1.0.
const CARD: (&str, &str) = (
    "0000:00:02.0",
    "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00",
);
/// The same on the bus of virtio, and its driver there.
const VIRTIO_CARD: (&str, &str) = ("virtio0", "virtio:d00000001v00001AF4");
const VIRTIO_DRIVER: &str = "virtio_net";
/// Keyboard and mouse of q35, to which nobody listens; their numbers vary.
const SERIO: [&str; 2] = ["serio:ty06pr00id00ex00", "serio:ty01pr00id00ex00"];
/// Buses whose devices are the kernel's own or out of ACPI tables.
const MEASURED: [&str; 16] = [
    "acpi",
    "auxiliary",
    "clockevents",
    "clocksource",
    "container",
    "cpu",
    "event_source",
    "isa",
    "machinecheck",
    "memory",
    "memory_tiering",
    "node",
    "platform",
    "pnp",
    "serial-base",
    "workqueue",
];
/// Buses on which modules of the list find their devices by themselves.
const MODULES: [&str; 2] = ["acpi", "platform"];

/// The machine has more than the image's.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Devices that nothing here needs.
    #[error(
        "This machine has {}; no devices but those that the image's launcher gives would be right",
        .0.join(", ")
    )]
    Unknown(Vec<String>),
    /// A file of sysfs.
    #[error("Could not {verb} {path}", path = .path.display())]
    File {
        /// What was to be done.
        verb: &'static str,
        /// With which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whether drivers take devices by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// Only where modules are loaded for it.
    Modules,
    /// Nowhere.
    Nowhere,
}

/// Stops drivers from taking devices that appear.
///
/// # Errors
/// [`DeviceError::File`].
pub fn allow(sys: &Path, probing: Probing) -> Result<(), DeviceError> {
    for bus in entries(&sys.join("bus"))? {
        if probing == Probing::Modules && MODULES.contains(&&*bus) {
            continue;
        }
        let path = sys.join("bus").join(bus).join("drivers_autoprobe");
        write(&path, "0")?;
    }
    Ok(())
}

/// Looks for devices that are not of the image's machine.
///
/// # Errors
/// [`DeviceError::Unknown`] with the name of each.
pub fn check(sys: &Path) -> Result<(), DeviceError> {
    let mut unknown = Vec::new();
    for bus in entries(&sys.join("bus"))? {
        if MEASURED.contains(&&*bus) {
            continue;
        }
        let devices = sys.join("bus").join(&bus).join("devices");
        for name in entries(&devices)? {
            let alias = fs::read_to_string(devices.join(&name).join("modalias"));
            let alias = alias.unwrap_or_default();
            let device = (&*name, alias.trim());
            let known = match &*bus {
                "pci" => device == CARD || PCI.contains(&device),
                "virtio" => device == VIRTIO_CARD,
                "serio" => SERIO.contains(&device.1),
                _ => false,
            };
            if !known {
                unknown.push(format!("{bus} {name} ({})", device.1));
            }
        }
    }
    for name in entries(&sys.join("class/tpm"))? {
        unknown.push(format!("a TPM, {name}"));
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(DeviceError::Unknown(unknown))
    }
}

/// Gives the network card to its driver, if there is a card.
///
/// # Errors
/// [`DeviceError::File`].
pub fn bind_card(sys: &Path) -> Result<(), DeviceError> {
    let bus = sys.join("bus/virtio");
    let card = bus.join("devices").join(VIRTIO_CARD.0);
    if !card.exists() || card.join("driver").exists() {
        return Ok(());
    }
    let path = bus.join("drivers").join(VIRTIO_DRIVER).join("bind");
    write(&path, VIRTIO_CARD.0)
}

/// Names in a folder, in order; none if it is not there.
fn entries(folder: &Path) -> Result<Vec<String>, DeviceError> {
    let failed = |source| DeviceError::File {
        verb: "list",
        path: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(failed)?.file_name();
                names.push(name.to_string_lossy().into_owned());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    names.sort_unstable();
    Ok(names)
}

fn write(path: &Path, text: &str) -> Result<(), DeviceError> {
    fs::write(path, text).map_err(|source| DeviceError::File {
        verb: "write to",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The machine of the image as sysfs shows it.
    fn machine() -> TempDir {
        let sys = tempfile::tempdir().unwrap();
        for (name, alias) in PCI.into_iter().chain([CARD]) {
            add(&sys, "pci", name, alias);
        }
        for (name, alias) in ["serio1", "serio0"].into_iter().zip(SERIO) {
            add(&sys, "serio", name, alias);
        }
        add(&sys, "virtio", VIRTIO_CARD.0, VIRTIO_CARD.1);
        add(&sys, "platform", "QEMU0002:00", "acpi:QEMU0002:");
        add(&sys, "acpi", "PNP0A08:00", "acpi:PNP0A08:PNP0A03:");
        fs::create_dir_all(sys.path().join("bus/virtio/drivers/virtio_net")).unwrap();
        fs::create_dir_all(sys.path().join("bus/usb/devices")).unwrap();
        sys
    }

    fn add(sys: &TempDir, bus: &str, name: &str, alias: &str) {
        let folder = sys.path().join("bus").join(bus).join("devices").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("modalias"), format!("{alias}\n")).unwrap();
    }

    #[test]
    fn d3_the_machine_of_the_image_is_taken_and_its_card_bound() {
        let sys = machine();
        check(sys.path()).unwrap();
        allow(sys.path(), Probing::Modules).unwrap();
        let probing = |bus: &str| sys.path().join("bus").join(bus).join("drivers_autoprobe");
        for bus in ["pci", "virtio", "usb", "serio"] {
            assert_eq!(fs::read_to_string(probing(bus)).unwrap(), "0", "{bus}");
        }
        assert!(!probing("platform").exists() && !probing("acpi").exists());
        bind_card(sys.path()).unwrap();
        let bind = sys.path().join("bus/virtio/drivers/virtio_net/bind");
        assert_eq!(fs::read_to_string(bind).unwrap(), "virtio0");
        allow(sys.path(), Probing::Nowhere).unwrap();
        assert_eq!(fs::read_to_string(probing("platform")).unwrap(), "0");
        // A machine without a card has other troubles.
        fs::remove_dir_all(sys.path().join("bus/virtio/devices")).unwrap();
        check(sys.path()).unwrap();
        bind_card(sys.path()).unwrap();
    }

    #[test]
    fn d3_any_other_device_is_refused_by_name() {
        for (bus, name, alias) in [
            // NVMe, a file share, a console, a second card, a port to plug into.
            (
                "pci",
                "0000:00:03.0",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
            ),
            (
                "pci",
                "0000:00:03.0",
                "pci:v00001AF4d0000105Asv00001AF4sd00001100bc01sc80i00",
            ),
            (
                "pci",
                "0000:00:03.0",
                "pci:v00001AF4d00001043sv00001AF4sd00001100bc07sc80i00",
            ),
            ("pci", "0000:00:03.0", CARD.1),
            (
                "pci",
                "0000:00:03.0",
                "pci:v00001B36d0000000Csv00001B36sd00000000bc06sc04i00",
            ),
            // The right place, and something else there.
            (
                "pci",
                "0000:00:02.0",
                "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00",
            ),
            (
                "pci",
                "0000:00:1f.2",
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc08i02",
            ),
            ("virtio", "virtio0", "virtio:d0000001Av00001AF4"),
            ("virtio", "virtio1", VIRTIO_CARD.1),
            ("usb", "usb1", ""),
            ("scsi", "host0", ""),
            ("a bus of later kernels", "thing", ""),
        ] {
            let sys = machine();
            add(&sys, bus, name, alias);
            let error = check(sys.path()).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{bus} {name} ({alias})")),
                "{error}"
            );
        }
        let sys = machine();
        fs::create_dir_all(sys.path().join("class/tpm/tpm0")).unwrap();
        let error = check(sys.path()).unwrap_err().to_string();
        assert!(error.contains("a TPM, tpm0"), "{error}");
    }
}
