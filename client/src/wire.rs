//! What is asked at doors. [`calls`] has the list. What only servers ask of each other is
//! in `zipnet_node::wire`.
//!
//! Each call has a typed answer and a time-out. Nothing is queued that could be lost
//! silently (see `docs/decisions/0002-functions-not-streams.md`). Answers are never
//! trusted for who sent them: whoever reads one verifies what is in it.

pub mod calls;
pub mod light;
mod shared;

use serde::{Deserialize, Serialize};
use zipnet_protocol::{
    AggregatorBundle, Certificate, Digest, Epoch, RegistryProof, RoundContext, ServerBundle,
    SigningPublic,
};

pub use self::{
    calls::*,
    light::{LightHeader, LightNews, LightOpened, LightPublished},
    shared::{Published, Wish},
};
pub use zipnet_door::{Call, Refused};

use crate::attestation::Credential;

/// Most records in one answer to [`Follow`].
pub const MAX_RECORDS: usize = 4;
/// Most client bundles in one answer to [`RegistryRequest`], and most clients in
/// one to [`ChangesRequest`].
pub const REGISTRY_PAGE: usize = 1024;

/// Most bytes of vectors in one answer to [`AuditRequest`], but for a first one
/// that is longer.
pub const AUDIT_PAGE_BYTES: usize = 4 << 20;

/// Most bytes of vectors in one answer to [`Follow`], unless one record alone
/// has more: a follower that lags behind catches up record by record.
pub const MAX_NEWS: usize = 4 << 20;

/// A refusal in words, cut to a length.
#[must_use]
pub fn because(error: &dyn core::error::Error) -> Refused {
    Refused::text(&crate::report::chain(error))
}

/// Answer to a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The name of the instance that the node belongs to: at a door anybody may ask
    /// without it.
    pub name: String,
    /// The committee key of the instance that the node belongs to.
    pub committee: SigningPublic,
    /// What evidence is judged by there, if servers show any.
    pub anchor: Option<Digest>,
}

/// The servers that are registered, by one server's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// Their bundles, its own among them. Nobody can make one up: the committee key
    /// has signed each.
    pub servers: Vec<ServerBundle>,
}

/// A server as it shows itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// Its bundle.
    pub bundle: ServerBundle,
    /// Its evidence, if servers of the instance show any.
    pub credential: Option<Credential>,
}

/// Asks a server for what is new.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Follow {
    /// The newest record that the caller has; `None` asks for the newest one
    /// only, as a place to start.
    pub after: Option<(Epoch, u64)>,
    /// The newest open round that the caller has seen.
    pub seen: Option<RoundContext>,
    /// How long the server may wait for news, in milliseconds.
    pub wait: u32,
    /// The [digest](AggregatorBundle::told) of the bundles of aggregators that the caller was told last, if it
    /// reads lightly.
    pub aggregators: Option<Digest>,
}

impl Follow {
    /// The same question, from where its caller stands once it has these news: what is
    /// pushed next answers that one.
    #[must_use]
    pub fn behind(&self, news: &News) -> Self {
        let last = news.records.last();
        let last = last.map(|record| record.record.header.header());
        let open = news.open.as_ref();
        Self {
            // Whoever asks for open rounds alone goes on with these.
            after: last.map_or(self.after, |last| Some((last.epoch, last.number))),
            seen: open.map_or(self.seen, |open| {
                Some(open.certificate.header.header().context())
            }),
            wait: self.wait,
            aggregators: self.aggregators,
        }
    }

    /// Whether another one stands there as well.
    #[must_use]
    pub fn stands_as(&self, other: &Self) -> bool {
        self.after == other.after
            && self.seen == other.seen
            && self.aggregators == other.aggregators
    }

    /// Whether what is pushed from there on is of use to one who asks this: it does not
    /// begin behind it.
    #[must_use]
    pub fn covers(&self, asked: &Self) -> bool {
        match (self.after, asked.after) {
            (Some((epoch, number)), Some((other, wanted))) => {
                let alone = (number == u64::MAX) == (wanted == u64::MAX);
                epoch == other && alone && number <= wanted
            }
            (None, None) => true,
            _ => false,
        }
    }
}

/// What is new.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct News {
    /// Records, oldest first.
    pub records: Vec<Published>,
    /// The open round, if it still takes envelopes and was not seen.
    pub open: Option<Opened>,
}

impl News {
    /// Bytes of the vectors in the records: nearly all of the answer.
    #[must_use]
    pub fn vector_bytes(&self) -> usize {
        self.records
            .iter()
            .map(vector_bytes)
            .fold(0, usize::saturating_add)
    }
}

/// Bytes of the vectors in a record: nearly all of it.
#[must_use]
pub fn vector_bytes(published: &Published) -> usize {
    let record = &published.record;
    let partials = record.partials.iter().map(|partial| partial.vector.len());
    partials.fold(record.aggregate.vector.len(), usize::saturating_add)
}

/// An open round as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    /// The header, signed by every server of its roster.
    pub certificate: Certificate,
    /// The bundles of its roster.
    pub bundles: Vec<ServerBundle>,
    /// The bundles of its aggregator and leaves, which say where these are; not in what the
    /// servers signed. A server leaves out those that it does not have.
    pub aggregators: Vec<AggregatorBundle>,
}

/// Asks a server for a page of the client registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistryRequest {
    /// Root of the registry.
    pub root: Digest,
    /// Position of the first client wanted.
    pub offset: u32,
}

/// Asks a server how the client registry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesRequest {
    /// Root of the registry that the caller has.
    pub from: Digest,
    /// Root of the one that it wants.
    pub to: Digest,
}

/// Asks an aggregator for the envelopes of a round that it has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRequest {
    /// The round.
    pub context: RoundContext,
    /// Number of the first envelope wanted, in the order of the participants.
    pub from: u32,
}

/// Whether a client is listed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enrolment {
    /// It is, in the registry of a certified round, as it can check.
    Listed(Listing),
    /// The server has passed it on, or no certified round lists it yet.
    Pending,
}

/// Shows a client that it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// A certified round.
    pub context: RoundContext,
    /// The client's position in the registry that its header names.
    pub position: u32,
    /// What leads from there to the root in the header.
    pub proof: RegistryProof,
}

/// Whether an aggregator is listed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registration {
    /// It is in the registry.
    Listed,
    /// The server has passed it on.
    Pending,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::EPOCH;

    #[test]
    fn what_is_pushed_next_answers_the_question_of_one_who_has_what_came() {
        let follow = |after, seen| Follow {
            after,
            seen,
            wait: 1,
            aggregators: None,
        };
        let at = |number| Some((EPOCH, number));
        let alone = at(u64::MAX);
        let covers = |pushed, asked| follow(pushed, None).covers(&follow(asked, None));
        assert!(covers(at(3), at(3)) && covers(at(3), at(5)) && covers(alone, alone));
        assert!(covers(None, None));
        assert!(!covers(at(5), at(3)), "records would be left out");
        assert!(!covers(alone, at(3)) && !covers(at(3), alone));
        assert!(!covers(at(3), None) && !covers(None, at(3)));
        let other = Some((Epoch::new([9; 32]), 3));
        assert!(!covers(other, at(3)));
        // Nothing new leaves it where it was.
        let same = follow(at(3), None).behind(&News::default());
        assert!(same.stands_as(&follow(at(3), None)));
    }
}
