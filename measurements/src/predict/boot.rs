//! RTMR1 and RTMR2: what is booted, and what that takes from outside.

use super::Inputs;
use crate::{
    digest::{Digest384, sha384},
    efi::utf16,
    event::{DependsOn, Event, Register},
    eventlog::EventKind,
    linux::{BootHeader, LinuxError, is_too_long, patched_by_qemu},
    pe::{Image, PeError},
    profile::{InitrdWord, Profile},
    shape::Shape,
};

/// The EFI stub measures into a TD's registers from Linux 6.9 on (kernel
/// `drivers/firmware/efi/libstub/efi-stub-helper.c`, `efi_measure_tagged_event`).
const MEASURING_SINCE: (u32, u32) = (6, 9);

const TCG2: &str = "edk2 OvmfPkg/Tcg/TdTcg2Dxe/TdTcg2Dxe.c";
const PE_COFF: &str = "edk2 OvmfPkg/Tcg/TdTcg2Dxe/MeasureBootPeCoff.c";
const STUB: &str = "Linux drivers/firmware/efi/libstub/efi-stub-helper.c";

/// A kernel cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// It is no Linux kernel.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// Its EFI stub is broken or not there.
    #[error("The kernel has no usable EFI stub")]
    Pe(#[from] PeError),
}

/// Which bytes of a kernel the firmware sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelForm {
    /// The file as it is.
    File,
    /// With QEMU's patches in the boot header.
    Patched,
}

/// A kernel and its digest.
#[derive(Debug, Clone)]
pub struct Kernel {
    header: BootHeader,
    digest: Digest384,
    form: KernelForm,
}

impl Kernel {
    /// Reads a kernel that the firmware sees as it is in the file: in every TD of
    /// mainline QEMU, and outside of TDs from QEMU 10.0 on with a firmware that
    /// takes `etc/boot/kernel`.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BootError> {
        Ok(Self {
            header: BootHeader::parse(bytes)?,
            digest: Image::parse(bytes)?.sha384(),
            form: KernelForm::File,
        })
    }

    /// Reads a kernel that an older QEMU has patched for a guest of this shape,
    /// with an initramfs of `initrd` bytes. `None` if that QEMU would not boot it.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn parse_patched(
        bytes: &[u8],
        shape: Shape,
        initrd: u32,
        cmdline: &str,
    ) -> Result<Option<Self>, BootError> {
        let header = BootHeader::parse(bytes)?;
        let low = shape.low_memory();
        let Some(patched) = patched_by_qemu(bytes, &header, low, initrd, cmdline) else {
            return Ok(None);
        };
        Ok(Some(Self {
            digest: Image::parse(&patched)?.sha384(),
            header,
            form: KernelForm::Patched,
        }))
    }

    /// Its Authenticode digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest384 {
        &self.digest
    }

    /// Its boot header.
    #[must_use]
    pub const fn header(&self) -> &BootHeader {
        &self.header
    }

    /// Major and minor version, by its own word.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.header.version.split(['.', '-', ' ']);
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some((major, minor))
    }
}

/// RTMR1: an image or a kernel is measured when it is loaded, the rest at "ready to
/// boot" and as the kernel leaves boot services.
pub(super) fn boot_events(inputs: &Inputs<'_>, _: &Profile) -> Result<Vec<Event>, String> {
    let kernel = inputs
        .kernel
        .ok_or_else(|| "the kernel is not given".to_owned())?;
    let (bytes, depends_on) = match kernel.form {
        KernelForm::File => (
            "Authenticode of the kernel file",
            [DependsOn::Kernel].as_slice(),
        ),
        KernelForm::Patched => (
            "Authenticode of the kernel with QEMU's patches in its boot header",
            [DependsOn::Kernel, DependsOn::Initrd, DependsOn::Memory].as_slice(),
        ),
    };
    let application = |event: &str, digest, hashing: &str, depends_on: &[DependsOn]| {
        let kind = EventKind::BOOT_SERVICES_APPLICATION;
        Event::new(Register::Rtmr1, kind, event, Ok(digest))
            .hashing(hashing)
            .with(depends_on)
            .by(PE_COFF)
    };
    let action = |event: &str| {
        Event::of_bytes(
            Register::Rtmr1,
            EventKind::EFI_ACTION,
            event,
            event.as_bytes(),
        )
        .hashing("the text itself")
        .by(TCG2)
    };
    let kernel = application("kernel", kernel.digest, bytes, depends_on);
    let ready = [
        action("Calling EFI Application from Boot Option"),
        Event::of_bytes(Register::Rtmr1, EventKind::SEPARATOR, "separator", &[0; 4])
            .hashing("4 zeros")
            .by(TCG2),
    ];
    let mut events = Vec::new();
    if let Some(digest) = inputs.unified {
        let all = [DependsOn::Kernel, DependsOn::Initrd, DependsOn::Cmdline];
        let hashing = "Authenticode of the image with kernel, command line and initramfs";
        events.push(application("image", digest, hashing, &all));
        events.extend(ready);
        // The program in the image has the firmware load it.
        events.push(kernel);
    } else {
        events.push(kernel);
        events.extend(ready);
    }
    events.extend([
        action("Exit Boot Services Invocation"),
        action("Exit Boot Services Returned with Success"),
    ]);
    Ok(events)
}

/// RTMR2: command line and initramfs, by the kernel's EFI stub.
pub(super) fn kernel_events(inputs: &Inputs<'_>, profile: &Profile) -> Result<Vec<Event>, String> {
    let given = |what: &str| format!("the {what} is not given");
    let kernel = inputs.kernel.ok_or_else(|| given("kernel"))?;
    let (digest, length) = inputs.initrd.ok_or_else(|| given("initramfs"))?;
    let cmdline = inputs.cmdline.ok_or_else(|| given("command line"))?;
    match kernel.version() {
        Some(version) if version >= MEASURING_SINCE => {}
        Some((major, minor)) => {
            return Err(format!(
                "Linux {major}.{minor} measures neither command line nor initramfs in a TD; 6.9 or later does"
            ));
        }
        None => return Err("the kernel does not tell its version".to_owned()),
    }
    // Nobody edits what an image holds.
    let edited = length > 0 && inputs.unified.is_none();
    let options = load_options(cmdline, edited, profile.initrd_word)?;
    if is_too_long(&kernel.header, &options) {
        return Err(format!(
            "the command line has {} bytes with what the firmware adds; the kernel takes {}",
            options.len(),
            kernel.header.command_line_size
        ));
    }
    let mut hashed = utf16(&options);
    hashed.extend([0, 0]);
    let mut events = vec![
        Event::new(
            Register::Rtmr2,
            EventKind::EVENT_TAG,
            "command line",
            Ok(sha384(&hashed)),
        )
        .hashing(format!("`{options}` in UTF-16 with a NUL"))
        .with(&[DependsOn::Cmdline, DependsOn::Firmware])
        .by(STUB),
    ];
    if length > 0 {
        events.push(
            Event::new(
                Register::Rtmr2,
                EventKind::EVENT_TAG,
                "initramfs",
                Ok(digest),
            )
            .hashing("the file")
            .with(&[DependsOn::Initrd])
            .by(STUB),
        );
    }
    Ok(events)
}

/// The command line as the kernel gets it from the firmware.
fn load_options(cmdline: &str, edited: bool, word: InitrdWord) -> Result<String, String> {
    if let Some(odd) = cmdline.chars().find(|c| !(' '..='~').contains(c)) {
        return Err(format!(
            "the command line holds {odd:?}, which firmware turns into other characters; printable ASCII is carried over"
        ));
    }
    Ok(match (edited, word) {
        (true, InitrdWord::Behind) => format!("{cmdline} initrd=initrd"),
        (false, _) => cmdline.to_owned(),
    })
}
