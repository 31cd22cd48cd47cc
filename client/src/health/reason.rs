//! Reasons for not being ready.

use core::fmt;

/// What a reason is about: a word for metrics and machines, of a short list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// It has not joined the network yet.
    Starting,
    /// It was asked to end.
    Leaving,
    /// What looks at all this has stopped.
    Stalled,
    /// No committee is known.
    Committee,
    /// Nobody leads the committee.
    Leader,
    /// Too few servers are bonded.
    Majority,
    /// Servers have not registered.
    Roster,
    /// Registered servers that rounds need are away.
    Away,
    /// The evidence of other servers does not hold here.
    PeersRefused,
    /// This server's own evidence is missing, or has ended, or is not listed.
    Evidence,
    /// The policy in force accepts no image any more.
    Policy,
    /// This server is not registered.
    Unlisted,
    /// No aggregator is registered, or this one is not listed.
    Aggregator,
    /// Too few clients are registered.
    Clients,
    /// No round was finalized, or followed, for too long.
    Round,
    /// The last round was made without this server.
    LeftOut,
    /// A record could not be written.
    Store,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Starting,
        Self::Leaving,
        Self::Stalled,
        Self::Committee,
        Self::Leader,
        Self::Majority,
        Self::Roster,
        Self::Away,
        Self::PeersRefused,
        Self::Evidence,
        Self::Policy,
        Self::Unlisted,
        Self::Aggregator,
        Self::Clients,
        Self::Round,
        Self::LeftOut,
        Self::Store,
    ];

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Leaving => "leaving",
            Self::Stalled => "stalled",
            Self::Committee => "committee",
            Self::Leader => "leader",
            Self::Majority => "majority",
            Self::Roster => "roster",
            Self::Away => "away",
            Self::PeersRefused => "peers-refused",
            Self::Evidence => "evidence",
            Self::Policy => "policy",
            Self::Unlisted => "unlisted",
            Self::Aggregator => "aggregator",
            Self::Clients => "clients",
            Self::Round => "round",
            Self::LeftOut => "left-out",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a process is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What it is about.
    pub code: Code,
    /// In words.
    pub text: String,
}

impl Reason {
    /// A reason.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}
