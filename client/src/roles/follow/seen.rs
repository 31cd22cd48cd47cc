//! What a follower has verified, so that nothing is verified twice: two servers
//! tell of each round, and rosters seldom change.

use std::{collections::VecDeque, sync::Arc};

use zipnet_protocol::{
    AdmittedServer, CertificateError, CertifiedRound, ClaimedRound, FinalizedRound, HeaderError,
    Instance, RecordError, Round, ServerBundle, SignedHeader,
};

use super::NewsError;
use crate::wire::{LightPublished, Opened, Published};

/// Most certified rounds that are remembered: what is told next builds on one of them.
const MOST: usize = 4;

/// Verifies for an instance, and remembers the last certified rounds and the
/// last roster. Only what verified is remembered; whether the servers are
/// trusted is another question.
#[derive(Debug)]
pub(super) struct Seen {
    instance: Instance,
    /// Newest first.
    rounds: VecDeque<Arc<CertifiedRound>>,
    roster: Vec<AdmittedServer>,
}

impl Seen {
    pub fn new(instance: Instance) -> Self {
        Self {
            instance,
            rounds: VecDeque::new(),
            roster: Vec::new(),
        }
    }

    /// An open round that a server tells of.
    pub fn open(&mut self, open: &Opened) -> Result<Arc<CertifiedRound>, CertificateError> {
        let certificate = &open.certificate;
        let mut rounds = self.rounds.iter();
        if let Some(round) = rounds.find(|round| round.certificate() == certificate) {
            return Ok(round.clone());
        }
        let round = self
            .round_of(&certificate.header, &open.bundles)
            .map_err(CertificateError::Header)?;
        let round = Arc::new(certificate.verify_in(round)?);
        self.rounds.truncate(MOST - 1);
        self.rounds.push_front(round.clone());
        Ok(round)
    }

    /// A record that a server hands on.
    pub fn record(&mut self, published: &Published) -> Result<FinalizedRound, RecordError> {
        let record = &published.record;
        let mut rounds = self.rounds.iter();
        let round = match rounds.find(|round| *round.signed() == record.header) {
            Some(round) => round.round().clone(),
            None => self
                .round_of(&record.header, &published.bundles)
                .map_err(RecordError::Header)?,
        };
        record.verify_in(round)
    }

    /// A light record that a server hands on.
    pub fn claim(&mut self, published: LightPublished) -> Result<ClaimedRound, NewsError> {
        let round = if let Some((header, bundles)) = published.round {
            self.round_of(&header, &bundles)
                .map_err(NewsError::LightHeader)?
        } else {
            let round = self.numbered(published.number).ok_or(NewsError::Base)?;
            round.round().clone()
        };
        published.record.claim(round).map_err(NewsError::Light)
    }

    /// The newest certified round of this number.
    pub fn numbered(&self, number: u64) -> Option<&Arc<CertifiedRound>> {
        let mut rounds = self.rounds.iter();
        rounds.find(|round| round.position().1 == number)
    }

    /// The last roster.
    pub fn roster(&self) -> &[AdmittedServer] {
        &self.roster
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
