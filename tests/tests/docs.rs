//! The book holds together: links lead somewhere, every page is in it and names its readers, and
//! every block of commands is run by a test or says why not. What is outside of this repository is
//! not looked at.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use zipnet_tests::{
    book::repository,
    markdown::{Fence, Page},
    process::TestResult,
};

/// Whom a page may be for.
const READERS: [&str; 4] = [
    "operators",
    "verifying peers",
    "client developers",
    "contributors",
];

/// Languages of blocks that nobody runs.
const SHOWN: &[&str] = &["console", "ini", "json", "text", "toml", "yaml", "xml"];

/// All files below a folder with an ending, by their path from the repository's; without what is built.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![repository().join(folder)];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    left.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(relative(&path));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(repository()).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Every Markdown file of the repository, taken apart.
fn pages() -> BTreeMap<String, Page> {
    let parsed = |path: String| {
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        (path, Page::parse(&text))
    };
    files("", ".md").into_iter().map(parsed).collect()
}

fn in_book(path: &str) -> bool {
    path.starts_with("docs/") && path != "docs/SUMMARY.md"
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages();
    let mut problems = Vec::new();
    let mut followed = 0;
    for (path, page) in &pages {
        for link in &page.links {
            let target = link.target.as_str();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = match file {
                "" => path.clone(),
                file => {
                    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
                    plain(&folder.join(file)).to_string_lossy().into_owned()
                }
            };
            let at = format!("{path}:{}: {target}", link.line);
            if !repository().join(&to).exists() {
                problems.push(format!("{at}: there is no {to}"));
            } else if in_book(path) && !in_book(&to) {
                problems.push(format!(
                    "{at}: the built book does not have it; name the file in backticks"
                ));
            } else if !anchor.is_empty()
                && !pages
                    .get(&to)
                    .is_some_and(|page| page.anchors.iter().any(|a| a == anchor))
            {
                problems.push(format!("{at}: {to} has no such heading"));
            }
        }
    }
    assert!(followed > 100, "only {followed} links were seen");
    none(&problems);
}

#[test]
fn every_page_is_in_the_book_once_and_names_its_readers() {
    let pages = pages();
    let summary = &pages["docs/SUMMARY.md"];
    let mut named = BTreeSet::new();
    let mut problems = Vec::new();
    for link in &summary.links {
        // A heading of the summary leads nowhere.
        if !link.target.is_empty() && !named.insert(format!("docs/{}", link.target)) {
            problems.push(format!("SUMMARY.md names {} twice", link.target));
        }
    }
    for (path, page) in pages.iter().filter(|(path, _)| in_book(path)) {
        if !named.contains(path) {
            problems.push(format!("{path}: docs/SUMMARY.md does not name it"));
        }
        if page.title.is_none() {
            problems.push(format!("{path}: no title"));
        }
        let first = page.first.split('.').next().unwrap_or_default();
        let readers = first.strip_prefix("For ").unwrap_or_default();
        let mut readers = readers.split(", ").flat_map(|some| some.split(" and "));
        if !readers.all(|reader| READERS.contains(&reader)) {
            problems.push(format!(
                "{path}: below the title stands {:?}; right would be \"For {}.\" or some of them",
                page.first,
                READERS.join(", ")
            ));
        }
    }
    none(&problems);
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "rs")
}

/// A line of a block of log lines that no program says; `...` stands for what differs.
fn unsaid(text: &str, sources: &[(String, String)]) -> Option<String> {
    let said = |part: &str| {
        sources.iter().any(|(name, source)| {
            let programs = ["attest/src/", "client/", "server/"];
            let program = programs.iter().any(|folder| name.starts_with(folder));
            program && source.contains(part)
        })
    };
    let parts = text.lines().flat_map(|line| line.split("..."));
    let part = parts
        .map(str::trim_end)
        .find(|part| !part.is_empty() && !said(part))?;
    Some(format!("no program says {part:?}"))
}

/// What is wrong with a block of `docs/{page}`, by the test sources and scripts there are.
fn judge(page: &str, fence: &Fence, sources: &[(String, String)]) -> Option<String> {
    let words: Vec<_> = fence.info.split_whitespace().collect();
    match words.as_slice() {
        [language] if SHOWN.contains(language) => None,
        ["text", "log"] => unsaid(&fence.text, sources),
        ["sh", "not-run"] => (!fence.before.to_lowercase().contains("not run"))
            .then(|| "the sentence before it has to say why it is not run".into()),
        [_, "test=make-check"] => {
            let path = format!("docs/{page}");
            let script = |(name, text): &(String, String)| !is_rust(name) && text.contains(&path);
            (!sources.iter().any(script)).then(|| format!("no script names {path}"))
        }
        ["sh" | "rust", mark] => match mark.strip_prefix("test=") {
            Some(test) => {
                let function = format!("fn {test}(");
                let literal = format!("\"{page}\"");
                let mut with = sources
                    .iter()
                    .filter(|(name, text)| is_rust(name) && text.contains(&function));
                (!with.any(|(_, text)| text.contains(&literal)))
                    .then(|| format!("no file with `{function}...)` takes \"{page}\""))
            }
            None => Some(format!("{mark:?} is no mark")),
        },
        _ => Some(format!(
            "marked {:?}; right would be `sh test=NAME`, `sh not-run`, or one of {SHOWN:?}",
            fence.info
        )),
    }
}

/// A source whose strings do not go on in a next line.
fn whole_strings(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        whole.push_str(part.trim_start());
    }
    whole
}

fn sources() -> Vec<(String, String)> {
    let mut all = files("", ".rs");
    all.extend(files("", ".sh"));
    all.push("Makefile".into());
    let read = |path: String| {
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        (path, whole_strings(&text))
    };
    all.into_iter().map(read).collect()
}

#[test]
fn every_block_is_run_or_says_why_not() {
    let sources = sources();
    let mut problems = Vec::new();
    for (path, page) in pages() {
        // README and its like are read as they stand, and give commands too.
        let root = !path.contains('/');
        if !in_book(&path) && !root {
            continue;
        }
        let page_name = match path.strip_prefix("docs/") {
            Some(name) => name.to_owned(),
            None => format!("../{path}"),
        };
        for fence in &page.fences {
            if let Some(problem) = judge(&page_name, fence, &sources) {
                problems.push(format!("{path}:{}: {problem}", fence.line));
            }
        }
    }
    none(&problems);
}

/// Names in a text that look like those of metrics, and are none of a crate or a file.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c| !part(c))
        .filter(|word| word.starts_with("zipnet_") || word.starts_with("mosaik_groups_"))
        .filter(|word| !word.contains("::") && !word.starts_with("zipnet_node"))
        .map(|word| word.trim_end_matches(':'))
        .collect()
}

#[test]
fn metrics_that_pages_of_incidents_name_exist() {
    let sources = [files("server/node/src", ".rs"), files("client/src", ".rs")];
    let source: String = sources
        .into_iter()
        .flatten()
        .filter(|path| path.contains("/metrics"))
        .map(|path| fs::read_to_string(repository().join(path)).unwrap())
        .collect();
    let exported = |name: &str| {
        let suffixes = ["", "_bucket", "_sum", "_count"];
        let mut bases = suffixes
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix));
        bases.any(|base| source.contains(&format!("\"{base}\"")))
    };
    let mut problems = Vec::new();
    let mut seen = 0;
    for path in files("docs/operator/incidents", ".md") {
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        for name in metrics_in(&text) {
            seen += 1;
            if !exported(name) {
                problems.push(format!("{path}: no metric is called {name}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} names were seen");
    none(&problems);
}

/// The two string literals of each call of `book::block` or `book::blocks` in a source.
fn taken(source: &str) -> Vec<Option<(String, String)>> {
    let calls = ["book::block(", "book::blocks("];
    let calls = calls
        .iter()
        .flat_map(|call| source.split(call).skip(1))
        .map(|rest| {
            let mut arguments = rest.split(')').next()?.split('"');
            let (_, page) = (arguments.next()?, arguments.next()?);
            let (_, test) = (arguments.next()?, arguments.next()?);
            Some((page.to_owned(), test.to_owned()))
        });
    calls.collect()
}

#[test]
fn every_test_that_takes_a_block_finds_one() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        if !path.contains("/tests/") || path.ends_with("tests/tests/docs.rs") {
            continue;
        }
        for call in taken(&text) {
            match call {
                None => problems.push(format!("{path}: a call without two literals")),
                Some((page, test)) => {
                    if let Err(error) = zipnet_tests::book::block(&page, &test) {
                        problems.push(format!("{path}: {error}"));
                    }
                    if !text.contains(&format!("fn {test}(")) {
                        problems.push(format!(
                            "{path}: takes the block of {test}, and has no such function"
                        ));
                    }
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn the_checks_see_what_is_wrong() {
    let sources = [
        (
            "tests/tests/x.rs".into(),
            "fn runs() { book::block(\n\"a.md\", \"runs\"); }".into(),
        ),
        ("scripts/x.sh".into(), "cat docs/a.md".into()),
        (
            "server/x.rs".into(),
            whole_strings("warn!(\"it goes on \\\n     in the {} line\")"),
        ),
    ];
    let judged = |info: &str, before: &str| {
        let fence = Fence {
            line: 1,
            info: info.into(),
            text: before.into(),
            before: before.into(),
        };
        judge("a.md", &fence, &sources).is_none()
    };
    assert!(judged("sh test=runs", ""));
    assert!(judged("sh test=make-check", ""));
    assert!(judged("sh not-run", "Not run here: it needs TDX."));
    assert!(judged("console", ""));
    assert!(judged("text log", "it goes on in the ... line\n"));
    assert!(!judged("text log", "it goes on ... where\n"));
    assert!(!judged("", ""));
    assert!(!judged("sh", ""));
    assert!(!judged("bash", ""));
    assert!(!judged("sh not-run", "Do this:"));
    assert!(!judged("sh test=nobody", ""));
    assert_eq!(
        taken("x book::block(\n    \"p.md\",\n    \"t\",\n)?"),
        [Some(("p.md".into(), "t".into()))]
    );
    assert_eq!(taken("book::blocks(page, test)"), [None]);
    let named = metrics_in("`zipnet_a_b{x}`, zipnet_node::x, ^(mosaik_groups_c|zipnet_d)");
    assert_eq!(
        named,
        BTreeSet::from(["zipnet_a_b", "mosaik_groups_c", "zipnet_d"])
    );
}

/// Values of an attribute in a page of HTML.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let parts: Vec<_> = html.split(&*start).skip(1).collect();
    parts
        .into_iter()
        .filter_map(|rest| Some(rest.split_once('"')?.0))
}

/// mdBook's own names of headings and files are what the checks above take them for.
#[test]
#[ignore = "needs the built book; scripts/docs.sh builds it and runs this"]
fn links_of_the_built_book_lead_somewhere() -> TestResult {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let book = repository().join(target).join("book");
    let mut left = vec![book.clone()];
    let mut pages = BTreeMap::new();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|ending| ending == "html") {
                let html = fs::read_to_string(&path)?;
                pages.insert(path, html);
            }
        }
    }
    assert!(pages.len() > 30, "only {} pages", pages.len());
    let mut problems = Vec::new();
    for (path, html) in &pages {
        // Served for whatever is missing, under any path.
        if path.ends_with("404.html") || path.ends_with("toc.html") {
            continue;
        }
        for target in attributes(html, "href").chain(attributes(html, "src")) {
            if target.contains("://") || target.starts_with("data:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = path.parent().unwrap_or(&book);
            let to = match file {
                "" => path.clone(),
                file => plain(&folder.join(file)),
            };
            let missing = !to.exists()
                || !anchor.is_empty()
                    && pages
                        .get(&to)
                        .is_some_and(|page| !attributes(page, "id").any(|id| id == anchor));
            if missing {
                problems.push(format!("{}: {target}", relative(path)));
            }
        }
    }
    none(&problems);
    Ok(())
}
