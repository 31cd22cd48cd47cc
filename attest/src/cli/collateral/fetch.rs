//! `collateral fetch`.

use std::path::PathBuf;

use crate::{
    Ca, Edition, Platforms, Store,
    collateral::MAX_COLLATERAL,
    fetch::Source,
    policy::{Track, Wanted},
    quote::MAX_QUOTE,
    store::Put,
    trusted_alone,
};
use clap::Args;
use serde_json::{Value, json};

use super::{CollateralVerbError, fields, say_fields};
use crate::cli::{Outcome, answer, causes, files, now, policy, say, say_aside};

/// Arguments of `collateral fetch`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A PCCS, or `https://api.trustedservices.intel.com`
    #[arg(long, value_name = "URL")]
    from: String,
    /// File that holds a quote of the platform
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fmspc", "ca"], required_unless_present = "fmspc")]
    quote: Option<PathBuf>,
    /// The model of the platform, 12 hex digits
    #[arg(long, value_name = "HEX", value_parser = fmspc, requires = "ca")]
    fmspc: Option<[u8; 6]>,
    /// Who certifies the platform's keys: `platform` for servers, or `processor`
    #[arg(long, value_name = "CA", requires = "fmspc")]
    ca: Option<Ca>,
    /// Intel's track: `standard` or `early`, as the policy has it
    #[arg(long, value_name = "TRACK", default_value = "standard", value_parser = policy::track)]
    track: Track,
    /// Highest TCB evaluation to take, as `max_evaluation` of the policy [default: what the
    /// track is at]
    #[arg(long, value_name = "N")]
    max_evaluation: Option<u32>,
    #[command(flatten)]
    to: To,
    /// Who ends every certificate chain: `intel`, or a file with a certificate
    #[arg(long, value_name = "intel|FILE", default_value = "intel")]
    root: String,
    /// The time to verify for, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Where to.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct To {
    /// Folder that keeps the newest collateral of each platform; it never goes back
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// File to write, as `QuoteCollateralV3` JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn fmspc(text: &str) -> Result<[u8; 6], String> {
    let mut fmspc = [0; 6];
    hex::decode_to_slice(text, &mut fmspc)
        .map_err(|_| "no FMSPC; 12 hex digits would be right".to_owned())?;
    Ok(fmspc)
}

pub fn run(arguments: &Arguments) -> Result<Outcome, CollateralVerbError> {
    let refused = |refusal| {
        answer::say_refusal(&refusal, arguments.json);
        Ok(Outcome::Refused)
    };
    let source = Source::new(&arguments.from).map_err(CollateralVerbError::Source)?;
    let root = files::root(&arguments.root)?;
    let named = arguments.fmspc.zip(arguments.ca);
    let platforms = match (&arguments.quote, named) {
        (Some(path), _) => match Platforms::of_quote(&files::read(path, MAX_QUOTE)?) {
            Ok(platforms) => platforms,
            Err(refusal) => return refused(refusal),
        },
        (None, Some((fmspc, ca))) => Platforms { fmspc, ca },
        // clap demands one of them.
        (None, None) => return Ok(Outcome::Undecided),
    };
    let wanted = Wanted {
        track: arguments.track,
        highest: arguments.max_evaluation,
    };
    let collateral = match source.fetch(platforms, &wanted) {
        Ok(collateral) => collateral,
        Err(error) => {
            say_undecided(&error, arguments.json);
            return Ok(Outcome::Undecided);
        }
    };
    let at = arguments.at.unwrap_or_else(now);
    let (proof, edition) = match wanted
        .check(&collateral)
        .and_then(|()| trusted_alone(&root, &collateral, at))
        .and_then(|proof| Edition::of(&collateral).map(|edition| (proof, edition)))
    {
        Ok(verified) => verified,
        Err(refusal) => return refused(refusal),
    };
    let put = match &arguments.to.store {
        Some(folder) => {
            let store = Store::open(folder)?;
            for aside in store.set_aside()? {
                say_aside(&format!(
                    "{aside}; because: {}",
                    causes(&aside).join("; because: ")
                ));
            }
            Some(store.put(proof, wanted.highest)?)
        }
        None => None,
    };
    if let Some(path) = &arguments.to.out {
        let json = collateral.to_json();
        debug_assert!(json.len() <= MAX_COLLATERAL);
        files::write(path, json.as_bytes())?;
    }
    let stored = match put {
        Some(Put::Stored) => "stored",
        Some(Put::Older) => "kept",
        None => "written",
    };
    let fields = fields(&collateral, &edition, at);
    if arguments.json {
        let mut answer = json!({ "verdict": "accept", "rule": null, "became": stored });
        if let (Some(answer), Value::Object(fields)) = (answer.as_object_mut(), fields) {
            answer.extend(fields);
            answer.insert("expires".to_owned(), proof.expires().into());
        }
        say(&answer.to_string());
        return Ok(Outcome::Verified);
    }
    say(match put {
        Some(Put::Stored) => "accepted and stored: newer than what the folder had",
        Some(Put::Older) => "accepted, but not newer than what the folder has, which stays",
        None => "accepted and written",
    });
    say_fields(&fields);
    Ok(Outcome::Verified)
}

/// Nothing came that could be judged.
fn say_undecided(error: &dyn std::error::Error, json: bool) {
    if json {
        let answer = json!({
            "verdict": "undecided",
            "rule": null,
            "error": error.to_string(),
            "because": causes(error),
        });
        say(&answer.to_string());
        return;
    }
    say(&format!("undecided: {error}"));
    for cause in causes(error) {
        say(&format!("because: {cause}"));
    }
}
