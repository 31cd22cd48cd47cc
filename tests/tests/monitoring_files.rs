//! Dashboard, alerts and the table of metrics name the same metrics.
#![allow(missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use zipnet_node::metrics::table::{self, Kind, TABLE};
use zipnet_tests::process::{Failed, TestResult};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> TestResult<String> {
    let path = root().join("deploy/monitoring").join(name);
    fs::read_to_string(&path)
        .map_err(|error| Failed::because(format!("{}: {error}", path.display())))
}

/// The metrics that a query names. Names are whole words, and none of the query language begins so.
fn named(query: &str) -> TestResult<BTreeSet<&'static str>> {
    let words = query.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'));
    let mut found = BTreeSet::new();
    for word in words.filter(|word| word.starts_with("zipnet_") || word.starts_with("mosaik_")) {
        let whole = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| word.strip_suffix(end))
            .and_then(table::find)
            .filter(|metric| metric.kind == Kind::Histogram)
            .or_else(|| table::find(word).filter(|metric| metric.kind != Kind::Histogram));
        let Some(metric) = whole else {
            return Err(Failed::because(format!(
                "no process exports {word}: {query}"
            )));
        };
        found.insert(metric.name);
    }
    Ok(found)
}

#[test]
fn every_query_names_a_metric_and_every_metric_is_shown_or_left_out_for_a_reason() -> TestResult {
    let dashboard: Value = serde_json::from_str(&read("zipnet-dashboard.json")?)?;
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    let mut shown = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in &panels {
        assert!(
            ids.insert(panel["id"].to_string()),
            "two panels {}",
            panel["id"]
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap_or_default();
            let metrics = named(query)?;
            assert!(
                !metrics.is_empty(),
                "{} asks for nothing: {query}",
                panel["title"]
            );
            // Deployments that share a Prometheus are not mixed up.
            for (at, _) in query
                .match_indices("zipnet_")
                .chain(query.match_indices("mosaik_"))
            {
                let selected = query[at..].split_once('{').is_some_and(|(name, rest)| {
                    !name.contains(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'))
                        && rest.starts_with("instance=\"$instance\"")
                });
                assert!(selected, "of every deployment: {query}");
            }
            shown.extend(metrics);
        }
    }
    let list = read("not-on-the-dashboard.txt")?;
    let left_out: BTreeMap<_, _> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect();
    for (name, reason) in &left_out {
        assert!(
            table::find(name).is_some(),
            "{name} is left out and does not exist"
        );
        assert!(!shown.contains(name), "{name} is left out and shown");
        assert!(!reason.is_empty(), "{name} is left out for no reason");
    }
    for metric in TABLE {
        let known = shown.contains(metric.name) || left_out.contains_key(metric.name);
        assert!(known, "{} is neither shown nor left out", metric.name);
    }
    Ok(())
}

/// What the rules say of alerts: its name, and the lines behind it.
fn alerts(rules: &str) -> Vec<(String, String)> {
    rules
        .split("      - alert: ")
        .skip(1)
        .filter_map(|rule| rule.split_once('\n'))
        .map(|(name, rule)| (name.to_owned(), rule.to_owned()))
        .collect()
}

#[test]
fn every_alert_names_metrics_that_exist_and_a_page_and_is_tested_both_ways() -> TestResult {
    let (rules, tests) = (read("zipnet.rules.yml")?, read("zipnet.rules.test.yml")?);
    let alerts = alerts(&rules);
    let listed = fs::read_to_string(root().join("docs/operator/monitoring.md"))?;
    assert!(alerts.len() > 30);
    let (well, broken) = tests
        .split_once("  - name: Zipnet")
        .ok_or_else(|| Failed::because("the tests begin with all that is well"))?;
    for (name, rule) in &alerts {
        let (query, rest) = rule
            .split_once("        labels:\n")
            .ok_or_else(|| Failed::because(format!("{name} has no labels")))?;
        let metrics = named(query)?;
        assert!(
            !metrics.is_empty() || query.contains("up{"),
            "{name} watches nothing"
        );
        let severity = ["info", "warning", "critical"]
            .into_iter()
            .find(|severity| rest.starts_with(&format!("          severity: {severity}\n")))
            .ok_or_else(|| Failed::because(format!("{name} has no severity")))?;
        assert!(rest.contains("          summary: "), "{name} says nothing");
        let page = rest
            .split_once("          runbook_url: ")
            .and_then(|(_, page)| page.lines().next())
            .unwrap_or_default();
        assert!(
            page.starts_with("docs/operator/incidents/"),
            "{name}: {page:?}"
        );
        assert!(root().join(page).is_file(), "{name}: there is no {page}");
        let begins = format!("| `{name}` |");
        let row = listed.lines().find(|line| line.starts_with(&begins));
        let row = row.unwrap_or_default();
        let file = page.rsplit('/').next().unwrap_or_default();
        let link = format!("(incidents/{file})");
        assert!(
            row.contains(severity) && row.contains(&link),
            "monitoring.md lists {name} as {row:?}"
        );
        let quiet =
            format!("      - alertname: {name}\n        eval_time: 110m\n        exp_alerts: []");
        assert!(
            well.contains(&quiet),
            "{name} is not tested while all is well"
        );
        let fires = format!(", {severity}\n");
        let tested = broken.split("  - name: Zipnet").any(|test| {
            let test = format!("Zipnet{}", test.trim_start_matches("Zipnet"));
            test.starts_with(&format!("{name}{fires}")) && test.contains("exp_labels")
        });
        assert!(tested, "{name} is not tested to fire as {severity}");
    }
    Ok(())
}
