//! `diff`: a prediction against another one, an event log or a quote.

use std::path::{Path, PathBuf};

use crate::{
    Manifest, Report,
    diff::{Brief, Difference, reports, with_log, with_quote},
    eventlog::MAX_LOG,
    quote::{QuoteError, QuoteRegisters},
    report::MAX_REPORT,
};
use clap::Args;
use serde_json::json;

use crate::cli::{
    Failure, Outcome, files,
    replay::{Kind, kind, parse_log},
    say, say_json,
};

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What is expected: a release manifest, or what `predict --json` prints
    #[arg(value_name = "EXPECTED")]
    expected: PathBuf,
    /// What to compare it with: a manifest, what `predict --json` prints, an
    /// event log or a quote
    #[arg(value_name = "FOUND")]
    found: PathBuf,
    /// Which shape of a manifest: 2c4G
    #[arg(long, value_name = "ID")]
    shape: Option<String>,
    /// Whose log it is; else that is told from its algorithms
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A JSON file: which of the two it is.
enum Predicted {
    Manifest(Box<Manifest>),
    Report(Box<Report>),
}

/// A difference, and where it was found.
#[derive(serde::Serialize)]
struct Found {
    /// Ids of the shapes of two manifests that differ so; none if there was one
    /// prediction each to compare.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shapes: Vec<String>,
    #[serde(flatten)]
    difference: Difference,
}

/// What only a manifest has.
#[derive(serde::Deserialize)]
struct Numbered {
    #[serde(rename = "format")]
    _format: u32,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let bytes = files::read(&arguments.expected, MAX_REPORT)?;
    let expected = predicted(&arguments.expected, &bytes)?;
    let bytes = files::read(&arguments.found, MAX_LOG)?;
    let differences = if is_json(&bytes) {
        between(arguments, &expected, &predicted(&arguments.found, &bytes)?)?
    } else {
        let shape = arguments.shape.as_deref();
        let report = one(&arguments.expected, &expected, shape)?;
        alone(match QuoteRegisters::parse(&bytes) {
            Ok(quote) => with_quote(&report, &quote),
            // A log begins with the number of a register and a type of event.
            Err(QuoteError::Version { .. } | QuoteError::Tee { .. }) => {
                let log = parse_log(&arguments.found, &bytes)?;
                with_log(&report, &log, kind(arguments.kind, &log))
            }
            Err(error) => return Err(Failure::input(&arguments.found, error)),
        })
    };
    if arguments.json {
        let same = differences.is_empty();
        say_json(&json!({ "same": same, "differences": differences }));
    } else {
        say_differences(&differences);
    }
    Ok(if differences.is_empty() {
        Outcome::Done
    } else {
        Outcome::Differs
    })
}

fn is_json(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    text.first() == Some(&b'{')
}

fn predicted(path: &Path, bytes: &[u8]) -> Result<Predicted, Failure> {
    // A report has no format number.
    let is_manifest = serde_json::from_slice::<Numbered>(bytes).is_ok();
    if is_manifest {
        Manifest::from_json(bytes)
            .map(|manifest| Predicted::Manifest(Box::new(manifest)))
            .map_err(|error| Failure::input(path, error))
    } else {
        Report::from_json(bytes)
            .map(|report| Predicted::Report(Box::new(report)))
            .map_err(|error| Failure::input(path, error))
    }
}

/// The report of one shape.
fn one(path: &Path, predicted: &Predicted, shape: Option<&str>) -> Result<Report, Failure> {
    let manifest = match predicted {
        Predicted::Report(report) => return Ok((**report).clone()),
        Predicted::Manifest(manifest) => manifest,
    };
    let ids: Vec<&str> = manifest
        .shapes
        .iter()
        .map(|shape| shape.id.as_str())
        .collect();
    let id = match (shape, ids.as_slice()) {
        (Some(id), _) => id,
        (None, [id]) => *id,
        (None, _) => {
            return Err(Failure::Usage(format!(
                "{} has several shapes; --shape names one: {}",
                path.display(),
                ids.join(", ")
            )));
        }
    };
    manifest.report(id).ok_or_else(|| {
        Failure::Usage(format!(
            "{} has no shape {id}; it has {}",
            path.display(),
            ids.join(", ")
        ))
    })
}

/// Two predictions: of manifests, all shapes that both have.
fn between(
    arguments: &Arguments,
    expected: &Predicted,
    found: &Predicted,
) -> Result<Vec<Found>, Failure> {
    let shape = arguments.shape.as_deref();
    if let (Predicted::Manifest(a), Predicted::Manifest(b), None) = (expected, found, shape) {
        let mut differences: Vec<Found> = Vec::new();
        let has = |id: &String| b.shapes.iter().any(|other| other.id == *id);
        if !a.shapes.iter().any(|shape| has(&shape.id)) {
            return Err(Failure::Usage(format!(
                "{} and {} have no shape in common, so that there is nothing to compare",
                arguments.expected.display(),
                arguments.found.display()
            )));
        }
        for id in a.shapes.iter().map(|shape| &shape.id) {
            if let (Some(a), Some(b)) = (a.report(id), b.report(id)) {
                for difference in reports(&a, &b) {
                    let mut known = differences.iter_mut();
                    match known.find(|known| known.difference == difference) {
                        Some(known) => known.shapes.push(id.clone()),
                        None => differences.push(Found {
                            shapes: vec![id.clone()],
                            difference,
                        }),
                    }
                }
            }
        }
        return Ok(differences);
    }
    let a = one(&arguments.expected, expected, shape)?;
    let b = one(&arguments.found, found, shape)?;
    Ok(alone(reports(&a, &b)))
}

/// Differences of one prediction.
fn alone(differences: Vec<Difference>) -> Vec<Found> {
    let one = |difference| Found {
        shapes: Vec::new(),
        difference,
    };
    differences.into_iter().map(one).collect()
}

fn say_differences(differences: &[Found]) {
    if differences.is_empty() {
        say("same");
    }
    for Found { shapes, difference } in differences {
        say(&match difference.position {
            Some(position) => format!("{} differs from event {position} on", difference.register),
            None => format!("{} differs", difference.register),
        });
        if !shapes.is_empty() {
            say(&format!("  in shapes {}", shapes.join(", ")));
        }
        if let (Some(a), Some(b)) = (difference.expected, difference.found) {
            say(&format!("  expected  {a}"));
            say(&format!("  found     {b}"));
        }
        if difference.position.is_some() {
            say(&format!(
                "  expected event  {}",
                brief(difference.expected_event.as_ref())
            ));
            say(&format!(
                "  found event     {}",
                brief(difference.found_event.as_ref())
            ));
        }
        let cause = &difference.cause;
        let how = if cause.reproduced {
            "cause (its digest was reproduced)"
        } else {
            "likely cause"
        };
        say(&format!("  {how}: {}", cause.text));
    }
}

fn brief(event: Option<&Brief>) -> String {
    let Some(event) = event else {
        return "none".to_owned();
    };
    let digest = event
        .digest
        .map_or_else(|| "no digest".to_owned(), |digest| digest.to_string());
    [event.kind.as_str(), event.event.as_str(), &digest]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("  ")
}
