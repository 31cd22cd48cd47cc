//! A simulated Intel for a cluster, and policies signed with a fresh key.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use zipnet_attest::{
    Collateral, Policy, Quote,
    hexes::Hexes,
    mode::{Ground, Mode, Simulation},
    policy::{First, Server},
    simulation::{Platform, Publisher},
};
use zipnet_node::settings::TransportSeed;
use zipnet_protocol::SigningSecret;

/// What a cluster attests with.
#[derive(Debug)]
pub struct Simulated {
    folder: PathBuf,
    seed: String,
    publisher: Publisher,
}

impl Simulated {
    /// A world that was issued an hour ago, and a policy of serial 1 in
    /// `folder`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn new(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        let issued = clock.map_or(0, |since| since.as_secs().saturating_sub(3600));
        let seed = format!("a cluster in {}", folder.display());
        let publisher = Publisher::new(seed.as_bytes(), issued).map_err(io::Error::other)?;
        let simulated = Self {
            folder: folder.to_owned(),
            seed,
            publisher,
        };
        let world = simulated.publisher.world().map_err(io::Error::other)?;
        fs::write(simulated.root_file(), world.root_der())?;
        let collateral = Collateral::new(world.collateral().clone()).map_err(io::Error::other)?;
        fs::write(simulated.collateral_file(), collateral.to_json())?;
        simulated.publish(&simulated.policy(1)?)?;
        Ok(simulated)
    }

    /// Publishes the policy in force anew, with servers by name: server `NAME`'s
    /// identity is that of a seed, and may run on one machine.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn name_servers(&self, serial: u64, servers: Vec<Server>) -> io::Result<()> {
        let policy = fs::read(self.policy_file())?;
        let mut policy = Policy::from_json(&policy).map_err(io::Error::other)?;
        policy.serial = serial;
        let platforms = servers.iter().flat_map(|server| &server.platforms);
        policy.platforms = Some(platforms.copied().collect());
        policy.servers = Some(servers);
        self.publish(&policy)
    }

    /// A policy that accepts the default TD on the machine that all processes run on
    /// unless they are told otherwise.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn policy(&self, serial: u64) -> io::Result<Policy> {
        let mut policy = self.publisher.policy(serial).map_err(io::Error::other)?;
        policy.platforms = Some(vec![Hexes(Platform::default().platform_instance_id)]);
        Ok(policy)
    }

    /// The simulated Intel and its policies.
    #[must_use]
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Publishes a policy that accepts TDs with these registers and no other.
    /// They are written as in `ZIPNET_SIMULATION_TD`.
    ///
    /// # Errors
    /// If they are none, or the policy cannot be written.
    pub fn accept(&self, image: &str, shape: &str, registers: &str) -> io::Result<()> {
        let simulation = Simulation {
            seed: Some(self.seed.clone()),
            issued: Some(self.publisher.issued()),
            td: Some(registers.to_owned()),
            platform: None,
        };
        let ground = Ground::new(Mode::Simulated, &simulation).map_err(io::Error::other)?;
        let source = ground.source(Path::new("")).map_err(io::Error::other)?;
        let quote = source.quote(&[0; 64]).map_err(io::Error::other)?;
        let quote = Quote::parse(&quote).map_err(io::Error::other)?;
        let mut policy = self.policy(1)?;
        let first = First {
            serial: 1,
            issued: 0,
            evaluations: (0, 0),
            platforms: None,
        };
        policy.images = Policy::accepting(&quote, image, shape, first).images;
        self.publish(&policy)
    }

    /// Signs a policy and writes it where the processes look.
    ///
    /// # Errors
    /// If it cannot be signed or written.
    pub fn publish(&self, policy: &Policy) -> io::Result<()> {
        self.publish_at(policy, &self.policy_file())
    }

    /// The same with another file.
    ///
    /// # Errors
    /// If it cannot be signed or written.
    pub fn publish_at(&self, policy: &Policy, path: &Path) -> io::Result<()> {
        let file = self.publisher.sign(policy).map_err(io::Error::other)?;
        // Processes look at the policy's time, so its signatures come first.
        let mut beside = path.as_os_str().to_owned();
        beside.push(".minisig");
        fs::write(beside, file.signatures)?;
        let new = path.with_extension("new");
        fs::write(&new, file.policy)?;
        fs::rename(new, path)
    }

    /// Where the policy is.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.folder.join("policy.json")
    }

    /// Where the certificate of the simulated Intel is, DER.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.folder.join("root.der")
    }

    /// Where its collateral is.
    #[must_use]
    pub fn collateral_file(&self) -> PathBuf {
        self.folder.join("collateral.json")
    }

    /// The variables of every process.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let publisher = &self.publisher;
        vec![
            ("ZIPNET_ATTESTATION", "simulated".to_owned()),
            ("ZIPNET_POLICY", self.policy_file().display().to_string()),
            ("ZIPNET_POLICY_KEYS", publisher.public_key()),
            ("ZIPNET_SIMULATION_SEED", self.seed.clone()),
            ("ZIPNET_SIMULATION_ISSUED", publisher.issued().to_string()),
        ]
    }
}

/// Server `name` of a policy: the identity of a seed, on one machine.
#[must_use]
pub fn server(name: &str, seed: &str, platform: [u8; 16]) -> Server {
    let seed = TransportSeed::from_text(seed);
    let peer = SigningSecret::from_seed(seed.as_bytes()).peer_key();
    Server {
        name: name.to_owned(),
        peer: Hexes(*peer.as_bytes()),
        platforms: vec![Hexes(platform)],
    }
}
