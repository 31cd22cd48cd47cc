//! `zipnet-server admit`: admits an aggregator to a deployment.

use std::io::Write as _;

use clap::Parser;
use zipnet_node::settings::{PeerId, parse_peer};
use zipnet_protocol::{Admission, InstanceName, PeerKey};

use crate::{
    process::Failure,
    secrets::{self, CommitteeArgs},
};

/// Admits an aggregator.
///
/// Prints the admission that the aggregator takes as `ZIPNET_ADMISSION`. It is no
/// secret, and good for this peer and for as long as the committee secret is.
#[derive(Debug, Parser)]
#[command(name = "zipnet-server admit", version)]
pub struct Admit {
    /// Name of the deployment
    #[arg(long, env = "ZIPNET_INSTANCE", value_name = "NAME")]
    instance: InstanceName,
    #[command(flatten)]
    committee: CommitteeArgs,
    /// Peer id of the aggregator, as it logs it (`peer=`); it needs a lasting `ZIPNET_SECRET`
    #[arg(long, value_name = "PEERID", value_parser = parse_peer)]
    aggregator: PeerId,
}

/// Standard output is closed.
#[derive(Debug, thiserror::Error)]
#[error("Could not print the admission")]
struct PrintError(#[source] std::io::Error);

impl Admit {
    /// Prints the admission.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let secret = self.committee.secret()?;
        let committee = secrets::committee_secret(&secret).committee_key(&self.instance);
        let peer = PeerKey::new(*self.aggregator.as_bytes());
        let admission = Admission::sign(&self.instance, &peer, &committee);
        writeln!(std::io::stdout(), "{admission}")
            .map_err(|source| Failure::runtime(PrintError(source)))
    }
}
