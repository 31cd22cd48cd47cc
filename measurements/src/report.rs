//! A prediction as a file: what `predict --json` prints and a manifest is made
//! of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest384,
    event::{Event, Register},
    hob::HobError,
    mrtd::Order,
    predict::{Inputs, Prediction, standing, standing::StandingText},
    shape::Shape,
    tdvf::SectionKind,
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

/// What the TD HOB is made of besides the shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyMemory {
    /// Address of the hand-off block.
    pub td_hob: u64,
    /// Address and length in bytes of every range.
    pub ranges: Vec<(u64, u64)>,
}

impl EarlyMemory {
    /// The ranges of a firmware.
    ///
    /// # Errors
    /// [`HobError::Missing`] if it takes no hand-off block.
    pub fn of(firmware: &crate::tdvf::Firmware<'_>) -> Result<Self, HobError> {
        let td_hob = firmware
            .section(SectionKind::TdHob)
            .ok_or(HobError::Missing)?
            .address;
        let ranges = firmware
            .sections()
            .iter()
            .filter(|s| matches!(s.kind, SectionKind::TdHob | SectionKind::TempMem))
            .map(|s| (s.address, s.memory_size))
            .collect();
        Ok(Self { td_hob, ranges })
    }
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
    /// When it is measured, as the end of a sentence that begins with "because".
    pub cause: String,
}

impl Report {
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
            standing: standings(),
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
#[must_use]
pub fn standings() -> BTreeMap<Register, StandingText> {
    Register::ALL
        .into_iter()
        .map(|register| (register, standing(register).into()))
        .collect()
}
