//! What an image measures: its release manifest.

use std::collections::BTreeMap;

use zipnet_measurements::{
    Inputs, Kernel, Manifest, Report, Shape, Unified,
    digest::{sha256, sha384},
    drivers::{self, DriversError, TCG2_DXE},
    machine::FROZEN,
    mrtd::{EXPECTED, MeasuredFirmware},
    predict, profile,
    release::{InputFile, ReleaseError, ReleaseInputs},
    tdvf::Firmware,
    unified::UnifiedError,
};

use crate::recipe::{CPUS, MEMORY};

/// The measured files of an image with the names of their artifacts.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Name and bytes of the firmware.
    pub firmware: (&'a str, &'a [u8]),
    /// Of the image that kernel, command line and initramfs are in.
    pub unified: (&'a str, &'a [u8]),
    /// Names of kernel and initramfs, apart.
    pub parts: [&'a str; 2],
}

/// An image that cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The firmware.
    #[error(
        "The firmware is none that a TD starts from; the one of scripts/firmware.sh would be right"
    )]
    Firmware(#[source] zipnet_measurements::tdvf::TdvfError),
    /// The kernel.
    #[error("The kernel is none that firmware starts; image/inputs.lock names the right one")]
    Kernel(#[source] zipnet_measurements::predict::BootError),
    /// What was put together.
    #[error("Kernel, command line and initramfs are not in one image")]
    Unified(#[source] UnifiedError),
    /// Unknown firmware.
    #[error("It is not known whether the firmware drives a TPM")]
    Drivers(#[source] DriversError),
    /// With a TPM, the kernel measures what nobody sees.
    #[error(
        "The firmware drives a TPM (Tcg2Dxe), and RTMR1 does not cover kernel, command line and initramfs: a host that \
         gives one boots what it likes; all three in one image, or a firmware without that driver, would be right"
    )]
    Unbound,
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
        let unified = Unified::parse(self.unified.1).map_err(MeasureError::Unified)?;
        let profile = profile::of(&sha256(self.firmware.1));
        let mut inputs = Inputs {
            firmware: &measured,
            profile,
            order: EXPECTED,
            unified: Some(unified.digest),
            kernel: Some(&unified.kernel),
            initrd: Some((sha384(unified.initrd), unified.initrd.len() as u64)),
            cmdline: Some(unified.cmdline),
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
        let [kernel, initrd] = self.parts;
        let inputs = ReleaseInputs {
            firmware: file(self.firmware),
            firmware_profile: profile.map(|profile| profile.id.to_owned()),
            unified: Some(file(self.unified)),
            kernel: file((kernel, unified.linux)),
            initrd: file((initrd, unified.initrd)),
            cmdline: unified.cmdline.to_owned(),
        };
        let manifest = Manifest::new(version, inputs, toolchain, &FROZEN, reports, previous)
            .map_err(|error| MeasureError::Release(Box::new(error)))?;
        bound(&manifest, self.firmware.1)?;
        Ok(manifest)
    }
}

/// Whether registers show all that runs, whatever the host adds
/// (docs/decisions/0018).
///
/// # Errors
/// [`MeasureError::Unbound`], and [`MeasureError::Drivers`] if that is not known.
pub fn bound(manifest: &Manifest, firmware: &[u8]) -> Result<(), MeasureError> {
    let drives = drivers::names(firmware, &TCG2_DXE).map_err(MeasureError::Drivers)?;
    if drives && !manifest.binds_what_runs() {
        return Err(MeasureError::Unbound);
    }
    Ok(())
}
