//! `show`: what a quote says.

use std::path::PathBuf;

use crate::{Quote, quote::MAX_QUOTE};
use clap::Args;
use serde_json::Value;

use crate::cli::{FileError, Outcome, answer, files, say};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File that holds a quote
    #[arg(long, value_name = "FILE")]
    quote: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, FileError> {
    let bytes = files::read(&arguments.quote, MAX_QUOTE)?;
    let quote = match Quote::parse(&bytes) {
        Ok(quote) => quote,
        Err(refusal) => {
            answer::say_refusal(&refusal, arguments.json);
            return Ok(Outcome::Refused);
        }
    };
    let fields = answer::fields(&quote);
    if arguments.json {
        say(&Value::Object(fields).to_string());
    } else {
        say("not verified: anybody can write these bytes");
        answer::say_fields(&fields);
    }
    Ok(Outcome::Verified)
}
