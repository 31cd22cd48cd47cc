//! Metrics, under the names that operators of the reference system know.
//!
//! [`table`] lists all of them; `zipnet_cli::metrics` is the listener. The exporter
//! puts the label `instance` on every series: a process serves one instance. What only
//! servers and aggregators have is set in `zipnet_node::metrics`.

#![expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; what is lost is beyond 2^53"
)]

pub mod table;
#[cfg(test)]
mod table_tests;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use ::metrics::{counter, gauge, histogram};
use zipnet_attest::{Edition, Policy, Rule};

use self::table::names;
use crate::health::{Code, Reason, Role};

const DAY: u64 = 24 * 60 * 60;

/// Most peers that have series of their own, as many as a roster can have and
/// those that they replaced. Whoever holds the committee secret can make up any
/// number of servers, and a series is never forgotten.
const MAX_PEERS: usize = 128;

/// The label of a peer: its name, or `other` once there are too many.
#[must_use]
pub fn label(peer: &str) -> String {
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

/// Whether something is, as a gauge shows it.
#[must_use]
pub fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// A message of this process's client is in a record.
pub(crate) fn message_landed(attempts: u32) {
    histogram!(names::MESSAGE_ATTEMPTS).record(f64::from(attempts));
}

/// This process has verified the evidence of a server.
pub(crate) fn peer_accepted(peer: &str, not_after: u64) {
    gauge!(names::PEER_EVIDENCE, "peer" => label(peer)).set(not_after as f64);
}

/// This process refuses the evidence of a server.
pub fn peer_refused(peer: &str, rule: Rule) {
    let peer = label(peer);
    counter!(names::PEERS_REFUSED_TOTAL, "peer" => peer, "rule" => rule.to_string()).increment(1);
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

/// Seconds until `end`, negative behind it; infinite without one.
#[must_use]
pub fn left(end: Option<u64>, now: u64) -> f64 {
    end.map_or(f64::INFINITY, |end| {
        if end >= now {
            (end - now) as f64
        } else {
            -((now - end) as f64)
        }
    })
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
