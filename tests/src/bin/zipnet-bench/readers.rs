//! What readers of an archive cost the servers.

use zipnet_tests::{
    archive::Archive,
    cluster::{Cluster, ROUND},
    process::{TestResult, eventually},
    readers::{Pushed, Readers},
};

use super::say;

/// Measures and prints it: over so many rounds without readers, and with them.
pub fn measure(cluster: &mut Cluster, readers: usize, rounds: usize) -> TestResult {
    let folder = tempfile::tempdir()?;
    let rounds = u64::try_from(rounds)?;
    let archive = Archive::start(cluster, folder.path())?;
    eventually("the archive to follow", ROUND, || archive.newest())?;
    let without = Pushed::over(rounds, cluster)?;
    let listening = Readers::start(archive.address, readers)?;
    let with = Pushed::over(rounds, cluster)?;
    listening.have(with.after, with.until)?;
    say("");
    say("| readers of an archive | bytes a round that servers push | of it without readers |");
    say("| --- | --- | --- |");
    say(&format!("| 0 | {:.0} | 1.000 |", without.each));
    let ratio = with.each / without.each;
    say(&format!("| {readers} | {:.0} | {ratio:.3} |", with.each));
    Ok(())
}
