//! An attested committee over real processes.
#![allow(missing_docs, clippy::unwrap_used)]

use zipnet_tests::{
    cluster::{Cluster, Settings},
    process::TestResult,
};

fn attested(clients: usize) -> TestResult<Cluster> {
    let mut cluster = Cluster::new(Settings::default())?.attested()?;
    cluster.populate(clients)?;
    Ok(cluster)
}

#[test]
fn i3_an_attested_committee_finalizes_and_says_whom_it_verified() -> TestResult {
    let mut cluster = attested(2)?;
    cluster.finalize_another()?;
    Ok(())
}
