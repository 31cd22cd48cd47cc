//! Release manifests: `measurements/releases/<version>.json`.
//!
//! The policy of `zipnet-attest` takes its image entries from one
//! ([`Manifest::policy_image`]).

mod changes;
mod policy;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use changes::Changes;
pub use policy::{PolicyImage, PolicyShape};

use crate::{
    digest::{Digest256, Digest384, sha256},
    event::{Event, Register},
    machine::Machine,
    mrtd::Order,
    predict::standing::StandingText,
    report::{Alternative, EarlyMemory, Report},
    shape::Shape,
};

/// The format that is written.
pub const FORMAT: u32 = 1;

/// A file that goes into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Its name, without folders.
    pub name: String,
    /// Of its bytes.
    pub sha256: Digest256,
    /// In bytes.
    pub size: u64,
}

impl InputFile {
    /// Describes a file.
    #[must_use]
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            sha256: sha256(bytes),
            size: bytes.len() as u64,
        }
    }
}

/// Everything that the registers are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseInputs {
    /// The firmware.
    pub firmware: InputFile,
    /// The build that it is known as.
    pub firmware_profile: Option<String>,
    /// The kernel.
    pub kernel: InputFile,
    /// The initramfs.
    pub initrd: InputFile,
    /// What QEMU gets by `-append`.
    pub cmdline: String,
}

/// The machine of all shapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseMachine {
    /// Its name.
    pub id: String,
    /// The QEMU whose ACPI tables were taken.
    pub qemu: String,
    /// QEMU's arguments that matter.
    pub arguments: String,
}

impl From<&Machine> for ReleaseMachine {
    fn from(machine: &Machine) -> Self {
        Self {
            id: machine.id.to_owned(),
            qemu: machine.qemu.to_owned(),
            arguments: machine.arguments.to_owned(),
        }
    }
}

/// One shape: RTMR0 and its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseShape {
    /// Its name, `2c4G`.
    pub id: String,
    /// Processors and memory.
    pub shape: Shape,
    /// RTMR0.
    pub rtmr0: Option<Digest384>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The events of RTMR0.
    pub events: Vec<Event>,
    /// Digests that events of this shape have elsewhere.
    pub alternatives: Vec<Alternative>,
}

/// A release manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    pub format: u32,
    /// The release.
    pub version: String,
    /// What it is made of.
    pub inputs: ReleaseInputs,
    /// What built it: name to version.
    pub toolchain: BTreeMap<String, String>,
    /// What it runs in.
    pub machine: ReleaseMachine,
    /// MRTD.
    pub mrtd: Option<Digest384>,
    /// The order of page additions that `mrtd` is for.
    pub mrtd_order: Order,
    /// MRTD under the other order.
    pub mrtd_other_order: Option<Digest384>,
    /// RTMR1.
    pub rtmr1: Option<Digest384>,
    /// RTMR2.
    pub rtmr2: Option<Digest384>,
    /// Why registers are `null`.
    pub reasons: BTreeMap<Register, String>,
    /// How sure each register is.
    pub standing: BTreeMap<Register, StandingText>,
    /// Where the firmware has memory from the start.
    pub early_memory: Option<EarlyMemory>,
    /// The events of MRTD, RTMR1 and RTMR2.
    pub events: Vec<Event>,
    /// The shapes that it may run in.
    pub shapes: Vec<ReleaseShape>,
    /// What changed.
    pub changes: Changes,
}

/// A manifest cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Not the format.
    #[error("The manifest is not of the format; every field has to be there, and no other")]
    Json(#[source] serde_json::Error),
    /// A later format.
    #[error("The manifest is of format {found}; {FORMAT} is known here")]
    Format {
        /// By its word.
        found: u32,
    },
    /// Without shapes.
    #[error("A release needs a shape at least")]
    NoShape,
    /// A release says what it measures.
    #[error("{register} has no value: {reason}; a release pins MRTD, RTMR1 and RTMR2")]
    NoValue {
        /// Which.
        register: Register,
        /// Why.
        reason: String,
    },
    /// All zeros in a register means that nothing was measured.
    #[error(
        "{register} is all zeros: nothing is measured into it; a policy that pins that pins nothing"
    )]
    Zero {
        /// Which.
        register: Register,
    },
}

impl Manifest {
    /// Makes a manifest of one report for each shape. All of them are of the same
    /// files.
    ///
    /// # Errors
    /// [`ReleaseError`] without shapes, or without a value for what every release
    /// has to pin.
    pub fn new(
        version: &str,
        inputs: ReleaseInputs,
        toolchain: BTreeMap<String, String>,
        machine: &Machine,
        reports: Vec<Report>,
        previous: Option<&Self>,
    ) -> Result<Self, ReleaseError> {
        let first = reports.first().ok_or(ReleaseError::NoShape)?.clone();
        for register in [Register::Mrtd, Register::Rtmr1, Register::Rtmr2] {
            match first.register(register) {
                Some(Digest384::ZERO) => return Err(ReleaseError::Zero { register }),
                Some(_) => {}
                None => {
                    let reason = first.reasons.get(&register).cloned().unwrap_or_default();
                    return Err(ReleaseError::NoValue { register, reason });
                }
            }
        }
        let shapes = reports.into_iter().filter_map(shape_of).collect::<Vec<_>>();
        if shapes.is_empty() {
            return Err(ReleaseError::NoShape);
        }
        let (own, _): (Vec<_>, Vec<_>) = first
            .events
            .into_iter()
            .partition(|event| event.register != Register::Rtmr0);
        let mut manifest = Self {
            format: FORMAT,
            version: version.to_owned(),
            inputs,
            toolchain,
            machine: machine.into(),
            mrtd: first.mrtd,
            mrtd_order: first.mrtd_order,
            mrtd_other_order: first.mrtd_other_order,
            rtmr1: first.rtmr1,
            rtmr2: first.rtmr2,
            reasons: BTreeMap::new(),
            standing: first.standing,
            early_memory: first.early_memory,
            events: own,
            shapes,
            changes: Changes {
                since: None,
                measurements_changed: true,
                registers: Vec::new(),
                line: "First release: there is nothing to compare measurements with.".to_owned(),
            },
        };
        if let Some(previous) = previous {
            manifest.changes = manifest.changes_since(previous);
        }
        Ok(manifest)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(ReleaseError::Json)?;
        if manifest.format != FORMAT {
            return Err(ReleaseError::Format {
                found: manifest.format,
            });
        }
        Ok(manifest)
    }

    /// What the release predicts for one of its shapes.
    #[must_use]
    pub fn report(&self, id: &str) -> Option<Report> {
        let shape = self.shapes.iter().find(|shape| shape.id == id)?;
        let mut reasons = self.reasons.clone();
        if let Some(reason) = &shape.reason {
            reasons.insert(Register::Rtmr0, reason.clone());
        }
        // The other shapes are the likeliest reason for another RTMR0.
        let others = self.shapes.iter().filter(|other| other.id != id);
        let others = others.flat_map(|other| {
            other.events.iter().filter_map(|event| {
                Some(Alternative {
                    register: event.register,
                    event: event.event.clone(),
                    digest: event.digest?,
                    cause: format!("the machine has another shape, {}", other.shape),
                })
            })
        });
        let mut events = self.events.clone();
        events.extend(shape.events.iter().cloned());
        events.sort_by_key(|event| event.register);
        Some(Report {
            mrtd: self.mrtd,
            rtmr0: shape.rtmr0,
            rtmr1: self.rtmr1,
            rtmr2: self.rtmr2,
            reasons,
            standing: self.standing.clone(),
            mrtd_order: self.mrtd_order,
            mrtd_other_order: self.mrtd_other_order,
            shape: Some(shape.shape),
            cmdline: Some(self.inputs.cmdline.clone()),
            early_memory: self.early_memory.clone(),
            alternatives: shape.alternatives.iter().cloned().chain(others).collect(),
            events,
        })
    }
}

fn shape_of(report: Report) -> Option<ReleaseShape> {
    let shape = report.shape?;
    let own = |register: Register| register == Register::Rtmr0;
    Some(ReleaseShape {
        id: shape.id(),
        shape,
        rtmr0: report.rtmr0,
        reason: report.reasons.get(&Register::Rtmr0).cloned(),
        events: report
            .events
            .into_iter()
            .filter(|event| own(event.register))
            .collect(),
        alternatives: report.alternatives,
    })
}
