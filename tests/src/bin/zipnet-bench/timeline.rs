//! When a server says that it sees what of a round, from its log.

use std::time::Duration;

use zipnet_tests::lines::Lines;

/// What a round comes to, one after the other.
pub const STEPS: [&str; 4] = [
    "certified by all servers",
    "aggregate in the log",
    "commitments of all in the log",
    "finalized",
];

/// From opening a round to each of [`STEPS`], for each round of a server's log
/// after a mark.
pub fn timelines(lines: &Lines, from: usize) -> Vec<[Duration; STEPS.len()]> {
    let mut found = Vec::new();
    let mut opened = None;
    let mut steps = [Duration::ZERO; STEPS.len()];
    for line in lines.since(from) {
        let Some(at) = line.split_whitespace().next().and_then(seconds_of_day) else {
            continue;
        };
        if line.contains("committee: opening round") {
            opened = Some(at);
            continue;
        }
        let step = [
            "committee: every server stands for the round",
            "committee: the aggregate is in",
            // The last one counts.
            "committee: a commitment is in",
            "committee: round finalized",
        ]
        .iter()
        .position(|text| line.contains(text));
        let (Some(start), Some(step)) = (opened, step) else {
            continue;
        };
        if let Some(took) = steps.get_mut(step) {
            *took = Duration::from_secs_f64((at - start).max(0.0));
        }
        if step + 1 == STEPS.len() {
            found.push(steps);
            opened = None;
        }
    }
    found
}

/// `2026-01-02T03:04:05.678Z` as seconds of its day.
fn seconds_of_day(stamp: &str) -> Option<f64> {
    let (_, time) = stamp.trim_end_matches('Z').split_once('T')?;
    let mut parts = time.split(':').map(str::parse::<f64>);
    let (hours, minutes, seconds) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    Some((hours * 60.0 + minutes) * 60.0 + seconds)
}
