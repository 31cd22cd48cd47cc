//! Following by light records: the broadcast, and one round later the certificate that
//! proves it.
//!
//! Two servers are followed as ever, the second one for open rounds alone, and what is
//! missing is fetched whole. So what a server can do by a made-up record is to be found
//! out by the next certified round, and to lose its seat.

use std::sync::Arc;

use zipnet_door::PeerId;
use zipnet_protocol::{Certificate, ClaimedRound, Epoch};

use super::{Follower, NewsError, Taken, claims::Claims, tale::Servers};
use crate::{
    peers::Peers,
    wire::{FollowLightCall, LightHeader, LightNews, LightOpened, MAX_RECORDS, News, Opened},
};

/// News that are understood, and not yet judged.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Whole.
    pub news: News,
    /// Light records.
    pub claims: Vec<ClaimedRound>,
    /// Why the rest of it is not understood.
    pub problem: Option<NewsError>,
}

impl From<News> for Told {
    fn from(news: News) -> Self {
        Self {
            news,
            ..Self::default()
        }
    }
}

impl Follower {
    /// Reads lightly from now on.
    #[must_use]
    pub fn light(mut self) -> Self {
        let allowed = Some(self.directory.allowed());
        let servers = Peers::on::<FollowLightCall>(&*self.ground, &self.instance, allowed);
        self.polls.following(Servers::Light(Arc::new(servers)));
        self.claims = Some(Claims::default());
        self
    }

    /// The newest record that was told of, to ask for what comes after.
    pub(super) fn position(&self) -> Option<(Epoch, u64)> {
        let claimed = self.claims.as_ref().and_then(Claims::reach);
        match (self.course.position(), claimed) {
            (Some((epoch, number)), Some((of, claimed))) if of == epoch => {
                Some((epoch, number.max(claimed)))
            }
            (at, claimed) => at.or(claimed),
        }
    }

    /// Rebuilds what was left out.
    pub(super) fn understand(&mut self, news: LightNews, from: &PeerId) -> Told {
        let mut told = Told::default();
        let Some(claims) = &mut self.claims else {
            return told;
        };
        for published in news.records.into_iter().take(MAX_RECORDS) {
            match self.seen.claim(published) {
                Ok(claim) => {
                    claims.tell(*from, *claim.round().context(), *claim.digest());
                    told.claims.push(claim);
                }
                Err(error) => {
                    told.problem = Some(error);
                    return told;
                }
            }
        }
        match news.open.map(|open| self.rebuild(open, from)).transpose() {
            Ok(open) => told.news.open = open,
            Err(error) => told.problem = Some(error),
        }
        told
    }

    fn rebuild(&self, open: LightOpened, from: &PeerId) -> Result<Opened, NewsError> {
        let (header, bundles) = match open.header {
            LightHeader::Whole(header, bundles) => (header, bundles),
            LightHeader::Delta(delta) => {
                let base = self.seen.numbered(delta.base()).ok_or(NewsError::Base)?;
                // If it is none of these, the certificate does not hold.
                let claims = self.claims.as_ref();
                let told = || claims.and_then(|claims| claims.told(from, base.context()));
                let proven = self.course.tip_of(base.position());
                let header = delta.onto(base.header(), proven.or_else(told));
                (header.map_err(NewsError::Delta)?, Vec::new())
            }
        };
        Ok(Opened {
            certificate: Certificate {
                header,
                signatures: open.signatures,
            },
            bundles,
            aggregators: open.aggregators.unwrap_or_default(),
        })
    }

    /// Takes claims down, and reports what is proven by now.
    pub(super) fn take_claims(
        &mut self,
        told: Vec<ClaimedRound>,
        from: PeerId,
        quorum: usize,
        taken: &mut Taken,
    ) {
        for claim in told {
            if let Err(error) = self.trusted_roster(claim.round()) {
                self.course.pass_over(claim.round());
                taken.problem = Some(error);
                return;
            }
            let asked = self.polls.gives_records(&from);
            let claims = self.claims.as_mut();
            taken.claims |= claims.is_some_and(|claims| claims.push(claim, asked));
        }
        self.prove(from, quorum, taken);
    }

    /// Reports what the newest certified round proves.
    pub(super) fn prove(&mut self, from: PeerId, quorum: usize, taken: &mut Taken) {
        let proven = self.claims.as_mut().map(Claims::proven).unwrap_or_default();
        for done in proven {
            if !self.step(done, from, quorum, taken) {
                return;
            }
        }
    }
}
