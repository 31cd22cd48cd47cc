//! `policy`: policies made, signed, checked, and tried on evidence.

mod explain;
mod new;
mod release;

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    Collateral, Evidence, Expected, Policy, PolicyKeys, Verifier,
    collateral::MAX_COLLATERAL,
    evidence::MAX_EVIDENCE,
    policy::{MAX_POLICY, PolicyError},
    signed::{MAX_SIGNATURES, SignedPolicyError},
    verified::RootError,
};
use clap::{Args, Subcommand};
use minisign::{SecretKey, SecretKeyBox};
use serde_json::{Value, json};

pub use new::track;

use crate::cli::{FileError, Outcome, answer, causes, files, now, say};

/// Longest key file, in bytes.
const MAX_KEY: usize = 4096;
/// How far ahead of this machine's clock a policy may be, in seconds.
const AHEAD: u64 = 300;

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print a new policy that accepts a release, or what runs in a quote, to be gone through by a person
    New(new::Arguments),
    /// Sign a policy with a minisign secret key; the signature is added to FILE.minisig
    Sign(Sign),
    /// Say whether enough keys signed a policy and its serial does not go back
    Check(Check),
    /// Print a policy in words
    Show(Show),
    /// Say which servers a policy would refuse, and why
    Simulate(Simulate),
}

#[derive(Debug, Args)]
pub struct Sign {
    /// The policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// A minisign secret key without a password, as `minisign -G -W` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The policy; its signatures are in FILE.minisig
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Minisign public keys that may sign, `RW...`, repeated or comma separated
    #[arg(long, value_name = "KEY", value_delimiter = ',', required = true)]
    key: Vec<String>,
    /// How many of them have to
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: usize,
    /// The newest serial seen so far
    #[arg(long, value_name = "N", default_value_t = 0)]
    newest: u64,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
}

#[derive(Debug, Args)]
pub struct Simulate {
    /// The policy; signatures are not looked at
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Collateral of the servers' platforms, repeated
    #[arg(long, value_name = "FILE", required = true)]
    collateral: Vec<PathBuf>,
    /// The time to judge for, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
    /// Who ends every certificate chain: `intel`, or a file with a certificate
    #[arg(long, value_name = "intel|FILE", default_value = "intel")]
    root: String,
    /// Evidence of servers
    #[arg(value_name = "EVIDENCE", required = true)]
    evidence: Vec<PathBuf>,
}

/// A policy could not be worked with.
#[derive(Debug, thiserror::Error)]
pub enum PolicyVerbError {
    /// A file.
    #[error("Could not work with the files of the policy")]
    File(#[from] FileError),
    /// It is none.
    #[error("{path} is no policy", path = .path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: PolicyError,
    },
    /// No policy was made.
    #[error(transparent)]
    New(#[from] new::NewError),
    /// The keys that were named.
    #[error("The keys of the policy cannot be used")]
    Keys(#[source] SignedPolicyError),
    /// It is of a time to come.
    #[error("{path} says that it was issued {ahead} s from now; verifiers would set their clocks forward by it. The time of its making would be right", path = .path.display())]
    Issued {
        /// Which.
        path: PathBuf,
        /// Seconds.
        ahead: u64,
    },
    /// The secret key.
    #[error("{path} holds no minisign secret key without a password; `minisign -G -W` makes one", path = .path.display())]
    Secret {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: minisign::PError,
    },
    /// Signing.
    #[error("Could not sign the policy")]
    Sign(#[source] minisign::PError),
    /// The signature's file.
    #[error("Could not add the signature to {path}", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The root.
    #[error("The policy cannot be used with --root")]
    Root(#[source] RootError),
}

impl PolicyVerbError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::New(error) => error.is_usage(),
            _ => matches!(self, Self::Keys(_) | Self::Root(_) | Self::Issued { .. }),
        }
    }
}

pub fn run(verb: &Verb) -> Result<Outcome, PolicyVerbError> {
    match verb {
        Verb::New(arguments) => Ok(new::run(arguments)?),
        Verb::Sign(arguments) => sign(arguments),
        Verb::Check(arguments) => check(arguments),
        Verb::Show(arguments) => show(arguments),
        Verb::Simulate(arguments) => simulate(arguments),
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, Policy), PolicyVerbError> {
    let bytes = files::read(path, MAX_POLICY)?;
    let policy = Policy::from_json(&bytes).map_err(|source| PolicyVerbError::Policy {
        path: path.to_owned(),
        source,
    })?;
    Ok((bytes, policy))
}

/// Reads a key without a password. Debian's minisign 0.11 leaves the checksum of such a key
/// empty, and does not look at it either.
fn unencrypted(text: &str) -> Result<SecretKey, minisign::PError> {
    const CHECKSUM: [u8; 32] = [0; 32];
    SecretKeyBox::from_string(text)
        .and_then(SecretKey::from_unencrypted_box)
        .or_else(|error| {
            let line = text.lines().nth(1).unwrap_or_default();
            // The crate keeps its reader of base64 to itself.
            let armoured = format!("-----BEGIN KEY-----\n{line}\n-----END KEY-----\n");
            let bytes = pem::parse(armoured).map(pem::Pem::into_contents);
            match bytes.as_deref().map(SecretKey::from_bytes) {
                Ok(Ok(key)) if !key.is_encrypted() && key.to_bytes().ends_with(&CHECKSUM) => {
                    Ok(key)
                }
                _ => Err(error),
            }
        })
}

fn sign(arguments: &Sign) -> Result<Outcome, PolicyVerbError> {
    let (bytes, policy) = read(&arguments.policy)?;
    let ahead = policy.issued.saturating_sub(now());
    if ahead > AHEAD {
        return Err(PolicyVerbError::Issued {
            path: arguments.policy.clone(),
            ahead,
        });
    }
    let key = files::read(&arguments.key, MAX_KEY)?;
    let key = unencrypted(&String::from_utf8_lossy(&key)).map_err(|source| {
        let path = arguments.key.clone();
        PolicyVerbError::Secret { path, source }
    })?;
    let comment = format!("zipnet policy, serial {}", policy.serial);
    let signature = minisign::sign(None, &key, &bytes[..], Some(&comment), None)
        .map_err(PolicyVerbError::Sign)?;
    let path = files::signatures_of(&arguments.policy);
    let mut options = OpenOptions::new();
    let added = options
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{}", signature.into_string().trim_end()));
    added.map_err(|source| PolicyVerbError::Write {
        path: path.clone(),
        source,
    })?;
    say(&format!("signed; the signature is in {}", path.display()));
    Ok(Outcome::Verified)
}

fn check(arguments: &Check) -> Result<Outcome, PolicyVerbError> {
    let keys =
        PolicyKeys::new(&arguments.key, arguments.threshold).map_err(PolicyVerbError::Keys)?;
    let policy = files::read(&arguments.policy, MAX_POLICY)?;
    let signatures = files::read(&files::signatures_of(&arguments.policy), MAX_SIGNATURES)?;
    let signatures = String::from_utf8_lossy(&signatures);
    match keys.open(&policy, &signatures, arguments.newest) {
        Ok(signed) => {
            let serial = signed.policy().serial;
            say(&format!("accepted: serial {serial}, signed by enough keys"));
            Ok(Outcome::Verified)
        }
        Err(error) => {
            say(&format!("refused: {error}"));
            for cause in causes(&error) {
                say(&format!("because: {cause}"));
            }
            Ok(Outcome::Refused)
        }
    }
}

fn show(arguments: &Show) -> Result<Outcome, PolicyVerbError> {
    let (_, policy) = read(&arguments.policy)?;
    let tcb = &policy.tcb;
    say(&format!("serial {}, root {:?}", policy.serial, policy.root));
    say(&format!(
        "platforms: {:?}, track {:?}, evaluations {} to {}, collateral at most {} days old, SMT {}, dynamic {}, cached keys {}, {:?}",
        tcb.accept,
        tcb.track,
        tcb.min_evaluation,
        tcb.max_evaluation
            .map_or_else(|| "any".to_owned(), |max| max.to_string()),
        tcb.max_collateral_age_days,
        tcb.smt,
        tcb.dynamic_platform,
        tcb.cached_keys,
        tcb.sgx_types
    ));
    match &policy.platforms {
        None => say("  any platform: one whose keys were extracted can forge every quote"),
        Some(platforms) => say(&format!("  only {} listed: {platforms:?}", platforms.len())),
    }
    match &policy.servers {
        None => say("servers: whoever has the committee secret"),
        Some(servers) => {
            for server in servers {
                let platforms: Vec<_> = server.platforms.iter().map(ToString::to_string).collect();
                say(&format!(
                    "server {}: {} on {}",
                    server.name.escape_debug(),
                    server.peer,
                    platforms.join(" or ")
                ));
            }
        }
    }
    say(&format!(
        "statements: at most {} hours",
        policy.max_statement_hours
    ));
    for image in &policy.images {
        let end = image
            .not_after
            .map_or_else(|| "no end".to_owned(), |end| end.to_string());
        say(&format!(
            "image {}: from {} to {end}",
            image.id, image.not_before
        ));
        say(&format!("    mrtd  {}", image.mrtd));
        say(&format!("   rtmr1  {}", image.rtmr1));
        say(&format!("   rtmr2  {}", image.rtmr2));
        say(&format!("   rtmr3  {}", image.rtmr3));
        for shape in &image.shapes {
            say(&format!("   rtmr0  {}  {}", shape.rtmr0, shape.id));
        }
    }
    Ok(Outcome::Verified)
}

fn simulate(arguments: &Simulate) -> Result<Outcome, PolicyVerbError> {
    let (_, policy) = read(&arguments.policy)?;
    let root = files::root(&arguments.root)?;
    let verifier = Verifier::new(policy, root).map_err(PolicyVerbError::Root)?;
    let at = arguments.at.unwrap_or_else(now);
    let mut collaterals = Vec::new();
    for path in &arguments.collateral {
        match Collateral::from_json(&files::read(path, MAX_COLLATERAL)?) {
            Ok(collateral) => collaterals.push(collateral),
            Err(refusal) => {
                answer::say_refusal(&refusal, false);
                return Ok(Outcome::Refused);
            }
        }
    }
    let mut refused = 0_usize;
    for path in &arguments.evidence {
        let bytes = files::read(path, MAX_EVIDENCE)?;
        let verdict = judge(&verifier, &bytes, &collaterals, at);
        let accepted = verdict.get("verdict").and_then(Value::as_str) == Some("accept");
        refused = refused.saturating_add(usize::from(!accepted));
        let mut line = json!({ "evidence": path.display().to_string() });
        if let (Some(line), Value::Object(verdict)) = (line.as_object_mut(), verdict) {
            line.extend(verdict);
        }
        say(&line.to_string());
    }
    Ok(if refused == 0 {
        Outcome::Verified
    } else {
        Outcome::Refused
    })
}

/// The verdict with whichever collateral fits best: that of an acceptance, or
/// else the refusal that got farthest. Whose evidence it is, is not compared:
/// the question is what the policy does to it.
fn judge(verifier: &Verifier, evidence: &[u8], collaterals: &[Collateral], at: u64) -> Value {
    let mut worst: Option<crate::Refusal> = None;
    for collateral in collaterals {
        let verdict = Evidence::decode(evidence).and_then(|evidence| {
            let statement = &evidence.statement;
            let expected = Expected {
                instance: statement.instance,
                server: statement.server,
                peer: statement.peer,
                x25519: statement.x25519,
                signing: statement.signing,
            };
            verifier.verify(&evidence, collateral, &expected, at)
        });
        match verdict {
            Ok(server) => {
                return json!({
                    "verdict": "accept",
                    "image": server.image(),
                    "shape": server.shape(),
                    "not_after": server.not_after(),
                });
            }
            Err(refusal) => {
                let farther = worst
                    .as_ref()
                    .is_none_or(|worst| refusal.rule() > worst.rule());
                if farther {
                    worst = Some(refusal);
                }
            }
        }
    }
    worst.map_or_else(
        || json!({ "verdict": "undecided" }),
        |refusal| {
            json!({
                "verdict": "refuse",
                "rule": refusal.rule().to_string(),
                "found": refusal.found(),
                "expected": refusal.expected(),
            })
        },
    )
}
