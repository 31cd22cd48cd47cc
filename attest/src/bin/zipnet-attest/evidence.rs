//! `evidence`: a server's evidence under a policy.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use zipnet_attest::{
    Collateral, Evidence, Expected, Policy, Refusal, Verified, Verifier,
    collateral::MAX_COLLATERAL,
    evidence::MAX_EVIDENCE,
    policy::{MAX_POLICY, PolicyError},
    verified::RootError,
};

use crate::{FileError, Outcome, files, now, say, show, verify};

/// Arguments of `evidence`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File that holds a server's evidence
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The policy to judge by; its signatures are not looked at, `policy check` does that
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// File that holds the platform's collateral; without one nothing can be decided
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// The time to verify for, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
    /// Who ends every certificate chain: `intel`, or a file with a certificate
    #[arg(long, value_name = "intel|FILE", default_value = "intel")]
    root: String,
    #[command(flatten)]
    known: Known,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What the user knows of the server by himself. What is not given is taken
/// from the statement, and named as not compared.
#[derive(Debug, Args)]
struct Known {
    /// The instance's id, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    instance: Option<[u8; 32]>,
    /// The server's id, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    server: Option<[u8; 32]>,
    /// The server's peer id, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    peer: Option<[u8; 32]>,
    /// The X25519 key of its bundle, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    x25519: Option<[u8; 32]>,
    /// The committee signing key of its bundle, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    signing: Option<[u8; 32]>,
}

fn key(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| "64 hex digits would be right".to_owned())?;
    Ok(bytes)
}

/// Evidence could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A file.
    #[error("Could not read what to judge")]
    File(#[from] FileError),
    /// The policy.
    #[error("{path} is no policy", path = .path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: PolicyError,
    },
    /// The root.
    #[error("The policy cannot be used with --root")]
    Root(#[source] RootError),
}

impl EvidenceError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Root(_))
    }
}

pub fn run(arguments: &Arguments) -> Result<Outcome, EvidenceError> {
    let evidence = files::read(&arguments.evidence, MAX_EVIDENCE)?;
    let policy = files::read(&arguments.policy, MAX_POLICY)?;
    let policy = Policy::from_json(&policy).map_err(|source| EvidenceError::Policy {
        path: arguments.policy.clone(),
        source,
    })?;
    let root = files::root(&arguments.root)?;
    let verifier = Verifier::new(policy, root).map_err(EvidenceError::Root)?;
    let Some(path) = &arguments.collateral else {
        verify::say_undecided(arguments.json);
        return Ok(Outcome::Undecided);
    };
    let collateral = files::read(path, MAX_COLLATERAL)?;
    let at = arguments.at.unwrap_or_else(now);
    let (verdict, not_compared) = judge(&verifier, &evidence, &collateral, &arguments.known, at);
    match verdict {
        Ok(server) => {
            say_verified(&server, &not_compared, arguments.json);
            Ok(Outcome::Verified)
        }
        Err(refusal) => {
            verify::say_refusal(&refusal, arguments.json);
            Ok(Outcome::Refused)
        }
    }
}

fn judge(
    verifier: &Verifier,
    evidence: &[u8],
    collateral: &[u8],
    known: &Known,
    at: u64,
) -> (Result<Verified, Refusal>, Vec<&'static str>) {
    let mut not_compared = Vec::new();
    let verdict = Evidence::decode(evidence).and_then(|evidence| {
        let mut take = |name, known: Option<[u8; 32]>, said| {
            known.unwrap_or_else(|| {
                not_compared.push(name);
                said
            })
        };
        let said = &evidence.statement;
        let expected = Expected {
            instance: take("instance", known.instance, said.instance),
            server: take("server", known.server, said.server),
            peer: take("peer", known.peer, said.peer),
            x25519: take("x25519", known.x25519, said.x25519),
            signing: take("signing", known.signing, said.signing),
        };
        let collateral = Collateral::from_json(collateral)?;
        verifier.verify(&evidence, &collateral, &expected, at)
    });
    (verdict, not_compared)
}

fn say_verified(server: &Verified, not_compared: &[&str], json: bool) {
    let statement = server.statement();
    let mut fields = Map::new();
    for (name, value) in [
        ("image", json!(server.image())),
        ("shape", json!(server.shape())),
        ("not_before", json!(statement.not_before)),
        ("not_after", json!(statement.not_after)),
        ("epoch", json!(statement.epoch)),
        ("instance", json!(hex::encode(statement.instance))),
        ("server", json!(hex::encode(statement.server))),
        ("peer", json!(hex::encode(statement.peer))),
        ("x25519", json!(hex::encode(statement.x25519))),
        ("signing", json!(hex::encode(statement.signing))),
        ("config", json!(hex::encode(statement.config))),
        ("freshness", json!(hex::encode(statement.freshness))),
        ("not_compared", json!(not_compared)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    if json {
        let mut answer = Map::new();
        answer.insert("verdict".to_owned(), json!("accept"));
        answer.insert("rule".to_owned(), Value::Null);
        answer.extend(fields);
        verify::add_platform(&mut answer, server.genuine());
        say(&Value::Object(answer).to_string());
        return;
    }
    say("accepted: the server's evidence holds under the policy");
    if !not_compared.is_empty() {
        say(&format!(
            "  on the server's word, since you gave nothing to compare: {}",
            not_compared.join(", ")
        ));
    }
    show::say_fields(&fields);
}
