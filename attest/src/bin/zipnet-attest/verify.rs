//! `verify`: whether a quote is genuine and how Intel rates its platform, or
//! whether a server's evidence holds under a policy.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use zipnet_attest::{
    Collateral, Genuine, Refusal, TrustRoot,
    collateral::MAX_COLLATERAL,
    genuine,
    quote::MAX_QUOTE,
    tcb::{TcbRules, TcbStatus},
};

use crate::{
    FileError, Outcome, causes,
    evidence::{self, EvidenceError, Known},
    files, now, say, show,
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

/// By what to verify.
#[derive(Debug, Args)]
pub struct How {
    /// File that holds its platform's collateral, as `QuoteCollateralV3` JSON; without
    /// one nothing can be decided
    #[arg(long, value_name = "FILE")]
    pub collateral: Option<PathBuf>,
    /// The time to verify for, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    pub at: Option<u64>,
    /// Who ends every certificate chain: `intel`, or a file with a certificate
    #[arg(long, value_name = "intel|FILE", default_value = "intel")]
    pub root: String,
    /// TCB statuses to accept, comma separated
    #[arg(long, value_name = "STATUS", value_delimiter = ',', default_value = "UpToDate", value_parser = TcbRules::parse_status)]
    pub accept_tcb: Vec<TcbStatus>,
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
                let refusal = rules.check(&found).err();
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
        Verdict::Undecided => say_undecided(json),
        Verdict::Collateral(refusal) | Verdict::Quote(_, refusal) => {
            say_refusal(refusal, json);
        }
        Verdict::Genuine(_, found, refusal) => {
            say_found(found, refusal.as_ref(), json);
        }
    }
    Ok(verdict.outcome())
}

/// Prints why something is refused.
pub fn say_refusal(refusal: &Refusal, json: bool) {
    if json {
        say(&refused(refusal).to_string());
        return;
    }
    say(&format!("refused: {refusal}"));
    for cause in causes(refusal) {
        say(&format!("because: {cause}"));
    }
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "verdict": "refuse",
        "rule": refusal.rule().to_string(),
        "found": refusal.found(),
        "expected": refusal.expected(),
        "because": causes(refusal),
        "tcb_status": null,
        "advisories": [],
    })
}

fn say_found(found: &Genuine, refusal: Option<&Refusal>, json: bool) {
    if !json {
        if let Some(refusal) = refusal {
            say_refusal(refusal, false);
        } else {
            say("accepted: the quote is genuine and the platform's TCB is in order");
        }
        say(&format!("  tcb status  {:?}", found.status()));
        say(&format!("  advisories  {}", found.advisories().join(", ")));
        say(&format!("  evaluation  {}", found.evaluation()));
        say(&format!(
            "       fmspc  {}",
            hex::encode_upper(found.fmspc())
        ));
        let registers = &found.quote().report.registers;
        say(&format!("        mrtd  {}", hex::encode(registers.mrtd)));
        for (number, rtmr) in registers.rtmr.iter().enumerate() {
            say(&format!("       rtmr{number}  {}", hex::encode(rtmr)));
        }
        return;
    }
    let mut answer = refusal.map_or_else(|| json!({ "verdict": "accept", "rule": null }), refused);
    if let Some(answer) = answer.as_object_mut() {
        add_platform(answer, found);
    }
    say(&answer.to_string());
}

/// Adds what a genuine quote says, and how Intel rates its platform.
pub fn add_platform(answer: &mut Map<String, Value>, found: &Genuine) {
    let status = format!("{:?}", found.status());
    answer.insert("tcb_status".to_owned(), status.into());
    answer.insert("advisories".to_owned(), found.advisories().into());
    answer.insert("tcb_evaluation".to_owned(), found.evaluation().into());
    answer.insert("fmspc".to_owned(), hex::encode_upper(found.fmspc()).into());
    answer.extend(show::fields(found.quote()));
}

/// Without collateral there is no verdict.
pub fn say_undecided(json: bool) {
    if json {
        say(&json!({ "verdict": "undecided", "rule": null }).to_string());
    } else {
        say("undecided: without --collateral nobody can tell a genuine quote from a made-up one");
    }
}
