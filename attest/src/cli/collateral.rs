//! `collateral`: what Intel publishes about a model of platform, fetched and
//! looked at.

#[cfg(feature = "fetch")]
mod fetch;

use std::{
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use crate::{
    Collateral, Edition, List, Store, collateral::MAX_COLLATERAL, collateral::Window,
    store::StoreError,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{FileError, Outcome, answer, files, now, say};

/// What to do with collateral.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Fetch a platform's collateral from a PCCS or from Intel, and keep it if it verifies
    #[cfg(feature = "fetch")]
    Fetch(fetch::Arguments),
    /// Print what collateral says of itself, without verifying anything
    Show(Show),
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false)]
pub struct Which {
    /// File that holds collateral, as `QuoteCollateralV3` JSON
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Folder that keeps collateral, as `collateral fetch --store` writes it
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    which: Which,
    /// The time to count days from, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Collateral could not be worked with.
#[derive(Debug, thiserror::Error)]
pub enum CollateralVerbError {
    /// A file.
    #[error("Could not work with the files of the collateral")]
    File(#[from] FileError),
    /// The folder.
    #[error("Could not work with the folder of collateral")]
    Store(#[from] StoreError),
    /// The source.
    #[cfg(feature = "fetch")]
    #[error("--from cannot be used")]
    Source(#[source] crate::fetch::FetchError),
}

impl CollateralVerbError {
    /// Whether the user named the wrong thing.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::File(error) => error.is_usage(),
            Self::Store(_) => false,
            #[cfg(feature = "fetch")]
            Self::Source(_) => true,
        }
    }
}

pub fn run(verb: &Verb) -> Result<Outcome, CollateralVerbError> {
    match verb {
        #[cfg(feature = "fetch")]
        Verb::Fetch(arguments) => fetch::run(arguments),
        Verb::Show(arguments) => show(arguments),
    }
}

fn show(arguments: &Show) -> Result<Outcome, CollateralVerbError> {
    let found = if let Some(path) = &arguments.which.file {
        match Collateral::from_json(&files::read(path, MAX_COLLATERAL)?) {
            Ok(collateral) => vec![collateral],
            Err(refusal) => {
                answer::say_refusal(&refusal, arguments.json);
                return Ok(Outcome::Refused);
            }
        }
    } else if let Some(folder) = &arguments.which.store {
        // To look at a folder does not make one.
        if folder.is_dir() {
            Store::open(folder)?.list()?
        } else {
            Vec::new()
        }
    } else {
        Vec::new()
    };
    let at = arguments.at.unwrap_or_else(now);
    if !arguments.json {
        say("not verified: anybody can write these bytes");
    }
    if found.is_empty() && !arguments.json {
        say("no collateral");
    }
    for collateral in &found {
        let edition = match Edition::of(collateral) {
            Ok(edition) => edition,
            Err(refusal) => {
                answer::say_refusal(&refusal, arguments.json);
                return Ok(Outcome::Refused);
            }
        };
        let fields = fields(collateral, &edition, at);
        if arguments.json {
            say(&fields.to_string());
        } else {
            say_fields(&fields);
        }
    }
    Ok(Outcome::Verified)
}

/// What collateral says of itself.
fn fields(collateral: &Collateral, edition: &Edition, at: u64) -> Value {
    let window = |window: Option<Window>| {
        window.map(|window| json!({ "from": window.issue_date, "to": window.next_update }))
    };
    let list = |list: List| json!({ "number": list.number, "from": date(list.issued) });
    json!({
        "fmspc": hex::encode_upper(edition.platforms.fmspc),
        "ca": edition.platforms.ca.to_string(),
        "evaluation": edition.evaluation,
        "tcb_info": window(collateral.tcb_info_window()),
        "qe_identity": window(collateral.qe_identity_window()),
        "pck_crl": list(edition.pck_crl),
        "root_crl": list(edition.root_crl),
        "days_left": edition.days_left(at),
    })
}

/// A time in seconds since 1970 for people, if the calendar goes so far.
fn date(seconds: u64) -> String {
    let end_of_9999 = 253_402_300_799;
    let since = Duration::from_secs(seconds.min(end_of_9999));
    let time = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Prints them for people.
fn say_fields(fields: &Value) {
    let text = |value: &Value| match value {
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    };
    let window = |name: &str| {
        let part = &fields[name];
        format!("{} to {}", text(&part["from"]), text(&part["to"]))
    };
    say(&format!("      platform  {}", text(&fields["fmspc"])));
    say(&format!("            ca  {}", text(&fields["ca"])));
    say(&format!("    evaluation  {}", fields["evaluation"]));
    say(&format!("      tcb info  {}", window("tcb_info")));
    say(&format!("   qe identity  {}", window("qe_identity")));
    let list = |name: &str| {
        let list = &fields[name];
        format!("{}, number {}", text(&list["from"]), list["number"])
    };
    say(&format!("       pck crl  {}", list("pck_crl")));
    say(&format!("      root crl  {}", list("root_crl")));
    say(&format!("     days left  {}", fields["days_left"]));
}
