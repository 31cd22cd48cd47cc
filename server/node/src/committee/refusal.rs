//! Why the committee's state is as it was after a command.

use std::sync::Arc;

use zipnet_protocol::{
    AggregateError, AggregatorError, BundleError, CertificateError, HeaderError, InviteError,
    KeyError, PartialError, PeerKey, ProofError, RecordError, ServerId,
};

use super::invites::WishError;

/// A machine by its platform instance id, if it has one.
fn machine(id: Option<&[u8; 16]>) -> String {
    id.map_or_else(|| "without an id".to_owned(), hex::encode)
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an order.
    #[error("The command of server {0} does not decode")]
    Undecodable(ServerId),
    /// I12.
    #[error("The command of server {sender} is not signed with its registered key")]
    Unsigned {
        /// Who it names.
        sender: ServerId,
        /// What is wrong.
        #[source]
        source: KeyError,
    },
    /// The sender is not registered.
    #[error("Server {0} is not registered")]
    Unregistered(ServerId),
    /// A bundle in the command.
    #[error("A bundle is refused")]
    Bundle(#[source] BundleError),
    /// A client's invite.
    #[error("A client's invite is refused")]
    Invite(#[source] InviteError),
    /// A server's bundle is older than the registered one.
    #[error("The bundle of server {server} is of boot {found}; {least} or later would be right")]
    Stale {
        /// Who.
        server: ServerId,
        /// The first boot that would do.
        least: u64,
        /// The boot of the bundle.
        found: u64,
    },
    /// Its identity was on another machine.
    #[error(
        "Server {server} was on the platform {} and is on {} now; where it was would be right, or a policy that names it, or its own leave-taking before", machine(.before.as_ref()), machine(.now.as_ref())
    )]
    Moved {
        /// Who.
        server: ServerId,
        /// The machine that it was on.
        before: Option<[u8; 16]>,
        /// The machine that it is on.
        now: Option<[u8; 16]>,
    },
    /// Somebody else has one of its keys.
    #[error("Server {server} has the same {key} key as server {other}; every server makes its own")]
    SharedKey {
        /// Who.
        server: ServerId,
        /// Who is registered with it.
        other: ServerId,
        /// Which key.
        key: &'static str,
    },
    /// Evidence is missing.
    #[error("Server {0} shows no evidence, which every server of this instance has to")]
    Unattested(ServerId),
    /// Nobody asked for evidence.
    #[error("Server {0} shows evidence, and this instance has no rules to judge it by")]
    Unasked(ServerId),
    /// The evidence does not hold.
    #[error("The evidence of server {server} is refused")]
    Evidence {
        /// Whose.
        server: ServerId,
        /// By which rule.
        #[source]
        source: Arc<zipnet_attest::Refusal>,
    },
    /// The evidence is older than the registered one.
    #[error(
        "The evidence of server {server} is its statement {found}; {least} or later would be right"
    )]
    StaleEvidence {
        /// Whose.
        server: ServerId,
        /// The registered statement.
        least: u64,
        /// The one in the command.
        found: u64,
    },
    /// The time goes back.
    #[error("The registration is of the time {found}; {least} has passed already")]
    Clock {
        /// By the command's word, seconds since 1970.
        found: u64,
        /// The latest so far, seconds since 1970.
        least: u64,
    },
    /// The policy in the command.
    #[error("The policy in the registration is refused")]
    Policy(#[source] Arc<zipnet_attest::trust::TrustError>),
    /// No policy.
    #[error("The committee has no policy yet, and the registration brings none")]
    NoPolicy,
    /// The committee has as many servers as it is meant to have.
    #[error("The committee is complete with {0} servers")]
    CommitteeFull(usize),
    /// Too many bundles at once, or no room for more clients.
    #[error("The client registry or the batch of {0} is full")]
    ClientsFull(usize),
    /// A header that does not verify.
    #[error("The header is refused")]
    Header(#[source] HeaderError),
    /// A header that does not fit the committee's state.
    #[error("The header's {0} does not fit the committee's state")]
    Unfit(&'static str),
    /// No round is open, or its aggregate is in.
    #[error("No open round waits for this")]
    NotWaiting,
    /// A certification.
    #[error("The certification is refused")]
    Certificate(#[source] CertificateError),
    /// An aggregator.
    #[error("The aggregator is refused")]
    Aggregator(#[source] AggregatorError),
    /// More aggregators than a committee deals with.
    #[error("The committee deals with {0} aggregators already")]
    AggregatorsFull(usize),
    /// An aggregate.
    #[error("The aggregate is refused")]
    Aggregate(#[source] AggregateError),
    /// A partial.
    #[error("The partial is refused")]
    Partial(#[source] PartialError),
    /// A record.
    #[error("The record is refused")]
    Record(#[source] RecordError),
    /// A record that is not newer than the head.
    #[error("The record or floor is not ahead of the committee's state")]
    NotAhead,
    /// An aggregator that is out for good.
    #[error("Aggregator {} is struck", .0.short())]
    Struck(PeerKey),
    /// A proof that proves nothing.
    #[error("The proof against an aggregator is refused")]
    Proof(#[source] ProofError),
    /// A proof against somebody else.
    #[error("The proof is against aggregator {}; aggregator {} was accused", .guilty.short(), .accused.short())]
    Accused {
        /// Who was to be struck.
        accused: PeerKey,
        /// Whom the proof is against.
        guilty: PeerKey,
    },
}

impl From<WishError> for Refusal {
    fn from(error: WishError) -> Self {
        match error {
            WishError::Bundle(error) => Self::Bundle(error),
            WishError::Invite(error) => Self::Invite(error),
        }
    }
}

impl Refusal {
    /// A word for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable(_) => "undecodable",
            Self::Unsigned { .. } => "unsigned",
            Self::Unregistered(_) => "unregistered",
            Self::Bundle(_) => "bundle",
            Self::Invite(_) => "invite",
            Self::Stale { .. } => "stale",
            Self::Moved { .. } => "moved",
            Self::SharedKey { .. } => "shared-key",
            Self::Unattested(_) => "unattested",
            Self::Unasked(_) => "unasked",
            Self::Evidence { .. } => "evidence",
            Self::StaleEvidence { .. } => "stale-evidence",
            Self::Clock { .. } => "clock",
            Self::Policy(_) => "policy",
            Self::NoPolicy => "no-policy",
            Self::CommitteeFull(_) => "committee-full",
            Self::ClientsFull(_) => "clients-full",
            Self::Header(_) => "header",
            Self::Unfit(_) => "unfit",
            Self::NotWaiting => "not-waiting",
            Self::Certificate(CertificateError::Repeated { .. })
            | Self::Partial(PartialError::Repeated { .. }) => "repeated",
            Self::Certificate(_) => "certificate",
            Self::Aggregator(_) => "aggregator",
            Self::AggregatorsFull(_) => "aggregators-full",
            Self::Aggregate(_) => "aggregate",
            Self::Partial(PartialError::Commitment { .. }) => "commitment",
            Self::Partial(_) => "partial",
            Self::Record(_) => "record",
            Self::NotAhead => "not-ahead",
            Self::Struck(_) => "struck",
            Self::Proof(_) | Self::Accused { .. } => "proof",
        }
    }
}
