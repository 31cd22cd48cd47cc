//! One boot under emulation, and what the guest said.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use zipnet_measurements::{Shape, machine::AcpiFiles};

use crate::initramfs::initramfs;

/// What a boot may take on a busy machine; 10 to 15 s are usual.
const TIME: Duration = Duration::from_secs(280);

/// What QEMU's `-append` gets in every boot.
pub const CMDLINE: &str = "console=ttyS0 panic=-1 quiet";

/// Kernel, firmware, QEMU and the rest, fetched once for all tests.
pub static MACHINE: LazyLock<PathBuf> = LazyLock::new(|| {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let dir =
        std::env::var_os("ZIPNET_MACHINE").map_or_else(|| target.join("machine"), PathBuf::from);
    let status = Command::new(repository.join("scripts/machine.sh"))
        .arg(&dir)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "scripts/machine.sh says why");
    dir
});

/// A QEMU of the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qemu {
    /// Patches the kernel's header.
    V7_2,
    /// Has `etc/boot/kernel`, and can start TDs.
    V11_1,
}

/// A guest to boot.
pub struct Guest {
    pub qemu: Qemu,
    pub shape: Shape,
    /// With a TPM, whose log the firmware writes.
    pub tpm: bool,
    /// QEMU's arguments besides the usual ones.
    pub arguments: &'static [&'static str],
}

/// What a guest said.
pub struct Said {
    files: BTreeMap<String, Vec<u8>>,
    /// PCR values by bank and number.
    pub pcrs: Vec<(String, u32, Vec<u8>)>,
    /// The initramfs that was booted.
    pub initrd: Vec<u8>,
}

impl Said {
    pub fn file(&self, name: &str) -> &[u8] {
        self.files
            .get(name)
            .unwrap_or_else(|| panic!("the guest did not print {name}"))
    }

    pub fn acpi(&self) -> AcpiFiles {
        AcpiFiles {
            loader: self.file("loader").to_vec(),
            rsdp: self.file("rsdp").to_vec(),
            tables: self.file("tables").to_vec(),
        }
    }
}

/// A child that does not outlive the test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that `scripts/machine.sh` made ready.
fn program(name: &str) -> Command {
    let mut command = Command::new(MACHINE.join("bin").join(name));
    command.stdin(Stdio::null());
    command
}

impl Guest {
    /// Boots, waits until the guest powers off, and reads what it printed.
    pub fn boot(&self) -> Said {
        let dir = tempfile::tempdir().unwrap();
        let initrd = initramfs(&MACHINE);
        let initrd_path = dir.path().join("initrd");
        fs::write(&initrd_path, &initrd).unwrap();
        let socket = dir.path().join("tpm");
        let _tpm = self.tpm.then(|| tpm(dir.path(), &socket));
        let serial = dir.path().join("serial");
        let errors = dir.path().join("errors");
        let mut qemu = program(match self.qemu {
            Qemu::V7_2 => "qemu-7.2",
            Qemu::V11_1 => "qemu-11.1",
        });
        qemu.args(["-accel", "tcg"])
            // As wide as the processors that have TDX, at least.
            .args(["-cpu", "max,phys-bits=46,host-phys-bits=off"])
            .args(["-m", &format!("{}M", self.shape.memory >> 20)])
            .args(["-smp", &self.shape.cpus.to_string()])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", serial.display()))
            .arg("-bios")
            .arg(MACHINE.join("OVMF.fd"))
            .arg("-kernel")
            .arg(MACHINE.join("vmlinuz"))
            .arg("-initrd")
            .arg(&initrd_path)
            .args(["-append", CMDLINE])
            .args(self.arguments)
            .stdout(Stdio::null())
            .stderr(File::create(&errors).unwrap());
        if self.tpm {
            qemu.arg("-chardev")
                .arg(format!("socket,id=tpm,path={}", socket.display()))
                .args(["-tpmdev", "emulator,id=tpm0,chardev=tpm"])
                .args(["-device", "tpm-crb,tpmdev=tpm0"]);
        }
        let mut qemu = Kept(qemu.spawn().unwrap());
        let end = Instant::now() + TIME;
        while qemu.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "{}", told(&serial, &errors));
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = said(&text(&serial), initrd);
        said.unwrap_or_else(|| panic!("{}", told(&serial, &errors)))
    }
}

fn tpm(dir: &Path, socket: &Path) -> Kept {
    let mut swtpm = program("swtpm");
    swtpm
        .args(["socket", "--tpm2", "--flags", "startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", dir.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let swtpm = Kept(swtpm.spawn().unwrap());
    let end = Instant::now() + TIME;
    while !socket.exists() {
        assert!(Instant::now() < end, "swtpm made no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
    swtpm
}

/// The end of what a failed boot left behind.
fn told(serial: &Path, errors: &Path) -> String {
    let end = |path| {
        let text = text(path);
        let skip = text.chars().count().saturating_sub(2000);
        text.chars().skip(skip).collect::<String>()
    };
    format!(
        "the guest did not come to its end\nserial: {}\nQEMU: {}",
        end(serial),
        end(errors)
    )
}

/// Text of a file in which firmware may have printed anything.
fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn said(serial: &str, initrd: Vec<u8>) -> Option<Said> {
    let mut files = BTreeMap::new();
    let mut pcrs = Vec::new();
    let mut open: Option<(String, String)> = None;
    let mut whole = false;
    // Firmware leaves escape codes in front of the first line.
    for line in serial.lines().map(str::trim) {
        let line = line.find("@@").map_or(line, |start| &line[start..]);
        if let Some(name) = line.strip_prefix("@@BEGIN ") {
            open = Some((name.to_owned(), String::new()));
        } else if line.starts_with("@@END ") {
            let (name, hex) = open.take()?;
            files.insert(name, hex::decode(hex).ok()?);
        } else if let Some(pcr) = line.strip_prefix("@@PCR ") {
            let mut words = pcr.split(' ');
            let bank = words.next()?.to_owned();
            let number = words.next()?.parse().ok()?;
            pcrs.push((bank, number, hex::decode(words.next()?).ok()?));
        } else if let Some((_, hex)) = &mut open {
            hex.push_str(line);
        }
        whole |= line == "@@DONE";
    }
    whole.then_some(Said {
        files,
        pcrs,
        initrd,
    })
}
