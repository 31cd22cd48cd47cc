//! A TPM that the host gives a guest, and what firmware and kernel say that they
//! measured: the log is read out of the guest's memory.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    guest::{BOOT, Image},
    memory,
    process::{Failed, Process, TestResult, eventually},
};

const LIMIT: Duration = Duration::from_mins(1);
/// Memory of the guests, in MiB, and in bytes.
const MEMORY: usize = 512;

/// A TPM on a socket, and a QEMU that can be asked for its guest's memory.
#[derive(Debug)]
pub struct Tpm {
    folder: TempDir,
    _swtpm: Process,
}

impl Tpm {
    /// A new one.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(image: &Image) -> TestResult<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("tpm");
        let mut swtpm = Command::new(image.program("swtpm"));
        swtpm
            .args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"])
            .arg(format!("dir={}", folder.path().display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()));
        let swtpm = Process::start("swtpm", swtpm, None)?;
        eventually("swtpm listens", LIMIT, || socket.exists().then_some(()))?;
        Ok(Self {
            folder,
            _swtpm: swtpm,
        })
    }

    /// A folder for what goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What QEMU gets for it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        [
            "-no-shutdown",
            "-chardev",
            &format!("socket,id=tpm,path={}", path("tpm")),
            "-tpmdev",
            "emulator,id=tpm,chardev=tpm",
            "-device",
            "tpm-crb,tpmdev=tpm",
            "-qmp",
            &format!("unix:{},server=on,wait=off", path("qmp")),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// The log in the memory of the guest, which ends.
    ///
    /// # Errors
    /// If QEMU does not give it out, or no log is in it.
    pub fn log(&self) -> TestResult<Vec<u8>> {
        let path = |name: &str| self.folder.path().join(name);
        let memory = memory::dump(&path("qmp"), MEMORY << 20, &path("memory"))?;
        let log = memory::longest_log(&memory);
        let log = log.ok_or_else(|| Failed::because("no event log in the guest"))?;
        Ok(log.to_vec())
    }
}

/// What a host has a guest boot.
#[derive(Debug, Clone)]
pub struct Boot {
    /// What `-kernel` names.
    pub kernel: PathBuf,
    /// What else QEMU gets.
    pub extra: Vec<String>,
}

impl Boot {
    /// Boots it with Debian's generic firmware and a TPM, without the launcher, until the
    /// console shows `marker`. What was measured. (The image's own firmware knows no TPM.)
    ///
    /// # Errors
    /// If it does not get as far.
    pub fn measured(&self, image: &Image, marker: &str) -> TestResult<Vec<u8>> {
        let tpm = Tpm::start(image)?;
        let mut guest = self.start(image, &tpm)?;
        guest.expect(marker, BOOT)?;
        tpm.log()
    }

    /// Boots it, and waits for a line with `marker` on the console.
    ///
    /// # Errors
    /// If it does not come.
    pub fn says(&self, image: &Image, marker: &str) -> TestResult<String> {
        let tpm = Tpm::start(image)?;
        let mut guest = self.start(image, &tpm)?;
        Ok(guest.expect(marker, BOOT)?)
    }

    fn start(&self, image: &Image, tpm: &Tpm) -> TestResult<Process> {
        // It need not get far: init comes after everything that is measured.
        let config = tpm.folder().join("config");
        std::fs::write(&config, "ZIPNET_INSTANCE=zipnet.local.test\n")?;
        let mut qemu = Command::new(image.program("qemu-system-x86_64"));
        let machine = "-accel tcg -cpu max,phys-bits=46,host-phys-bits=off \
            -machine q35,smm=off,pic=off,hpet=off,kernel_irqchip=split \
            -nodefaults -display none -no-reboot -serial stdio";
        qemu.args(machine.split_whitespace())
            .arg("-m")
            .arg(format!("{MEMORY}M"))
            .arg("-bios")
            .arg(image.telling_firmware())
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-fw_cfg")
            .arg(format!(
                "name=opt/org.zipnet/config,file={}",
                config.display()
            ))
            .args(tpm.arguments())
            .args(&self.extra);
        Ok(Process::start("the guest", qemu, None)?)
    }
}
