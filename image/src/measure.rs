//! What an image measures: its release manifest.

use std::collections::BTreeMap;

use zipnet_measurements::{
    Inputs, Kernel, Manifest, Report, Shape,
    digest::{sha256, sha384},
    machine::FROZEN,
    mrtd::{EXPECTED, MeasuredFirmware},
    predict, profile,
    release::{InputFile, ReleaseError, ReleaseInputs},
    tdvf::Firmware,
};

use crate::recipe::{CMDLINE, CPUS, MEMORY};

/// The measured files of an image with the names of their artifacts.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Name and bytes of the firmware.
    pub firmware: (&'a str, &'a [u8]),
    /// Of the kernel.
    pub kernel: (&'a str, &'a [u8]),
    /// Of the initramfs.
    pub initramfs: (&'a str, &'a [u8]),
}

/// An image that cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The firmware.
    #[error("The firmware is none that a TD starts from; image/inputs.lock names the right one")]
    Firmware(#[source] zipnet_measurements::tdvf::TdvfError),
    /// The kernel.
    #[error("The kernel is none that firmware starts; image/inputs.lock names the right one")]
    Kernel(#[source] zipnet_measurements::predict::BootError),
    /// The manifest.
    #[error("The release manifest could not be made")]
    Release(#[source] Box<ReleaseError>),
}

/// Whether firmware and kernel are such as an image can be made of: seen before
/// anything is compiled for it.
///
/// # Errors
/// [`MeasureError::Firmware`] or [`MeasureError::Kernel`].
pub fn check(firmware: &[u8], kernel: &[u8]) -> Result<(), MeasureError> {
    Firmware::parse(firmware).map_err(MeasureError::Firmware)?;
    Kernel::parse(kernel).map_err(MeasureError::Kernel)?;
    Ok(())
}

impl Measured<'_> {
    /// The manifest of this image, for all shapes of the recipe.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn manifest(
        &self,
        version: &str,
        toolchain: BTreeMap<String, String>,
        previous: Option<&Manifest>,
    ) -> Result<Manifest, MeasureError> {
        let firmware = Firmware::parse(self.firmware.1).map_err(MeasureError::Firmware)?;
        let measured = MeasuredFirmware::new(&firmware);
        let kernel = Kernel::parse(self.kernel.1).map_err(MeasureError::Kernel)?;
        let profile = profile::of(&sha256(self.firmware.1));
        let initramfs = self.initramfs.1;
        let mut inputs = Inputs {
            firmware: &measured,
            profile,
            order: EXPECTED,
            kernel: Some(&kernel),
            initrd: Some((sha384(initramfs), initramfs.len() as u64)),
            cmdline: Some(CMDLINE),
            shape: None,
        };
        let mut reports = Vec::new();
        for cpus in CPUS {
            for memory in MEMORY {
                let shape = Shape {
                    cpus,
                    memory: memory << 30,
                };
                inputs.shape = Some(shape);
                let acpi = FROZEN.acpi(shape).map_err(|error| error.to_string());
                let prediction = predict(&inputs, acpi.as_ref().map_err(Clone::clone));
                reports.push(Report::new(&inputs, prediction, Vec::new()));
            }
        }
        let file = |(name, bytes): (&str, &[u8])| InputFile::new(name, bytes);
        let inputs = ReleaseInputs {
            firmware: file(self.firmware),
            firmware_profile: profile.map(|profile| profile.id.to_owned()),
            kernel: file(self.kernel),
            initrd: file(self.initramfs),
            cmdline: CMDLINE.to_owned(),
        };
        Manifest::new(version, inputs, toolchain, &FROZEN, reports, previous)
            .map_err(|error| MeasureError::Release(Box::new(error)))
    }
}
