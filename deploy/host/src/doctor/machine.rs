//! Processor, KVM, the TDX module and what a TD takes of them.

use std::fs::OpenOptions;

use zipnet_measurements::{Memory, Shape};

use super::{Check, Host};

/// What QEMU and the TDX module need beside a TD's own memory, in bytes.
const BESIDE: u64 = 256 << 20;
const ENABLING: &str =
    "switch on TME-MT, TDX and SEAM in the firmware's settings, with memory in every channel";

pub fn processor(host: &Host) -> Check {
    const NAME: &str = "cpu";
    let text = match host.text("/proc/cpuinfo") {
        Ok(text) => text,
        Err(error) => {
            return Check::fail(
                NAME,
                format!("/proc/cpuinfo cannot be read ({error})"),
                "run this on the host itself",
            );
        }
    };
    let field = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split(':').next().map(str::trim) == Some(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("", |(_, value)| value.trim())
    };
    let model = zipnet_attest::report::plain(field("model name"));
    let flags: Vec<_> = field("flags").split_whitespace().collect();
    if field("vendor_id") != "GenuineIntel" {
        return Check::fail(
            NAME,
            format!("{model} is not of Intel"),
            "TDX needs a Xeon of the fourth generation with TDX, or a later one",
        );
    }
    if flags.contains(&"tdx_guest") {
        return Check::fail(
            NAME,
            "this is a TD itself",
            "run this on a bare host: a TD starts no TDs here",
        );
    }
    if flags.contains(&"hypervisor") {
        return Check::fail(
            NAME,
            "this is a virtual machine",
            "TDX is a bare host's; a cloud's guests get TDs of the cloud's making, if at all",
        );
    }
    if !flags.contains(&"tdx_host_platform") {
        return Check::fail(
            NAME,
            format!("{model} shows no TDX (flag tdx_host_platform)"),
            ENABLING,
        );
    }
    Check::ok(NAME, format!("{model}, with TDX"))
}

pub fn kvm(host: &Host) -> Check {
    const NAME: &str = "kvm";
    if !host.has("/sys/module/kvm_intel") {
        return Check::fail(
            NAME,
            "the module kvm_intel is not loaded",
            "`modprobe kvm_intel`; if it refuses, switch on VT-x in the firmware's settings",
        );
    }
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(host.at("/dev/kvm"));
    match device {
        Ok(_) => Check::ok(NAME, "/dev/kvm can be opened"),
        Err(error) => Check::fail(
            NAME,
            format!("/dev/kvm cannot be opened ({error})"),
            "run this as root or as a member of the group kvm",
        ),
    }
}

pub fn tdx(host: &Host) -> Check {
    const NAME: &str = "tdx";
    match host.text("/sys/module/kvm_intel/parameters/tdx").as_deref() {
        Ok("Y" | "1") => {}
        Ok(other) => {
            let other = zipnet_attest::report::plain(other);
            return Check::fail(
                NAME,
                format!(
                    "kvm_intel's parameter tdx is {other}: it is switched off, or the TDX module did not start"
                ),
                "boot with kvm_intel.tdx=1 nohibernate and read what `dmesg` says of tdx",
            );
        }
        Err(_) => {
            return Check::fail(
                NAME,
                "kvm_intel has no parameter tdx",
                "a kernel of 6.16 or later that is built with CONFIG_INTEL_TDX_HOST and CONFIG_KVM_INTEL_TDX would be right: Ubuntu's since 25.10; Debian's are built without",
            );
        }
    }
    // Without these two a TD's memory cannot be managed.
    for (parameter, what) in [
        ("tdp_mmu", "kvm.tdp_mmu=1"),
        ("mmio_caching", "kvm.mmio_caching=1"),
    ] {
        let path = format!("/sys/module/kvm/parameters/{parameter}");
        if let Ok("N" | "0") = host.text(&path).as_deref() {
            return Check::fail(
                NAME,
                format!("kvm's parameter {parameter} is off"),
                format!("boot with {what}"),
            );
        }
    }
    Check::ok(NAME, "KVM starts TDs")
}

pub fn keys(host: &Host) -> Check {
    const NAME: &str = "keys";
    let number = |path: &str| {
        let text = host.text(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("tdx "))?;
        line.trim().parse::<u64>().ok()
    };
    match (
        number("/sys/fs/cgroup/misc.capacity"),
        number("/sys/fs/cgroup/misc.current"),
    ) {
        (Some(0), _) => Check::fail(
            NAME,
            "there are no keys for TDs",
            "reserve key ids for TDX in the firmware's settings (TDX key split)",
        ),
        (Some(all), used) => {
            let used = used.unwrap_or_default();
            match all.saturating_sub(used) {
                0 => Check::fail(
                    NAME,
                    format!("all {all} keys for TDs are in use"),
                    "end another TD, or reserve more key ids in the firmware's settings",
                ),
                free => Check::ok(NAME, format!("{free} of {all} keys for TDs are free")),
            }
        }
        (None, _) => Check::warn(
            NAME,
            "the kernel does not show the keys for TDs",
            "mount cgroup 2 with the controller misc to see them; TDs start without",
        ),
    }
}

pub fn memory(host: &Host, shape: Option<Shape>) -> Check {
    const NAME: &str = "memory";
    let available = host.text("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    });
    let Some(available) = available else {
        return Check::warn(
            NAME,
            "/proc/meminfo does not say what is available",
            "run this on the host itself",
        );
    };
    let Some(shape) = shape else {
        return Check::ok(NAME, format!("{} is available", Memory(available)));
    };
    let needed = shape.memory.saturating_add(BESIDE);
    let found = format!(
        "{} of memory is available, and a guest of {} takes {}",
        Memory(available),
        shape.id(),
        Memory(needed)
    );
    if available < needed {
        Check::fail(NAME, found, "end something, or choose a smaller shape")
    } else {
        Check::ok(NAME, found)
    }
}
