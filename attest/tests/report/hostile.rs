//! Files that mean harm.

use std::fs;

use serde_json::Value;

use crate::{GOOD, folder, outcomes, report, run, sequence};

#[test]
fn hostile_names_and_hostile_json_stay_text() {
    let folder_of_test = tempfile::tempdir().unwrap();
    let name = "<img src=x onerror=alert(1)>\"'&\u{202e}.json";
    let path = folder_of_test.path().join(name);
    let text = fs::read_to_string(folder().join("v4-uptodate.collateral.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let mut info: Value = serde_json::from_str(json["tcb_info"].as_str().unwrap()).unwrap();
    info["fmspc"] = "</dd><script src='http://x/'>alert(1)</script>&".into();
    json["tcb_info"] = info.to_string().into();
    fs::write(&path, json.to_string()).unwrap();
    let quote = folder_of_test.path().join("<svg onload=x>.bin");
    fs::copy(folder().join("v4-uptodate.quote.bin"), &quote).unwrap();
    let (status, page, _) = run(
        "report",
        &[
            "--quote",
            quote.to_str().unwrap(),
            "--collateral",
            path.to_str().unwrap(),
            "--at",
            "1750377600",
        ],
    );
    assert_eq!(status, Some(1));
    for markup in ["<img", "<script", "<svg", "\u{202e}"] {
        assert!(!page.contains(markup), "{markup}");
    }
    for escaped in [
        "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;\\u{202e}.json",
        "&lt;/dd&gt;&lt;script src=\\&#39;http://x/\\&#39;&gt;alert(1)&lt;/script&gt;",
        "&lt;svg onload=x&gt;.bin",
    ] {
        assert!(page.contains(escaped), "{escaped}");
    }
    let expected = [(2, "✓ passed"), (1, "✗ refused"), (7, "– not reached")];
    assert_eq!(outcomes(&page), sequence(&expected));
}

#[test]
fn where_a_refusal_does_not_tell_the_page_does_not_claim() {
    let text = fs::read_to_string(folder().join("v4-uptodate.collateral.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let bare = r#"{"issueDate":"2025-06-19T00:00:00Z","nextUpdate":"2025-07-19T00:00:00Z","tcbEvaluationDataNumber":17}"#;
    json["qe_identity"] = bare.into();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), json.to_string()).unwrap();
    let [quote, name, collateral, _, at, when] = GOOD;
    let path = file.path().to_str().unwrap();
    let (status, page) = report(&[quote, name, collateral, path, at, when]);
    assert_eq!(status, Some(1));
    let expected = [(1, "✗ refused"), (1, "✓ passed"), (8, "? not known")];
    assert_eq!(outcomes(&page), sequence(&expected));
}

#[test]
fn bytes_that_are_no_quote_or_no_collateral_make_a_page_too() {
    let junk = tempfile::NamedTempFile::new().unwrap();
    fs::write(junk.path(), "<script>alert(1)</script>").unwrap();
    let junk = junk.path().to_str().unwrap();
    let [_, quote, _, collateral, ..] = GOOD;
    let (status, page) = report(&["--quote", junk, "--collateral", collateral]);
    assert_eq!(status, Some(1));
    let expected = [(1, "✓ passed"), (1, "✗ refused"), (8, "– not reached")];
    assert_eq!(outcomes(&page), sequence(&expected));
    assert!(page.contains("None: the quote does not parse"));
    let (status, page) = report(&["--quote", quote, "--collateral", junk]);
    assert_eq!(status, Some(1));
    let expected = [(1, "✗ refused"), (9, "– not reached")];
    assert_eq!(outcomes(&page), sequence(&expected));
    assert!(page.contains("None that decodes."));
}
