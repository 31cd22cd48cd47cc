//! One page about a run: what had to be shown, and charts of all of it.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use super::{
    chart::{Chart, escape},
    link::Counted,
    observe::{Fate, Observations},
    plan::{Kind, Member},
    verdict::{GROWTH, LATE, Verdict},
};

const STYLE: &str = include_str!("report.css");
/// Seconds of one column of messages.
const COLUMN: f64 = 10.0;

/// What was run.
#[derive(Debug)]
pub struct Run {
    /// The seed of faults and of the network's chance.
    pub seed: u64,
    /// The command that runs it again.
    pub command: String,
    /// How it ended, if not by itself.
    pub broken: Option<String>,
    /// What became of packets.
    pub packets: Counted,
}

/// The page.
#[must_use]
pub fn page(run: &Run, seen: &Observations, verdict: &Verdict) -> String {
    let good = verdict.holds() && run.broken.is_none();
    let (class, word) = if good {
        ("good", "All of it holds")
    } else {
        ("bad", "Not all of it holds")
    };
    let seconds = seen.now();
    let mut body = String::new();
    let _ = write!(
        body,
        r#"<h1>zipnet under load and faults</h1>
<p class="verdict {class}">{word}.</p>
<p>3 servers, 2 aggregators, {} clients in 2 processes, a reader, each in a network of its own, and a reader that
nothing is done to. {seconds:.0} seconds, seed {}. Again: <code>{}</code></p>"#,
        seen.clients,
        run.seed,
        escape(&run.command),
    );
    if let Some(broken) = &run.broken {
        let _ = write!(body, r#"<pre class="evidence">{}</pre>"#, escape(broken));
    }
    body.push_str(&table(verdict));
    let mut section = |title: &str, about: &str, chart: String| {
        let _ = write!(
            body,
            "<section><h2>{title}</h2><p>{about}</p>{chart}</section>"
        );
    };
    section(
        "Faults",
        &legend(&[
            ("kill", "kill -9 until the restart"),
            ("stop", "SIGSTOP"),
            ("cut", "cut off"),
            ("clock", "clock jump"),
            ("full", "disk full"),
            ("source", "source of collateral gone"),
            ("weather", "loss and jitter"),
        ]),
        faults(seen, seconds),
    );
    section(
        "Rounds",
        &format!(
            "Each line is a round, as high as the seconds since the one before it. {}",
            legend(&[("stopping", "a fault that can stop rounds")])
        ),
        rounds(seen, seconds),
    );
    section(
        "Participants",
        "Clients in each round.",
        participants(seen, seconds),
    );
    section(
        "From open to final",
        "As each server hears of both, in seconds.",
        latencies(seen, seconds),
    );
    section(
        "Messages",
        &legend(&[
            ("landed", "landed"),
            ("late", &format!("landed after more than {LATE:.0} s")),
            ("lost", "known not to have landed"),
            ("unknown", "fate not known, or its client killed"),
        ]),
        messages(seen, seconds),
    );
    section(
        "Resident memory",
        &legend(&[
            ("m-server", "servers"),
            ("m-aggregator", "aggregators"),
            ("m-clients", "clients, half of them each"),
            ("m-reader", "reader and witness"),
        ]),
        memory(seen, seconds),
    );
    body.push_str(&slopes(verdict));
    body.push_str(&recoveries(seen, verdict));
    let packets = run.packets;
    let _ = write!(
        body,
        "<p>The router has sent {} packets on, and dropped {} by chance, {} at a cut and {} at a full queue. The program that \
         watches looks every 25 ms, and was at most {:.1} s late: if that is much, the machine was too busy for this.</p>",
        packets.sent, packets.lost, packets.cut, packets.overflowed, seen.blind
    );
    format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><title>zipnet: soak, seed {}</title><style>{STYLE}</style></head><body>{body}</body></html>
"#,
        run.seed
    )
}

fn legend(entries: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (class, name) in entries {
        let _ = write!(
            text,
            r#"<span class="key"><svg viewBox="0 0 12 12"><rect class="{class}" width="12" height="12" rx="2"/></svg>{}</span> "#,
            escape(name)
        );
    }
    text
}

fn table(verdict: &Verdict) -> String {
    let mut rows = String::new();
    for check in &verdict.checks {
        let (class, word) = if check.holds {
            ("good", "holds")
        } else {
            ("bad", "fails")
        };
        let mut evidence = String::new();
        if !check.holds {
            for line in check.evidence.iter().take(8) {
                let _ = writeln!(evidence, "{}", escape(line));
            }
        }
        let evidence = if evidence.is_empty() {
            evidence
        } else {
            format!(r#"<pre class="evidence">{evidence}</pre>"#)
        };
        let _ = write!(
            rows,
            r#"<tr><td class="{class}">{word}</td><td>{}{evidence}</td><td>{}</td></tr>"#,
            escape(check.what),
            escape(&check.found)
        );
    }
    format!("<table><tr><th></th><th>required</th><th>found</th></tr>{rows}</table>")
}

const fn class(kind: &Kind) -> &'static str {
    match kind {
        Kind::Kill(_) => "kill",
        Kind::Stop(_) => "stop",
        Kind::Cut(_) | Kind::Part(..) => "cut",
        Kind::Clock(..) => "clock",
        Kind::Full(_) => "full",
        Kind::Collateral => "source",
        Kind::Weather(_) => "weather",
    }
}

fn faults(seen: &Observations, seconds: f64) -> String {
    let mut names: Vec<String> = Member::ALL.iter().map(ToString::to_string).collect();
    names.extend(["collateral".to_owned(), "network".to_owned()]);
    let mut chart = Chart::lanes(&names, seconds);
    for done in &seen.faults {
        let kind = &done.fault.kind;
        let to = done.to.unwrap_or(seconds);
        let title = format!("{kind}: {:.1} s to {to:.1} s", done.from);
        let lanes = match kind {
            Kind::Kill(who)
            | Kind::Stop(who)
            | Kind::Cut(who)
            | Kind::Full(who)
            | Kind::Clock(who, _) => vec![who.spoke()],
            Kind::Part(one, other) => vec![one.spoke(), other.spoke()],
            Kind::Collateral => vec![Member::ALL.len()],
            Kind::Weather(_) => vec![Member::ALL.len() + 1],
        };
        for lane in lanes {
            chart.bar(lane, done.from, to, class(kind), &title);
        }
    }
    chart.finish()
}

fn stops(chart: &mut Chart, seen: &Observations, seconds: f64) {
    for done in &seen.faults {
        if done.fault.kind.stops_rounds() {
            let to = done.to.unwrap_or(seconds);
            chart.band(done.from, to, "stopping", &done.fault.kind.to_string());
        }
    }
}

fn rounds(seen: &Observations, seconds: f64) -> String {
    let reads = seen.witness();
    let gaps = reads.iter().zip(reads.iter().skip(1));
    let gaps: Vec<_> = gaps
        .map(|(one, next)| (next.at, next.at - one.at, next.number))
        .collect();
    let most = gaps.iter().map(|(_, gap, _)| *gap).fold(16.0, f64::max);
    let mut chart = Chart::new(190.0, seconds, most, "s");
    stops(&mut chart, seen, seconds);
    chart.level(15.0, "15 s");
    for (at, gap, number) in gaps {
        chart.stem(at, gap, "round", &format!("round {number}: {gap:.1} s"));
    }
    chart.finish()
}

fn participants(seen: &Observations, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let mut chart = Chart::new(140.0, seconds, seen.clients as f64, "");
    stops(&mut chart, seen, seconds);
    for read in seen.witness() {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let value = read.participants as f64;
        let title = format!("round {}: {}", read.number, read.participants);
        chart.dot(read.at, value, "dot", &title);
    }
    chart.finish()
}

fn latencies(seen: &Observations, seconds: f64) -> String {
    let took = seen.finalized.iter();
    let took: Vec<_> = took
        .filter_map(|by| Some((by.at, by.took?, by.round.number)))
        .collect();
    let most = took.iter().map(|(_, took, _)| *took).fold(2.0, f64::max);
    let mut chart = Chart::new(150.0, seconds, most, "s");
    stops(&mut chart, seen, seconds);
    for (at, took, number) in &took {
        chart.dot(*at, *took, "dot", &format!("round {number}: {took:.2} s"));
    }
    let mut sorted: Vec<f64> = took.iter().map(|(_, took, _)| *took).collect();
    sorted.sort_by(f64::total_cmp);
    let share = |percent: usize| {
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    };
    let median = share(50);
    chart.level(
        median,
        &format!("median {median:.2} s, p99 {:.2} s", share(99)),
    );
    chart.finish()
}

fn messages(seen: &Observations, seconds: f64) -> String {
    let mut columns: BTreeMap<u64, [f64; 4]> = BTreeMap::new();
    for message in seen.messages.values() {
        let took = message.told.map(|told| told - message.sent);
        let row = match message.fate {
            Fate::Landed { .. } if took.is_some_and(|took| took <= LATE) => 0,
            Fate::Landed { .. } => 1,
            Fate::NotLanded => 2,
            Fate::Unknown | Fate::Open => 3,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a run"
        )]
        let column = (message.sent / COLUMN) as u64;
        if let Some(count) = columns.entry(column).or_default().get_mut(row) {
            *count += 1.0;
        }
    }
    let most = columns
        .values()
        .map(|rows| rows.iter().sum())
        .fold(1.0, f64::max);
    let mut chart = Chart::new(150.0, seconds, most, "");
    stops(&mut chart, seen, seconds);
    for (column, rows) in columns {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let from = column as f64 * COLUMN;
        let mut low = 0.0;
        for (count, class) in rows.iter().zip(["landed", "late", "lost", "unknown"]) {
            chart.column(from, from + COLUMN, low, low + count, class);
            low += count;
        }
    }
    chart.finish()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn memory(seen: &Observations, seconds: f64) -> String {
    let samples = seen.lives.iter().flat_map(|life| &life.memory);
    let most = samples
        .map(|(_, bytes)| *bytes as f64 / 1e6)
        .fold(10.0, f64::max);
    let mut chart = Chart::new(220.0, seconds, most, "MB");
    stops(&mut chart, seen, seconds);
    for life in &seen.lives {
        let points: Vec<_> = life
            .memory
            .iter()
            .map(|(at, bytes)| (*at, *bytes as f64 / 1e6))
            .collect();
        let role = life.who.split('-').next().unwrap_or_default();
        let role = if role == "witness" { "reader" } else { role };
        let title = format!("{}, life {}", life.who, life.life);
        chart.line(&points, &format!("line m-{role}"), &title);
    }
    chart.finish()
}

fn slopes(verdict: &Verdict) -> String {
    let mut rows = String::new();
    for one in &verdict.memory {
        let found = one.fit.map_or_else(
            || "<td colspan=\"2\">its lives were too short</td>".to_owned(),
            |fit| {
                format!(
                    "<td>{:+.2} ± {:.2} KiB/s</td><td>{} samples</td>",
                    fit.slope / 1024.0,
                    fit.error / 1024.0,
                    fit.samples
                )
            },
        );
        let (class, word) = if one.is_flat() {
            ("good", "flat")
        } else {
            ("bad", "grows")
        };
        let _ = write!(
            rows,
            r#"<tr><td class="{class}">{word}</td><td>{}</td>{found}</tr>"#,
            escape(&one.who)
        );
    }
    format!(
        "<section><h2>Does memory grow?</h2><p>A line through the samples of each process, of one slope over all its \
         lives, without the first {:.0} s of each; ± one standard error, in which neighbouring samples count for \
         what they are worth. A process grows if the slope less two of these is above {:.0} KiB/s, and the line \
         rises by more than {:.0} MiB.</p>\
         <table>{rows}</table></section>",
        verdict.warm,
        GROWTH / 1024.0,
        verdict.steps / 1024.0 / 1024.0
    )
}

fn recoveries(seen: &Observations, verdict: &Verdict) -> String {
    let mut rows = String::new();
    for back in &verdict.backs {
        let Some(done) = seen.faults.get(back.fault) else {
            continue;
        };
        let to = done.to.unwrap_or_default();
        let late = back.after.is_none_or(|after| after > back.allowed);
        let class = if late { "bad" } else { "" };
        let after = back
            .after
            .map_or("never".to_owned(), |after| format!("{after:.1} s"));
        let _ = write!(
            rows,
            r#"<tr><td>{:.1} s</td><td>{to:.1} s</td><td>{}</td><td class="{class}">{after}</td><td>{:.1} s</td></tr>"#,
            done.from,
            escape(&done.fault.kind.to_string()),
            back.allowed
        );
    }
    format!(
        "<section><h2>Every fault</h2><p>When the next round was read after its end, and what it was allowed: 15 s, or 15 s \
         from the end of another one that stopped rounds meanwhile.</p><details><summary>{} faults</summary>\
         <table><tr><th>from</th><th>to</th><th>what</th><th>a round after</th><th>allowed</th></tr>{rows}</table></details></section>",
        verdict.backs.len()
    )
}
