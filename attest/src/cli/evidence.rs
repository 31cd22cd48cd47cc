//! `verify --evidence` and `--live`: a server's evidence under a policy.

use std::path::{Path, PathBuf};

use crate::{
    Collateral, Evidence, Expected, Policy, Refusal, Verified, Verifier,
    collateral::MAX_COLLATERAL,
    evidence::MAX_EVIDENCE,
    policy::{MAX_POLICY, PolicyError},
    verified::RootError,
};
use serde_json::{Map, Value, json};

use crate::cli::{
    FileError, Outcome, answer, files,
    given::{How, Known},
    live::{self, LiveError},
    now, say,
};

/// Evidence could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A file.
    #[error(transparent)]
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
    /// The server.
    #[error("Nothing is decided about the server")]
    Live(#[source] LiveError),
}

impl EvidenceError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Root(_) => true,
            Self::File(error) => error.is_usage(),
            Self::Policy { .. } | Self::Live(_) => false,
        }
    }

    /// Whether nothing is decided by it.
    pub const fn is_undecided(&self) -> bool {
        matches!(self, Self::Live(_))
    }
}

/// A server's evidence in a file.
pub fn run(
    evidence: &Path,
    policy: &Path,
    how: &How,
    known: &Known,
    json: bool,
) -> Result<Outcome, EvidenceError> {
    let evidence = files::read(evidence, MAX_EVIDENCE)?;
    let verifier = verifier(policy, how)?;
    let Some(path) = &how.collateral else {
        answer::say_undecided(json);
        return Ok(Outcome::Undecided);
    };
    let collateral = files::read(path, MAX_COLLATERAL)?;
    let given = [&evidence[..], &collateral];
    Ok(decide(&verifier, given, known, &[], how, json)?)
}

/// The evidence of a server that runs now. The collateral is what it shows,
/// unless there is better.
pub fn run_live(
    peer: &str,
    name: &str,
    policy: &Path,
    how: &How,
    config: Option<&Path>,
    json: bool,
) -> Result<Outcome, EvidenceError> {
    let verifier = verifier(policy, how)?;
    let mut shown = live::fetch(peer, name).map_err(EvidenceError::Live)?;
    shown.known.config = config.map(Path::to_owned);
    // What the server shows may be from before its platform was condemned.
    let (collateral, own): (_, &[_]) = match &how.collateral {
        Some(path) => (files::read(path, MAX_COLLATERAL)?, &[]),
        None => (shown.collateral, &["collateral"]),
    };
    let given = [&shown.evidence[..], &collateral];
    Ok(decide(&verifier, given, &shown.known, own, how, json)?)
}

fn verifier(path: &Path, how: &How) -> Result<Verifier, EvidenceError> {
    let policy = files::read(path, MAX_POLICY)?;
    let policy = Policy::from_json(&policy).map_err(|source| EvidenceError::Policy {
        path: path.to_owned(),
        source,
    })?;
    Verifier::new(policy, files::root(&how.root)?).map_err(EvidenceError::Root)
}

fn decide(
    verifier: &Verifier,
    [evidence, collateral]: [&[u8]; 2],
    known: &Known,
    own: &[&'static str],
    how: &How,
    json: bool,
) -> Result<Outcome, FileError> {
    let at = how.at.unwrap_or_else(now);
    let config = known.config()?;
    let (verdict, mut not_compared) = judge(verifier, evidence, collateral, known, at);
    let verdict = verdict.and_then(|server| {
        match &config {
            Some(config) => server.check_config(config)?,
            None => not_compared.push("config"),
        }
        Ok(server)
    });
    Ok(match verdict {
        Ok(server) => {
            not_compared.extend(own);
            say_verified(&server, &not_compared, json);
            Outcome::Verified
        }
        Err(refusal) => {
            answer::say_refusal(&refusal, json);
            Outcome::Refused
        }
    })
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
        answer::add_platform(&mut answer, server.genuine());
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
    answer::say_fields(&fields);
}
