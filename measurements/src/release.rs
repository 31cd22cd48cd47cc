//! Release manifests: `measurements/releases/<version>.json`.
//!
//! `zipnet-attest policy new --manifest` takes the image of a policy from one.

mod changes;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use changes::Changes;

use crate::{
    digest::{Digest256, Digest384, replay, sha256},
    event::{DependsOn, Event, Register},
    hob::EarlyMemory,
    machine::Machine,
    mrtd::Order,
    predict::standing::StandingText,
    report::{Alternative, Report, ReportError, check_lists},
    shape::Shape,
};

/// The format that is written.
pub const FORMAT: u32 = 1;

/// Most shapes of a release.
pub const MAX_SHAPES: usize = 256;

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
    /// The image that the next three are in, if the firmware boots one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<InputFile>,
    /// The kernel.
    pub kernel: InputFile,
    /// The initramfs.
    pub initrd: InputFile,
    /// The command line.
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
    pub mrtd: Digest384,
    /// The order of page additions that `mrtd` is for.
    pub mrtd_order: Order,
    /// MRTD under the other order.
    pub mrtd_other_order: Option<Digest384>,
    /// RTMR1.
    pub rtmr1: Digest384,
    /// RTMR2.
    pub rtmr2: Digest384,
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
    /// Longer than any.
    #[error(transparent)]
    Long(#[from] ReportError),
    /// Without shapes, or with too many.
    #[error("The release has {found} shapes; 1 to {MAX_SHAPES} would be right")]
    Shapes {
        /// How many.
        found: usize,
    },
    /// Two shapes, or two names for one.
    #[error("Shape {id} is named twice, or is not what its name says; {right} would be right")]
    ShapeName {
        /// The name.
        id: String,
        /// That of its processors and memory.
        right: String,
    },
    /// Registers of several launches.
    #[error(
        "{register} is not the same for all shapes; in a TD it depends on firmware, kernel, initramfs and command line alone"
    )]
    Differs {
        /// Which.
        register: Register,
    },
    /// Somebody has changed one of them.
    #[error("{register} is {found}; its events give {right}")]
    Events {
        /// Which, with its shape.
        register: String,
        /// By the manifest's word.
        found: Digest384,
        /// After the events of the manifest.
        right: Digest384,
    },
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
        let first = reports
            .first()
            .ok_or(ReleaseError::Shapes { found: 0 })?
            .clone();
        let shared = |register: Register| {
            let value = first.register(register);
            if reports
                .iter()
                .any(|other| other.register(register) != value)
            {
                return Err(ReleaseError::Differs { register });
            }
            value.ok_or_else(|| ReleaseError::NoValue {
                register,
                reason: first.reasons.get(&register).cloned().unwrap_or_default(),
            })
        };
        let mrtd = shared(Register::Mrtd)?;
        let rtmr1 = shared(Register::Rtmr1)?;
        let rtmr2 = shared(Register::Rtmr2)?;
        let shapes = reports.into_iter().filter_map(shape_of).collect::<Vec<_>>();
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
            mrtd,
            mrtd_order: first.mrtd_order,
            mrtd_other_order: first.mrtd_other_order,
            rtmr1,
            rtmr2,
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
        manifest.check()?;
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
        manifest.check()?;
        Ok(manifest)
    }

    /// What every manifest keeps to, whoever wrote it: registers pin something
    /// and are what their events give, and a name is that of one shape.
    fn check(&self) -> Result<(), ReleaseError> {
        let found = self.shapes.len();
        if !(1..=MAX_SHAPES).contains(&found) {
            return Err(ReleaseError::Shapes { found });
        }
        check_lists(&self.events, &[], self.early_memory.as_ref())?;
        for (register, value) in [
            (Register::Mrtd, self.mrtd),
            (Register::Rtmr1, self.rtmr1),
            (Register::Rtmr2, self.rtmr2),
        ] {
            if value == Digest384::ZERO {
                return Err(ReleaseError::Zero { register });
            }
            // MRTD is of pages, not of these digests.
            if register != Register::Mrtd {
                let of = |event: &&Event| event.register == register;
                let events = self.events.iter().filter(of);
                agree(register.to_string(), value, events)?;
            }
        }
        let mut ids = BTreeSet::new();
        for shape in &self.shapes {
            check_lists(&shape.events, &shape.alternatives, None)?;
            let right = shape.shape.id();
            if shape.id != right || !ids.insert(&shape.id) {
                let id = shape.id.clone();
                return Err(ReleaseError::ShapeName { id, right });
            }
            if let Some(value) = shape.rtmr0 {
                let name = format!("{} of {}", Register::Rtmr0, shape.id);
                agree(name, value, &shape.events)?;
            }
        }
        Ok(())
    }

    /// Whether RTMR1 covers all that runs: kernel, command line and initramfs are in
    /// one image. Otherwise a host that gives the guest a TPM boots what it likes,
    /// and writes the published digests into RTMR2 itself (docs/decisions/0018).
    #[must_use]
    pub fn binds_what_runs(&self) -> bool {
        let all = [DependsOn::Kernel, DependsOn::Initrd, DependsOn::Cmdline];
        let covers = |event: &Event| {
            event.register == Register::Rtmr1
                && all.iter().all(|part| event.depends_on.contains(part))
        };
        self.inputs.unified.is_some() && self.events.iter().any(covers)
    }

    /// What the release predicts for one of its shapes.
    #[must_use]
    pub fn report(&self, id: &str) -> Option<Report> {
        let shape = self.shapes.iter().find(|shape| shape.id == id)?;
        let reason = shape.reason.clone();
        let reasons = reason.map(|reason| (Register::Rtmr0, reason));
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
            mrtd: Some(self.mrtd),
            rtmr0: shape.rtmr0,
            rtmr1: Some(self.rtmr1),
            rtmr2: Some(self.rtmr2),
            reasons: reasons.into_iter().collect(),
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

/// Refuses a register that is not what its events give.
fn agree<'a>(
    register: String,
    found: Digest384,
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<(), ReleaseError> {
    let digests: Vec<_> = events
        .into_iter()
        .map(|event| event.digest.unwrap_or(Digest384::ZERO))
        .collect();
    let right = replay(&digests);
    if found == right {
        Ok(())
    } else {
        Err(ReleaseError::Events {
            register,
            found,
            right,
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
