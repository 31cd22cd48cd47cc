//! What the attacks on evidence stand on: a simulated Intel with any number of machines,
//! policies, and servers of an attested instance whose evidence can be made in any way.
//!
//! All machines of one seed and time have one CA: a stranger's differ from a server's by
//! nothing but what their certificates say.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zeroize::Zeroizing;
use zipnet_attest::{
    Collateral, Policy, Refusal, Rule, SecretText, Verifier,
    hexes::Hexes,
    policy::{Server, Track},
    simulation::{Draft, Platform, Publisher, World},
};
use zipnet_node::{
    attestation::{
        Authority, AuthoritySettings, CollateralSource, Credential, Standing, credential::expected,
    },
    committee::command::{Command, Order, Presented, ServerRegistration, SignedPolicy},
    settings::{AggregatorRules, ClientRules, CommitteeRules, TransportSeed},
};
use zipnet_protocol::{
    AdmittedServer, CommitteeSecret, DhSecret, Digest, Instance, RoundParams, ServerBundle,
    SigningSecret,
};

use crate::sim::rng::entropy;

/// A day, in seconds.
pub const DAY: u64 = 86_400;
/// Name of the instance.
pub const INSTANCE: &str = "zipnet.attacks.test";
/// What every operator of it knows.
pub const COMMITTEE_SECRET: &str = "a committee secret";
/// The evaluation at which Intel's standard track is.
pub const EVALUATION: u32 = 20;

/// This process's clock, in seconds since 1970.
#[must_use]
pub fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A machine of an id, in good standing.
#[must_use]
pub fn machine(id: u8) -> Platform {
    Platform {
        platform_instance_id: [id; 16],
        tcb_eval: EVALUATION,
        ..Platform::default()
    }
}

/// A machine of an id that Intel condemns in its next evaluation.
#[must_use]
pub fn condemned(id: u8) -> Platform {
    Platform {
        tcb_status: "OutOfDate".to_owned(),
        tcb_eval: EVALUATION + 1,
        ..machine(id)
    }
}

/// What a world publishes.
#[must_use]
pub fn collateral(world: &World) -> Collateral {
    Collateral::new(world.collateral().clone()).expect("collateral of a world")
}

/// The rule by which evidence is refused, if it is.
///
/// # Errors
/// That rule.
pub fn rule(judged: Result<Standing, Arc<Refusal>>) -> Result<(), Rule> {
    judged.map(|_| ()).map_err(|refusal| refusal.rule())
}

/// A simulated Intel and an instance whose servers show evidence under it.
pub struct Ground {
    /// Intel, and who signs policies.
    pub intel: Publisher,
    /// The seed of Intel.
    pub seed: String,
    /// The instance.
    pub instance: Instance,
    committee: SigningSecret,
    folder: tempfile::TempDir,
    policies: AtomicU64,
}

/// One boot of a server: what its TD keeps to itself, and its bundle.
pub struct Boot {
    /// Its bundle, as everybody sees it.
    pub admitted: AdmittedServer,
    signing: SigningSecret,
}

impl Ground {
    /// An Intel of a seed whose certificates are of that time.
    #[must_use]
    pub fn new(seed: &str, issued: u64) -> Self {
        let intel = Publisher::new(seed.as_bytes(), issued).expect("an Intel");
        let name: zipnet_protocol::InstanceName = INSTANCE.parse().expect("a name");
        let secret = Zeroizing::new(COMMITTEE_SECRET.as_bytes().to_vec());
        let committee = CommitteeSecret::new(secret).committee_key(&name);
        let anchor = Digest::new(*intel.base().expect("a root").anchor());
        Self {
            seed: seed.to_owned(),
            instance: Instance::attested(name, committee.public(), anchor),
            intel,
            committee,
            folder: tempfile::tempdir().expect("a folder"),
            policies: AtomicU64::new(0),
        }
    }

    /// The world of a machine.
    #[must_use]
    pub fn world(&self, platform: Platform) -> World {
        let builder = self.intel.builder().platform(platform);
        builder.build().expect("a world")
    }

    /// A policy on Intel's standard track.
    #[must_use]
    pub fn policy(&self, serial: u64) -> Policy {
        let mut policy = self.intel.policy(serial).expect("a policy");
        policy.tcb.track = Track::Standard;
        (policy.tcb.min_evaluation, policy.tcb.max_evaluation) = (EVALUATION, Some(EVALUATION));
        policy
    }

    /// The same on the early track: whatever Intel has published counts.
    #[must_use]
    pub fn early(&self, serial: u64) -> Policy {
        let mut policy = self.policy(serial);
        (policy.tcb.track, policy.tcb.max_evaluation) = (Track::Early, None);
        policy
    }

    /// What judges by a policy.
    #[must_use]
    pub fn verifier(&self, policy: &Policy) -> Verifier {
        let file = self.intel.sign(policy).expect("a signature");
        let base = self.intel.base().expect("a root");
        base.open(&file, 0).expect("a policy of ours")
    }

    /// A process that judges by a policy.
    #[must_use]
    pub fn authority(&self, policy: &Policy, collateral: CollateralSource) -> Arc<Authority> {
        let number = self.policies.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(format!("policy-{number}.json"));
        let file = self.intel.sign(policy).expect("a signature");
        fs::write(&path, &file.policy).expect("a policy");
        let beside = path.with_extension("json.minisig");
        fs::write(beside, &file.signatures).expect("its signatures");
        let authority = Authority::open(AuthoritySettings {
            base: Arc::new(self.intel.base().expect("a root")),
            policy: path,
            collateral,
            refresh: Duration::from_hours(12),
            state: None,
        });
        Arc::new(authority.expect("an authority"))
    }

    /// A boot of the server of a transport identity.
    #[must_use]
    pub fn boot(&self, seed: &TransportSeed, number: u64) -> Boot {
        let transport = SigningSecret::from_seed(seed.as_bytes());
        let peer = hex::encode(transport.peer_key().as_bytes());
        let dh = DhSecret::from_entropy(&entropy(&format!("{peer} dh"), 0, number));
        let signing = SigningSecret::from_seed(&entropy(&format!("{peer} signing"), 0, number));
        let (instance, committee) = (&self.instance, &self.committee);
        let bundle = ServerBundle::sign(
            instance,
            &dh,
            &signing,
            &transport,
            committee,
            number,
            zipnet_protocol::Whereabouts::nowhere(),
        );
        let admitted = bundle.verify(instance).expect("a bundle of ours");
        Boot { admitted, signing }
    }

    /// Evidence of a boot for a day, on a machine, with the collateral of now.
    #[must_use]
    pub fn credential(
        &self,
        boot: &Boot,
        from: u64,
        platform: Platform,
        change: impl FnOnce(&mut Draft),
    ) -> Arc<Credential> {
        let expected = expected(&self.instance, &boot.admitted);
        let statement = expected.statement(1, from..from + DAY, [6; 32], [7; 32]);
        let mut draft = self.intel.draft(statement);
        draft.world = draft.world.platform(platform);
        change(&mut draft);
        let (evidence, collateral) = draft.finish().expect("evidence");
        Arc::new(Credential::of(&evidence, &collateral))
    }

    /// What the committee agreed on, with evidence or without.
    #[must_use]
    pub fn rules(&self, attested: bool) -> Arc<CommitteeRules> {
        let base = self.intel.base().expect("a root");
        Arc::new(CommitteeRules {
            instance: self.instance.clone(),
            trust: attested.then(|| Arc::new(base)),
            params: RoundParams::new(8, 32).expect("a shape"),
            min_participants: 2,
            committee_size: None,
            min_servers: None,
            clients_per_peer: 16,
            leaves: 0,
            clients: ClientRules::Open,
            aggregators: AggregatorRules::default(),
        })
    }

    /// The command that lists a boot, with its evidence if it shows any.
    #[must_use]
    pub fn registration(
        &self,
        boot: &Boot,
        shown: Option<(&Arc<Credential>, &Policy)>,
        at: u64,
    ) -> Command {
        let order = Order::RegisterServer(ServerRegistration {
            bundle: boot.admitted.bundle().clone(),
            presented: shown.map(|(credential, policy)| {
                let file = self.intel.sign(policy).expect("a signature");
                Presented {
                    credential: (**credential).clone(),
                    at,
                    policy: Some(SignedPolicy::from(&file)),
                }
            }),
        });
        let id = *boot.admitted.id();
        Command::sign(&self.instance, id, &order, &boot.signing).expect("an order")
    }
}

/// The transport identity that follows from a text.
#[must_use]
pub fn identity(text: &SecretText) -> TransportSeed {
    TransportSeed::from_text(text.expose())
}

/// A server as a policy names it, on one machine.
#[must_use]
pub fn named(name: &str, seed: &SecretText, id: u8) -> Server {
    crate::attestation::server(name, seed.expose(), [id; 16])
}

/// A list of machines, as policies have it.
#[must_use]
pub fn listed(ids: &[u8]) -> Vec<Hexes<16>> {
    ids.iter().map(|id| Hexes([*id; 16])).collect()
}
