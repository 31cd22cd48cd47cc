//! Predicts the measurements of a TDX guest, explains and compares them.

use std::process::ExitCode;

fn main() -> ExitCode {
    zipnet_measurements::cli::main()
}
