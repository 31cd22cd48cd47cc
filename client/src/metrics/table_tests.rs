//! The table, its page, and what is set are the same.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::table::TABLE;

const BEGIN: &str = "<!-- table: begin -->\n";
const END: &str = "<!-- table: end -->";

fn rows() -> String {
    let mut rows = String::from(
        "| metric | type | labels | who | meaning | healthy |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for metric in TABLE {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let row = format!(
            "| `{}` | {} | {} | {} | {} | {} |\n",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.by,
            metric.meaning,
            metric.healthy
        );
        rows.push_str(&row);
    }
    rows
}

/// `ZIPNET_BLESS=1` writes the rows into the page.
#[test]
fn the_page_lists_what_is_exported_and_nothing_else() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("docs/operator/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("ZIPNET_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", rows())).unwrap();
        return;
    }
    assert_eq!(found, rows(), "ZIPNET_BLESS=1 writes the table anew");
    // Elsewhere on the page no metric is named that does not exist.
    for (at, _) in page
        .match_indices("zipnet_")
        .chain(page.match_indices("mosaik_"))
    {
        let name: String = page[at..]
            .chars()
            .take_while(|sign| sign.is_ascii_alphanumeric() || *sign == '_')
            .collect();
        let known = TABLE.iter().any(|metric| metric.name.starts_with(&name));
        assert!(known, "the page names {name}");
    }
}

#[test]
fn names_are_such_as_prometheus_wants_and_each_is_there_once() {
    let names: BTreeSet<_> = TABLE.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), TABLE.len());
    for metric in TABLE {
        let good = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_';
        assert!(metric.name.chars().all(good), "{}", metric.name);
        assert!(!metric.labels.contains(&"instance"), "{}", metric.name);
        // What a client is called or says stays out of every label.
        assert!(!metric.labels.contains(&"client"), "{}", metric.name);
    }
}

#[test]
fn each_of_our_names_is_set_somewhere() {
    let sources = concat!(
        include_str!("mod.rs"),
        include_str!("../../../server/node/src/metrics.rs")
    );
    let table = include_str!("table.rs");
    let ours = table.split_once("ours {\n    //").unwrap().1;
    let ours = ours.split_once("\nmosaik {").unwrap().0;
    let names = ours.lines().filter_map(|line| {
        let (name, rest) = line.trim().split_once(" = ")?;
        rest.starts_with('"').then_some(name)
    });
    let names: Vec<_> = names.collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        let wanted = format!("names::{name}");
        let set = sources.match_indices(&wanted);
        let whole = |end: usize| {
            let next = sources[end..].chars().next();
            next.is_none_or(|sign| sign != '_' && !sign.is_ascii_alphanumeric())
        };
        let mut set = set.filter(|(at, found)| whole(at + found.len()));
        assert!(set.next().is_some(), "nothing sets {name}");
    }
}
