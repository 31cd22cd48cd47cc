//! `show`: what a quote says.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use zipnet_attest::{Quote, quote::MAX_QUOTE};

use crate::{FileError, Outcome, files, say, verify};

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
            verify::say_refusal(&refusal, arguments.json);
            return Ok(Outcome::Refused);
        }
    };
    let fields = fields(&quote);
    if arguments.json {
        say(&Value::Object(fields).to_string());
    } else {
        say("not verified: anybody can write these bytes");
        say_fields(&fields);
    }
    Ok(Outcome::Verified)
}

/// The fields of a quote by their names.
pub fn fields(quote: &Quote) -> Map<String, Value> {
    let report = &quote.report;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &report.registers.rtmr;
    let fields = json!({
        "version": quote.version,
        "length": quote.length,
        "mrtd": hex::encode(report.registers.mrtd),
        "rtmr0": hex::encode(rtmr0),
        "rtmr1": hex::encode(rtmr1),
        "rtmr2": hex::encode(rtmr2),
        "rtmr3": hex::encode(rtmr3),
        "report_data": hex::encode(report.report_data),
        "td_attributes": hex::encode(report.td_attributes),
        "xfam": hex::encode(report.xfam),
        "mr_config_id": hex::encode(report.mr_config_id),
        "mr_owner": hex::encode(report.mr_owner),
        "mr_owner_config": hex::encode(report.mr_owner_config),
        "mr_service_td": report.mr_service_td.map(hex::encode),
        "mr_seam": hex::encode(report.mr_seam),
        "mr_signer_seam": hex::encode(report.mr_signer_seam),
        "seam_attributes": hex::encode(report.seam_attributes),
        "tee_tcb_svn": hex::encode(report.tee_tcb_svn),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Prints fields for people, one a line.
pub fn say_fields(fields: &Map<String, Value>) {
    for (name, value) in fields {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned);
        say(&format!("{name:>16}  {value}"));
    }
}
