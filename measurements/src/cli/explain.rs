//! `explain`: the events behind the registers.

use crate::{Event, Report};
use clap::Args;
use serde_json::json;

use crate::cli::{
    Failure, Outcome,
    inputs::{Guest, GuestArguments},
    say, say_json,
};

/// Hex digits of a digest in a table.
const SHORT: usize = 16;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    guest: GuestArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let reports = Guest::read(&arguments.guest)?.reports()?;
    let [report] = reports.as_slice() else {
        return Err(Failure::Usage(
            "One number of processors and one amount of memory can be explained at a time"
                .to_owned(),
        ));
    };
    if arguments.json {
        say_json(&json!({
            "shape": report.shape,
            "reasons": report.reasons,
            "events": report.events,
        }));
    } else {
        say_events(report);
    }
    Ok(Outcome::Done)
}

fn say_events(report: &Report) {
    let row = |cells: [&str; 5]| {
        let [register, event, digest, depends_on, source] = cells;
        say(
            format!("{register:<8} {event:<40} {digest:<16}  {depends_on:<24} {source}").trim_end(),
        );
    };
    row(["register", "event", "digest", "depends on", "source"]);
    for event in &report.events {
        let digest = match &event.digest {
            Some(digest) => digest.to_string().chars().take(SHORT).collect(),
            None => "-".to_owned(),
        };
        row([
            &event.register.to_string(),
            &event.event,
            &digest,
            &depends_on(event),
            &event.source,
        ]);
    }
    for (register, reason) in &report.reasons {
        say(&format!("{register} has no value: {reason}"));
    }
}

fn depends_on(event: &Event) -> String {
    if event.depends_on.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<_> = event.depends_on.iter().map(ToString::to_string).collect();
    names.join(", ")
}
