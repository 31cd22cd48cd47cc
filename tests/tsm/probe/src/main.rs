//! PID 1 of a guest that drives the kernel's own configfs-tsm with
//! [`zipnet_attest::tsm`], and prints one JSON object per question.
//!
//! The guest is no TD: the module `faketsm` registers as its provider, and a
//! thread of this program answers as the host's quote service would, with quotes
//! of a simulated Intel. `tests/tests/tsm_guest.rs` boots it and judges.
#![allow(clippy::indexing_slicing)]

mod guest;
mod questions;
mod service;

use std::{env, process::ExitCode};

use zipnet_attest::{report, tsm::TsmSource};

/// What this program is called with to ask as a user without rights.
const UNPRIVILEGED: &str = "unprivileged";

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(UNPRIVILEGED) {
        questions::print(
            "unprivileged",
            questions::told(TsmSource::new().quote(&[0; 64])),
        );
        return ExitCode::SUCCESS;
    }
    if let Err(error) = questions::ask_all() {
        questions::print(
            "failed",
            serde_json::json!({ "text": report::chain(&*error) }),
        );
    }
    // Only PID 1 gets here; its end would be the kernel's panic.
    match guest::power_off() {
        Ok(never) => match never {},
        Err(_) => ExitCode::FAILURE,
    }
}
