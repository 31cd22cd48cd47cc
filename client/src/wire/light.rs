//! News for those who read lightly: the broadcast and what proves it, and of headers what is
//! new in them.
//!
//! What was told before on the same stream, or what the caller says to have seen, is
//! left out. It is rebuilt and then verified like everything else, so that whoever
//! leaves out or makes up is found out by a signature or a digest that does not fit.

use serde::{Deserialize, Serialize};
use zipnet_protocol::{
    AggregatorBundle, HeaderDelta, LightRecord, ServerBundle, Signature, SignedHeader,
};

use super::Follow;

/// What is new, for one who reads lightly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LightNews {
    /// Records, oldest first.
    pub records: Vec<LightPublished>,
    /// The open round, if it still takes envelopes and was not seen.
    pub open: Option<LightOpened>,
}

/// A light record with what is needed to check of which round it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LightPublished {
    /// The round's number.
    pub number: u64,
    /// Its header and the bundles of its roster; `None` if the caller has seen this round
    /// when it was open.
    pub round: Option<(SignedHeader, Vec<ServerBundle>)>,
    /// The record.
    pub record: LightRecord,
}

/// A header as it is told to one who reads lightly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LightHeader {
    /// Whole, with the bundles of its roster.
    Whole(SignedHeader, Vec<ServerBundle>),
    /// By what is new since the one of the last record, which the caller has seen when
    /// that was open. The roster is the same.
    Delta(HeaderDelta),
}

/// An open round, for one who reads lightly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LightOpened {
    /// The header.
    pub header: LightHeader,
    /// The signatures of its roster, in the roster's order.
    pub signatures: Vec<Signature>,
    /// The bundles of its aggregator and leaves; `None` if the caller has them.
    pub aggregators: Option<Vec<AggregatorBundle>>,
}

impl Follow {
    /// As [`Follow::behind`], as far as the caller's own place is concerned: which round
    /// the open one is, it knows when it has rebuilt the header.
    #[must_use]
    pub fn behind_light(&self, news: &LightNews) -> Self {
        let last = news.records.last().and_then(|last| {
            let told = last.round.as_ref();
            let epoch = told.map(|(header, _)| header.header().epoch);
            let epoch = epoch.or_else(|| self.after.map(|(epoch, _)| epoch))?;
            Some((epoch, last.number))
        });
        Self {
            after: last.or(self.after),
            ..self.clone()
        }
    }
}
