//! `verify`: whether a quote is genuine, and how Intel rates its platform.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use zipnet_attest::{
    Collateral, Genuine, Refusal,
    collateral::MAX_COLLATERAL,
    genuine,
    quote::MAX_QUOTE,
    tcb::{TcbRules, TcbStatus},
};

use crate::{FileError, Outcome, causes, files, now, say, show};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File that holds a quote
    #[arg(long, value_name = "FILE")]
    quote: PathBuf,
    /// File that holds its platform's collateral, as `QuoteCollateralV3` JSON; without
    /// one nothing can be decided
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// The time to verify for, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
    /// Who ends every certificate chain: `intel`, or a file with a certificate
    #[arg(long, value_name = "intel|FILE", default_value = "intel")]
    root: String,
    /// TCB statuses to accept, comma separated
    #[arg(long, value_name = "STATUS", value_delimiter = ',', default_value = "UpToDate", value_parser = TcbRules::parse_status)]
    accept_tcb: Vec<TcbStatus>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, FileError> {
    let quote = files::read(&arguments.quote, MAX_QUOTE)?;
    let root = files::root(&arguments.root)?;
    let Some(path) = &arguments.collateral else {
        if arguments.json {
            say(&json!({ "verdict": "undecided", "rule": null }).to_string());
        } else {
            say(
                "undecided: without --collateral nobody can tell a genuine quote from a made-up one",
            );
        }
        return Ok(Outcome::Undecided);
    };
    let collateral = files::read(path, MAX_COLLATERAL)?;
    let now = arguments.at.unwrap_or_else(now);
    let found = Collateral::from_json(&collateral)
        .and_then(|collateral| genuine(&root, &quote, &collateral, now));
    let found = match found {
        Ok(found) => found,
        Err(refusal) => {
            say_refusal(&refusal, arguments.json);
            return Ok(Outcome::Refused);
        }
    };
    let rules = TcbRules {
        accept: arguments.accept_tcb.clone(),
        ..TcbRules::default()
    };
    let refusal = rules.check(&found).err();
    say_found(&found, refusal.as_ref(), arguments.json);
    Ok(if refusal.is_none() {
        Outcome::Verified
    } else {
        Outcome::Refused
    })
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
        let status = format!("{:?}", found.status());
        answer.insert("tcb_status".to_owned(), status.into());
        answer.insert("advisories".to_owned(), found.advisories().into());
        answer.insert("tcb_evaluation".to_owned(), found.evaluation().into());
        answer.insert("fmspc".to_owned(), hex::encode_upper(found.fmspc()).into());
        if let Value::Object(fields) = show::fields(found.quote()) {
            answer.extend(fields);
        }
    }
    say(&answer.to_string());
}
