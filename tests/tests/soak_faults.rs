//! The short form of `make soak`: load and faults, and what has to hold all the
//! while. Needs root and iproute2.
#![allow(missing_docs)]

use std::{path::PathBuf, time::Duration};

use zipnet_tests::process::{Failed, Process, TestResult, command};

/// For how long there are faults; with coming up and settling, it is two and a half
/// minutes.
const SECONDS: &str = "100";
/// Fewer clients than in the long form: two processors are all that is here.
const CLIENTS: &str = "48";
/// The faults of this seed, unless another is set: the same in each run.
const SEED: &str = "1";
/// A run has to end by itself before this.
const LIMIT: Duration = Duration::from_mins(6);

#[test]
fn faults_cost_no_message_and_no_agreement_and_rounds_come_back() -> TestResult {
    // Beside the programs, where it can be looked at afterwards.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("soak");
    let mut soak = command("zipnet-soak")?;
    soak.args(["--seconds", SECONDS, "--clients", CLIENTS])
        .arg("--folder")
        .arg(&folder);
    let seed = std::env::var_os("SOAK_SEED");
    soak.arg("--seed").arg(seed.unwrap_or_else(|| SEED.into()));
    let (status, lines) = Process::run("zipnet-soak", soak, LIMIT)?;
    let said = lines.join("\n");
    println!("{said}");
    if !status.success() {
        return Err(Failed::because(format!("zipnet-soak: {status}\n{said}")));
    }
    // It did not end early and well.
    assert!(lines.iter().any(|line| line.starts_with("holds")), "{said}");
    let page = std::fs::read_to_string(folder.join("report.html"))?;
    assert!(page.contains("All of it holds") && page.contains("</html>"));
    Ok(())
}
