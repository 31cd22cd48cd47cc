//! Looks at TD quotes and verifies them, fetches what that takes, and gives
//! guests that verify their secrets.

use std::process::ExitCode;

fn main() -> ExitCode {
    zipnet_attest::cli::main()
}
