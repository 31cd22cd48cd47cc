//! A simulated Intel for a cluster, and policies signed with fresh keys.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use minisign::KeyPair;
use sha2::{Digest as _, Sha256};
use zipnet_attest::{
    Policy, PolicyKeys, Quote, TrustBase, TrustRoot,
    hexes::Hexes,
    policy::Root,
    simulation::{Td, World},
};

/// Name of the image that the policies accept.
pub const IMAGE: &str = "simulated-server";

/// What a cluster attests with.
#[derive(Debug)]
pub struct Simulated {
    folder: PathBuf,
    seed: String,
    issued: u64,
    keys: Vec<KeyPair>,
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

impl Simulated {
    /// A world that was issued an hour ago, and a policy of serial 1, signed
    /// by one key, in `folder`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn new(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        let simulated = Self {
            folder: folder.to_owned(),
            seed: format!("a cluster in {}", folder.display()),
            issued: clock.map_err(other)?.as_secs().saturating_sub(3600),
            keys: vec![KeyPair::generate_unencrypted_keypair().map_err(other)?],
        };
        simulated.publish(&simulated.policy(1)?)?;
        Ok(simulated)
    }

    /// The simulated Intel.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn world(&self) -> io::Result<World> {
        World::builder(self.seed.as_bytes(), self.issued)
            .build()
            .map_err(other)
    }

    /// Seed and time of the world, to make others like it.
    #[must_use]
    pub fn origin(&self) -> (&[u8], u64) {
        (self.seed.as_bytes(), self.issued)
    }

    /// A policy that accepts the simulated servers.
    ///
    /// # Errors
    /// If the world cannot be made.
    pub fn policy(&self, serial: u64) -> io::Result<Policy> {
        let world = self.world()?;
        let quote = Quote::parse(&world.quote(&Td::default())).map_err(other)?;
        let mut policy = Policy::accepting(&quote, IMAGE, "any", serial);
        policy.root = Root::Simulation {
            sha256: Hexes(Sha256::digest(world.root_der()).into()),
        };
        Ok(policy)
    }

    /// Signs a policy and writes it where the processes look.
    ///
    /// # Errors
    /// If it cannot be signed or written.
    pub fn publish(&self, policy: &Policy) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(policy).map_err(other)?;
        let mut signatures = String::new();
        for key in &self.keys {
            let signed = minisign::sign(None, &key.sk, &bytes[..], None, None).map_err(other)?;
            signatures.push_str(&signed.into_string());
        }
        // Processes look at the policy's time, so its signatures come first.
        fs::write(self.folder.join("policy.json.minisig"), signatures)?;
        let new = self.folder.join("policy.new");
        fs::write(&new, bytes)?;
        fs::rename(new, self.policy_file())
    }

    /// Where the policy is.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.folder.join("policy.json")
    }

    /// The minisign public keys of the policies.
    #[must_use]
    pub fn public_keys(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.pk.to_base64()).collect()
    }

    /// What processes of the cluster trust for good.
    ///
    /// # Errors
    /// If the world cannot be made.
    pub fn base(&self) -> io::Result<TrustBase> {
        let root = TrustRoot::Other(self.world()?.root_der().to_vec());
        let keys = self.public_keys();
        let keys = PolicyKeys::new(&keys, keys.len()).map_err(other)?;
        Ok(TrustBase::new(root, keys))
    }

    /// The variables of every process.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ZIPNET_ATTESTATION", "simulated".to_owned()),
            ("ZIPNET_POLICY", self.policy_file().display().to_string()),
            ("ZIPNET_POLICY_KEYS", self.public_keys().join(",")),
            ("ZIPNET_SIMULATION_SEED", self.seed.clone()),
            ("ZIPNET_SIMULATION_ISSUED", self.issued.to_string()),
        ]
    }
}
