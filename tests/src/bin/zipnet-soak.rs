//! `make soak`: load and faults, and what has to hold all the while.
//!
//!     zipnet-soak [--seed N] [--seconds N] [--folder DIR]
//!
//! Writes `report.html` and the logs of all processes to the folder, and ends with
//! status 1 if something does not hold. Needs root: it makes network namespaces,
//! devices and small disks, and takes them away again. `zipnet-soak load` and `zipnet-soak
//! collateral` are started by it.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use zipnet_attest::simulation::Pccs;
use zipnet_node::{entropy, report::chain};
use zipnet_server::{Failure, main_with};
use zipnet_tests::soak::{
    cluster::publisher,
    link::Counted,
    load::{self, LoadArgs},
    observe::Observations,
    report::{self, Run},
    run::{self, RunError},
    verdict::Verdict,
};

/// Asked for by a signal.
static STOP: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Parser)]
struct Soak {
    /// Seed of the faults and of the network's chance [default: a fresh one]
    #[arg(long, env = "SOAK_SEED")]
    seed: Option<u64>,
    /// For how many seconds there are faults
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(20..=86_400))]
    seconds: u64,
    /// How many clients; a multiple of 8 up to 400
    #[arg(long, env = "SOAK_CLIENTS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(8..=400))]
    clients: u16,
    /// Where the report and the logs go
    #[arg(long, env = "SOAK_FOLDER", default_value = "target/soak")]
    folder: PathBuf,
}

#[derive(Debug, Parser)]
struct Load {
    #[command(subcommand)]
    verb: LoadVerb,
}

#[derive(Debug, Subcommand)]
enum LoadVerb {
    /// Many clients in one process
    Load(Box<LoadArgs>),
}

#[derive(Debug, Parser)]
struct Collateral {
    /// Where to listen
    address: SocketAddr,
    #[arg(long, env = "ZIPNET_SIMULATION_SEED")]
    seed: String,
    #[arg(long, env = "ZIPNET_SIMULATION_ISSUED")]
    issued: u64,
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("load") => main_with(
            |load: &Load| {
                let LoadVerb::Load(args) = &load.verb;
                args.node()
            },
            |args, stop| {
                let LoadVerb::Load(args) = args.verb;
                load::run(*args, stop)
            },
        ),
        Some("collateral") => zipnet_server::process::verb("collateral", |args| collateral(&args))
            .unwrap_or(ExitCode::FAILURE),
        _ => soak(&Soak::parse()),
    }
}

/// The source of collateral, until it is killed.
fn collateral(args: &Collateral) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::runtime(error);
    let publisher = publisher(&args.seed, args.issued).map_err(failed)?;
    let world = publisher.world().map_err(Failure::runtime)?;
    let _pccs = Pccs::serve_at(&world, args.address).map_err(failed)?;
    loop {
        thread::park();
    }
}

fn soak(args: &Soak) -> ExitCode {
    match try_soak(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn try_soak(args: &Soak) -> Result<bool, Box<dyn std::error::Error>> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(u32::from_le_bytes(fresh()?)),
    };
    fs::create_dir_all(&args.folder)?;
    let folder = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(args.folder.canonicalize()?)?;
    watch_signals()?;
    let command = format!(
        "SOAK_SEED={seed} SOAK_SECONDS={} SOAK_CLIENTS={} make soak",
        args.seconds, args.clients
    );
    say(&format!("soak: {command}"));
    let mut observed = Observations::default();
    let mut packets = Counted::default();
    let length = Duration::from_secs(args.seconds);
    let outcome = run::run(
        (seed, length, usize::from(args.clients)),
        folder.path(),
        &STOP,
        &mut observed,
        &mut packets,
        &say,
    );
    let logs = args.folder.join("logs");
    let _ = fs::remove_dir_all(&logs);
    let _ = fs::rename(folder.path().join("logs"), &logs);
    if let Err(interrupted @ RunError::Interrupted) = outcome {
        return Err(interrupted.into());
    }
    let verdict = Verdict::of(&observed);
    let broken = outcome.as_ref().err().map(|error| chain(error));
    let run = Run {
        seed,
        command,
        broken,
        packets,
    };
    let page = args.folder.join("report.html");
    fs::write(&page, report::page(&run, &observed, &verdict))?;
    for check in &verdict.checks {
        let word = if check.holds { "holds" } else { "FAILS" };
        say(&format!("{word}  {}; found {}", check.what, check.found));
        let evidence = check.evidence.iter().filter(|_| !check.holds);
        evidence
            .take(8)
            .for_each(|line| say(&format!("       {line}")));
    }
    for one in &verdict.memory {
        let text = one
            .fit
            .map_or("its lives were too short".to_owned(), |fit| {
                let (slope, error) = (fit.slope / 1024.0, fit.error / 1024.0);
                format!("{slope:+.2} ± {error:.2} KiB/s, {} samples", fit.samples)
            });
        say(&format!("       memory of {}: {text}", one.who));
    }
    say(&format!(
        "soak: seed {seed}; {} and logs beside it",
        page.display()
    ));
    outcome?;
    Ok(verdict.holds())
}

fn fresh() -> Result<[u8; 4], Box<dyn std::error::Error>> {
    let bytes = entropy::fresh()?;
    Ok(bytes.first_chunk().copied().unwrap_or_default())
}

/// So that an interrupted run takes its namespaces and disks away.
fn watch_signals() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        std::io::Result::Ok((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    })?;
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        STOP.store(true, Ordering::SeqCst);
    });
    Ok(())
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
