//! A prediction as a file: what `predict --json` prints and a manifest is made
//! of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest384,
    event::{Event, Register},
    hob::EarlyMemory,
    mrtd::Order,
    predict::{Inputs, Prediction, standing, standing::StandingText},
    shape::Shape,
};

/// Longest report or manifest that is read, in bytes.
pub const MAX_REPORT: usize = 16 << 20;

/// The registers of one shape, their events, and what helps to explain others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// MRTD.
    pub mrtd: Option<Digest384>,
    /// RTMR0.
    pub rtmr0: Option<Digest384>,
    /// RTMR1.
    pub rtmr1: Option<Digest384>,
    /// RTMR2.
    pub rtmr2: Option<Digest384>,
    /// Why registers are `null`.
    pub reasons: BTreeMap<Register, String>,
    /// How sure each register is.
    pub standing: BTreeMap<Register, StandingText>,
    /// The order of page additions that `mrtd` is for.
    pub mrtd_order: Order,
    /// MRTD under the other order.
    pub mrtd_other_order: Option<Digest384>,
    /// Processors and memory, if given.
    pub shape: Option<Shape>,
    /// The command line, if given.
    pub cmdline: Option<String>,
    /// Where the firmware has memory from the start.
    pub early_memory: Option<EarlyMemory>,
    /// Other digests that an event is known to have, and when.
    pub alternatives: Vec<Alternative>,
    /// The events, by register.
    pub events: Vec<Event>,
}

/// Another digest of an event, and when it is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// The register.
    pub register: Register,
    /// The event, by its name in [`Event::event`].
    pub event: String,
    /// The other digest.
    pub digest: Digest384,
    /// When it is measured, as the end of a sentence that begins with "this is measured when".
    pub cause: String,
}

/// Most events of a report, alternatives of its own, or ranges of early memory:
/// bounds what a comparison takes.
pub const MAX_LIST: usize = 256;

/// Not a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Not the format.
    #[error("The prediction is not of the format; every field has to be there, and no other")]
    Json(#[source] serde_json::Error),
    /// Longer than any.
    #[error("The prediction has {found} {what}; at most {MAX_LIST} are sensible")]
    Long {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
    },
}

/// Refuses lists that are longer than any prediction's.
pub(crate) fn check_lists(
    events: &[Event],
    alternatives: &[Alternative],
    early: Option<&EarlyMemory>,
) -> Result<(), ReportError> {
    let ranges = early.map_or(0, |early| early.ranges.len());
    for (what, found) in [
        ("events", events.len()),
        ("alternatives", alternatives.len()),
        ("ranges of early memory", ranges),
    ] {
        if found > MAX_LIST {
            return Err(ReportError::Long { what, found });
        }
    }
    Ok(())
}

impl Report {
    /// Reads what `predict --json` printed for one shape.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReportError> {
        let report: Self = serde_json::from_slice(bytes).map_err(ReportError::Json)?;
        let early = report.early_memory.as_ref();
        check_lists(&report.events, &report.alternatives, early)?;
        Ok(report)
    }

    /// The report of a prediction.
    #[must_use]
    pub fn new(
        inputs: &Inputs<'_>,
        prediction: Prediction,
        alternatives: Vec<Alternative>,
    ) -> Self {
        let [mrtd_value, rtmr0, rtmr1, rtmr2] = &prediction.values;
        let reasons = Register::ALL
            .into_iter()
            .zip(&prediction.values)
            .filter_map(|(register, value)| Some((register, value.reason.clone()?)))
            .collect();
        let other = match inputs.order {
            Order::PageByPage => Order::SectionBySection,
            Order::SectionBySection => Order::PageByPage,
        };
        Self {
            mrtd: mrtd_value.digest,
            rtmr0: rtmr0.digest,
            rtmr1: rtmr1.digest,
            rtmr2: rtmr2.digest,
            reasons,
            standing: standings(inputs),
            mrtd_order: inputs.order,
            mrtd_other_order: inputs.firmware.mrtd(other).as_ref().ok().copied(),
            shape: inputs.shape,
            cmdline: inputs.cmdline.map(ToOwned::to_owned),
            early_memory: EarlyMemory::of(inputs.firmware.firmware()).ok(),
            alternatives,
            events: prediction.events,
        }
    }

    /// A register.
    #[must_use]
    pub const fn register(&self, register: Register) -> Option<Digest384> {
        match register {
            Register::Mrtd => self.mrtd,
            Register::Rtmr0 => self.rtmr0,
            Register::Rtmr1 => self.rtmr1,
            Register::Rtmr2 => self.rtmr2,
        }
    }

    /// The events of a register.
    pub fn events_of(&self, register: Register) -> impl Iterator<Item = &Event> {
        let of = move |event: &&Event| event.register == register;
        self.events.iter().filter(of)
    }
}

/// How sure each register is.
fn standings(inputs: &Inputs<'_>) -> BTreeMap<Register, StandingText> {
    // `--firmware-like`: what a build measures besides its inputs was seen in
    // another one.
    let unseen = inputs
        .profile
        .filter(|profile| profile.sha256 != *inputs.firmware.sha256());
    Register::ALL
        .into_iter()
        .map(|register| {
            let mut text = StandingText::from(standing(register));
            if let Some(profile) = unseen.filter(|_| register != Register::Mrtd) {
                text.confirmed = false;
                text.evidence = format!(
                    "nobody has looked at this firmware build in operation; it is taken to be like {}. Of that: {}",
                    profile.id, text.evidence
                );
            }
            (register, text)
        })
        .collect()
}
