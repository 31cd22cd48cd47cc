//! `quote`: a quote of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::tsm::{DEFAULT_ROOT, TsmError, TsmSource};
use clap::Args;

use crate::cli::{Outcome, say};

/// Arguments of `quote`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What the quote is to bind: 64 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = report_data)]
    report_data: [u8; 64],
    /// File to write the quote to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The kernel's configfs-tsm folder
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    tsm: PathBuf,
    /// Make a quote of the simulated world with this seed instead. Nobody but a
    /// verifier with that world's root accepts it
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "SEED", requires = "at")]
    simulated: Option<String>,
    /// When the simulated world was issued, in seconds since 1970
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
}

fn report_data(text: &str) -> Result<[u8; 64], String> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| "128 hex digits would be right".to_owned())?;
    Ok(bytes)
}

/// There is no quote.
#[derive(Debug, thiserror::Error)]
pub enum QuoteError {
    /// The kernel gives none.
    #[error("This machine gave no TD quote")]
    Tsm(#[source] TsmError),
    /// The simulation.
    #[cfg(feature = "simulation")]
    #[error("The simulated world could not be made")]
    Simulation(#[source] crate::simulation::SimulationError),
    /// The file.
    #[error("Could not write {path}", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

pub fn run(arguments: &Arguments) -> Result<Outcome, QuoteError> {
    #[cfg(feature = "simulation")]
    if let Some(seed) = &arguments.simulated {
        return simulate(arguments, seed);
    }
    let source = TsmSource::at(&arguments.tsm);
    let quote = source
        .quote(&arguments.report_data)
        .map_err(QuoteError::Tsm)?;
    write(&arguments.out, &quote)?;
    Ok(Outcome::Verified)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), QuoteError> {
    fs::write(path, bytes).map_err(|source| QuoteError::Write {
        path: path.to_owned(),
        source,
    })?;
    say(&format!("{} bytes in {}", bytes.len(), path.display()));
    Ok(())
}

/// Beside the quote: the world's root, and its collateral.
#[cfg(feature = "simulation")]
fn simulate(arguments: &Arguments, seed: &str) -> Result<Outcome, QuoteError> {
    use crate::{
        Collateral,
        simulation::{Td, World},
    };
    let issued = arguments.at.unwrap_or_default();
    let world = World::builder(seed.as_bytes(), issued)
        .build()
        .map_err(QuoteError::Simulation)?;
    let td = Td {
        report_data: arguments.report_data,
        ..Td::default()
    };
    write(&arguments.out, &world.quote(&td))?;
    write(&arguments.out.with_extension("root.der"), world.root_der())?;
    if let Ok(collateral) = Collateral::new(world.collateral().clone()) {
        let path = arguments.out.with_extension("collateral.json");
        write(&path, collateral.to_json().as_bytes())?;
    }
    say("simulated: anybody can make the same");
    Ok(Outcome::Verified)
}
