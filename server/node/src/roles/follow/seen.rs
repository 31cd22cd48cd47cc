//! What a follower has verified, so that nothing is verified twice: two servers
//! tell of each round, and rosters seldom change.

use std::sync::Arc;

use zipnet_protocol::{
    AdmittedServer, CertificateError, CertifiedRound, FinalizedRound, Instance, RecordError,
    ServerBundle,
};

use crate::{committee::command::Published, wire::Opened};

/// Verifies for an instance, and remembers the last certified round and the
/// last roster. Only what verified is remembered; whether the servers are
/// trusted is another question.
#[derive(Debug)]
pub(super) struct Seen {
    instance: Instance,
    round: Option<Arc<CertifiedRound>>,
    roster: Vec<AdmittedServer>,
}

impl Seen {
    pub const fn new(instance: Instance) -> Self {
        Self {
            instance,
            round: None,
            roster: Vec::new(),
        }
    }

    /// An open round that a server tells of.
    pub fn open(&mut self, open: &Opened) -> Result<Arc<CertifiedRound>, CertificateError> {
        if let Some(round) = &self.round
            && *round.certificate() == open.certificate
        {
            return Ok(round.clone());
        }
        let round = open
            .certificate
            .verify_knowing(&self.instance, &open.bundles, &self.roster)?;
        self.learn(round.roster());
        let round = Arc::new(round);
        self.round = Some(round.clone());
        Ok(round)
    }

    /// A record that a server hands on.
    pub fn record(&mut self, published: &Published) -> Result<FinalizedRound, RecordError> {
        let record = &published.record;
        match &self.round {
            Some(round) if *round.signed() == record.header => record.verify_in((***round).clone()),
            _ => {
                let bundles = &published.bundles;
                let done = record.verify_knowing(&self.instance, bundles, &self.roster)?;
                self.learn(done.round().roster());
                Ok(done)
            }
        }
    }

    /// A server as it was admitted, if its bundle holds.
    pub fn server(&self, bundle: &ServerBundle) -> Option<AdmittedServer> {
        let known = self.roster.iter().find(|known| known.bundle() == bundle);
        known
            .cloned()
            .or_else(|| bundle.verify(&self.instance).ok())
    }

    fn learn(&mut self, roster: &[AdmittedServer]) {
        if self.roster != roster {
            self.roster = roster.to_vec();
        }
    }
}
