//! How a server is, for whoever may open its socket.
//!
//! It shows what is in the log, the metrics and the published records: counts,
//! servers, aggregators. No client is named, and no time is told at which anything
//! of a client came, so that it helps nobody to tell who writes what.

mod socket;
mod text;

use serde::{Deserialize, Serialize};

pub use socket::{AskError, Listening, StatusError, StatusSocket, ask};

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Name of the instance.
    pub instance: String,
    /// The committee key.
    pub committee: String,
    /// Servers that the committee is meant to have, or has.
    pub committee_size: u32,
    /// Fewest servers of a round.
    pub min_servers: usize,
    /// Peer id of this server.
    pub peer: String,
    /// Peer id of the leader, if there is one.
    pub leader: Option<String>,
    /// Why its loops do not all go on.
    pub unhealthy: Vec<String>,
    /// Why it signs no rounds.
    pub not_ready: Vec<Why>,
    /// What the committee waits for now.
    pub waiting_for: String,
    /// The policy in force, in an attested instance.
    pub policy: Option<PolicyStatus>,
    /// The registered servers.
    pub servers: Vec<ServerStatus>,
    /// The registered aggregators.
    pub aggregators: Vec<String>,
    /// The aggregator whose turn is next.
    pub turn: Option<String>,
    /// Its leaves; none if it takes all clients itself.
    pub leaves: Vec<String>,
    /// The aggregators that are out for good.
    pub struck: Vec<String>,
    /// Registered clients.
    pub clients: usize,
    /// The last finalized rounds, the newest first.
    pub rounds: Vec<RoundStatus>,
}

/// A reason, as `/readyz` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What it is about.
    pub reason: String,
    /// In words.
    pub text: String,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its serial.
    pub serial: u64,
    /// When its last image window ends, if it does, seconds since 1970.
    pub ends: Option<u64>,
}

/// A registered server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its peer id.
    pub peer: String,
    /// The short id that the log calls it by.
    pub server: String,
    /// Whether it is bonded with this one, or is this one.
    pub here: bool,
    /// What its evidence came to, in an attested instance.
    pub evidence: Option<EvidenceStatus>,
}

/// What evidence came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceStatus {
    /// It holds.
    Holds {
        /// Until when, seconds since 1970.
        until: u64,
        /// The image that it runs, by the policy.
        image: String,
        /// The shape that it runs in, by the policy.
        shape: String,
        /// How Intel rates its platform.
        tcb: String,
    },
    /// It does not.
    Refused {
        /// By which rule.
        rule: String,
        /// Why.
        because: String,
    },
}

/// A finalized round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundStatus {
    /// Its number.
    pub number: u64,
    /// The start of the record's digest.
    pub record: String,
    /// Servers in its roster.
    pub servers: usize,
    /// Participants.
    pub participants: usize,
    /// Fewest distinct peers that it needed.
    pub floor: u32,
    /// Slots that held a message.
    pub messages: u32,
    /// Slots that held nothing.
    pub empty: u32,
    /// Slots that held something else.
    pub garbled: u32,
}
