//! Arguments about evidence: whose is believed, and where a server's own comes
//! from.

use core::time::Duration;
use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use zipnet_attest::{
    PolicyKeys, QuoteSource, TrustBase, TrustRoot,
    fetch::{FetchError, Source},
    signed::SignedPolicyError,
    tsm::{DEFAULT_ROOT, TsmSource},
};
use zipnet_node::attestation::{
    Authority, AuthoritySettings, CollateralSource, ServerAttestation, authority::AuthorityError,
};

use crate::{args::duration, process::Failure};

/// What servers of the instance show of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// No evidence.
    None,
    /// TD quotes under Intel's root.
    Tdx,
    /// Quotes of a made-up Intel; only in builds for trying things out.
    Simulated,
}

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
struct SimulationArgs {
    /// Seed of the simulated Intel: not a secret, all processes alike
    #[arg(long, env = "ZIPNET_SIMULATION_SEED", value_name = "TEXT")]
    simulation_seed: Option<String>,
    /// When it issued everything, in seconds since 1970; all processes alike
    #[arg(long, env = "ZIPNET_SIMULATION_ISSUED", value_name = "UNIX")]
    simulation_issued: Option<u64>,
}

/// Where a server's own evidence comes from.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// How long one statement of this server is in force; it is renewed at half time
    #[arg(long, env = "ZIPNET_EVIDENCE_LIFETIME", value_name = "DURATION", default_value = "24h", value_parser = lifetime)]
    evidence_lifetime: Duration,
    /// The kernel's configfs-tsm folder
    #[arg(long, env = "ZIPNET_TSM", value_name = "DIR", default_value = DEFAULT_ROOT)]
    tsm: PathBuf,
}

/// Parses a lifetime of evidence.
fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration(text)?;
    if lifetime < Duration::from_secs(10) {
        return Err("it is shorter than 10 s; a duration such as 24h would be right".to_owned());
    }
    Ok(lifetime)
}

/// Settings about evidence that do not go together.
#[derive(Debug, thiserror::Error)]
enum AttestationError {
    #[error("ZIPNET_ATTESTATION asks for evidence, but {missing} is not set")]
    Missing { missing: &'static str },
    #[error("ZIPNET_POLICY_KEYS and ZIPNET_POLICY_THRESHOLD name no policy keys")]
    Keys(#[source] SignedPolicyError),
    #[error("ZIPNET_COLLATERAL is neither a folder nor a usable URL")]
    Collateral(#[source] FetchError),
    #[error("Evidence cannot be judged")]
    Authority(#[source] AuthorityError),
    #[cfg(not(feature = "simulation"))]
    #[error(
        "ZIPNET_ATTESTATION is `simulated`, which this build does not know; `tdx` or `none` would be right"
    )]
    NoSimulation,
    #[cfg(feature = "simulation")]
    #[error("The simulated Intel could not be made")]
    Simulation(#[source] zipnet_attest::simulation::SimulationError),
    #[cfg(feature = "simulation")]
    #[error("The simulated Intel's collateral is refused")]
    Simulated(#[source] zipnet_attest::Refusal),
    #[cfg(feature = "simulation")]
    #[error("This machine is a TD ({0} is there); ZIPNET_ATTESTATION=tdx would be right")]
    RealTd(&'static str),
}

/// A trust root, where collateral comes from by default, and the source of a
/// server's quotes.
struct Base {
    root: TrustRoot,
    collateral: CollateralSource,
    source: Option<Arc<dyn QuoteSource>>,
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
        self.base()
            .and_then(|base| self.open(base.root, base.collateral))
            .map(Some)
            .map_err(Failure::usage)
    }

    /// What a server judges evidence by, and where its own comes from.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn server(&self, own: &EvidenceArgs) -> Result<Option<Arc<ServerAttestation>>, Failure> {
        if !self.is_on() {
            return Ok(None);
        }
        self.serve(own).map(Some).map_err(Failure::usage)
    }

    fn serve(&self, own: &EvidenceArgs) -> Result<Arc<ServerAttestation>, AttestationError> {
        let base = self.base()?;
        if matches!(base.collateral, CollateralSource::Shown) {
            return Err(AttestationError::Missing {
                missing: "ZIPNET_COLLATERAL",
            });
        }
        #[cfg(feature = "simulation")]
        if self.attestation == Mode::Simulated
            && let Some(device) = TD_DEVICES
                .into_iter()
                .find(|device| std::path::Path::new(device).exists())
        {
            return Err(AttestationError::RealTd(device));
        }
        let source = base
            .source
            .unwrap_or_else(|| Arc::new(TsmSource::at(&own.tsm)));
        Ok(Arc::new(ServerAttestation {
            authority: self.open(base.root, base.collateral)?,
            source,
            lifetime: own.evidence_lifetime,
        }))
    }

    fn open(
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

    fn base(&self) -> Result<Base, AttestationError> {
        let named = self.collateral.as_deref().map(collateral).transpose()?;
        match self.attestation {
            Mode::Simulated => self.simulated(named),
            Mode::None | Mode::Tdx => Ok(Base {
                root: TrustRoot::Intel,
                collateral: named.unwrap_or(CollateralSource::Shown),
                source: None,
            }),
        }
    }

    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, reason = "other builds use it")]
    fn simulated(&self, _: Option<CollateralSource>) -> Result<Base, AttestationError> {
        Err(AttestationError::NoSimulation)
    }

    #[cfg(feature = "simulation")]
    fn simulated(&self, named: Option<CollateralSource>) -> Result<Base, AttestationError> {
        use zipnet_attest::{
            Collateral,
            simulation::{SimulatedTd, Td, World},
        };
        let missing = |missing| AttestationError::Missing { missing };
        let with = &self.simulation;
        let seed = with.simulation_seed.as_ref();
        let seed = seed.ok_or_else(|| missing("ZIPNET_SIMULATION_SEED"))?;
        let issued = with.simulation_issued;
        let issued = issued.ok_or_else(|| missing("ZIPNET_SIMULATION_ISSUED"))?;
        let world = World::builder(seed.as_bytes(), issued)
            .build()
            .map_err(AttestationError::Simulation)?;
        tracing::warn!(
            "ZIPNET_ATTESTATION is `simulated`: anybody can make the same evidence, and it proves nothing"
        );
        let own = || {
            let own = Collateral::new(world.collateral().clone());
            let own = own.map_err(AttestationError::Simulated)?;
            Ok(CollateralSource::Fixed(Box::new(own)))
        };
        let collateral = named.map_or_else(own, Ok)?;
        Ok(Base {
            root: TrustRoot::Other(world.root_der().to_vec()),
            collateral,
            source: Some(Arc::new(SimulatedTd {
                world,
                td: Td::default(),
            })),
        })
    }
}

/// Where a TD's kernel would make real quotes.
#[cfg(feature = "simulation")]
const TD_DEVICES: [&str; 2] = ["/dev/tdx_guest", "/dev/tdx-guest"];

fn collateral(text: &str) -> Result<CollateralSource, AttestationError> {
    if text.contains("://") {
        let source = Source::new(text).map_err(AttestationError::Collateral)?;
        Ok(CollateralSource::Http(Arc::new(source)))
    } else {
        Ok(CollateralSource::Folder(PathBuf::from(text)))
    }
}
