//! What a follower has verified, so that nothing is verified twice: two servers
//! tell of each round, and rosters seldom change.

use std::sync::Arc;

use zipnet_protocol::{
    AdmittedServer, CertificateError, CertifiedRound, FinalizedRound, HeaderError, Instance,
    RecordError, Round, ServerBundle, SignedHeader,
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
        let certificate = &open.certificate;
        if let Some(round) = &self.round
            && round.certificate() == certificate
        {
            return Ok(round.clone());
        }
        let round = self
            .round_of(&certificate.header, &open.bundles)
            .map_err(CertificateError::Header)?;
        let round = Arc::new(certificate.verify_in(round)?);
        self.round = Some(round.clone());
        Ok(round)
    }

    /// A record that a server hands on.
    pub fn record(&mut self, published: &Published) -> Result<FinalizedRound, RecordError> {
        let record = &published.record;
        let round = match &self.round {
            Some(round) if *round.signed() == record.header => (***round).clone(),
            _ => self
                .round_of(&record.header, &published.bundles)
                .map_err(RecordError::Header)?,
        };
        record.verify_in(round)
    }

    /// A server as it was admitted, if its bundle holds.
    pub fn server(&self, bundle: &ServerBundle) -> Option<AdmittedServer> {
        let known = self.roster.iter().find(|known| known.bundle() == bundle);
        known
            .cloned()
            .or_else(|| bundle.verify(&self.instance).ok())
    }

    /// The round of a header, whose roster is known from then on.
    fn round_of(
        &mut self,
        header: &SignedHeader,
        bundles: &[ServerBundle],
    ) -> Result<Round, HeaderError> {
        let round = header.verify_knowing(&self.instance, bundles, &self.roster)?;
        if self.roster != round.roster() {
            self.roster = round.roster().to_vec();
        }
        Ok(round)
    }
}
