//! `doctor` on made-up hosts: one that is fit, and then one broken thing at a time.
#![allow(missing_docs, clippy::unwrap_used)]

mod standin;

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zipnet_host::{
    doctor::{Check, Host, Purpose, Verdict, examine, is_fit},
    image::Image,
};

const CPU: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: INTEL(R) XEON(R) GOLD 6526Y\nflags\t\t: fpu vmx tdx_host_platform sgx\n";

/// A host that is fit, in a folder, with somebody who quotes and somebody who has
/// certificates.
struct MadeUp {
    folder: tempfile::TempDir,
    _qgs: UnixListener,
}

impl MadeUp {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for (path, text) in [
            ("proc/cpuinfo", CPU),
            ("proc/sys/kernel/osrelease", "7.0.0-22-generic\n"),
            (
                "proc/meminfo",
                "MemTotal: 1056 kB\nMemAvailable:   8388608 kB\n",
            ),
            ("dev/kvm", ""),
            ("dev/sgx_enclave", ""),
            ("sys/module/kvm_intel/parameters/tdx", "Y\n"),
            ("sys/module/kvm/parameters/tdp_mmu", "Y\n"),
            ("sys/module/kvm/parameters/mmio_caching", "Y\n"),
            ("sys/fs/cgroup/misc.capacity", "sev 0\ntdx 31\n"),
            ("sys/fs/cgroup/misc.current", "tdx 2\n"),
            ("run/systemd/timesync/synchronized", ""),
        ] {
            write(&root, path, text);
        }
        let url = pccs("HTTP/1.1 404 Not Found\r\n\r\n");
        let qcnl = format!("{{\n  // where\n  \"pccs_url\": \"{url}\"\n}}\n");
        write(&root, "etc/sgx_default_qcnl.conf", &qcnl);
        let qgs = UnixListener::bind(root.join("run/qgs")).unwrap();
        qemu(
            folder.path(),
            "QEMU emulator version 11.1.3 (Debian 1:11.1.3)",
        );
        standin::Image::new("guest").write(&folder.path().join("image"));
        Self { folder, _qgs: qgs }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    fn host(&self) -> Host {
        Host {
            root: self.root(),
            now: SystemTime::now(),
        }
    }

    fn purpose(&self) -> Purpose {
        Purpose {
            image: Some(Image::open(&self.folder.path().join("image"), None)),
            shape: "2c2G".to_owned(),
            qemu: self.folder.path().join("qemu"),
            quotes: "unix:/run/qgs".parse().unwrap(),
            pccs: None,
        }
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn qemu(folder: &Path, says: &str) {
    let path = folder.join("qemu");
    let _ = fs::remove_file(&path);
    fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A PCCS that answers each question so.
fn pccs(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://{}/sgx/certification/v4/",
        listener.local_addr().unwrap()
    );
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut question = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut question);
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    url
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn line<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap()
}

#[test]
fn a_host_that_has_everything_is_fit() {
    let made_up = MadeUp::new();
    let checks = examine(&made_up.host(), &made_up.purpose());
    let wrong: Vec<_> = checks
        .iter()
        .filter(|check| check.verdict != Verdict::Ok)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(is_fit(&checks));
    assert_eq!(
        line(&checks, "keys").to_string(),
        "ok    keys      29 of 31 keys for TDs are free"
    );
    assert_eq!(
        line(&checks, "memory").to_string(),
        "ok    memory    8G of memory is available, and a guest of 2c2G takes 2304M"
    );
    assert_eq!(
        line(&checks, "qemu").to_string(),
        "ok    qemu      QEMU 11.1.3"
    );
}

/// What is broken, whose line changes, to what, and with which remedy.
type Row = (
    &'static str,
    fn(&MadeUp, &mut Host, &mut Purpose),
    &'static str,
    Verdict,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const BROKEN: &[Row] = &[
    ("an AMD", |m, _, _| write(&m.root(), "proc/cpuinfo", "vendor_id : AuthenticAMD\nmodel name : EPYC\n"),
        "cpu", Verdict::Fail, "EPYC is not of Intel", "a Xeon of the fourth generation"),
    ("TDX off in the firmware", |m, _, _| write(&m.root(), "proc/cpuinfo", &CPU.replace("tdx_host_platform", "")),
        "cpu", Verdict::Fail, "INTEL(R) XEON(R) GOLD 6526Y shows no TDX", "switch on TME-MT, TDX and SEAM in the firmware's settings"),
    ("a cloud's machine", |m, _, _| write(&m.root(), "proc/cpuinfo", &CPU.replace("vmx", "hypervisor")),
        "cpu", Verdict::Fail, "this is a virtual machine", "TDX is a bare host's"),
    ("a TD", |m, _, _| write(&m.root(), "proc/cpuinfo", &CPU.replace("vmx", "hypervisor tdx_guest")),
        "cpu", Verdict::Fail, "this is a TD itself", "run this on a bare host"),
    ("an old kernel", |m, _, _| { write(&m.root(), "proc/sys/kernel/osrelease", "6.12.117+deb12-amd64"); fs::remove_file(m.root().join("sys/module/kvm_intel/parameters/tdx")).unwrap(); },
        "kernel", Verdict::Fail, "Linux 6.12.117+deb12-amd64 starts no TDs", "6.16 or later, built with CONFIG_INTEL_TDX_HOST"),
    ("a distribution's kernel", |m, _, _| write(&m.root(), "proc/sys/kernel/osrelease", "6.8.0-intel-opt"),
        "kernel", Verdict::Warn, "its distribution has put it in", "nothing, if a TD starts"),
    ("no KVM", |m, _, _| fs::remove_dir_all(m.root().join("sys/module/kvm_intel")).unwrap(),
        "kvm", Verdict::Fail, "the module kvm_intel is not loaded", "`modprobe kvm_intel`"),
    ("no device", |m, _, _| fs::remove_file(m.root().join("dev/kvm")).unwrap(),
        "kvm", Verdict::Fail, "/dev/kvm cannot be opened (No such file", "the group kvm"),
    ("TDX off in KVM", |m, _, _| write(&m.root(), "sys/module/kvm_intel/parameters/tdx", "N\n"),
        "tdx", Verdict::Fail, "kvm_intel's parameter tdx is N", "boot with kvm_intel.tdx=1"),
    ("a kernel without TDX", |m, _, _| fs::remove_file(m.root().join("sys/module/kvm_intel/parameters/tdx")).unwrap(),
        "tdx", Verdict::Fail, "kvm_intel has no parameter tdx", "CONFIG_KVM_INTEL_TDX"),
    ("no TDP MMU", |m, _, _| write(&m.root(), "sys/module/kvm/parameters/tdp_mmu", "N\n"),
        "tdx", Verdict::Fail, "kvm's parameter tdp_mmu is off", "boot with kvm.tdp_mmu=1"),
    ("no keys", |m, _, _| write(&m.root(), "sys/fs/cgroup/misc.capacity", "tdx 0\n"),
        "keys", Verdict::Fail, "there are no keys for TDs", "reserve key ids for TDX"),
    ("no key left", |m, _, _| write(&m.root(), "sys/fs/cgroup/misc.current", "tdx 31\n"),
        "keys", Verdict::Fail, "all 31 keys for TDs are in use", "end another TD"),
    ("keys not shown", |m, _, _| fs::remove_file(m.root().join("sys/fs/cgroup/misc.capacity")).unwrap(),
        "keys", Verdict::Warn, "the kernel does not show the keys", "mount cgroup 2"),
    ("little memory", |m, _, _| write(&m.root(), "proc/meminfo", "MemAvailable:   2097152 kB\n"),
        "memory", Verdict::Fail, "2G of memory is available, and a guest of 2c2G takes 2304M", "choose a smaller shape"),
    ("another QEMU", |m, _, _| qemu(m.folder.path(), "QEMU emulator version 10.0.13 (Debian)"),
        "qemu", Verdict::Fail, "this is QEMU 10.0.13, and the manifest's RTMR0 is that of 11.1.3", "install QEMU 11.1.3"),
    ("no QEMU", |_, _, p| p.qemu = "/nowhere/qemu".into(),
        "qemu", Verdict::Fail, "/nowhere/qemu does not run", "install QEMU 11.1.3"),
    ("no image", |_, _, p| p.image = None,
        "image", Verdict::Warn, "no image was named", "--image, or ZIPNET_IMAGE"),
    ("an image that is not there", |_, _, p| p.image = Some(Image::open(Path::new("/nowhere/x"), None)),
        "image", Verdict::Fail, "Could not read /nowhere/manifest.json", "`make image`"),
    ("other firmware", |m, _, _| standin::damage(&m.folder.path().join("image"), standin::Part::Firmware),
        "image", Verdict::Fail, "zipnet-ovmf.fd in it has the SHA-256", "fetch or build the release anew"),
    ("another kernel", |m, _, _| standin::damage(&m.folder.path().join("image"), standin::Part::Image),
        "image", Verdict::Fail, "zipnet-image.efi in it has the SHA-256", "fetch or build the release anew"),
    ("another script", |m, _, _| standin::damage(&m.folder.path().join("image"), standin::Part::Script),
        "image", Verdict::Fail, "SHA256SUMS beside it says", "fetch or build the release anew"),
    ("a cut image", |m, _, _| standin::damage(&m.folder.path().join("image"), standin::Part::End),
        "image", Verdict::Fail, "is damaged", "fetch or build the release anew"),
    ("a shape of one's own", |_, _, p| "3c3G".clone_into(&mut p.shape),
        "shape", Verdict::Fail, "predicts no shape 3c3G", "name one of these by --shape"),
    ("nobody who quotes", |_, _, p| p.quotes = "unix:/run/other".parse().unwrap(),
        "quotes", Verdict::Fail, "nobody answers at unix:/run/other (No such file", "start qgsd"),
    ("nobody who quotes, and no SGX", |m, _, p| { p.quotes = "unix:/run/other".parse().unwrap(); fs::remove_file(m.root().join("dev/sgx_enclave")).unwrap(); },
        "quotes", Verdict::Fail, "nobody answers at unix:/run/other", "switch on SGX in the firmware's settings"),
    ("nobody who quotes over vsock", |_, _, p| p.quotes = "vsock:2:4050".parse().unwrap(),
        "quotes", Verdict::Fail, "nobody answers at vsock:2:4050", "port = 4050 in /etc/qgs.conf"),
    ("no PCCS", |m, _, _| fs::remove_file(m.root().join("etc/sgx_default_qcnl.conf")).unwrap(),
        "pccs", Verdict::Warn, "no PCCS is named", "what registration has left in its cache"),
    ("a PCCS that is down", |_, _, p| p.pccs = Some(format!("http://{}/", nobody()).parse().unwrap()),
        "pccs", Verdict::Fail, "cannot be asked; because: Connection refused", "start it, or correct pccs_url"),
    ("a PCCS over TLS that is down", |_, _, p| p.pccs = Some(format!("https://{}/", nobody()).parse().unwrap()),
        "pccs", Verdict::Fail, "cannot be asked; because: Connection refused", "start it, or correct pccs_url"),
    ("a PCCS that is broken", |_, _, p| p.pccs = Some(pccs("HTTP/1.1 502 Bad Gateway\r\n\r\n").parse().unwrap()),
        "pccs", Verdict::Fail, "answers with status 502", "start it, or correct pccs_url"),
    ("settings without a URL", |m, _, _| write(&m.root(), "etc/sgx_default_qcnl.conf", "{\n\"pccs_url\": \"localhost\"\n}"),
        "pccs", Verdict::Fail, "has a pccs_url that is none", "http://HOST:PORT/PATH would be right"),
    ("a clock of long ago", |_, h, _| h.now = UNIX_EPOCH + Duration::from_hours(1),
        "clock", Verdict::Fail, "it says 1970-01-01T01:00:00Z, before this program was made", "set it"),
    ("a clock that nobody keeps", |m, _, _| fs::remove_file(m.root().join("run/systemd/timesync/synchronized")).unwrap(),
        "clock", Verdict::Warn, "nobody is seen to keep it", "run systemd-timesyncd or chronyd"),
];

#[test]
fn each_broken_thing_has_its_line_and_its_remedy() {
    for (what, breaks, name, verdict, found, remedy) in BROKEN {
        let made_up = MadeUp::new();
        let (mut host, mut purpose) = (made_up.host(), made_up.purpose());
        breaks(&made_up, &mut host, &mut purpose);
        let checks = examine(&host, &purpose);
        let check = line(&checks, name);
        assert_eq!(check.verdict, *verdict, "{what}: {check}");
        assert!(check.found.contains(found), "{what}: {check}");
        let said = check.remedy.as_deref().unwrap_or_default();
        assert!(said.contains(remedy), "{what}: {check}");
        // One line, whatever was found.
        assert!(!check.to_string().contains('\n'), "{what}: {check}");
        assert_eq!(
            is_fit(&checks),
            *verdict != Verdict::Fail,
            "{what}: {checks:#?}"
        );
    }
}
