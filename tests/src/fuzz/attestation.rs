//! What servers, Intel and operators send and sign: evidence, collateral,
//! policies, and the messages of provisioning.

use std::{error::Error, sync::OnceLock};

use zipnet_attest::{
    Collateral, Edition, Evidence, Platforms, Policy, PolicyFile, PolicyKeys, Role, SecretText,
    Statement, TrustRoot, genuine,
    hexes::Hexes,
    origin,
    policy::First,
    provision::{Config, GuestStatement, Parcel},
    simulation::{Td, World},
    trusted_alone,
};

use super::Seed;

/// When the made-up Intel issued everything, seconds since 1970.
const ISSUED: u64 = 1_795_305_600;
/// A minisign public key, for signatures that nobody made by it.
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

/// A made-up Intel; it is the same in every process.
struct Intel {
    world: World,
    root: TrustRoot,
    collateral: Collateral,
}

fn intel() -> &'static Intel {
    static INTEL: OnceLock<Intel> = OnceLock::new();
    INTEL.get_or_init(|| {
        let world = World::builder(b"fuzz", ISSUED).build();
        let world = world.unwrap_or_else(|_| std::process::abort());
        let collateral = Collateral::new(world.collateral().clone());
        Intel {
            root: TrustRoot::Other(world.root_der().to_vec()),
            collateral: collateral.unwrap_or_else(|_| std::process::abort()),
            world,
        }
    })
}

/// [`Evidence`], its quote verified with good collateral.
pub fn evidence(data: &[u8]) {
    if let Ok(evidence) = Evidence::decode(data) {
        let _ = Platforms::of_quote(&evidence.quote);
        let intel = intel();
        let _ = origin(&intel.root, &evidence.quote, ISSUED + 60);
        let _ = genuine::genuine(&intel.root, &evidence.quote, &intel.collateral, ISSUED + 60);
    }
}

/// [`Collateral`], verified alone and with a good quote.
pub fn collateral(data: &[u8]) {
    if let Ok(collateral) = Collateral::from_json(data) {
        let intel = intel();
        let now = ISSUED + 60;
        let _ = trusted_alone(&intel.root, &collateral, now);
        let _ = Edition::of(&collateral).map(|edition| edition.days_left(now));
        let quote = intel.world.quote(&Td::default());
        let _ = genuine::genuine(&intel.root, &quote, &collateral, now);
    }
}

/// [`Policy`], and the signatures of one.
pub fn policy(data: &[u8]) {
    let _ = Policy::from_json(data);
    if let (Ok(keys), Ok(text)) = (
        PolicyKeys::new(&[KEY.to_owned()], 1),
        core::str::from_utf8(data),
    ) {
        let _ = keys.open(b"{}", text, 0);
    }
}

/// [`GuestStatement`], [`Config`] and [`Parcel`].
pub fn provisioning(data: &[u8]) {
    let _ = GuestStatement::decode(data);
    let _ = Parcel::unpack(data);
    if let Ok(config) = Config::parse(data) {
        let _ = config.difference(&config);
        let _ = config.lines().count();
    }
}

/// A genuine value for each target.
pub fn seeds() -> Result<Vec<Seed>, Box<dyn Error>> {
    let statement = Statement {
        instance: [1; 32],
        role: Role::Server,
        server: [2; 32],
        peer: [3; 32],
        x25519: [4; 32],
        signing: [5; 32],
        epoch: 6,
        not_before: ISSUED,
        not_after: ISSUED + 3600,
        config: [7; 32],
        freshness: [8; 32],
    };
    let td = Td {
        report_data: statement.report_data(),
        ..Td::default()
    };
    let quote = intel().world.quote(&td);
    let first = First {
        serial: 1,
        issued: ISSUED,
        evaluations: (20, 20),
        platforms: Some(vec![Hexes([9; 16])]),
    };
    let policy = Policy::accepting(&zipnet_attest::Quote::parse(&quote)?, "fuzz", "any", first);
    let parcel = Parcel {
        time: ISSUED,
        committee_secret: SecretText::from("a secret of the fuzzer"),
        secret: None,
        policy: PolicyFile {
            policy: serde_json::to_vec(&policy)?,
            signatures: String::new(),
        },
    };
    Ok(vec![
        ("evidence", Evidence { statement, quote }.encode()),
        ("collateral", intel().collateral.to_json().into_bytes()),
        ("policy", serde_json::to_vec_pretty(&policy)?),
        ("provisioning", parcel.pack()?.to_vec()),
    ])
}
