//! `verify`: whether a quote is genuine and how Intel rates its platform, or
//! whether a server's evidence holds under a policy.

use std::path::{Path, PathBuf};

use crate::{
    Collateral, Genuine, Refusal, TrustRoot, collateral::MAX_COLLATERAL, genuine, quote::MAX_QUOTE,
    tcb::TcbRules,
};
use clap::Args;

use crate::cli::{
    FileError, Outcome, answer,
    evidence::{self, EvidenceError},
    files,
    given::{How, Known},
    now,
};

/// A quote, and how to verify it.
#[derive(Debug, Args)]
pub struct Inputs {
    /// File that holds a quote
    #[arg(long, value_name = "FILE")]
    pub quote: PathBuf,
    #[command(flatten)]
    pub how: How,
}

/// What to verify.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// File that holds a quote of anybody's
    #[arg(long, value_name = "FILE")]
    quote: Option<PathBuf>,
    /// File that holds a server's evidence
    #[arg(long, value_name = "FILE", requires = "policy")]
    evidence: Option<PathBuf>,
    /// A server that runs now; `ZIPNET_RELAY` and the like say how to reach it
    #[arg(long, value_name = "PEERID@IP:PORT", requires_all = ["policy", "name"])]
    live: Option<String>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
    /// The policy to judge evidence by; its signatures are not looked at, `policy check`
    /// does that
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Name of the instance of a server that runs now
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    known: Known,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The files that were named, and what they come to.
pub struct Case {
    /// Bytes of the quote's file.
    pub quote: Vec<u8>,
    /// Bytes of the collateral's file.
    pub collateral: Option<Vec<u8>>,
    /// Who ends every certificate chain.
    pub root: TrustRoot,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// How far it came.
    pub verdict: Verdict,
}

/// How far verification came.
pub enum Verdict {
    /// There is no collateral.
    Undecided,
    /// The collateral is refused.
    Collateral(Refusal),
    /// The quote is refused.
    Quote(Collateral, Refusal),
    /// The quote is genuine; the platform may be refused all the same.
    Genuine(Collateral, Box<Genuine>, Option<Refusal>),
}

impl Verdict {
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Undecided => Outcome::Undecided,
            Self::Collateral(_) | Self::Quote(..) | Self::Genuine(_, _, Some(_)) => {
                Outcome::Refused
            }
            Self::Genuine(_, _, None) => Outcome::Verified,
        }
    }

    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Undecided => None,
            Self::Collateral(refusal) | Self::Quote(_, refusal) => Some(refusal),
            Self::Genuine(_, _, refusal) => refusal.as_ref(),
        }
    }

    /// The collateral, if it decoded.
    pub const fn collateral(&self) -> Option<&Collateral> {
        match self {
            Self::Undecided | Self::Collateral(_) => None,
            Self::Quote(collateral, _) | Self::Genuine(collateral, _, _) => Some(collateral),
        }
    }

    /// The quote, if it is genuine.
    pub fn genuine(&self) -> Option<&Genuine> {
        match self {
            Self::Genuine(_, found, _) => Some(found),
            _ => None,
        }
    }
}

/// Reads the files and verifies.
pub fn judge(quote: &Path, how: &How) -> Result<Case, FileError> {
    let quote = files::read(quote, MAX_QUOTE)?;
    let root = files::root(&how.root)?;
    let path = how.collateral.as_deref();
    let collateral = path
        .map(|path| files::read(path, MAX_COLLATERAL))
        .transpose()?;
    let now = how.at.unwrap_or_else(now);
    let verdict = match collateral.as_deref().map(Collateral::from_json) {
        None => Verdict::Undecided,
        Some(Err(refusal)) => Verdict::Collateral(refusal),
        Some(Ok(parts)) => match genuine(&root, &quote, &parts, now) {
            Err(refusal) => Verdict::Quote(parts, refusal),
            Ok(found) => {
                let rules = TcbRules {
                    accept: how.accept_tcb.clone(),
                    ..TcbRules::default()
                };
                let launched = found.quote().report.has_attributes(&how.attributes);
                let refusal = rules.check(&found).and(launched).err();
                Verdict::Genuine(parts, Box::new(found), refusal)
            }
        },
    };
    Ok(Case {
        quote,
        collateral,
        root,
        now,
        verdict,
    })
}

pub fn run(arguments: &Arguments) -> Result<Outcome, EvidenceError> {
    let Arguments {
        what,
        how,
        policy,
        name,
        known,
        json,
    } = arguments;
    let policy = policy.as_deref().unwrap_or_else(|| Path::new(""));
    match what {
        What {
            evidence: Some(file),
            ..
        } => evidence::run(file, policy, how, known, *json),
        What {
            live: Some(peer), ..
        } => {
            let name = name.as_deref().unwrap_or_default();
            evidence::run_live(peer, name, policy, how, known.config.as_deref(), *json)
        }
        What { quote, .. } => {
            let quote = quote.as_deref().unwrap_or_else(|| Path::new(""));
            Ok(judge_quote(quote, how, *json)?)
        }
    }
}

fn judge_quote(quote: &Path, how: &How, json: bool) -> Result<Outcome, FileError> {
    let verdict = judge(quote, how)?.verdict;
    match &verdict {
        Verdict::Undecided => answer::say_undecided(json),
        Verdict::Collateral(refusal) | Verdict::Quote(_, refusal) => {
            answer::say_refusal(refusal, json);
        }
        Verdict::Genuine(_, found, refusal) => {
            answer::say_found(found, refusal.as_ref(), json);
        }
    }
    Ok(verdict.outcome())
}
