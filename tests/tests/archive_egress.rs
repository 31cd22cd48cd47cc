//! Readers in any number hang on an archive, not on the servers.
#![allow(missing_docs)]

use zipnet_tests::{
    archive::Archive,
    cluster::{Cluster, ROUND, Settings},
    process::{TestResult, eventually, more_files},
    readers::{Pushed, Readers, places},
};

const READERS: usize = 1000;
/// Clients that cover.
const CLIENTS: usize = 3;
/// Rounds that are measured each time.
const ROUNDS: u64 = 6;
/// How much more servers may push.
const MORE: f64 = 1.1;
/// Strangers at the doors that may have come and gone meanwhile: the archive now follows
/// others.
const FEW: f64 = 3.0;

#[test]
fn servers_push_as_much_for_1000_readers_of_an_archive_as_for_none() -> TestResult {
    more_files()?;
    let settings = Settings {
        // Long enough that servers rest between rounds.
        period: "1s".into(),
        variables: places(READERS),
        ..Settings::default()
    };
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::start(settings, CLIENTS)?;
    let archive = Archive::start(&mut cluster, folder.path())?;
    eventually("all clients to take part, and the archive", ROUND, || {
        let last = cluster.servers.first()?.finalized(0).pop()?;
        (last.participants == CLIENTS && archive.newest()? + 1 >= last.number).then_some(())
    })?;
    let without = Pushed::over(ROUNDS, &mut cluster)?;

    let readers = Readers::start(archive.address, READERS)?;
    let with = Pushed::over(ROUNDS, &mut cluster)?;
    readers.have(with.after, with.until)?;
    drop(readers);

    // And that more would be seen.
    let mut direct = Vec::new();
    for _ in 0..3 {
        let mut reader = cluster.client(&["--json", "watch", "--light"])?;
        reader.expect_json(0, "a round", ROUND, |event| event["event"] == "round")?;
        direct.push(reader);
    }
    let beside = Pushed::over(ROUNDS, &mut cluster)?;
    let ratio = with.each / without.each;
    println!(
        "servers pushed {:.0} bytes a round without readers, {:.0} with {READERS} of the archive ({ratio:.3} times), \
         {:.0} with {} of their own",
        without.each,
        with.each,
        beside.each,
        direct.len()
    );
    println!(
        "strangers at their doors: {}, {}, {}",
        without.strangers, with.strangers, beside.strangers
    );
    assert!(
        without.each > 0.0 && ratio <= MORE,
        "{ratio:.3} times as much"
    );
    // Whoever has no connection is told nothing that is not counted, either.
    assert!(with.strangers <= without.strangers + FEW, "{with:?}");
    assert!(beside.each > without.each * MORE, "nothing is measured");
    Ok(())
}
