//! Guests that cannot run: they say in a line why, and power off. Settings, memory, clock,
//! network, and devices that a host adds.
#![allow(missing_docs)]

use std::{fs, process::Command};

use zipnet_tests::{
    cluster::UP,
    guest::{BOOT, Image, POWER_OFF},
    process::{Process, TestResult},
    tpm::Tpm,
};

/// What a guest cannot do without, as far as it is looked at before it has a
/// network.
const LEAST: &str = "ZIPNET_INSTANCE=zipnet.local.test\nZIPNET_ATTESTATION=tdx\nZIPNET_POLICY_KEYS=RWx\n\
     GUEST_PROVISION_KEY=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

/// Boots a guest that cannot run and returns what it said; it powers off by
/// itself.
fn hopeless(flavor: &'static str, config: &str, arguments: &[&str]) -> TestResult<Vec<String>> {
    let image = Image::of(flavor)?;
    let folder = tempfile::tempdir()?;
    // QEMU's options have commas of their own.
    let path = folder.path().join("config, of a test");
    fs::write(&path, config)?;
    let mut launcher = image.launcher(folder.path());
    launcher.arg("--config").arg(&path).args(arguments);
    let mut guest = Process::start("the guest", launcher, None)?;
    guest.expect("init: powering off", BOOT)?;
    let status = guest.wait(POWER_OFF)?;
    assert!(status.success(), "{status}");
    let lines = guest.lines().since(0);
    Ok(lines
        .into_iter()
        .filter(|line| line.contains("error: "))
        .collect())
}

#[test]
fn a_configuration_with_faults_is_refused_line_by_line() -> TestResult {
    let errors = hopeless(
        "local",
        "ZIPNET_ATTESTATION=tdx\nZIPNET_POLICY_KEYS=RWx\nZIPNET_INSTANCE=Acme Mixer\nZIPNET_ROUND_PERIODS=3s\nZIPNET_COMMITTEE_SECRET=swordfish\nGUEST_ADDRESS=here\nGUEST_PROVISION_KEY=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
        &[],
    )?;
    for (line, parts) in [
        ("ZIPNET_INSTANCE", "a-z 0-9"),
        ("ZIPNET_ROUND_PERIODS", "ZIPNET_ROUND_PERIOD"),
        ("ZIPNET_COMMITTEE_SECRET", "provisioning"),
        ("GUEST_ADDRESS", "dhcp"),
    ] {
        let said = errors
            .iter()
            .any(|error| error.contains(line) && error.contains(parts));
        assert!(said, "{line}: {errors:#?}");
    }
    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(
        !errors.iter().any(|error| error.contains("swordfish")),
        "{errors:#?}"
    );
    Ok(())
}

#[test]
fn a_guest_with_too_little_memory_says_so() -> TestResult {
    // The local image is larger: its firmware would not get as far.
    let errors = hopeless("production", LEAST, &["--memory", "200M"])?;
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("MiB"), "{errors:#?}");
    Ok(())
}

#[test]
fn a_guest_whose_clock_is_before_its_image_says_so() -> TestResult {
    let errors = hopeless("local", LEAST, &["--", "-rtc", "base=2025-01-01"])?;
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].contains("2025-01-01T00:00") && errors[0].contains("before this image was built"),
        "{errors:#?}"
    );
    Ok(())
}

/// Whatever a host adds is refused by its name before a driver of the image is loaded,
/// and so is a port that something could be plugged into later.
#[test]
fn d3_a_guest_refuses_devices_that_are_not_its_machines() -> TestResult {
    let image = Image::of("local")?;
    let tpm = Tpm::start(&image)?;
    let share = tempfile::tempdir()?;
    let fsdev = format!(
        "local,id=f,path={},security_model=none",
        share.path().display()
    );
    let mut arguments: Vec<String> = [
        "--",
        "-blockdev",
        "null-co,node-name=disk,size=1048576",
        "-device",
        "nvme,serial=1,drive=disk",
        "-fsdev",
        &fsdev,
        "-device",
        "virtio-9p-pci,fsdev=f,mount_tag=host",
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtio-net-pci",
        "-device",
        "pcie-root-port,id=rp1",
        "-device",
        "qemu-xhci",
        "-device",
        "usb-kbd",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(
        tpm.arguments()
            .into_iter()
            .filter(|word| word != "-no-shutdown"),
    );
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let errors = hopeless("local", LEAST, &arguments)?;
    assert_eq!(errors.len(), 1, "{errors:#?}");
    for device in [
        "pci:v00001B36d00000010",
        "pci:v00001AF4d00001009",
        "pci:v00001AF4d00001003",
        "pci:v00001AF4d00001000",
        "pci:v00001B36d0000000C",
        "pci:v00001B36d0000000D",
        "a TPM, tpm0",
        "would be right",
    ] {
        assert!(errors[0].contains(device), "{device}: {errors:#?}");
    }
    Ok(())
}

/// The kernel's clock goes at another rate than the processor tells, as if a host posed as
/// another hypervisor, which QEMU does not do under emulation: the simulated TD is told a
/// rate that is not its counter's.
#[test]
fn d2_a_guest_whose_clock_goes_at_another_rate_says_so() -> TestResult {
    for (told, parts) in [
        ("1000", ["by the clock", "by the processor's counter"]),
        ("nothing", ["CPUID 15H", "would be right"]),
    ] {
        let told = format!("name=opt/org.zipnet/counter,string={told}");
        let errors = hopeless("local", LEAST, &["--", "-fw_cfg", &told])?;
        assert_eq!(errors.len(), 1, "{errors:#?}");
        for part in parts {
            assert!(errors[0].contains(part), "{part}: {errors:#?}");
        }
    }
    Ok(())
}

#[test]
fn a_guest_without_a_network_says_so() -> TestResult {
    let image = Image::of("local")?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("config"), LEAST)?;
    // The launcher gives every guest an interface.
    let mut qemu = Command::new(image.program("qemu-system-x86_64"));
    qemu.args([
        "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-m", "512M",
    ])
    .args([
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
    ]);
    for (option, name) in [("-bios", "zipnet-ovmf.fd"), ("-kernel", "zipnet-image.efi")] {
        qemu.arg(option).arg(image.folder.join(name));
    }
    let config = format!(
        "name=opt/org.zipnet/config,file={}",
        path("config").display()
    );
    qemu.args(["-fw_cfg", &config]);
    let mut guest = Process::start("the guest", qemu, None)?;
    let error = guest.expect("error: ", BOOT)?;
    assert!(
        error.contains("network") && error.contains("would be right"),
        "{error}"
    );
    guest.expect("init: powering off", UP)?;
    guest.wait(POWER_OFF)?;
    Ok(())
}
