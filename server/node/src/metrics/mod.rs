//! Metrics, under the names that operators of the reference system know.
//!
//! [`table`] lists all of them; [`serve`] is the listener, which also says whether the
//! process is well. The exporter puts the label `instance` on every series: a process serves
//! one instance. `mosaik_groups_*` are set here, since mosaik 0.4.2 does not
//! set those three itself.

#![expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]

mod serve;
pub mod table;
#[cfg(test)]
mod table_tests;

use core::time::Duration;
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use ::metrics::{counter, gauge, histogram};
use zipnet_attest::{Edition, Policy, Rule};
use zipnet_door::{Counts, Door};
use zipnet_protocol::FinalizedRound;

pub use self::serve::{MetricsError, serve};
use self::table::names;
use crate::{
    attestation::Standing,
    health::{Code, Reason, Role},
    pace::Occupancy,
};

const DAY: u64 = 24 * 60 * 60;

/// Most peers that have series of their own, as many as a roster can have and
/// those that they replaced. Whoever holds the committee secret can make up any
/// number of servers, and a series is never forgotten.
const MAX_PEERS: usize = 128;

/// The label of a peer: its name, or `other` once there are too many.
fn label(peer: &str) -> String {
    static SHOWN: Labels = Labels::new(MAX_PEERS);
    SHOWN.label(peer)
}

struct Labels {
    shown: Mutex<BTreeSet<String>>,
    most: usize,
}

impl Labels {
    const fn new(most: usize) -> Self {
        Self {
            shown: Mutex::new(BTreeSet::new()),
            most,
        }
    }

    fn label(&self, peer: &str) -> String {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.contains(peer) {
            if shown.len() >= self.most {
                return "other".to_owned();
            }
            shown.insert(peer.to_owned());
        }
        peer.to_owned()
    }
}

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

/// Whether the loops of the process go on, and why it is not ready.
pub(crate) fn health(role: Role, healthy: bool, unready: &[Reason]) {
    gauge!(names::HEALTHY).set(flag(healthy));
    readiness(role, unready);
}

/// Why the process is not ready.
pub(crate) fn readiness(role: Role, unready: &[Reason]) {
    let name = match role {
        Role::Server => names::SERVER_READY,
        Role::Aggregator => names::AGGREGATOR_READY,
        Role::Archive => names::ARCHIVE_READY,
        Role::Client => return,
    };
    gauge!(name).set(flag(unready.is_empty()));
    for code in Code::ALL {
        let stands = unready.iter().any(|reason| reason.code == code);
        gauge!(names::NOT_READY, "reason" => code.word()).set(flag(stands));
    }
}

/// An archive has written a record.
pub fn archive_kept() {
    counter!(names::ARCHIVE_RECORDS).increment(1);
}

/// An archive has answered a request.
pub fn archive_answered(status: u16) {
    counter!(names::ARCHIVE_REQUESTS, "status" => status.to_string()).increment(1);
}

/// How many gaps and subscribers an archive has.
pub fn archive_shelf(gaps: usize, subscribers: usize) {
    gauge!(names::ARCHIVE_GAPS).set(gaps as f64);
    gauge!(names::ARCHIVE_SUBSCRIBERS).set(subscribers as f64);
    // A counter that begins with its first event has not risen, to Prometheus.
    counter!(names::ARCHIVE_RECORDS).increment(0);
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
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

/// A message of this process's client is in a record.
pub(crate) fn message_landed(attempts: u32) {
    histogram!(names::MESSAGE_ATTEMPTS).record(f64::from(attempts));
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

/// This process has verified the evidence of a server.
pub(crate) fn peer_accepted(peer: &str, not_after: u64) {
    gauge!(names::PEER_EVIDENCE, "peer" => label(peer)).set(not_after as f64);
}

/// This process refuses the evidence of a server.
pub(crate) fn peer_refused(peer: &str, rule: Rule) {
    let peer = label(peer);
    counter!(names::PEERS_REFUSED_TOTAL, "peer" => peer, "rule" => rule.to_string()).increment(1);
}

/// A server refuses this one's evidence, by its word.
pub(crate) fn refused_by_peer(peer: &str, rule: u16) {
    let peer = label(peer);
    counter!(names::REFUSED_BY_PEERS, "peer" => peer, "rule" => format!("ZA-{rule}")).increment(1);
}

/// When collateral is too old to be judged by, whatever comes first: its end, or the
/// policy's bound on its age.
pub(crate) fn collateral(platforms: &str, edition: &Edition, policy: &Policy, now: u64) {
    let age = u64::from(policy.tcb.max_collateral_age_days).saturating_mul(DAY);
    let oldest = edition.tcb_info.min(edition.qe_identity);
    let end = edition.expires.min(oldest.saturating_add(age));
    let left = left(Some(end), now);
    let platforms = platforms.to_owned();
    gauge!(names::COLLATERAL_DAYS, "platforms" => platforms.clone())
        .set((left / DAY as f64).floor());
    gauge!(names::COLLATERAL_LEFT, "platforms" => platforms).set(left);
}

/// The policy in force, and until when it accepts anybody.
pub(crate) fn policy(policy: &Policy, now: u64) {
    gauge!(names::POLICY_SERIAL).set(policy.serial as f64);
    gauge!(names::POLICY_LEFT).set(left(policy.ends(), now));
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

/// Seconds until `end`, negative behind it; infinite without one.
fn left(end: Option<u64>, now: u64) -> f64 {
    end.map_or(f64::INFINITY, |end| {
        if end >= now {
            (end - now) as f64
        } else {
            -((now - end) as f64)
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a18_made_up_peers_do_not_make_series_without_end() {
        let labels = Labels::new(3);
        let shown: BTreeSet<_> = (0..1_000)
            .map(|peer| labels.label(&peer.to_string()))
            .collect();
        assert_eq!(shown.len(), 4);
        assert!(shown.contains("other"));
        assert_eq!(labels.label("1"), "1", "who was shown stays shown");
    }
}
