//! Events of a log as the registers of a TD take them.

use crate::{
    digest::{Digest384, sha384},
    event::{Event, Register},
    eventlog::{EventKind, EventLog, LogKind, pcr_to_register},
};

/// Where a TPM's log area is in `fw_cfg`, QEMU's `etc/tpm/log`: 64 KiB of zeros that
/// firmware measures like ACPI tables, in machines with a TPM only.
const TPM_LOG_AREA: usize = 64 << 10;

/// One event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The register that takes it.
    pub register: Register,
    /// Its type.
    pub kind: EventKind,
    /// Its digest.
    pub digest: Digest384,
    /// What it says of itself, where that is text.
    pub text: Option<String>,
}

/// The events of a log by register. Of a TPM's log, PCRs are mapped to RTMRs as
/// edk2 does, and left out is what a TD does not get: PCR 0, whose part MRTD
/// plays; all separators but those of PCR 7 and PCR 4 (`TdTcg2Dxe.c`,
/// `MeasureSecureBootPolicy` and `OnReadyToBoot`: one in RTMR0 and one in
/// RTMR1); the TPM's own log area.
#[must_use]
pub fn observed(log: &EventLog<'_>, kind: LogKind) -> Vec<Observed> {
    let log_area = sha384(&vec![0; TPM_LOG_AREA]);
    log.events
        .iter()
        .filter(|event| event.kind != EventKind::NO_ACTION)
        .filter_map(|event| {
            let register = match kind {
                LogKind::Cc => Register::from_log_index(event.index)?,
                LogKind::Tpm => {
                    let separator = event.kind == EventKind::SEPARATOR;
                    if separator && !matches!(event.index, 4 | 7) {
                        return None;
                    }
                    let index = pcr_to_register(event.index)?;
                    Register::from_log_index(u32::try_from(index).ok()? + 1)?
                }
            };
            let digest = event.sha384()?;
            if kind == LogKind::Tpm && digest == log_area {
                return None;
            }
            Some(Observed {
                register,
                kind: event.kind,
                digest,
                text: event.text(),
            })
        })
        .collect()
}

/// Whether a TPM's log has no such event: hand-off block and variable store are
/// measured by code that runs in TDs alone.
pub(super) fn only_in_a_td(event: &Event) -> bool {
    matches!(event.event.as_str(), "TD HOB" | "CFV")
}
