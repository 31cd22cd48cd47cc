//! Pages of the book, as a reader follows them: their commands over real processes, in a network that
//! has a loopback and nothing else.
#![allow(missing_docs)]

#[path = "book/program.rs"]
mod program;

use std::{fs, process::Command, time::Duration};

use zipnet::Builder;
use zipnet_tests::{
    book::{self, Ran, Shell},
    cluster::{Cluster, ROUND, Settings},
    embedded::uri,
    process::{Failed, Process, TestResult, binary, clean},
};

/// What pages about a running committee call its server, seen from the quickstart's folder.
const RUNNING: &str = r#"
export METRICS=127.0.0.1:9101 LOG=server-1.log SERVER="${ZIPNET_BOOTSTRAP%%,*}"
export NAME=$ZIPNET_INSTANCE POLICY=policy.json ROOT=intel.root.der
"#;

/// The quickstart, and on the committee that it gives what other pages do with one.
#[test]
fn the_quickstart_gives_a_committee() -> TestResult {
    let mut start = book::blocks("operator/quickstart.md", "the_quickstart_gives_a_committee")?;
    let stop = start.pop().unwrap_or_default();
    #[rustfmt::skip]
    let pages = [
        ("publishing", book::block("client/publishing.md", "the_quickstart_gives_a_committee")?),
        ("reading", book::block("client/reading.md", "the_quickstart_gives_a_committee")?),
        ("down", book::block("operator/incidents/server-down.md", "the_quickstart_gives_a_committee")?),
        ("stuck", book::block("operator/incidents/stuck-rounds.md", "the_quickstart_gives_a_committee")?),
        ("brain", book::block("operator/incidents/split-brain.md", "the_quickstart_gives_a_committee")?),
        ("discovery", book::block("operator/incidents/slow-discovery.md", "the_quickstart_gives_a_committee")?),
        ("refused", book::block("operator/incidents/refused-attestation.md", "the_quickstart_gives_a_committee")?),
        ("leaked", book::block("operator/incidents/leaked-committee-secret.md", "the_quickstart_gives_a_committee")?),
        ("jammed", book::block("operator/incidents/jammed-rounds.md", "the_quickstart_gives_a_committee")?),
        ("expiring", book::block("operator/incidents/expiring.md", "the_quickstart_gives_a_committee")?),
        ("withheld", book::block("operator/incidents/withheld-partials.md", "the_quickstart_gives_a_committee")?),
    ];
    let pages: Vec<_> = pages
        .iter()
        .map(|(name, commands)| format!("echo '## {name}'\n(\n{commands})\n"))
        .collect();
    let pages = pages.concat();
    let script = [&start.concat(), RUNNING, &pages, "echo '## stop'\n", &stop].concat();

    let folder = tempfile::tempdir()?;
    let shell = Shell::new(folder.path())?.alone();
    let ran = shell.run("quickstart", &script, Duration::from_mins(4))?;
    let says = |page: &str, text: &str| -> TestResult {
        let section = section(&ran, page);
        if section.iter().any(|line| line.contains(text)) {
            return Ok(());
        }
        Err(Failed::because(format!(
            "{page}: no {text:?} in {section:#?}"
        )))
    };
    says("", "accepted: serial 1")?;
    says("", "landed: round r")?;
    says("", ": hello")?;
    let verified = section(&ran, "");
    let verified = verified.iter().filter(|line| {
        line.contains("attestation: verified a server") && line.contains(r#"image="simulated""#)
    });
    assert!(verified.count() >= 3, "itself and both others: {ran:#?}");
    let leaders = section(&ran, "");
    let leaders = leaders
        .iter()
        .filter(|line| line.starts_with("mosaik_groups_leader_is_local") && line.ends_with(" 1"));
    assert_eq!(leaders.count(), 1, "{ran:#?}");

    let messages = ["landed: round r", r#""event":"landed""#];
    for message in messages {
        says("publishing", message)?;
    }
    says("reading", r#""event":"round""#)?;
    says("down", "it answers")?;
    says("stuck", "zipnet_roster_missing{")?;
    says("brain", "mosaik_groups_bonds{")?;
    says("brain", "zipnet up: network=")?;
    says("discovery", "it answers")?;
    says("refused", "accepted: the server's evidence holds")?;
    says("refused", "zipnet_policy_serial")?;
    says("leaked", "zipnet_server_registry_size{")?;
    says("jammed", "zipnet_slots_total{")?;
    says("jammed", "no aggregator was found at fault")?;
    says("expiring", "zipnet_evidence_left_seconds{")?;
    says("expiring", "all could be renewed")?;
    says("withheld", "zipnet_partials_submitted_total{")?;
    Ok(())
}

/// What was said behind a heading and before the next.
fn section(ran: &Ran, name: &str) -> Vec<String> {
    let heading = format!("## {name}");
    let skip = match name {
        "" => 0,
        _ => {
            ran.lines
                .iter()
                .take_while(|line| **line != heading)
                .count()
                + 1
        }
    };
    let lines = ran.lines.iter().skip(skip);
    lines
        .take_while(|line| !line.starts_with("## "))
        .cloned()
        .collect()
}

#[test]
fn a_new_committee_secret_is_a_new_committee() -> TestResult {
    let script = book::block(
        "operator/incidents/leaked-committee-secret.md",
        "a_new_committee_secret_is_a_new_committee",
    )?;
    let folder = tempfile::tempdir()?;
    let aggregator = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
    let shell = Shell::new(folder.path())?
        .with("ZIPNET_INSTANCE", "acme.mix.prod")
        .with("AGGREGATOR", aggregator);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let ran = shell.run("the new secret", &script, Duration::from_secs(20))?;
        let [committee, provision, admission] = ran.lines.as_slice() else {
            return Err(Failed::because(format!("not three lines: {ran:#?}")));
        };
        assert!(committee.starts_with("ZIPNET_COMMITTEE="), "{ran:#?}");
        assert!(provision.starts_with("GUEST_PROVISION_KEY="), "{ran:#?}");
        assert_eq!(admission.len(), 128, "{ran:#?}");
        let secret = fs::read_to_string(folder.path().join("committee.new"))?;
        assert_eq!(secret.len(), 64);
        keys.push(ran.lines);
    }
    let mut pairs = keys[0].iter().zip(&keys[1]);
    assert!(pairs.all(|(one, other)| one != other), "{keys:#?}");
    Ok(())
}

#[test]
fn ten_lines_publish_and_read() -> TestResult {
    let page = book::block("client/library.md", "ten_lines_publish_and_read")?;
    let example = fs::read_to_string(book::repository().join("client/examples/hello.rs"))?;
    assert_eq!(page, example, "the page's program is the example");
    let lines = example.lines().skip_while(|line| !line.contains("fn main"));
    let body = lines.skip(1).take_while(|line| *line != "}").count();
    assert_eq!(body, 10);
    let cluster = Cluster::start(Settings::default(), 2)?;
    let mut hello = Command::new(binary("examples/hello")?);
    clean(&mut hello);
    hello.env("ZIPNET_URI", uri(&cluster)?);
    let (status, said) = Process::run("the example", hello, ROUND * 2)?;
    assert!(status.success(), "{said:#?}");
    let heard = said
        .iter()
        .any(|line| line.starts_with("slot ") && line.ends_with(": hello"));
    let landed = said.iter().any(|line| line.starts_with("landed in round "));
    assert!(heard && landed, "{said:#?}");
    Ok(())
}

#[test]
fn a_program_of_the_library_publishes() -> TestResult {
    let page = book::block("client/library.md", "a_program_of_the_library_publishes")?;
    assert_eq!(
        page,
        include_str!("book/program.rs"),
        "the page's program is this one"
    );
    let cluster = Cluster::start(Settings::default(), 2)?;
    let builder = Builder::try_from(uri(&cluster)?)?.bind(([127, 0, 0, 1], 0).into());
    let bid = async {
        let bid = program::bid(builder, 1_000);
        tokio::time::timeout(ROUND * 2, bid).await
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let found = match runtime.block_on(bid) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(Failed::because(error.to_string())),
        Err(_) => return Err(Failed::because("the program did not end in time")),
    };
    assert_eq!(found.message, program::Bid(1_000));
    Ok(())
}

#[test]
fn make_help_lists_the_verbs() -> TestResult {
    let script = book::block("contributor/building.md", "make_help_lists_the_verbs")?;
    let shell = Shell::new(&book::repository())?;
    let ran = shell.run("make help", &script, Duration::from_secs(20))?;
    // Every verb that a page or the README names.
    for verb in [
        "run",
        "run-processes",
        "test",
        "check",
        "docs",
        "attack",
        "fuzz",
        "image",
        "reproduce",
        "manifest",
    ] {
        assert!(
            ran.line(&format!("make {verb} ")).is_some(),
            "{verb}: {ran:#?}"
        );
    }
    Ok(())
}
