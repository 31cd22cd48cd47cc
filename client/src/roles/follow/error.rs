//! What a follower does not believe.

use zipnet_protocol::{CertificateError, HeaderError, LightError, NoBase, PeerKey, RecordError};

use crate::{attestation::VouchError, health::Code};

/// Something a server sent that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum NewsError {
    /// A certificate.
    #[error("The certificate of an open round is refused")]
    Certificate(#[source] CertificateError),
    /// A record.
    #[error("A broadcast record is refused")]
    Record(#[source] RecordError),
    /// A light record.
    #[error("A light record is refused")]
    Light(#[source] LightError),
    /// The header of a light record.
    #[error("The header of a light record is refused")]
    LightHeader(#[source] HeaderError),
    /// It builds on what is not at hand.
    #[error("The news build on a round that was not told of here")]
    Base,
    /// A header by what is new in it.
    #[error("The header of an open round cannot be rebuilt")]
    Delta(#[source] NoBase),
    /// The roster is not trusted (I5).
    #[error("The roster lacks server {server}, which this process requires or knows to be there")]
    Required {
        /// Whose transport key is missing.
        server: String,
    },
    /// The roster is too small (I5).
    #[error(
        "The roster has {found} servers of a committee of {committee}; at least {needed} are required here"
    )]
    SmallRoster {
        /// Servers in it.
        found: usize,
        /// The committee's size, by the header's word.
        committee: u32,
        /// Servers wanted.
        needed: u32,
    },
    /// The round asks for too few participants (I5).
    #[error(
        "The committee asks for {found} participant(s) a round, and this process takes part only where {needed} or more are asked for: whoever is alone in a round hides behind nobody. ZIPNET_MIN_PARTICIPANTS={found} here would take part all the same"
    )]
    FewParticipants {
        /// By the header's word.
        found: u32,
        /// Wanted.
        needed: u32,
    },
    /// The aggregator is none of those that were named (A3).
    #[error("The round's aggregator is {found}, which is none of those named here")]
    Aggregator {
        /// By the header's word.
        found: PeerKey,
    },
    /// Nobody vouches for the roster (I5, I6).
    #[error("The roster is not vouched for")]
    Vouch(#[source] VouchError),
    /// A number out of all proportion.
    #[error("Round {number} is too far ahead of the last record to be believed")]
    Ahead {
        /// By the header's word.
        number: u64,
    },
    /// A round of servers that have started over since (A13).
    #[error("The roster names an earlier boot of server {server}, which has started over since")]
    Outdated {
        /// Whose transport key it is.
        server: PeerKey,
    },
    /// An epoch that too few speak of (A13).
    #[error(
        "The round belongs to another epoch than the one that is followed, and no second server speaks of it"
    )]
    OtherEpoch,
}

impl NewsError {
    /// What a process is not ready for the want of, if no round is to be had without this.
    /// What one server may have made up is nothing that others lack.
    pub(super) const fn lacks(&self) -> Option<Code> {
        match self {
            Self::Required { .. } | Self::SmallRoster { .. } | Self::Outdated { .. } => {
                Some(Code::Roster)
            }
            Self::FewParticipants { .. } => Some(Code::Clients),
            Self::Aggregator { .. } => Some(Code::Aggregator),
            Self::Vouch(_) => Some(Code::PeersRefused),
            Self::Certificate(_)
            | Self::Record(_)
            | Self::Light(_)
            | Self::LightHeader(_)
            | Self::Base
            | Self::Delta(_)
            | Self::Ahead { .. }
            | Self::OtherEpoch => None,
        }
    }
}
