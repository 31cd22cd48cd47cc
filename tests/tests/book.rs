//! Pages of the book, as a reader follows them: their commands over real processes, in a network that
//! has a loopback and nothing else.
#![allow(missing_docs)]

use std::time::Duration;

use zipnet_tests::{
    book::{self, Shell},
    process::TestResult,
};

#[test]
fn the_quickstart_gives_a_committee() -> TestResult {
    let script = book::block("operator/quickstart.md", "the_quickstart_gives_a_committee")?;
    let folder = tempfile::tempdir()?;
    let shell = Shell::new(folder.path())?.alone();
    let ran = shell.run("quickstart", &script, Duration::from_mins(3))?;
    assert!(ran.line("landed: round r").is_some(), "{ran:#?}");
    assert!(ran.line(": hello").is_some(), "{ran:#?}");
    // Both others; a line of the policy's image for each.
    let verified = ran.lines.iter().filter(|line| {
        line.contains("attestation: verified a server") && line.contains(r#"image="simulated""#)
    });
    assert!(verified.count() >= 3, "{ran:#?}");
    let leaders = ran
        .lines
        .iter()
        .filter(|line| line.starts_with("mosaik_groups_leader_is_local") && line.ends_with(" 1"));
    assert_eq!(leaders.count(), 1, "{ran:#?}");
    Ok(())
}
