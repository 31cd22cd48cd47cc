//! Events to registers.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{Algorithm, EventKind, EventLog};
use crate::digest::{Digest384, extend};

/// RTMR0 to RTMR3 after the events of a TD's log; zeros where it has none.
///
/// Events for MRTD (index 0) are not extended: it cannot be.
#[must_use]
pub fn rtmrs(log: &EventLog<'_>) -> [Digest384; 4] {
    let mut registers = [Digest384::ZERO; 4];
    for event in &log.events {
        if event.kind == EventKind::NO_ACTION {
            continue;
        }
        let register = event
            .index
            .checked_sub(1)
            .and_then(|index| registers.get_mut(usize::try_from(index).ok()?));
        if let (Some(register), Some(digest)) = (register, event.sha384()) {
            *register = extend(register, &digest);
        }
    }
    registers
}

/// A PCR of a TPM's log by one of its algorithms; `None` without any event for
/// it, or for an algorithm that is not known here.
#[must_use]
pub fn replay_pcr(log: &EventLog<'_>, pcr: u32, algorithm: Algorithm) -> Option<Vec<u8>> {
    let mut register: Option<Vec<u8>> = None;
    for event in &log.events {
        if event.index != pcr || event.kind == EventKind::NO_ACTION {
            continue;
        }
        let digest = event.digest(algorithm)?;
        let before = register.unwrap_or_else(|| vec![0; digest.len()]);
        let both = [before.as_slice(), digest].concat();
        register = Some(match algorithm {
            Algorithm::SHA256 => Sha256::digest(&both).to_vec(),
            Algorithm::SHA384 => Sha384::digest(&both).to_vec(),
            Algorithm::SHA512 => Sha512::digest(&both).to_vec(),
            _ => return None,
        });
    }
    register
}

/// The RTMR that takes what a TPM takes into a PCR; `None` for PCR 0, whose part
/// MRTD plays, and for PCRs that firmware does not use.
///
/// UEFI specification, section 38.4.1; edk2
/// `OvmfPkg/IntelTdx/TdxMeasurementLib/TdxMeasurementCommon.c`,
/// `TdxMeasurementMapPcrToMrIndex`.
#[must_use]
pub const fn pcr_to_register(pcr: u32) -> Option<usize> {
    match pcr {
        1 | 7 => Some(0),
        2..=6 => Some(1),
        8..=15 => Some(2),
        _ => None,
    }
}
