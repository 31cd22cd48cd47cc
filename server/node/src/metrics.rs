//! Metrics, under the names that operators of the reference system know.
//!
//! The exporter puts the label `instance` on every series: a process serves
//! one instance. `mosaik_groups_*` are set here, since mosaik 0.4.2 does not
//! set those three itself.

use core::{net::SocketAddr, time::Duration};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use ::metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use zipnet_attest::Rule;
use zipnet_protocol::{FinalizedRound, InstanceName};

use crate::pace::Occupancy;

/// The exporter could not start.
#[derive(Debug, thiserror::Error)]
#[error("Could not serve metrics on {address}; a free TCP address of this machine would be right")]
pub struct MetricsError {
    address: SocketAddr,
    #[source]
    source: BuildError,
}

/// Serves the process's metrics. Must run inside of a tokio runtime.
///
/// # Errors
/// [`MetricsError`] if the address cannot be bound.
pub fn serve(address: SocketAddr, instance: &InstanceName) -> Result<(), MetricsError> {
    const LATENCY: [f64; 14] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ];
    const ATTEMPTS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 64.0];
    PrometheusBuilder::new()
        .with_http_listener(address)
        .add_global_label("instance", instance.as_str())
        .set_buckets(&LATENCY)
        .and_then(|builder| {
            let attempts = Matcher::Full("zipnet_message_attempts".to_owned());
            builder.set_buckets_for_metric(attempts, &ATTEMPTS)
        })
        .and_then(PrometheusBuilder::install)
        .map_err(|source| MetricsError { address, source })?;
    describe();
    Ok(())
}

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

fn describe_aggregation() {
    describe_gauge!(
        "zipnet_round_envelopes",
        "Envelopes in the newest aggregate of this aggregator"
    );
    describe_gauge!(
        "zipnet_round_registered",
        "Registered clients of the round that it is of"
    );
    describe_counter!(
        "zipnet_audits_total",
        "Rounds that this server looked into at their aggregator, by outcome"
    );
    describe_counter!(
        "zipnet_strikes_total",
        "Faults of aggregators that this server found or learned of, by reason"
    );
    describe_counter!(
        "zipnet_envelopes_total",
        "Envelopes that reached this aggregator, by outcome"
    );
    describe_counter!(
        "zipnet_aggregates_total",
        "Aggregates that this aggregator delivered, by outcome"
    );
}

fn describe_rounds() {
    describe_gauge!(
        "zipnet_backlog_messages",
        "Messages that wait in the whole committee, by estimate from the slots of the last record"
    );
    describe_histogram!(
        "zipnet_message_attempts",
        "Rounds that a message of this process's client was sealed for until it was in a record"
    );
    describe_counter!("zipnet_rounds_finalized_total", "Rounds finalized");
    describe_counter!(
        "zipnet_rounds_force_advanced_total",
        "Rounds given up unfinished"
    );
    describe_counter!(
        "zipnet_partials_submitted_total",
        "Partials of this server that were committed"
    );
    describe_counter!(
        "zipnet_partials_refused_total",
        "Partials that this server did not give, by reason"
    );
    describe_histogram!(
        "zipnet_partial_seconds",
        Unit::Seconds,
        "Time to compute a partial"
    );
    describe_histogram!(
        "zipnet_round_seconds",
        Unit::Seconds,
        "From open to finalized"
    );
    describe_counter!(
        "zipnet_rounds_not_certified_total",
        "Rounds that this server did not stand for, by reason"
    );
    describe_gauge!(
        "zipnet_round_participants",
        "Participants of the last finalized round"
    );
    describe_gauge!(
        "zipnet_round_floor",
        "Fewest distinct peers that the last opened round needs"
    );
    describe_gauge!(
        "zipnet_round_servers",
        "Servers in the roster of the last finalized round"
    );
}

fn describe() {
    describe_rounds();
    describe_aggregation();
    describe_gauge!(
        "mosaik_groups_leader_is_local",
        "1 on the committee's leader, 0 elsewhere"
    );
    describe_gauge!(
        "mosaik_groups_bonds",
        "1 for each committee member that is bonded, 0 for one that is not"
    );
    describe_gauge!(
        "mosaik_groups_committed_index",
        "Index of the last applied command"
    );
    describe_gauge!(
        "zipnet_log_entries",
        "Entries that the replicated log holds in memory"
    );
    describe_counter!(
        "zipnet_commands_refused_total",
        "Committed commands that changed nothing, by reason"
    );
    describe_gauge!("zipnet_client_registry_size", "Registered clients");
    describe_gauge!("zipnet_server_registry_size", "Registered servers");
    describe_gauge!(
        "zipnet_roster_missing",
        "1 for each committee server that is missing"
    );
    describe_gauge!(
        "zipnet_peer_evidence_not_after_seconds",
        "When the evidence of a server ends, seconds since 1970"
    );
    describe_counter!(
        "zipnet_peers_refused_total",
        "Evidence of servers that this process refused, by rule"
    );
    describe_counter!(
        "zipnet_refused_by_peers_total",
        "Times that a server said it refuses this one's evidence, by rule"
    );
    describe_gauge!(
        "zipnet_evidence_left_seconds",
        "How long this server's evidence still holds"
    );
    describe_gauge!("zipnet_policy_serial", "Serial of the policy in force");
    describe_gauge!(
        "zipnet_collateral_days_left",
        "Days until collateral expires, by model of platform"
    );
    describe_counter!(
        "zipnet_server_provisioned_total",
        "Guests that asked this server for the committee secret, by outcome"
    );
    describe_histogram!(
        "zipnet_certificate_seconds",
        Unit::Seconds,
        "From open until every server of the roster stands for the round"
    );
    describe_counter!(
        "zipnet_certificates_late_total",
        "Rounds that were given up before this server stood for them, by server"
    );
    describe_counter!(
        "zipnet_partials_withheld_total",
        "Rounds that were given up although all had committed to their partials, by server that did not give its own"
    );
    describe_counter!(
        "zipnet_slots_total",
        "Slots of finalized rounds, by what they held: message, empty, garbled"
    );
    describe_counter!(
        "zipnet_payload_bytes_total",
        "Payload bytes of this node's calls, by link"
    );
}

pub(crate) fn rounds_force_advanced() {
    counter!("zipnet_rounds_force_advanced_total").increment(1);
}

pub(crate) fn rounds_finalized() {
    counter!("zipnet_rounds_finalized_total").increment(1);
}

pub(crate) fn round_latency(latency: Duration) {
    histogram!("zipnet_round_seconds").record(latency.as_secs_f64());
}

/// What a finalized round came to.
pub(crate) fn round_record(done: &FinalizedRound, seen: &Occupancy) {
    let count = |value: usize| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    gauge!("zipnet_round_participants").set(count(done.participants()));
    gauge!("zipnet_round_servers").set(count(done.servers()));
    for (content, slots) in [
        ("message", seen.messages),
        ("empty", seen.empty),
        ("garbled", seen.garbled()),
    ] {
        counter!("zipnet_slots_total", "content" => content).increment(u64::from(slots));
    }
}

/// Messages that wait in the whole committee, by estimate from the records.
pub(crate) fn backlog(messages: f64) {
    gauge!("zipnet_backlog_messages").set(messages);
}

/// A message of this process's client is in a record.
pub(crate) fn message_landed(attempts: u32) {
    histogram!("zipnet_message_attempts").record(f64::from(attempts));
}

pub(crate) fn round_floor(floor: u32) {
    gauge!("zipnet_round_floor").set(f64::from(floor));
}

pub(crate) fn round_certified(latency: Duration) {
    histogram!("zipnet_certificate_seconds").record(latency.as_secs_f64());
}

pub(crate) fn certificate_late(server: &str) {
    counter!("zipnet_certificates_late_total", "server" => label(server)).increment(1);
}

/// A server committed to its partial of a round that was given up, and did not
/// give it.
pub(crate) fn partial_withheld(server: &str) {
    counter!("zipnet_partials_withheld_total", "server" => label(server)).increment(1);
}

pub(crate) fn command_refused(reason: &'static str) {
    counter!("zipnet_commands_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn partial_computed(time: Duration) {
    histogram!("zipnet_partial_seconds").record(time.as_secs_f64());
}

pub(crate) fn partial_submitted() {
    counter!("zipnet_partials_submitted_total").increment(1);
}

/// A record that this server missed came from another.
pub(crate) fn record_fetched() {
    counter!("zipnet_records_fetched_total").increment(1);
}

pub(crate) fn round_not_certified(reason: &'static str) {
    counter!("zipnet_rounds_not_certified_total", "reason" => reason).increment(1);
}

pub(crate) fn partial_refused(reason: &'static str) {
    counter!("zipnet_partials_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn envelope(outcome: &'static str) {
    counter!("zipnet_envelopes_total", "outcome" => outcome).increment(1);
}

/// How many envelopes an aggregate is of, of how many registered clients.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]
pub(crate) fn folded(envelopes: usize, registered: usize) {
    gauge!("zipnet_round_envelopes").set(envelopes as f64);
    gauge!("zipnet_round_registered").set(registered as f64);
}

/// An audit of an aggregator's round ended.
pub(crate) fn audit(outcome: &'static str) {
    counter!("zipnet_audits_total", "outcome" => outcome).increment(1);
}

/// An aggregator was found at fault.
pub(crate) fn strike(reason: &'static str) {
    counter!("zipnet_strikes_total", "reason" => reason).increment(1);
}

pub(crate) fn aggregate(outcome: &'static str) {
    counter!("zipnet_aggregates_total", "outcome" => outcome).increment(1);
}

/// This process has verified the evidence of a server.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]
pub(crate) fn peer_accepted(peer: &str, not_after: u64) {
    gauge!("zipnet_peer_evidence_not_after_seconds", "peer" => label(peer)).set(not_after as f64);
}

/// This process refuses the evidence of a server.
pub(crate) fn peer_refused(peer: &str, rule: Rule) {
    let peer = label(peer);
    counter!("zipnet_peers_refused_total", "peer" => peer, "rule" => rule.to_string()).increment(1);
}

/// A server refuses this one's evidence, by its word.
pub(crate) fn refused_by_peer(peer: &str, rule: u16) {
    let peer = label(peer);
    counter!("zipnet_refused_by_peers_total", "peer" => peer, "rule" => format!("ZA-{rule}"))
        .increment(1);
}

/// How long this server's evidence still holds.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]
pub(crate) fn evidence_left(not_after: u64, now: u64) {
    gauge!("zipnet_evidence_left_seconds").set(not_after.saturating_sub(now) as f64);
}

/// The serial of the policy in force.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]
pub(crate) fn policy_serial(serial: u64) {
    gauge!("zipnet_policy_serial").set(serial as f64);
}

/// How long collateral is still in force; negative once it has expired.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]
pub(crate) fn collateral_days_left(platforms: &str, days: i64) {
    gauge!("zipnet_collateral_days_left", "platforms" => platforms.to_owned()).set(days as f64);
}

/// A guest asked for the committee secret.
pub(crate) fn provisioned(outcome: &'static str) {
    counter!("zipnet_server_provisioned_total", "outcome" => outcome).increment(1);
}

pub(crate) fn payload(link: &'static str, bytes: usize) {
    counter!("zipnet_payload_bytes_total", "link" => link).increment(bytes as u64);
}

/// What a server's gauges show.
pub(crate) struct ServerGauges {
    pub leader: bool,
    pub committed: u64,
    pub log_entries: u64,
    pub clients: usize,
    pub servers: usize,
    /// Name of every other known member, and whether it is bonded.
    pub bonds: Vec<(String, bool)>,
    /// Name of every known server, and whether it is missing.
    pub missing: Vec<(String, bool)>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]
pub(crate) fn server(gauges: &ServerGauges) {
    gauge!("mosaik_groups_leader_is_local").set(f64::from(u8::from(gauges.leader)));
    gauge!("mosaik_groups_committed_index").set(gauges.committed as f64);
    gauge!("zipnet_log_entries").set(gauges.log_entries as f64);
    gauge!("zipnet_client_registry_size").set(gauges.clients as f64);
    gauge!("zipnet_server_registry_size").set(gauges.servers as f64);
    for (peer, bonded) in &gauges.bonds {
        gauge!("mosaik_groups_bonds", "peer" => peer.clone()).set(f64::from(u8::from(*bonded)));
    }
    for (server, missing) in &gauges.missing {
        gauge!("zipnet_roster_missing", "server" => server.clone())
            .set(f64::from(u8::from(*missing)));
    }
    // Counters that a dashboard should show as 0 rather than as absent.
    counter!("zipnet_rounds_finalized_total").increment(0);
    counter!("zipnet_rounds_force_advanced_total").increment(0);
    counter!("zipnet_partials_submitted_total").increment(0);
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
