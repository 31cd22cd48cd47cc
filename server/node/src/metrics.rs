//! The metrics of servers and aggregators; those that others have too, and the table of
//! all, are in [`zipnet::metrics`].
//!
//! `mosaik_groups_*` are set here, since mosaik 0.4.2 does not set those three itself.

#![expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]

use core::time::Duration;

use ::metrics::{counter, gauge, histogram};
use zipnet::metrics::{flag, label, left, table::names};
pub use zipnet::metrics::{peer_refused, table};
use zipnet_attest::Policy;
use zipnet_door::{Counts, Door};
use zipnet_protocol::FinalizedRound;

use crate::{attestation::Standing, pace::Occupancy};

pub(crate) fn rounds_force_advanced() {
    counter!(names::ROUNDS_GIVEN_UP).increment(1);
}

pub(crate) fn rounds_finalized() {
    counter!(names::ROUNDS_FINALIZED).increment(1);
}

pub(crate) fn round_latency(latency: Duration) {
    histogram!(names::ROUND_SECONDS).record(latency.as_secs_f64());
}

/// Every server stood for a round, and no aggregate of enough participants came.
pub(crate) fn floor_not_met() {
    counter!(names::FLOOR_NOT_MET).increment(1);
}

/// What can be found to differ: the guard's words, and what else there is.
const DIVERGENCES: [&str; 8] = [
    "predecessor",
    "client registry",
    "number of clients",
    "participation floor",
    "aggregator",
    STATE,
    HISTORY,
    RECORD,
];
/// The leader's state, by what it sends.
pub(crate) const STATE: &str = "state";
/// A history that the committee's log had lost.
pub(crate) const HISTORY: &str = "history";
/// A record that this server holds and the committee has lost.
pub(crate) const RECORD: &str = "record";

/// What the leader holds, or opens rounds on, is not what this server holds.
pub(crate) fn diverged(what: &'static str) {
    counter!(names::DIVERGED, "what" => what).increment(1);
}

/// What a finalized round came to.
pub(crate) fn round_record(done: &FinalizedRound, seen: &Occupancy) {
    let count = |value: usize| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    gauge!(names::ROUND_PARTICIPANTS).set(count(done.participants()));
    gauge!(names::ROUND_SERVERS).set(count(done.servers()));
    for (content, slots) in [
        ("message", seen.messages),
        ("empty", seen.empty),
        ("garbled", seen.garbled()),
    ] {
        counter!(names::SLOTS, "content" => content).increment(u64::from(slots));
    }
}

/// Messages that wait in the whole committee, by estimate from the records.
pub(crate) fn backlog(messages: f64) {
    gauge!(names::BACKLOG).set(messages);
}

pub(crate) fn round_floor(floor: u32) {
    gauge!(names::ROUND_FLOOR).set(f64::from(floor));
}

pub(crate) fn round_certified(latency: Duration) {
    histogram!(names::CERTIFICATE_SECONDS).record(latency.as_secs_f64());
}

pub(crate) fn certificate_late(server: &str) {
    counter!(names::CERTIFICATES_LATE, "server" => label(server)).increment(1);
}

/// A server committed to its partial of a round that was given up, and did not
/// give it.
pub(crate) fn partial_withheld(server: &str) {
    counter!(names::PARTIALS_WITHHELD, "server" => label(server)).increment(1);
}

pub(crate) fn command_refused(reason: &'static str) {
    counter!(names::COMMANDS_REFUSED, "reason" => reason).increment(1);
}

pub(crate) fn partial_computed(time: Duration) {
    histogram!(names::PARTIAL_SECONDS).record(time.as_secs_f64());
}

pub(crate) fn partial_submitted() {
    counter!(names::PARTIALS_SUBMITTED).increment(1);
}

/// A record that this server missed came from another.
pub(crate) fn record_fetched() {
    counter!(names::RECORDS_FETCHED).increment(1);
}

pub(crate) fn round_not_certified(reason: &'static str) {
    counter!(names::NOT_CERTIFIED, "reason" => reason).increment(1);
}

pub(crate) fn partial_refused(reason: &'static str) {
    counter!(names::PARTIALS_REFUSED, "reason" => reason).increment(1);
}

pub(crate) fn envelope(outcome: &'static str) {
    counter!(names::ENVELOPES, "outcome" => outcome).increment(1);
}

/// How many envelopes an aggregate is of, of how many registered clients.
pub(crate) fn folded(envelopes: usize, registered: usize) {
    gauge!(names::ROUND_ENVELOPES).set(envelopes as f64);
    gauge!(names::ROUND_REGISTERED).set(registered as f64);
}

/// An aggregator has fetched a client registry.
pub(crate) fn registry_fetched(how: &'static str) {
    counter!(names::REGISTRIES, "how" => how).increment(1);
}

/// An audit of an aggregator's round ended.
pub(crate) fn audit(outcome: &'static str) {
    counter!(names::AUDITS, "outcome" => outcome).increment(1);
}

/// An aggregator was found at fault.
pub(crate) fn strike(reason: &'static str) {
    counter!(names::STRIKES, "reason" => reason).increment(1);
}

pub(crate) fn aggregate(outcome: &'static str) {
    counter!(names::AGGREGATES, "outcome" => outcome).increment(1);
}

/// A server refuses this one's evidence, by its word.
pub(crate) fn refused_by_peer(peer: &str, rule: u16) {
    let peer = label(peer);
    counter!(names::REFUSED_BY_PEERS, "peer" => peer, "rule" => format!("ZA-{rule}")).increment(1);
}

/// How long this server's evidence still holds, and the policy accepts its image.
pub(crate) fn own_evidence(standing: &Standing, policy: &Policy, now: u64) {
    gauge!(names::EVIDENCE_LEFT).set(standing.not_after.saturating_sub(now) as f64);
    let whole = standing.not_after.saturating_sub(standing.at);
    gauge!(names::EVIDENCE_LIFETIME).set(whole as f64);
    let image = standing.image.clone();
    let ends = left(policy.image_ends(&standing.image), now);
    gauge!(names::IMAGE_LEFT, "image" => image).set(ends);
}

/// A guest asked for the committee secret.
pub(crate) fn provisioned(outcome: &'static str) {
    counter!(names::PROVISIONED, "outcome" => outcome).increment(1);
}

pub(crate) fn payload(link: &'static str, bytes: usize) {
    counter!(names::PAYLOAD_BYTES, "link" => link).increment(bytes as u64);
}

/// What a door holds, and what it has done.
pub(crate) fn door(door: &Door) {
    let (handshakes, strangers, known) = door.connections();
    let limits = door.limits();
    for (who, held, places) in [
        ("handshake", handshakes, limits.handshakes),
        ("stranger", strangers, limits.strangers),
        ("known", known, limits.known),
    ] {
        gauge!(names::DOOR_CONNECTIONS, "who" => who).set(held as f64);
        gauge!(names::DOOR_PLACES, "who" => who).set(places as f64);
    }
    let counts = door.counts();
    for (what, counter) in [
        ("accepted", &counts.accepted),
        ("challenged", &counts.challenged),
        ("full", &counts.full),
        ("failed", &counts.failed),
        ("displaced", &counts.displaced),
        ("cut", &counts.cut),
    ] {
        counter!(names::DOOR_EVENTS, "what" => what).absolute(Counts::value(counter));
    }
}

/// What a server's gauges show.
pub(crate) struct ServerGauges {
    pub leader: bool,
    pub committed: u64,
    pub log_entries: u64,
    pub clients: usize,
    pub servers: usize,
    pub committee_size: u32,
    pub struck: usize,
    /// Registered servers whose evidence does not hold here.
    pub refused: usize,
    /// Since the last round was finalized.
    pub round_age: Duration,
    pub period: Duration,
    pub deadline: Duration,
    /// Name of every other known member, and whether it is bonded.
    pub bonds: Vec<(String, bool)>,
    /// Name of every known server, and whether it is missing.
    pub missing: Vec<(String, bool)>,
}

pub(crate) fn server(gauges: &ServerGauges) {
    gauge!(names::LEADER).set(flag(gauges.leader));
    gauge!(names::COMMITTED).set(gauges.committed as f64);
    gauge!(names::LOG_ENTRIES).set(gauges.log_entries as f64);
    gauge!(names::CLIENTS).set(gauges.clients as f64);
    gauge!(names::SERVERS).set(gauges.servers as f64);
    gauge!(names::COMMITTEE_SIZE).set(f64::from(gauges.committee_size));
    gauge!(names::STRUCK).set(gauges.struck as f64);
    gauge!(names::PEERS_REFUSED).set(gauges.refused as f64);
    gauge!(names::ROUND_AGE).set(gauges.round_age.as_secs_f64());
    gauge!(names::ROUND_PERIOD).set(gauges.period.as_secs_f64());
    gauge!(names::ROUND_DEADLINE).set(gauges.deadline.as_secs_f64());
    for (peer, bonded) in &gauges.bonds {
        gauge!(names::BONDS, "peer" => peer.clone()).set(flag(*bonded));
    }
    for (server, missing) in &gauges.missing {
        gauge!(names::ROSTER_MISSING, "server" => server.clone()).set(flag(*missing));
        // A counter that begins with its first event has not risen, to Prometheus.
        counter!(names::PARTIALS_WITHHELD, "server" => label(server)).increment(0);
        counter!(names::CERTIFICATES_LATE, "server" => label(server)).increment(0);
    }
    for counted in [
        names::ROUNDS_FINALIZED,
        names::ROUNDS_GIVEN_UP,
        names::PARTIALS_SUBMITTED,
        names::FLOOR_NOT_MET,
    ] {
        counter!(counted).increment(0);
    }
    for what in DIVERGENCES {
        counter!(names::DIVERGED, "what" => what).increment(0);
    }
}
