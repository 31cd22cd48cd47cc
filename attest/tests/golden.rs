//! Golden vectors, made by another implementation (Python's hashlib and
//! struct), so that yet another one can be written from them.
#![allow(missing_docs, clippy::unwrap_used)]

use serde_json::Value;
use zipnet_attest::{
    PolicyKeys, Role, Statement, TrustBase, TrustRoot,
    provision::{Config, GuestStatement},
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/statement.json")).unwrap()
}

fn bytes(value: &Value) -> [u8; 32] {
    let bytes = hex::decode(value.as_str().unwrap()).unwrap();
    bytes.try_into().unwrap()
}

#[test]
fn a_statement_has_these_bytes_and_this_report_data() {
    let vectors = &vectors()["statement"];
    let field = |name: &str| bytes(&vectors["inputs"][name]);
    let number = |name: &str| vectors["inputs"][name].as_u64().unwrap();
    let statement = Statement {
        instance: field("instance"),
        role: Role::Server,
        server: field("server"),
        peer: field("peer"),
        x25519: field("x25519"),
        signing: field("signing"),
        epoch: number("epoch"),
        not_before: number("not_before"),
        not_after: number("not_after"),
        config: field("config"),
        freshness: field("freshness"),
    };
    let outputs = &vectors["outputs"];
    assert_eq!(hex::encode(statement.encode()), outputs["bytes"]);
    assert_eq!(hex::encode(statement.report_data()), outputs["report_data"]);
}

#[test]
fn roots_thresholds_and_keys_have_these_anchors() {
    for vector in vectors()["anchors"].as_array().unwrap() {
        let keys: Vec<String> = serde_json::from_value(vector["keys"].clone()).unwrap();
        let threshold = usize::try_from(vector["threshold"].as_u64().unwrap()).unwrap();
        let root = match vector["root"].as_str().unwrap() {
            "intel" => TrustRoot::Intel,
            der => TrustRoot::Other(hex::decode(der).unwrap()),
        };
        let base = TrustBase::new(root, PolicyKeys::new(&keys, threshold).unwrap());
        assert_eq!(hex::encode(base.anchor()), vector["anchor"], "{vector}");
    }
}

#[test]
fn a_guests_statement_has_these_bytes_and_this_report_data() {
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/provisioning.json")).unwrap();
    let inputs = &vectors["statement"]["inputs"];
    let text = |name: &str| inputs[name].as_str().unwrap();
    let config = Config::parse(text("config_file").as_bytes()).unwrap();
    let statement = GuestStatement {
        anchor: bytes(&inputs["anchor"]),
        instance: GuestStatement::instance(text("instance_name")),
        config: config.digest(),
        key: bytes(&inputs["key"]),
        nonce: bytes(&inputs["nonce"]),
        time: inputs["time"].as_u64().unwrap(),
    };
    let outputs = &vectors["statement"]["outputs"];
    assert_eq!(hex::encode(statement.encode()), outputs["bytes"]);
    assert_eq!(hex::encode(statement.report_data()), outputs["report_data"]);
    assert_eq!(
        GuestStatement::decode(&statement.encode()).unwrap(),
        statement
    );
}
