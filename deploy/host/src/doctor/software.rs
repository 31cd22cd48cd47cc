//! Kernel, QEMU and the image.

use std::process::{Command, Stdio};

use zipnet_measurements::machine::FROZEN;

use super::{Check, Host, Purpose, shown};

/// The kernel in which KVM learnt to start TDs.
const SINCE: (u32, u32) = (6, 16);

pub fn kernel(host: &Host) -> Check {
    const NAME: &str = "kernel";
    let release = host.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    let release = zipnet_attest::report::plain(&release);
    let (major, minor) = SINCE;
    match version {
        Some(version) if version >= SINCE => Check::ok(NAME, format!("Linux {release}")),
        _ if host.has("/sys/module/kvm_intel/parameters/tdx") => Check::warn(
            NAME,
            format!(
                "Linux {release} is older than {major}.{minor}, in which KVM learnt TDX; its distribution has put it in"
            ),
            "nothing, if a TD starts",
        ),
        _ => Check::fail(
            NAME,
            format!("Linux {release} starts no TDs"),
            format!(
                "{major}.{minor} or later, built with CONFIG_INTEL_TDX_HOST and CONFIG_KVM_INTEL_TDX, would be right: Ubuntu's since 25.10; Debian's are built without"
            ),
        ),
    }
}

/// The version that the manifest's machine is of: `qemu-11.1.3-q35`.
fn frozen(purpose: &Purpose) -> String {
    let id = purpose
        .image()
        .map_or(FROZEN.id, |image| &image.manifest.machine.id);
    id.split('-').nth(1).unwrap_or_default().to_owned()
}

pub fn qemu(purpose: &Purpose) -> Check {
    const NAME: &str = "qemu";
    let frozen = frozen(purpose);
    let said = Command::new(&purpose.qemu)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let text = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = text.as_deref().ok().and_then(|text| {
        let version = text.strip_prefix("QEMU emulator version ")?;
        let end = version.find(|other: char| !other.is_ascii_digit() && other != '.');
        version
            .split_at_checked(end.unwrap_or(version.len()))
            .map(|(version, _)| version.to_owned())
    });
    let right = format!(
        "install QEMU {frozen}, such as Debian's qemu-system-x86 from trixie-backports, or name one by --qemu"
    );
    match version {
        Some(version) if version == frozen => Check::ok(NAME, format!("QEMU {version}")),
        Some(version) => Check::fail(
            NAME,
            format!(
                "this is QEMU {version}, and the manifest's RTMR0 is that of {frozen}: no policy made of it accepts the guest"
            ),
            right,
        ),
        None => Check::fail(
            NAME,
            format!("{} does not run", shown(&purpose.qemu)),
            right,
        ),
    }
}

pub fn image(purpose: &Purpose) -> Check {
    const NAME: &str = "image";
    let remedy = "fetch or build the release anew (`make image`), all of its files";
    match &purpose.image {
        None => Check::warn(
            NAME,
            "no image was named",
            "--image, or ZIPNET_IMAGE, names the folder that `make image` makes",
        ),
        Some(Err(error)) => Check::fail(NAME, zipnet_attest::report::chain(error), remedy),
        Some(Ok(image)) => match image.check() {
            Err(error) => Check::fail(NAME, zipnet_attest::report::chain(&error), remedy),
            Ok(digest) => {
                let firmware = image.manifest.inputs.firmware.sha256;
                let version = zipnet_attest::report::plain(&image.manifest.version);
                Check::ok(
                    NAME,
                    format!("{version}, launcher {digest}, firmware {firmware} as in the manifest"),
                )
            }
        },
    }
}

pub fn shape(purpose: &Purpose) -> Check {
    const NAME: &str = "shape";
    let remedy = "name one of these by --shape";
    match purpose.image() {
        None => Check::warn(
            NAME,
            "without an image nobody knows which shapes there are",
            "--image, or ZIPNET_IMAGE, names one",
        ),
        Some(image) => match image.shape(&purpose.shape) {
            Ok(shape) => Check::ok(NAME, format!("{} is in the manifest", shape.id())),
            Err(error) => Check::fail(NAME, error.to_string(), remedy),
        },
    }
}
