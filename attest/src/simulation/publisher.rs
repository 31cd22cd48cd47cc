//! Who publishes policies over a simulated Intel, and evidence under them: for tests and for
//! committees on one machine.

use minisign::KeyPair;
use sha2::{Digest as _, Sha256};

use super::{SimulationError, Td, World, WorldBuilder};
use crate::{
    Collateral, Evidence, Policy, PolicyFile, PolicyKeys, Quote, Refusal, Statement, TrustBase,
    TrustRoot,
    hexes::Hexes,
    policy::{First, Root, Track},
    signed::SignedPolicyError,
};

/// Name of the image that the policies accept.
pub const IMAGE: &str = "simulated";

/// A publisher could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The world.
    #[error("The simulated world could not be made")]
    World(#[from] SimulationError),
    /// What the world made.
    #[error("The simulated quote or collateral is refused")]
    Form(#[from] Refusal),
    /// The key.
    #[error("The policy could not be signed")]
    Sign(#[from] minisign::PError),
    /// The key, as verifiers see it.
    #[error("The policy key is refused")]
    Key(#[from] SignedPolicyError),
    /// The policy.
    #[error("The policy could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// A simulated Intel and a fresh key that signs policies.
pub struct Publisher {
    seed: Vec<u8>,
    issued: u64,
    key: KeyPair,
}

impl core::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// Evidence before its quote is made, so that any of it can be made wrong.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The Intel that certifies the platform.
    pub world: WorldBuilder,
    /// The TD; its report data is filled in.
    pub td: Td,
    /// What it states.
    pub statement: Statement,
}

impl Draft {
    /// Makes the quote; yields evidence and the platform's collateral.
    ///
    /// # Errors
    /// If the world cannot be made.
    pub fn finish(self) -> Result<(Evidence, Collateral), PublisherError> {
        let Self {
            world,
            td,
            statement,
        } = self;
        let world = world.build()?;
        let quote = world.quote(&Td {
            report_data: statement.report_data(),
            ..td
        });
        let collateral = Collateral::new(world.collateral().clone())?;
        Ok((Evidence { statement, quote }, collateral))
    }
}

impl Publisher {
    /// An Intel of this seed that issued everything at a time in Unix seconds.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new(seed: &[u8], issued: u64) -> Result<Self, PublisherError> {
        Ok(Self {
            seed: seed.to_vec(),
            issued,
            key: KeyPair::generate_unencrypted_keypair()?,
        })
    }

    /// When everything was issued, Unix seconds.
    #[must_use]
    pub const fn issued(&self) -> u64 {
        self.issued
    }

    /// The world, to be changed.
    pub fn builder(&self) -> WorldBuilder {
        World::builder(&self.seed, self.issued)
    }

    /// The world.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn world(&self) -> Result<World, PublisherError> {
        Ok(self.builder().build()?)
    }

    /// The minisign public key of the policies.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.key.pk.to_base64()
    }

    /// What everybody trusts for good: the policy key, over another root than the world's.
    ///
    /// # Errors
    /// If the key is refused, which it is not.
    pub fn base_on(&self, root: TrustRoot) -> Result<TrustBase, PublisherError> {
        let keys = PolicyKeys::new(&[self.public_key()], 1)?;
        Ok(TrustBase::new(root, keys))
    }

    /// What everybody trusts for good.
    ///
    /// # Errors
    /// If the world cannot be made.
    pub fn base(&self) -> Result<TrustBase, PublisherError> {
        self.base_on(TrustRoot::Other(self.world()?.root_der().to_vec()))
    }

    /// A policy that accepts the default TD, as [`IMAGE`].
    ///
    /// # Errors
    /// If the world cannot be made.
    pub fn policy(&self, serial: u64) -> Result<Policy, PublisherError> {
        let world = self.world()?;
        let quote = Quote::parse(&world.quote(&Td::default()))?;
        let first = First {
            serial,
            issued: self.issued,
            evaluations: (world.platform().tcb_eval, world.platform().tcb_eval),
            platforms: None,
        };
        let mut policy = Policy::accepting(&quote, IMAGE, "any", first);
        // A simulated Intel publishes one evaluation after the other.
        (policy.tcb.track, policy.tcb.max_evaluation) = (Track::Early, None);
        policy.tcb.min_evaluation = 0;
        policy.root = Root::Simulation {
            sha256: Hexes(Sha256::digest(world.root_der()).into()),
        };
        Ok(policy)
    }

    /// Signs a policy.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn sign(&self, policy: &Policy) -> Result<PolicyFile, PublisherError> {
        let bytes = serde_json::to_vec_pretty(policy)?;
        let signature = minisign::sign(None, &self.key.sk, &bytes[..], None, None)?;
        Ok(PolicyFile {
            policy: bytes,
            signatures: signature.into_string(),
        })
    }

    /// Evidence for a statement, by the default TD in the good world.
    #[must_use]
    pub fn draft(&self, statement: Statement) -> Draft {
        Draft {
            world: self.builder(),
            td: Td::default(),
            statement,
        }
    }
}
