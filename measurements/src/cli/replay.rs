//! `replay`: an event log to registers.

use std::path::{Path, PathBuf};

use crate::{
    acpi::ccel,
    eventlog::{Algorithm, EventLog, LogEvent, LogKind, MAX_LOG, replay_pcr, rtmrs},
};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::{Failure, Outcome, files, say, say_json};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Event log: a TD's (`/sys/firmware/acpi/tables/data/CCEL`) or a TPM's
    /// (`binary_bios_measurements`)
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Whose log it is; else that is told from its algorithms
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Print every event too
    #[arg(long)]
    events: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// [`LogKind`] as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A TD's log
    Td,
    /// A TPM's log
    Tpm,
}

/// The kind that is given, or the likely one.
pub fn kind(given: Option<Kind>, log: &EventLog<'_>) -> LogKind {
    match given {
        Some(Kind::Td) => LogKind::Cc,
        Some(Kind::Tpm) => LogKind::Tpm,
        None => log.likely_kind(),
    }
}

/// Reads a log; the CCEL table, which has almost its name, only says where it is.
pub fn parse_log<'a>(path: &Path, bytes: &'a [u8]) -> Result<EventLog<'a>, Failure> {
    if bytes.starts_with(b"CCEL") {
        let table = ccel(bytes).map_err(|error| Failure::input(path, error))?;
        return Err(Failure::Usage(format!(
            "{} is the table that says where the log is (up to {:#x} bytes at {:#x}); /sys/firmware/acpi/tables/data/CCEL would be right",
            path.display(),
            table.area_length,
            table.area_address
        )));
    }
    EventLog::parse(bytes).map_err(|error| Failure::input(path, error))
}

pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let bytes = files::read(&arguments.log, MAX_LOG)?;
    let log = parse_log(&arguments.log, &bytes)?;
    let kind = kind(arguments.kind, &log);
    let registers = registers(&log, kind);
    if arguments.json {
        let events: Vec<Value> = log.events.iter().map(event).collect();
        let kind = match kind {
            LogKind::Cc => "td",
            LogKind::Tpm => "tpm",
        };
        say_json(&json!({ "kind": kind, "registers": registers, "events": events }));
        return Ok(Outcome::Done);
    }
    if arguments.events {
        for event in &log.events {
            say_event(event);
        }
    }
    for (name, value) in &registers {
        say(&format!(
            "{name:<14} {}",
            value.as_str().unwrap_or_default()
        ));
    }
    Ok(Outcome::Done)
}

fn registers(log: &EventLog<'_>, kind: LogKind) -> Map<String, Value> {
    let mut map = Map::new();
    match kind {
        LogKind::Cc => {
            for (number, digest) in rtmrs(log).iter().enumerate() {
                map.insert(format!("rtmr{number}"), digest.to_string().into());
            }
        }
        LogKind::Tpm => {
            for (name, algorithm) in [
                ("sha256", Algorithm::SHA256),
                ("sha384", Algorithm::SHA384),
                ("sha512", Algorithm::SHA512),
            ] {
                for pcr in 0..24 {
                    if let Some(value) = replay_pcr(log, pcr, algorithm) {
                        map.insert(format!("pcr{pcr} {name}"), hex::encode(value).into());
                    }
                }
            }
        }
    }
    map
}

fn event(event: &LogEvent<'_>) -> Value {
    json!({
        "offset": event.offset,
        "index": event.index,
        "kind": event.kind.to_string(),
        "sha384": event.sha384(),
        "text": event.text(),
        "length": event.data.len(),
    })
}

fn say_event(event: &LogEvent<'_>) {
    let digest = event
        .sha384()
        .map_or_else(|| "-".to_owned(), |digest| digest.to_string());
    let digest: String = digest.chars().take(16).collect();
    let text = event.text().unwrap_or_default();
    let line = format!(
        "{:>3} {:<33} {digest:<16} {text}",
        event.index,
        event.kind.to_string()
    );
    say(line.trim_end());
}
