//! What servers of an instance show of themselves, and what follows from it:
//! a trust root, and where a machine's quotes come from.

use core::{fmt, str::FromStr};
use std::{path::Path, sync::Arc};

use crate::{
    collateral::Collateral, genuine::TrustRoot, rules::Refusal, source::QuoteSource, tsm::TsmSource,
};

/// What servers of an instance show of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No evidence.
    None,
    /// TD quotes under Intel's root.
    Tdx,
    /// Quotes of a made-up Intel; only in builds for trying things out.
    Simulated,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Tdx, Self::Simulated];

    /// Its name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tdx => "tdx",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(name: &str) -> Result<Self, ModeError> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| ModeError::Unknown(name.chars().take(64).collect()))
    }
}

/// The made-up Intel and TD of [`Mode::Simulated`]; nothing in it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Seed of the simulated Intel.
    pub seed: Option<String>,
    /// When it issued everything, seconds since 1970.
    pub issued: Option<u64>,
    /// MRTD, RTMR0, RTMR1 and RTMR2 of this machine, 48 bytes each, as hex with
    /// commas between them. Without it they are made up.
    pub td: Option<String>,
    /// Platform instance id of this machine, 16 bytes, as hex. Without it all
    /// machines of the made-up Intel are one.
    pub platform: Option<String>,
}

/// Settings that give no ground to stand on.
#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    /// No mode.
    #[error("{0:?} is nothing that servers show; `none`, `tdx` or `simulated` would be right")]
    Unknown(String),
    /// Something is not set.
    #[error("ZIPNET_ATTESTATION is `simulated`, but {0} is not set")]
    Missing(&'static str),
    /// A build for production.
    #[error(
        "ZIPNET_ATTESTATION is `simulated`, which this build does not know; `tdx` or `none` would be right"
    )]
    NoSimulation,
    /// The simulated machine's measurements.
    #[error(
        "ZIPNET_SIMULATION_TD does not give the measurements of a TD; MRTD,RTMR0,RTMR1,RTMR2 with 96 hex digits each would be right"
    )]
    Td,
    /// The simulated machine's id.
    #[error(
        "ZIPNET_SIMULATION_PLATFORM does not give the id of a machine; 32 hex digits would be right"
    )]
    Platform,
    /// The made-up Intel.
    #[cfg(feature = "simulation")]
    #[error("The simulated Intel could not be made")]
    Simulation(#[source] crate::simulation::SimulationError),
    /// What it publishes.
    #[error("The simulated Intel's collateral is refused")]
    Collateral(#[source] Refusal),
    /// A machine that can do better.
    #[error("This machine is a TD ({0} is there); ZIPNET_ATTESTATION=tdx would be right")]
    RealTd(&'static str),
}

/// Where a TD's kernel would make real quotes.
#[cfg(feature = "simulation")]
const TD_DEVICES: [&str; 2] = ["/dev/tdx_guest", "/dev/tdx-guest"];

/// What a process stands on: a trust root, and who makes quotes under it.
#[derive(Debug)]
pub struct Ground {
    /// The trust root.
    pub root: TrustRoot,
    /// Collateral that is there without asking anybody: a made-up Intel's.
    pub collateral: Option<Collateral>,
    #[cfg(feature = "simulation")]
    simulated: Option<crate::simulation::SimulatedTd>,
}

impl Ground {
    /// The ground of a mode. That of [`Mode::None`] is Intel's too: nobody
    /// asks for it.
    ///
    /// # Errors
    /// [`ModeError`].
    pub fn new(mode: Mode, simulation: &Simulation) -> Result<Self, ModeError> {
        match mode {
            Mode::Simulated => Self::simulated(simulation),
            Mode::None | Mode::Tdx => Ok(Self {
                root: TrustRoot::Intel,
                collateral: None,
                #[cfg(feature = "simulation")]
                simulated: None,
            }),
        }
    }

    #[cfg(not(feature = "simulation"))]
    const fn simulated(_: &Simulation) -> Result<Self, ModeError> {
        Err(ModeError::NoSimulation)
    }

    #[cfg(feature = "simulation")]
    fn simulated(simulation: &Simulation) -> Result<Self, ModeError> {
        use crate::simulation::{Platform, SimulatedTd, Td, World};
        let missing = ModeError::Missing;
        let seed = simulation.seed.as_ref();
        let seed = seed.ok_or_else(|| missing("ZIPNET_SIMULATION_SEED"))?;
        let issued = simulation.issued;
        let issued = issued.ok_or_else(|| missing("ZIPNET_SIMULATION_ISSUED"))?;
        let mut td = Td::default();
        if let Some(text) = &simulation.td {
            let registers = registers(text).ok_or(ModeError::Td)?;
            let [mrtd, rtmr0, rtmr1, rtmr2] = registers;
            let [_, _, _, rtmr3] = td.rtmr;
            td.mrtd = mrtd;
            td.rtmr = [rtmr0, rtmr1, rtmr2, rtmr3];
        }
        let mut platform = Platform::default();
        if let Some(id) = &simulation.platform {
            hex::decode_to_slice(id, &mut platform.platform_instance_id)
                .map_err(|_| ModeError::Platform)?;
        }
        let world = World::builder(seed.as_bytes(), issued)
            .platform(platform)
            .build()
            .map_err(ModeError::Simulation)?;
        let collateral =
            Collateral::new(world.collateral().clone()).map_err(ModeError::Collateral)?;
        Ok(Self {
            root: TrustRoot::Other(world.root_der().to_vec()),
            collateral: Some(collateral),
            simulated: Some(SimulatedTd { world, td }),
        })
    }

    /// The source of this machine's quotes; `tsm` is the kernel's configfs-tsm
    /// folder.
    ///
    /// # Errors
    /// [`ModeError::RealTd`].
    pub fn source(self, tsm: &Path) -> Result<Arc<dyn QuoteSource>, ModeError> {
        #[cfg(feature = "simulation")]
        if let Some(simulated) = self.simulated {
            let mut devices = TD_DEVICES.into_iter();
            return match devices.find(|device| Path::new(device).exists()) {
                Some(device) => Err(ModeError::RealTd(device)),
                None => Ok(Arc::new(simulated)),
            };
        }
        Ok(Arc::new(TsmSource::at(tsm)))
    }
}

#[cfg(feature = "simulation")]
fn registers(text: &str) -> Option<[[u8; 48]; 4]> {
    let mut registers = [[0; 48]; 4];
    let mut texts = text.split(',');
    for register in &mut registers {
        hex::decode_to_slice(texts.next()?.trim(), register).ok()?;
    }
    texts.next().is_none().then_some(registers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_come_back_from_their_names() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse::<Mode>().unwrap(), mode);
        }
        let error = "sgx".parse::<Mode>().unwrap_err().to_string();
        assert!(error.contains("`tdx`"), "{error}");
    }

    #[test]
    fn a_simulated_td_shows_the_measurements_that_it_is_set_to() {
        let hexes: Vec<_> = (1..5).map(|byte| hex::encode([byte; 48])).collect();
        let with = |td: &str| Simulation {
            seed: Some("mode".to_owned()),
            issued: Some(1_767_225_600),
            td: Some(td.to_owned()),
            platform: None,
        };
        let ground = Ground::new(Mode::Simulated, &with(&hexes.join(","))).unwrap();
        let source = ground.source(Path::new("/nowhere")).unwrap();
        let quote = source.quote(&[7; 64]).unwrap();
        let registers = crate::Quote::parse(&quote).unwrap().report.registers;
        assert_eq!(registers.mrtd, [1; 48]);
        assert_eq!(registers.rtmr[..3], [[2; 48], [3; 48], [4; 48]]);
        for bad in [
            "",
            &hexes[..3].join(","),
            &format!("{},{}", hexes.join(","), hexes[0]),
        ] {
            let refused = Ground::new(Mode::Simulated, &with(bad));
            assert!(matches!(refused, Err(ModeError::Td)), "{bad}");
        }
    }
}
