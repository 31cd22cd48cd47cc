//! The page of `zipnet-attest report`, by the real binary.
#![allow(missing_docs, clippy::unwrap_used)]

mod hostile;

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

const GOOD: [&str; 6] = [
    "--quote",
    "v4-uptodate.quote.bin",
    "--collateral",
    "v4-uptodate.collateral.json",
    "--at",
    "1750377600",
];

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", "quotes"]
        .iter()
        .collect()
}

/// Runs a verb and yields its exit status and what it wrote.
fn run(verb: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zipnet-attest"))
        .arg(verb)
        .args(arguments)
        .current_dir(folder())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn report(arguments: &[&str]) -> (Option<i32>, String) {
    let (status, page, errors) = run("report", arguments);
    assert_eq!(errors, "");
    is_self_contained(&page);
    (status, page)
}

/// One document that loads and runs nothing, whose elements are all closed.
fn is_self_contained(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    let lower = page.to_lowercase();
    for banned in [
        "http:",
        "https:",
        "=\"//",
        "<script",
        "<link",
        "<img",
        "<iframe",
        "<object",
        "<a ",
        "src=",
        "href=",
        "url(",
        "@import",
        "javascript:",
        "<meta http-equiv=\"refresh",
    ] {
        assert!(!lower.contains(banned), "{banned}");
    }
    for name in [
        "html", "head", "body", "style", "header", "h1", "h2", "p", "table", "caption", "thead",
        "tbody", "tr", "th", "td", "ul", "ol", "li", "dl", "dt", "dd", "code", "div", "span",
        "strong",
    ] {
        let opened =
            page.matches(&format!("<{name}>")).count() + page.matches(&format!("<{name} ")).count();
        let closed = page.matches(&format!("</{name}>")).count();
        assert_eq!(opened, closed, "{name}");
    }
}

/// The outcomes in the table of checks, in their order.
fn outcomes(page: &str) -> Vec<&str> {
    let marks = ["✓ passed", "✗ refused", "– not reached", "? not known"];
    let mut found: Vec<_> = marks
        .iter()
        .flat_map(|mark| page.match_indices(mark))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, mark)| mark).collect()
}

/// So many of each, one after the other.
fn sequence(parts: &[(usize, &'static str)]) -> Vec<&'static str> {
    let parts = parts.iter();
    parts
        .flat_map(|(count, mark)| vec![*mark; *count])
        .collect()
}

#[test]
fn a_genuine_quote_is_accepted_and_every_check_has_passed() {
    let (status, page) = report(&GOOD);
    assert_eq!(status, Some(0));
    assert_eq!(outcomes(&page), sequence(&[(10, "✓ passed")]));
    assert!(page.contains("TCB status is UpToDate, which the arguments accept.</h1>"));
    for text in [
        "2025-06-20T00:00:00Z (unix 1750377600)",
        "Trust root: Intel's SGX root CA, built in.",
        "B0C06F",
        "What this verdict does not say",
        "Which software runs.",
        "2025-07-19",
        ">in force</td>",
        "Signed by the quoting enclave.",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("<h2>Why"));
    assert!(!page.contains("How Intel rates the platform."));
}

#[test]
fn the_values_of_a_page_are_those_of_verify() {
    let (_, page) = report(&GOOD);
    let (_, answer, _) = run("verify", &[&GOOD[..], &["--json"]].concat());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    for name in [
        "mrtd",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "report_data",
        "td_attributes",
        "xfam",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "mr_seam",
        "tee_tcb_svn",
        "fmspc",
        "tcb_status",
    ] {
        let value = answer[name].as_str().unwrap();
        assert!(page.contains(value), "{name} {value}");
    }
}

#[test]
fn a_debug_quote_is_refused_and_what_came_after_is_not_reached() {
    let (status, page) = report(&[
        "--quote",
        "v4-debug.quote.bin",
        "--collateral",
        "v4-debug.collateral.json",
        "--at",
        "1773964800",
    ]);
    assert_eq!(status, Some(1));
    let expected = [(6, "✓ passed"), (1, "✗ refused"), (3, "– not reached")];
    assert_eq!(outcomes(&page), sequence(&expected));
    for text in [
        "Refused: ZA-501 is broken: “The TD is not in debug mode.”",
        "<p class=\"soft\">Found</p><code>0100001000000000</code>",
        "<p class=\"soft\">Expected</p><code>0000001000000000, SEPT_VE_DISABLE alone</code>",
        "<li><code>Debug mode is enabled</code></li>",
        "It is not accepted as genuine",
        "How Intel rates the platform.",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("UpToDate</dd><dt>advisories"));
}

#[test]
fn a_genuine_quote_of_an_outdated_platform_shows_its_advisories() {
    let arguments = [
        "--quote",
        "v4-uptodate.quote.bin",
        "--collateral",
        "v4-outofdate.collateral.json",
        "--at",
        "1786665600",
    ];
    let (status, page) = report(&arguments);
    assert_eq!(status, Some(1));
    let expected = [(9, "✓ passed"), (1, "✗ refused")];
    assert_eq!(outcomes(&page), sequence(&expected));
    assert!(page.contains("Refused: the quote is genuine, but ZA-403 is broken"));
    assert!(page.contains("INTEL-SA-") && page.contains("<dd>OutOfDate</dd>"));
    let accepting = [&arguments[..], &["--accept-tcb", "OutOfDate"]].concat();
    let (status, page) = report(&accepting);
    assert_eq!(status, Some(0));
    assert!(page.contains("TCB status is OutOfDate, which the arguments accept."));
}

#[test]
fn times_outside_of_the_collateral_are_named() {
    for (at, words, iso) in [
        ("1754006400", ">expired</td>", "2025-08-01T00:00:00Z"),
        ("1748736000", ">not issued yet</td>", "2025-06-01T00:00:00Z"),
        ("253402300800", ">expired</td>", "after the year 9999"),
        (
            "18446744073709551615",
            ">expired</td>",
            "after the year 9999",
        ),
    ] {
        let [quote, name, collateral, file, ..] = GOOD;
        let (status, page) = report(&[quote, name, collateral, file, "--at", at]);
        assert_eq!(status, Some(1));
        assert!(page.contains(words) && page.contains(iso), "{at}");
        assert!(page.contains("Its signatures are not known to be good."));
        let expected = [(2, "✓ passed"), (1, "✗ refused"), (7, "– not reached")];
        assert_eq!(outcomes(&page), sequence(&expected));
    }
}

#[test]
fn without_collateral_nothing_is_decided_and_nothing_reached() {
    let (status, page) = report(&GOOD[..2]);
    assert_eq!(status, Some(3));
    assert_eq!(outcomes(&page), sequence(&[(10, "– not reached")]));
    assert!(page.contains("Undecided: without collateral"));
}

#[test]
fn every_case_ends_as_verify_does() {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    for case in cases {
        let at = case["now_unix"].to_string();
        let quote = case["quote"].as_str().unwrap();
        let collateral = case["collateral"].as_str().unwrap();
        let arguments = ["--quote", quote, "--collateral", collateral, "--at", &at];
        let (expected, answer, _) = run("verify", &[&arguments[..], &["--json"]].concat());
        let (status, page) = report(&arguments);
        assert_eq!(status, expected, "{case}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if let Some(rule) = answer["rule"].as_str() {
            assert!(page.contains(&format!("<h2>Why: {rule}</h2>")), "{case}");
        }
    }
}

#[test]
fn out_writes_the_same_page_to_a_file() {
    let folder_of_test = tempfile::tempdir().unwrap();
    let path = folder_of_test.path().join("report.html");
    let out = ["--out", path.to_str().unwrap()];
    let (status, said, _) = run("report", &[&GOOD[..], &out].concat());
    assert_eq!(status, Some(0));
    assert_eq!(said, format!("accepted: see {}\n", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), report(&GOOD).1);
    let nowhere = ["--out", "/nowhere/report.html"];
    let (status, _, errors) = run("report", &[&GOOD[..], &nowhere].concat());
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("Could not write /nowhere/report.html"),
        "{errors}"
    );
}

#[test]
fn a_root_that_is_not_built_in_is_pointed_out() {
    let root = tempfile::NamedTempFile::new().unwrap();
    fs::write(root.path(), [0x30, 0]).unwrap();
    let path = root.path().to_str().unwrap();
    let (status, page) = report(&[&GOOD[..], &["--root", path]].concat());
    assert_eq!(status, Some(1));
    assert!(page.contains("not the built-in root of Intel"));
}

#[test]
fn a_simulated_quote_is_accepted_but_not_as_intels() {
    let folder_of_test = tempfile::tempdir().unwrap();
    let quote = folder_of_test.path().join("td.bin");
    let [root, collateral] =
        ["root.der", "collateral.json"].map(|ending| quote.with_extension(ending));
    let paths = [&quote, &root, &collateral].map(|path| path.to_str().unwrap());
    let [quote, root, collateral] = paths;
    let data = "00".repeat(64);
    let at = ["--at", "1750377600"];
    let new = [
        "--simulated",
        "seed",
        "--out",
        quote,
        "--report-data",
        &data,
    ];
    assert_eq!(run("quote", &[&new[..], &at].concat()).0, Some(0));
    let from = ["--quote", quote, "--collateral", collateral];
    let (status, page) = report(&[&from[..], &at, &["--root", root]].concat());
    assert_eq!(status, Some(0));
    assert_eq!(outcomes(&page), sequence(&[(10, "✓ passed")]));
    assert!(page.contains("not the built-in root of Intel"));
    let (status, page) = report(&[&from[..], &at].concat());
    assert_eq!(status, Some(1));
    assert!(page.contains("Trust root: Intel"));
}

#[test]
fn bad_arguments_end_as_those_of_verify() {
    for arguments in [
        &["--quote"][..],
        &["--quote", "x", "--accept-tcb", "Revoked"],
        &["--quote", "x", "--at", "soon"],
        &["--quote", "/nowhere/quote.bin"],
        &["--quote", GOOD[1], "--root", "expected.json"],
    ] {
        let status = run("report", arguments).0;
        assert_eq!(status, run("verify", arguments).0, "{arguments:?}");
        assert_ne!(status, Some(0), "{arguments:?}");
    }
}
