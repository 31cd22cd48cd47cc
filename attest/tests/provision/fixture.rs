//! A simulated Intel, a guest that it vouches for, and an operator with its
//! secrets.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use zipnet_attest::{
    Collateral, Policy, PolicyFile, SecretText, TrustBase, Verifier,
    hexes::Hexes,
    provision::{
        AttemptError, Config, GiveError, Giver, GiverKey, Guest, Known, Machines, Parcel,
        Provisions, Welcome,
    },
    simulation::{Platform, Publisher},
};

pub const COMMITTEE_SECRET: &str = "swordfish of the committee";
pub const SECRET: &str = "swordfish of the server";
pub const INSTANCE: &str = "zipnet.provision.test";

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The key of whoever has the committee secret.
pub fn key() -> GiverKey {
    GiverKey::new(&SecretText::from(COMMITTEE_SECRET), INSTANCE)
}

pub struct Setting {
    pub publisher: Publisher,
    pub seed: String,
}

impl Setting {
    pub fn new(seed: &str) -> Self {
        let publisher = Publisher::new(seed.as_bytes(), now() - 3600).unwrap();
        Self {
            publisher,
            seed: seed.to_owned(),
        }
    }

    /// The file that a guest is launched with, and more lines.
    pub fn config(&self, more: &str) -> Config {
        let text = format!(
            "# A guest of a test.\nZIPNET_INSTANCE={INSTANCE}\nGUEST_PROVISION_KEY={}\nZIPNET_ATTESTATION=simulated\n\
             ZIPNET_POLICY_KEYS={}\nZIPNET_SIMULATION_SEED={}\nZIPNET_SIMULATION_ISSUED={}\n{more}",
            hex::encode(key().public()),
            self.publisher.public_key(),
            self.seed,
            self.publisher.issued(),
        );
        Config::parse(text.as_bytes()).unwrap()
    }

    pub fn guest(&self) -> Guest {
        Guest::new(self.config(""), Path::new("/nowhere")).unwrap()
    }

    pub fn collateral(&self) -> Collateral {
        Collateral::new(self.publisher.world().unwrap().collateral().clone()).unwrap()
    }

    pub fn policy_file(&self) -> PolicyFile {
        let policy = self.publisher.policy(1).unwrap();
        self.publisher.sign(&policy).unwrap()
    }

    pub fn parcel(&self) -> Parcel {
        Parcel {
            committee_secret: SecretText::from(COMMITTEE_SECRET),
            time: now(),
            secret: Some(SecretText::from(SECRET)),
            policy: self.policy_file(),
        }
    }

    pub fn operator(&self) -> Operator {
        self.operator_by(|_| {})
    }

    /// With another policy.
    pub fn operator_by(&self, change: impl FnOnce(&mut Policy)) -> Operator {
        let base = self.publisher.base().unwrap();
        let mut policy = self.publisher.policy(1).unwrap();
        policy.platforms = Some(vec![Hexes(Platform::default().platform_instance_id)]);
        change(&mut policy);
        let file = self.publisher.sign(&policy).unwrap();
        let verifier = base.open(&file, 0).unwrap();
        Operator {
            base,
            verifier,
            key: key(),
            config: self.config(""),
            collateral: self.collateral(),
            parcel: self.parcel(),
        }
    }
}

pub struct Operator {
    pub key: GiverKey,
    pub base: TrustBase,
    pub verifier: Verifier,
    pub config: Config,
    pub collateral: Collateral,
    pub parcel: Parcel,
}

impl Operator {
    pub fn give(&self, stream: UnixStream) -> Result<Welcome, GiveError> {
        self.give_as(Known::Config(&self.config), stream)
    }

    pub fn give_as(&self, known: Known<'_>, stream: UnixStream) -> Result<Welcome, GiveError> {
        self.giver(known).give(
            stream,
            now(),
            |_| Ok(Arc::new(self.collateral.clone())),
            |_| Ok(self.parcel.clone()),
        )
    }

    /// What it judges by; the machine is one of the policy's.
    pub const fn giver<'a>(&'a self, known: Known<'a>) -> Giver<'a> {
        Giver {
            key: &self.key,
            base: &self.base,
            verifier: &self.verifier,
            known,
            machines: Machines::OfPolicy,
        }
    }
}

/// Plays a guest on another thread.
pub fn attempt(
    guest: Guest,
    stream: UnixStream,
) -> thread::JoinHandle<Result<Provisions, AttemptError>> {
    thread::spawn(move || guest.attempt(stream, |given| Ok(given.clone())))
}

/// What came of an exchange, for both.
pub fn exchange(
    guest: Guest,
    operator: &Operator,
) -> (Result<Provisions, AttemptError>, Result<Welcome, GiveError>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let guest = attempt(guest, theirs);
    let given = operator.give(ours);
    (guest.join().unwrap(), given)
}
