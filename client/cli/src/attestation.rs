//! Arguments about evidence: whose is believed.

use core::time::Duration;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use zipnet::attestation::{
    Authority, AuthoritySettings, CollateralSource, authority::AuthorityError,
};
use zipnet_attest::{
    Mode, PolicyKeys, TrustBase, TrustRoot,
    fetch::{FetchError, Source},
    mode::{Ground, ModeError, Simulation},
    signed::SignedPolicyError,
};

use crate::{args::duration, process::Failure};

/// How every process knows the servers' evidence.
#[derive(Debug, Args)]
pub struct AttestationArgs {
    /// What servers show: `none`, `tdx` quotes, or `simulated` ones; all processes of
    /// a deployment alike
    #[arg(
        long,
        env = "ZIPNET_ATTESTATION",
        value_name = "MODE",
        default_value = "none"
    )]
    attestation: Mode,
    /// Policy to judge evidence by, with its minisign signatures beside it in
    /// FILE.minisig
    #[arg(long, env = "ZIPNET_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Minisign public keys of those who sign policies, repeated or comma separated;
    /// all processes of a deployment alike
    #[arg(
        long,
        env = "ZIPNET_POLICY_KEYS",
        value_name = "KEY",
        value_delimiter = ','
    )]
    policy_keys: Vec<String>,
    /// How many of them have to sign; all processes alike [default: all]
    #[arg(long, env = "ZIPNET_POLICY_THRESHOLD", value_name = "N")]
    policy_threshold: Option<usize>,
    /// Where Intel's collateral comes from: a folder of files, or the URL of a PCCS or
    /// of Intel's PCS
    #[arg(long, env = "ZIPNET_COLLATERAL", value_name = "DIR|URL")]
    collateral: Option<String>,
    /// How often collateral is fetched anew
    #[arg(long, env = "ZIPNET_COLLATERAL_REFRESH", value_name = "DURATION", default_value = "12h", value_parser = duration)]
    collateral_refresh: Duration,
    /// Folder for what has to survive the process: the newest policy and collateral
    /// that were seen [default: they are forgotten]
    #[arg(long, env = "ZIPNET_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    #[cfg(feature = "simulation")]
    #[command(flatten)]
    simulation: SimulationArgs,
}

/// The made-up Intel of `simulated`.
#[cfg(feature = "simulation")]
#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "clap names the flags after the fields"
)]
struct SimulationArgs {
    /// Seed of the simulated Intel: not a secret, all processes alike
    #[arg(long, env = "ZIPNET_SIMULATION_SEED", value_name = "TEXT")]
    simulation_seed: Option<String>,
    /// When it issued everything, in seconds since 1970; all processes alike
    #[arg(long, env = "ZIPNET_SIMULATION_ISSUED", value_name = "UNIX")]
    simulation_issued: Option<u64>,
    /// Measurements of this process's simulated TD: MRTD, RTMR0, RTMR1 and RTMR2 as hex
    /// [default: made up]
    #[arg(long, env = "ZIPNET_SIMULATION_TD", value_name = "HEX,HEX,HEX,HEX")]
    simulation_td: Option<String>,
    /// Platform instance id of this process's simulated machine, 32 hex digits
    /// [default: one for all]
    #[arg(long, env = "ZIPNET_SIMULATION_PLATFORM", value_name = "HEX")]
    simulation_platform: Option<String>,
}

/// Settings about evidence that do not go together.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// A setting that evidence needs.
    #[error("ZIPNET_ATTESTATION asks for evidence, but {missing} is not set")]
    Missing {
        /// Its variable.
        missing: &'static str,
    },
    /// The policy keys.
    #[error("ZIPNET_POLICY_KEYS and ZIPNET_POLICY_THRESHOLD name no policy keys")]
    Keys(#[source] SignedPolicyError),
    /// The source of collateral.
    #[error("ZIPNET_COLLATERAL is neither a folder nor a usable URL")]
    Collateral(#[source] FetchError),
    /// What is judged by.
    #[error("Evidence cannot be judged")]
    Authority(#[source] AuthorityError),
    /// What servers show.
    #[error("ZIPNET_ATTESTATION cannot be had")]
    Mode(#[from] ModeError),
}

impl AttestationArgs {
    /// Whether servers show evidence.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.attestation != Mode::None
    }

    /// What the process judges evidence by; `None` if servers show none.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn authority(&self) -> Result<Option<Arc<Authority>>, Failure> {
        if !self.is_on() {
            tracing::warn!(
                "ZIPNET_ATTESTATION is `none`: nobody can tell what the servers run; whoever operates them may read \
                 their keys"
            );
            return Ok(None);
        }
        self.ground()
            .and_then(|ground| {
                let collateral = self.collateral(&ground)?;
                self.open(ground.root, collateral)
            })
            .map(Some)
            .map_err(Failure::usage)
    }

    /// The folder for what has to survive the process.
    #[must_use]
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// What the process judges evidence by, under a root.
    ///
    /// # Errors
    /// [`AttestationError`].
    pub fn open(
        &self,
        root: TrustRoot,
        collateral: CollateralSource,
    ) -> Result<Arc<Authority>, AttestationError> {
        let missing = |missing| AttestationError::Missing { missing };
        let policy = self.policy.clone();
        let policy = policy.ok_or_else(|| missing("ZIPNET_POLICY"))?;
        if self.policy_keys.is_empty() {
            return Err(missing("ZIPNET_POLICY_KEYS"));
        }
        let threshold = self.policy_threshold.unwrap_or(self.policy_keys.len());
        let keys = PolicyKeys::new(&self.policy_keys, threshold).map_err(AttestationError::Keys)?;
        if self.state.is_none() {
            tracing::warn!(
                "ZIPNET_STATE is not set: which policies and collateral were seen is forgotten at the end of the \
                 process, and older ones are believed again"
            );
        }
        let settings = AuthoritySettings {
            base: Arc::new(TrustBase::new(root, keys)),
            policy,
            collateral,
            refresh: self.collateral_refresh,
            state: self.state.clone(),
        };
        let authority = Authority::open(settings).map_err(AttestationError::Authority)?;
        Ok(Arc::new(authority))
    }

    /// What servers show.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.attestation
    }

    /// What evidence stands on.
    ///
    /// # Errors
    /// [`AttestationError::Mode`].
    pub fn ground(&self) -> Result<Ground, AttestationError> {
        let ground = Ground::new(self.attestation, &self.simulation())?;
        if self.attestation == Mode::Simulated {
            tracing::warn!(
                "ZIPNET_ATTESTATION is `simulated`: anybody can make the same evidence, and it proves nothing"
            );
        }
        Ok(ground)
    }

    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, reason = "other builds use it")]
    fn simulation(&self) -> Simulation {
        Simulation::default()
    }

    #[cfg(feature = "simulation")]
    fn simulation(&self) -> Simulation {
        let with = &self.simulation;
        Simulation {
            seed: with.simulation_seed.clone(),
            issued: with.simulation_issued,
            td: with.simulation_td.clone(),
            platform: with.simulation_platform.clone(),
        }
    }

    /// Where collateral comes from: as it is set, or from whoever made up the
    /// root, or from those who show it.
    ///
    /// # Errors
    /// [`AttestationError::Collateral`].
    pub fn collateral(&self, ground: &Ground) -> Result<CollateralSource, AttestationError> {
        if let Some(named) = &self.collateral {
            return collateral(named);
        }
        Ok(match &ground.collateral {
            Some(own) => CollateralSource::Fixed(Box::new(own.clone())),
            None => CollateralSource::Shown,
        })
    }
}

fn collateral(text: &str) -> Result<CollateralSource, AttestationError> {
    if text.contains("://") {
        let source = Source::new(text).map_err(AttestationError::Collateral)?;
        Ok(CollateralSource::Http(Arc::new(source)))
    } else {
        Ok(CollateralSource::Folder(PathBuf::from(text)))
    }
}
