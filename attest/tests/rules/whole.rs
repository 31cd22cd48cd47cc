//! What a server's evidence can break under a policy.

use serde_json::{Value, json};
use zipnet_attest::{
    Collateral, Evidence, Policy, Refusal, Rule, Statement, TrustRoot, Verified, Verifier,
    policy::PolicyError,
    simulation::{Platform, Td, World},
};

use super::{
    ISSUED, NOW, builder,
    fixtures::{self, expected, statement},
};

fn hexes(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// The policy of the good world, with a second release, for a day.
fn policy() -> Value {
    let mut policy = fixtures::policy(&builder().build().unwrap(), 1);
    policy["max_statement_hours"] = json!(24);
    let older = Td {
        mrtd: [0x13; 48],
        rtmr: [[0x14; 48]; 4],
        ..Td::default()
    };
    policy["images"] = json!([image("1.4.0", &Td::default()), image("1.3.0", &older)]);
    policy
}

fn image(id: &str, td: &Td) -> Value {
    json!({
        "id": id,
        "not_before": ISSUED,
        "not_after": null,
        "mrtd": hexes(&td.mrtd),
        "rtmr1": hexes(&td.rtmr[1]),
        "rtmr2": hexes(&td.rtmr[2]),
        "rtmr3": hexes(&td.rtmr[3]),
        "shapes": [{ "id": "small", "rtmr0": hexes(&td.rtmr[0]) }],
    })
}

/// What the whole verifier says of the good server after a change to policy,
/// TD, statement, and of what the verifier expects.
fn whole(
    policy_of: impl FnOnce(&mut Value),
    td_of: impl FnOnce(&mut Td),
    statement_of: impl FnOnce(&mut Statement),
    now: u64,
) -> Result<Verified, Refusal> {
    let world = builder().build().unwrap();
    let mut policy = policy();
    policy_of(&mut policy);
    let policy = Policy::from_json(policy.to_string().as_bytes()).unwrap();
    let root = TrustRoot::Other(world.root_der().to_vec());
    let verifier = Verifier::new(policy, root).unwrap();
    let mut statement = Statement::decode(&statement().encode()).unwrap();
    statement_of(&mut statement);
    let mut td = Td {
        report_data: statement.report_data(),
        ..Td::default()
    };
    td_of(&mut td);
    let evidence = Evidence {
        statement,
        quote: world.quote(&td),
    };
    let evidence = Evidence::decode(&evidence.encode()).unwrap();
    let collateral = Collateral::new(world.collateral().clone()).unwrap();
    verifier.verify(&evidence, &collateral, &expected(), now)
}

fn by_policy(change: impl FnOnce(&mut Value)) -> Refusal {
    whole(change, |_| (), |_| (), NOW).unwrap_err()
}

fn by_td(change: impl FnOnce(&mut Td)) -> Refusal {
    whole(|_| (), change, |_| (), NOW).unwrap_err()
}

fn by_statement(change: impl FnOnce(&mut Statement)) -> Refusal {
    whole(|_| (), |_| (), change, NOW).unwrap_err()
}

#[test]
fn a_good_server_is_verified_with_its_image_and_shape() {
    let verified = whole(|_| (), |_| (), |_| (), NOW).unwrap();
    assert_eq!((verified.image(), verified.shape()), ("1.4.0", "small"));
    assert_eq!(verified.not_after(), ISSUED + 86_400);
    assert_eq!(verified.statement().x25519, expected().x25519);
}

#[test]
fn i9_a_policy_of_intels_root_takes_no_simulated_root() {
    let world = builder().build().unwrap();
    let simulated = TrustRoot::Other(world.root_der().to_vec());
    let other = World::builder(b"another", ISSUED).build().unwrap();
    let other = TrustRoot::Other(other.root_der().to_vec());
    let parse = |policy: Value| Policy::from_json(policy.to_string().as_bytes()).unwrap();
    let mut intel = policy();
    intel["root"] = json!({ "kind": "intel" });
    assert!(Verifier::new(parse(intel.clone()), simulated.clone()).is_err());
    assert!(Verifier::new(parse(intel), TrustRoot::Intel).is_ok());
    assert!(Verifier::new(parse(policy()), TrustRoot::Intel).is_err());
    assert!(Verifier::new(parse(policy()), other).is_err());
    assert!(Verifier::new(parse(policy()), simulated).is_ok());
}

/// Every object in a policy, by its path.
fn objects(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(path.to_owned());
            for (name, value) in fields {
                objects(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                objects(value, &format!("{path}/{at}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_policy_with_a_field_more_or_less_is_no_policy() {
    let good = policy();
    let mut paths = Vec::new();
    objects(&good, "", &mut paths);
    assert!(paths.len() >= 8, "{paths:?}");
    for path in paths {
        let mut more = good.clone();
        let object = more.pointer_mut(&path).unwrap().as_object_mut().unwrap();
        let names: Vec<_> = object.keys().cloned().collect();
        object.insert("unheard_of".to_owned(), json!(1));
        assert!(
            Policy::from_json(more.to_string().as_bytes()).is_err(),
            "{path}"
        );
        for name in names {
            let mut less = good.clone();
            let object = less.pointer_mut(&path).unwrap().as_object_mut().unwrap();
            object.remove(&name);
            let text = less.to_string();
            assert!(Policy::from_json(text.as_bytes()).is_err(), "{path}/{name}");
        }
    }
    let mut revoked = good.clone();
    revoked["tcb"]["accept"] = json!(["UpToDate", "Revoked"]);
    assert!(Policy::from_json(revoked.to_string().as_bytes()).is_err());
    let mut later = good;
    for version in [1, 3] {
        later["version"] = json!(version);
        let error = Policy::from_json(later.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, PolicyError::Version { found } if found == version));
    }
}

#[test]
fn a_policy_that_contradicts_itself_is_no_policy() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut policy = policy();
        change(&mut policy);
        Policy::from_json(policy.to_string().as_bytes()).unwrap_err()
    };
    for (track, min, max) in [
        ("standard", 20, json!(null)),
        ("standard", 20, json!(19)),
        ("early", 20, json!(20)),
    ] {
        let error = refused(&|policy| {
            policy["tcb"]["track"] = json!(track);
            policy["tcb"]["min_evaluation"] = json!(min);
            policy["tcb"]["max_evaluation"] = max.clone();
        });
        assert!(matches!(error, PolicyError::Evaluations { .. }), "{error}");
    }
    let server = |name: &str, peer: u8, platforms: &[u8]| {
        let platforms: Vec<_> = platforms.iter().map(|id| hexes(&[*id; 16])).collect();
        json!({ "name": name, "peer": hexes(&[peer; 32]), "platforms": platforms })
    };
    for (servers, says) in [
        (vec![server("", 1, &[1])], "has no name"),
        (vec![server("a", 1, &[1]), server("a", 2, &[1])], "twice"),
        (vec![server("a", 1, &[1]), server("b", 1, &[1])], "peer id"),
        (vec![server("a", 1, &[])], "may run on no platform"),
        (vec![server("a", 1, &[1, 9])], "does not list"),
    ] {
        let error = refused(&|policy| {
            policy["platforms"] = json!([hexes(&[1; 16])]);
            policy["servers"] = json!(servers);
        });
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn f1_a_named_server_is_verified_on_its_own_machine_and_on_no_other() {
    let here = Platform::default().platform_instance_id;
    let named = |peer: [u8; 32], platform: [u8; 16]| json!([{ "name": "server-1", "peer": hexes(&peer), "platforms": [hexes(&platform)] }]);
    let judge = |servers: Value| {
        let change = |policy: &mut Value| policy["servers"] = servers;
        whole(change, |_| (), |_| (), NOW)
            .map(|_| ())
            .map_err(|refusal| refusal.rule())
    };
    let peer = expected().peer;
    assert_eq!(judge(named(peer, here)), Ok(()));
    assert_eq!(judge(named(peer, [9; 16])), Err(Rule::ServerPlatform));
    assert_eq!(judge(named([9; 32], here)), Err(Rule::ServerUnlisted));
    assert_eq!(judge(json!([])), Err(Rule::ServerUnlisted));
}

pub fn policies() -> Vec<(Rule, Refusal)> {
    let days = |window: u64| {
        builder()
            .collateral_window(ISSUED, ISSUED + window * 86_400)
            .build()
            .unwrap()
    };
    assert_eq!(days(30).root_der(), builder().build().unwrap().root_der());
    let young = whole(
        |policy| policy["tcb"]["max_collateral_age_days"] = json!(1),
        |_| (),
        |statement| {
            statement.not_before = ISSUED + 3 * 86_400;
            statement.not_after = ISSUED + 4 * 86_400;
        },
        ISSUED + 3 * 86_400,
    );
    let ended = json!(ISSUED + 60);
    let unlisted = json!(["00".repeat(16)]);
    vec![
        (Rule::CollateralAge, young.unwrap_err()),
        (
            Rule::PlatformFlags,
            by_policy(|policy| policy["tcb"]["smt"] = json!(false)),
        ),
        (
            Rule::PlatformUnlisted,
            by_policy(|policy| policy["platforms"] = unlisted),
        ),
        // PKS: harmless to dcap-qvl, but not what the policy says.
        (Rule::Attributes, by_td(|td| td.td_attributes[3] |= 0x40)),
        (
            Rule::SgxType,
            by_policy(|policy| policy["tcb"]["sgx_types"] = json!(["ScalableWithIntegrity"])),
        ),
        (
            Rule::CollateralTrack,
            by_policy(|policy| {
                policy["tcb"]["track"] = json!("standard");
                policy["tcb"]["max_evaluation"] = json!(19);
            }),
        ),
        (Rule::CollateralChain, chainless()),
        (
            Rule::ServerUnlisted,
            by_policy(|policy| policy["servers"] = json!([])),
        ),
        (Rule::ServerPlatform, elsewhere()),
        (
            Rule::Module,
            by_policy(|policy| policy["td"]["mr_seam"] = json!(["09".repeat(48)])),
        ),
        (Rule::Xfam, by_td(|td| td.xfam[1] |= 1)),
        (Rule::ConfigId, by_td(|td| td.mr_config_id[0] = 1)),
        (Rule::Owner, by_td(|td| td.mr_owner[0] = 1)),
        (Rule::OwnerConfig, by_td(|td| td.mr_owner_config[0] = 1)),
        // One register of another release of the same policy.
        (Rule::Measurements, by_td(|td| td.rtmr[2] = [0x14; 48])),
        (
            Rule::ImageWindow,
            by_policy(|policy| policy["images"][0]["not_after"] = ended),
        ),
    ]
}

/// A server whose policy names another machine for it.
fn elsewhere() -> Refusal {
    by_policy(|policy| {
        let peer = hexes(&expected().peer);
        let platforms = ["09".repeat(16)];
        policy["servers"] = json!([{ "name": "a", "peer": peer, "platforms": platforms }]);
    })
}

/// Collateral without the chain that nobody signs.
fn chainless() -> Refusal {
    let world = builder().build().unwrap();
    let policy = Policy::from_json(policy().to_string().as_bytes()).unwrap();
    let root = TrustRoot::Other(world.root_der().to_vec());
    let verifier = Verifier::new(policy, root).unwrap();
    let statement = statement();
    let td = Td {
        report_data: statement.report_data(),
        ..Td::default()
    };
    let quote = world.quote(&td);
    let mut parts = world.collateral().clone();
    parts.pck_crl_issuer_chain = String::new();
    let collateral = Collateral::new(parts).unwrap();
    let evidence = Evidence { statement, quote };
    let judged = verifier.verify(&evidence, &collateral, &expected(), NOW);
    judged.unwrap_err()
}

#[test]
fn registers_of_two_releases_are_never_mixed() {
    for register in 0..5 {
        let refusal = by_td(|td| match register {
            0 => td.mrtd = [0x13; 48],
            at => td.rtmr[at - 1] = [0x14; 48],
        });
        assert_eq!(refusal.rule(), Rule::Measurements);
        assert!(
            refusal.expected().starts_with("1.4.0, which differs in "),
            "{refusal}"
        );
    }
}

pub fn statements() -> Vec<(Rule, Refusal)> {
    let mut role = statement().encode();
    role[64] = 2;
    vec![
        (
            Rule::EvidenceForm,
            Evidence::decode(&[0; 4000]).unwrap_err(),
        ),
        (Rule::ReportData, by_td(|td| td.report_data[63] ^= 1)),
        (
            Rule::StatementInstance,
            by_statement(|statement| statement.instance = [9; 32]),
        ),
        (
            Rule::StatementServer,
            by_statement(|statement| statement.server = [9; 32]),
        ),
        (
            Rule::StatementPeer,
            by_statement(|statement| statement.peer = [9; 32]),
        ),
        (
            Rule::StatementKey,
            by_statement(|statement| statement.x25519 = [9; 32]),
        ),
        (
            Rule::StatementSigning,
            by_statement(|statement| statement.signing = [9; 32]),
        ),
        (
            Rule::StatementFuture,
            by_statement(|statement| statement.not_before = NOW + 1),
        ),
        (
            Rule::StatementExpired,
            by_statement(|statement| statement.not_after = NOW),
        ),
        (
            Rule::StatementLifetime,
            by_statement(|statement| statement.not_after = u64::MAX),
        ),
        (Rule::StatementConfig, {
            let verified = whole(|_| (), |_| (), |_| (), NOW).unwrap();
            verified.check_config(&[9; 32]).unwrap_err()
        }),
        (
            Rule::StatementForm,
            Statement::decode(&statement().encode()[1..]).unwrap_err(),
        ),
        (Rule::StatementRole, Statement::decode(&role).unwrap_err()),
    ]
}
