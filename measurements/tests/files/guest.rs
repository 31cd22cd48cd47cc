//! A guest of the golden files, to predict.

use zipnet_measurements::{
    Inputs, Kernel, Manifest, Prediction, Report, Shape,
    digest::sha384,
    machine::{AcpiFiles, FROZEN},
    mrtd::{EXPECTED, MeasuredFirmware},
    predict,
    profile::PROFILES,
    release::{InputFile, ReleaseInputs},
    report::Alternative,
    tdvf::Firmware,
};

use crate::vectors::read;

/// All that a prediction is made of; tests change one field at a time.
#[derive(Debug, Clone)]
pub struct Guest {
    pub firmware: Vec<u8>,
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
    pub cmdline: String,
    pub shape: Shape,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            firmware: read("tdvf/guid-table.fd"),
            kernel: read("kernel/kernel.bz"),
            initrd: b"an initramfs".to_vec(),
            cmdline: "console=ttyS0 quiet".to_owned(),
            shape: Shape {
                cpus: 2,
                memory: 2 << 30,
            },
        }
    }
}

impl Guest {
    pub fn acpi(&self) -> Result<AcpiFiles, String> {
        FROZEN.acpi(self.shape).map_err(|error| error.to_string())
    }

    /// Predicts as if the firmware were a build that is known.
    pub fn predict(&self) -> Prediction {
        self.with(predict)
    }

    pub fn report(&self) -> Report {
        let length = u32::try_from(self.initrd.len()).unwrap();
        let patched = Kernel::parse_patched(&self.kernel, self.shape, length, &self.cmdline);
        let alternatives = patched.unwrap().map(|kernel| Alternative {
            register: zipnet_measurements::Register::Rtmr1,
            event: "kernel".to_owned(),
            digest: *kernel.digest(),
            cause: "an old QEMU patches the kernel's header".to_owned(),
        });
        self.with(|inputs, acpi| {
            let alternatives = alternatives.into_iter().collect();
            Report::new(inputs, predict(inputs, acpi), alternatives)
        })
    }

    /// The release of this guest in its shape.
    pub fn manifest(&self) -> Manifest {
        let inputs = ReleaseInputs {
            firmware: InputFile::new("OVMF.fd", &self.firmware),
            firmware_profile: None,
            unified: None,
            kernel: InputFile::new("vmlinuz", &self.kernel),
            initrd: InputFile::new("initramfs.cpio", &self.initrd),
            cmdline: self.cmdline.clone(),
        };
        let toolchain = [("rustc".to_owned(), "1.95.0".to_owned())].into();
        let reports = vec![self.report()];
        Manifest::new("0.1.0", inputs, toolchain, &FROZEN, reports, None).unwrap()
    }

    fn with<T>(&self, then: impl FnOnce(&Inputs<'_>, Result<&AcpiFiles, String>) -> T) -> T {
        let firmware = Firmware::parse(&self.firmware).unwrap();
        let kernel = Kernel::parse(&self.kernel).unwrap();
        let inputs = Inputs {
            firmware: &MeasuredFirmware::new(&firmware),
            profile: PROFILES.first(),
            order: EXPECTED,
            unified: None,
            kernel: Some(&kernel),
            initrd: Some((sha384(&self.initrd), self.initrd.len() as u64)),
            cmdline: Some(&self.cmdline),
            shape: Some(self.shape),
        };
        let acpi = self.acpi();
        then(&inputs, acpi.as_ref().map_err(Clone::clone))
    }
}
