//! Registers predicted from files alone, each with its list of events.

mod boot;
mod config;
mod memory;
pub mod standing;

use serde::{Deserialize, Serialize};

pub use boot::{BootError, Kernel, KernelForm};
pub use config::config_events;
pub use standing::{Standing, standing};

use crate::{
    digest::{Digest384, replay},
    event::{Event, Register},
    machine::AcpiFiles,
    mrtd::{MeasuredFirmware, Order},
    profile::Profile,
    shape::Shape,
};

/// All that registers depend on. What is `None` is not known: registers that
/// need it have no value.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The firmware file.
    pub firmware: &'a MeasuredFirmware<'a>,
    /// What is known of its operation.
    pub profile: Option<&'static Profile>,
    /// In which order the VMM adds pages.
    pub order: Order,
    /// The digest of the image that kernel, initramfs and command line are in, if the
    /// firmware boots one.
    pub unified: Option<Digest384>,
    /// The kernel.
    pub kernel: Option<&'a Kernel>,
    /// The digest of the initramfs and its length in bytes.
    pub initrd: Option<(Digest384, u64)>,
    /// The command line as it is given to QEMU's `-append`, or is in the image.
    pub cmdline: Option<&'a str>,
    /// Processors and memory.
    pub shape: Option<Shape>,
}

/// A register, or why it has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// The register.
    pub digest: Option<Digest384>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Result<Digest384, String>> for Value {
    fn from(result: Result<Digest384, String>) -> Self {
        match result {
            Ok(digest) => Self {
                digest: Some(digest),
                reason: None,
            },
            Err(reason) => Self {
                digest: None,
                reason: Some(reason),
            },
        }
    }
}

impl Value {
    /// A register that begins with zeros and takes these events.
    #[must_use]
    pub fn of_events(events: &[Event]) -> Self {
        let digests: Result<Vec<_>, String> = events
            .iter()
            .map(|event| {
                event.digest.ok_or_else(|| {
                    let why = event.reason.as_deref().unwrap_or("not known");
                    format!("{} has no digest: {why}", event.event)
                })
            })
            .collect();
        digests.map(|digests| replay(&digests)).into()
    }
}

/// The registers of one shape and the events that make them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// MRTD and RTMR0 to RTMR2, in the order of [`Register::ALL`].
    pub values: [Value; 4],
    /// All events, by register.
    pub events: Vec<Event>,
}

impl Prediction {
    /// A register.
    #[must_use]
    pub const fn value(&self, register: Register) -> &Value {
        let [mrtd, rtmr0, rtmr1, rtmr2] = &self.values;
        match register {
            Register::Mrtd => mrtd,
            Register::Rtmr0 => rtmr0,
            Register::Rtmr1 => rtmr1,
            Register::Rtmr2 => rtmr2,
        }
    }
}

/// Predicts all registers. `acpi` are the files that the machine gives to the
/// firmware, or why they are not known.
#[must_use]
pub fn predict(inputs: &Inputs<'_>, acpi: Result<&AcpiFiles, String>) -> Prediction {
    let mrtd = inputs.firmware.mrtd(inputs.order).clone();
    let mrtd = mrtd.map_err(|error| error.to_string());
    let config = profiled(inputs, |_| Ok(config_events(inputs, acpi)));
    let boot = profiled(inputs, |profile| boot::boot_events(inputs, profile));
    let kernel = profiled(inputs, |profile| boot::kernel_events(inputs, profile));
    let mut events = memory::memory_events(inputs.firmware);
    let mut values = [const {
        Value {
            digest: None,
            reason: None,
        }
    }; 4];
    let [first, rest @ ..] = &mut values;
    *first = mrtd.into();
    for (value, list) in rest.iter_mut().zip([config, boot, kernel]) {
        *value = match list {
            Ok(list) => {
                let value = Value::of_events(&list);
                events.extend(list);
                value
            }
            Err(reason) => Err(reason).into(),
        };
    }
    Prediction { values, events }
}

/// Events that need to know how the firmware behaves.
fn profiled(
    inputs: &Inputs<'_>,
    events: impl FnOnce(&Profile) -> Result<Vec<Event>, String>,
) -> Result<Vec<Event>, String> {
    match inputs.profile {
        Some(profile) => events(profile),
        None => Err(
            "nobody has looked at this firmware build in operation, and what it measures besides \
             its inputs differs between builds (see `--firmware-like`)"
                .to_owned(),
        ),
    }
}
