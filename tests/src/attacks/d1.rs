//! D1: a host that emulates a TPM boots an initramfs of its own behind the registers of
//! an image.
//!
//! A kernel that finds TCG2 measures command line and initramfs into the TPM, and nothing
//! into RTMR2. Whatever runs then may extend that register itself, with the digests that
//! the manifest has published: registers are the guest's to extend. So an attack has won
//! if a guest of the host's runs and RTMR1 is that of the manifest. MRTD and RTMR0 are
//! those of the firmware and the machine, which the host leaves as they are.
//!
//! The control boots as 0.1.0 did, kernel and initramfs apart. Now they are in one image
//! that the firmware measures into RTMR1; the host changes the image, gives another
//! initramfs beside it, and boots the kernel alone. What runs is the image's kernel under
//! QEMU with swtpm, and Debian's generic firmware, which 0.1.0 had: that of the image
//! drives no TPM, and is not needed to end the attack. That the generic one drives a TPM
//! in a TD as well was read in its source, not seen; it is what an attacker hopes for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use zipnet_image::{
    Flavor, compare, compile::Compiler, initramfs, newc::Entry, recipe::CMDLINE, unified::unified,
};
use zipnet_measurements::{
    Inputs, Kernel, Register, Report, Unified,
    diff::with_log,
    digest::{sha256, sha384},
    eventlog::{EventLog, LogKind},
    mrtd::{EXPECTED, MeasuredFirmware},
    predict, profile,
    tdvf::Firmware,
};

use super::report::{Outcome, Row};
use crate::{
    guest::Image,
    process::{Failed, TestResult},
    tpm::Boot,
};

/// What a guest says once its kernel has started PID 1, the host's or ours.
const RUNS: &str = "zipnet-init";

/// An image, and what a host makes of it.
struct Host {
    /// The local one: its firmware and kernel, and the machine.
    image: Image,
    folder: tempfile::TempDir,
    stub: Vec<u8>,
    kernel: Vec<u8>,
    /// That of the image but for the server, which is long to measure under emulation;
    /// and the same with a file of the host's.
    initramfs: [Vec<u8>; 2],
}

impl Host {
    fn new() -> TestResult<Self> {
        let image = Image::of("local")?;
        let folder = tempfile::tempdir()?;
        let read = |name: &str| fs::read(image.folder.join(name));
        let mut archive = compare::open(&read("zipnet-initramfs.cpio.zst")?)?;
        archive.remove("usr/bin/zipnet-server");
        let ours = initramfs::compress(&archive, Flavor::Local.compression())?;
        let file = Entry::File {
            mode: 0o644,
            data: b"the host's".to_vec(),
        };
        archive.insert("host".to_owned(), file);
        let theirs = initramfs::compress(&archive, Flavor::Local.compression())?;
        let compiler = Compiler {
            repository: &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
            toolchain: folder.path(),
            target: &crate::guest::target().join("image-build"),
        };
        Ok(Self {
            stub: fs::read(compiler.stub()?)?,
            kernel: read("zipnet-vmlinuz")?,
            folder,
            image,
            initramfs: [ours, theirs],
        })
    }

    fn file(&self, name: &str, bytes: &[u8]) -> TestResult<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// What is published of our kernel, initramfs and command line: apart, as release
    /// 0.1.0 had them, or in one image.
    fn published(&self, unified: Option<&[u8]>) -> TestResult<Report> {
        let bytes = fs::read(self.image.telling_firmware())?;
        let firmware = Firmware::parse(&bytes)?;
        let measured = MeasuredFirmware::new(&firmware);
        let kernel = Kernel::parse(&self.kernel)?;
        let [ours, _] = &self.initramfs;
        let inputs = Inputs {
            firmware: &measured,
            profile: profile::of(&sha256(&bytes)),
            order: EXPECTED,
            unified: unified
                .map(|bytes| Unified::parse(bytes).map(|unified| unified.digest))
                .transpose()?,
            kernel: Some(&kernel),
            initrd: Some((sha384(ours), ours.len() as u64)),
            cmdline: Some(CMDLINE),
            shape: None,
        };
        let prediction = predict(&inputs, Err("not compared".to_owned()));
        Ok(Report::new(&inputs, prediction, Vec::new()))
    }

    /// Whether what a boot measured into RTMR1 is what was published, and whether what
    /// the kernel measured itself is.
    fn like(&self, boot: &Boot, published: &Report) -> TestResult<[bool; 2]> {
        let log = boot.measured(&self.image, RUNS)?;
        let log = EventLog::parse(&log)?;
        let differences = with_log(published, &log, LogKind::Tpm);
        let same = |register| !differences.iter().any(|one| one.register == register);
        Ok([same(Register::Rtmr1), same(Register::Rtmr2)])
    }

    /// Kernel and initramfs apart, with an initramfs of ours or of the host's.
    fn apart(&self, name: &str, initramfs: &[u8]) -> TestResult<Boot> {
        let initramfs = self.file(name, initramfs)?.display().to_string();
        Ok(Boot {
            kernel: self.image.folder.join("zipnet-vmlinuz"),
            extra: ["-initrd", &initramfs, "-append", CMDLINE]
                .map(str::to_owned)
                .to_vec(),
        })
    }

    /// Kernel and an initramfs in one image.
    fn together(&self, name: &str, initramfs: &[u8]) -> TestResult<(Boot, Vec<u8>)> {
        let bytes = unified(&self.stub, &self.kernel, CMDLINE, initramfs)?;
        let boot = Boot {
            kernel: self.file(name, &bytes)?,
            extra: Vec::new(),
        };
        Ok((boot, bytes))
    }

    fn before(&self) -> TestResult<Outcome> {
        let published = self.published(None)?;
        let [ours, theirs] = &self.initramfs;
        let honest = self.like(&self.apart("ours", ours)?, &published)?;
        let [rtmr1, rtmr2] = self.like(&self.apart("theirs", theirs)?, &published)?;
        // The kernel did measure what it ran, into the TPM.
        let comparable = honest == [true, true] && !rtmr2;
        Ok(Outcome::done(
            comparable && rtmr1,
            format!(
                "an initramfs of the host's runs, and RTMR1 is {} published one",
                if rtmr1 { "the" } else { "not the" }
            ),
        ))
    }

    fn after(&self) -> TestResult<Outcome> {
        let [ours, theirs] = &self.initramfs;
        let (mut own, bytes) = self.together("ours.efi", ours)?;
        let published = self.published(Some(&bytes))?;
        if self.like(&own, &published)? != [true, true] {
            return Err(Failed::because("the image measures something else"));
        }
        let (packed, _) = self.together("theirs.efi", theirs)?;
        let [packed, _] = self.like(&packed, &published)?;
        let [apart, _] = self.like(&self.apart("theirs", theirs)?, &published)?;
        // Beside the image, by the way on which the firmware finds QEMU's `-initrd`: a
        // host is not bound to what QEMU refuses.
        let beside = self.file("beside", theirs)?.display().to_string();
        own.extra = vec![
            "-fw_cfg".to_owned(),
            format!("name=etc/boot/initrd,file={beside}"),
        ];
        own.says(&self.image, "the host offers an initramfs")?;
        Ok(Outcome::done(
            packed || apart,
            "with another image, or the kernel alone, RTMR1 is another; an initramfs beside the image is refused".to_owned(),
        ))
    }
}

/// Runs it.
#[must_use]
pub fn run() -> Row {
    let host = Host::new().expect("the local image and its machine");
    Row {
        attack: "D1",
        title: "an initramfs of the host's, beside a TPM of the host's",
        invariant: "-",
        before: host.before().expect("boots"),
        after: host.after().expect("boots"),
        on: "QEMU and swtpm",
    }
}
