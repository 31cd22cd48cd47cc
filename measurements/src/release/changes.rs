//! What differs from the release before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Manifest, ReleaseShape};
use crate::{digest::Digest384, event::Register};

/// What a release changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// The release before; `null` for the first.
    pub since: Option<String>,
    /// Whether any register differs from it.
    pub measurements_changed: bool,
    /// Which registers do; `rtmr0 2c4G` names one of a shape.
    pub registers: Vec<String>,
    /// The same in a sentence.
    pub line: String,
}

impl Manifest {
    /// What differs from another release.
    #[must_use]
    pub fn changes_since(&self, previous: &Self) -> Changes {
        let mut registers: Vec<String> = [
            (Register::Mrtd, self.mrtd == previous.mrtd),
            (Register::Rtmr1, self.rtmr1 == previous.rtmr1),
            (Register::Rtmr2, self.rtmr2 == previous.rtmr2),
        ]
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(register, _)| register.name().to_owned())
        .collect();
        let rtmr0 = |shapes: &[ReleaseShape]| -> BTreeMap<String, Option<Digest384>> {
            let of = |shape: &ReleaseShape| (shape.id.clone(), shape.rtmr0);
            shapes.iter().map(of).collect()
        };
        let (now, before) = (rtmr0(&self.shapes), rtmr0(&previous.shapes));
        for id in now
            .keys()
            .chain(before.keys().filter(|id| !now.contains_key(*id)))
        {
            if now.get(id) != before.get(id) {
                registers.push(format!("rtmr0 {id}"));
            }
        }
        let since = &previous.version;
        let line = if registers.is_empty() {
            format!("Measurements are the same as in {since}.")
        } else {
            format!(
                "Measurements changed since {since}: {}.",
                registers.join(", ")
            )
        };
        Changes {
            since: Some(since.clone()),
            measurements_changed: !registers.is_empty(),
            registers,
            line,
        }
    }
}
