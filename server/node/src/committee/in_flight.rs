//! The open round, as far as it has come.

use std::sync::Arc;

use zipnet_protocol::{
    AdmittedServer, Certifications, CertifiedRound, ClientRegistry, PeerKey, Round, Tally,
};

/// The open round.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// The round.
    pub round: Arc<Round>,
    /// The registry that its header names.
    pub registry: Arc<ClientRegistry>,
    /// Which servers stand for it so far.
    pub certifications: Certifications,
    /// The round once all servers of its roster stand for it.
    pub certified: Option<Arc<CertifiedRound>>,
    /// The aggregate with the commitments and partials so far.
    pub tally: Option<Arc<Tally>>,
}

impl InFlight {
    /// The servers whose partials are missing although all have committed to
    /// theirs: that happens to a server that fails in between. Whoever does it
    /// again and again learns broadcasts that nobody else sees, and has messages
    /// sealed again (A1). A leader can make it look so of others.
    pub fn withheld(&self) -> impl Iterator<Item = &PeerKey> {
        let all = self.tally.as_ref();
        let all = all.filter(|tally| tally.committed(&self.round).is_some());
        all.into_iter().flat_map(|tally| {
            let roster = self.round.roster().iter();
            roster
                .filter(|server| !tally.contains(server.id()))
                .map(AdmittedServer::peer)
        })
    }
}
