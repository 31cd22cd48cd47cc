//! How sure a prediction is, and by what.

use serde::{Deserialize, Serialize};

use crate::event::Register;

/// What a predicted register was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Whether all of its rules were compared with what hardware or firmware
    /// measured.
    pub confirmed: bool,
    /// By what, and what is left.
    pub evidence: &'static str,
}

/// The same as [`Standing`], as a file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingText {
    /// Whether all of its rules were compared.
    pub confirmed: bool,
    /// By what, and what is left.
    pub evidence: String,
}

impl From<Standing> for StandingText {
    fn from(standing: Standing) -> Self {
        Self {
            confirmed: standing.confirmed,
            evidence: standing.evidence.to_owned(),
        }
    }
}

/// How sure predictions of a register are. `docs/measurements.md` has the table.
#[must_use]
pub const fn standing(register: Register) -> Standing {
    match register {
        Register::Mrtd => Standing {
            confirmed: false,
            evidence: "the rule is that of the TDX module's source, the order that of Linux; no firmware file with a \
                       published MRTD was at hand to compare",
        },
        Register::Rtmr0 => Standing {
            confirmed: false,
            evidence: "order and every event but ACPI agree with logs and registers of real TDs; the ACPI files \
                       are those of the same QEMU and devices under emulation, not of a TD",
        },
        Register::Rtmr1 => Standing {
            confirmed: true,
            evidence: "order and constant events agree with logs and registers of real TDs; the digests of image and \
                       kernel with what Debian's firmware of the same source measured into a TPM",
        },
        Register::Rtmr2 => Standing {
            confirmed: true,
            evidence: "order agrees with logs and registers of real TDs; both digests with what the same kernel \
                       measured into a TPM",
        },
    }
}
