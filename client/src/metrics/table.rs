//! Every metric that a zipnet process shows, in one table.
//!
//! The exporter shows no other: what a library below adds one day is looked at, for
//! what it tells to whom, before it goes out. `docs/operator/metrics.md` holds the
//! same rows, and a test compares the two.

use Kind::{Counter, Gauge, Histogram};

/// What Prometheus takes a metric for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size; its series end in `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as it is exported.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels besides `instance`, which all have.
    pub labels: &'static [&'static str],
    /// Which processes have it.
    pub by: &'static str,
    /// What it tells.
    pub meaning: &'static str,
    /// What is to be seen when all is well.
    pub healthy: &'static str,
}

/// The metric of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    TABLE.iter().find(|metric| metric.name == name)
}

/// A row of ours is a name in [`names`] and an entry of [`TABLE`]: one that nothing sets
/// is found by a test (`table_tests`), and one that is set and not in the table does not compile.
macro_rules! table {
    (ours { $($ident:ident = $name:literal, $kind:ident [$($label:literal),*] $by:literal, $meaning:literal, $healthy:literal;)* }
     mosaik { $($theirs:literal, $their_kind:ident [$($their_label:literal),*] $their_by:literal, $their_meaning:literal, $their_healthy:literal;)* }) => {
        /// The names that [`super`] sets.
        pub mod names {
            $(#[doc = $meaning]
            pub const $ident: &str = $name;)*
        }
        /// All metrics: this crate's, then mosaik's.
        pub const TABLE: &[Metric] = &[
            $(Metric { name: $name, kind: $kind, labels: &[$($label),*], by: $by, meaning: $meaning, healthy: $healthy },)*
            $(Metric { name: $theirs, kind: $their_kind, labels: &[$($their_label),*], by: $their_by, meaning: $their_meaning, healthy: $their_healthy },)*
        ];
    };
}

table! {
ours {
    // Whether it is well.
    HEALTHY = "zipnet_healthy", Gauge [] "server, aggregator, archive",
        "1 while every loop of the process goes on, as `/healthz` says", "1";
    SERVER_READY = "zipnet_server_ready", Gauge [] "server",
        "1 while this server signs rounds, as `/readyz` says", "1";
    AGGREGATOR_READY = "zipnet_aggregator_ready", Gauge [] "aggregator",
        "1 while this aggregator can fold, as `/readyz` says", "1";
    ARCHIVE_READY = "zipnet_archive_ready", Gauge [] "archive",
        "1 while this archive follows rounds and writes them, as `/readyz` says", "1";
    NOT_READY = "zipnet_not_ready", Gauge ["reason"] "server, aggregator, archive",
        "1 for each reason for which it is not ready; the reasons are in [monitoring](monitoring.md#ready)", "0 everywhere";
    // The door.
    DOOR_CONNECTIONS = "zipnet_door_connections", Gauge ["who"] "server, aggregator",
        "Connections at the door: of those who are `known` (registered, or named), of `stranger`s, and in a `handshake`", "`known` at two servers for each client, strangers few";
    DOOR_PLACES = "zipnet_door_places", Gauge ["who"] "server, aggregator",
        "Most connections of each kind", "far above the connections";
    DOOR_EVENTS = "zipnet_door_events_total", Counter ["what"] "server, aggregator",
        "What became of those who came to the door: `accepted`, or asked first to prove their address (`challenged`), turned away since all places were taken (`full`), `failed` in the handshake, strangers that made room or asked nothing (`displaced`), `cut` for what is no frame or since they did not read", "`accepted` rises when clients come; the others do not, but `challenged`";
    // The group.
    LEADER = "mosaik_groups_leader_is_local", Gauge [] "server",
        "1 on the committee's leader, 0 elsewhere", "1 on exactly one server";
    BONDS = "mosaik_groups_bonds", Gauge ["peer"] "server",
        "1 for each committee member that is bonded, 0 for one that is not", "1 for every other server";
    COMMITTED = "mosaik_groups_committed_index", Gauge [] "server",
        "Index of the last applied command", "rises with every round, within 5 on all servers";
    LOG_ENTRIES = "zipnet_log_entries", Gauge [] "server",
        "Entries that the replicated log holds in memory", "a handful: the log is pruned";
    COMMITTEE_SIZE = "zipnet_committee_size", Gauge [] "server",
        "Servers that the committee is meant to have, or has", "as many as you run";
    SERVERS = "zipnet_server_registry_size", Gauge [] "server",
        "Registered servers", "as many as you run";
    CLIENTS = "zipnet_client_registry_size", Gauge [] "server",
        "Registered clients", "as many as take part";
    ROSTER_MISSING = "zipnet_roster_missing", Gauge ["server"] "server",
        "1 for each committee server that is missing", "0 everywhere";
    COMMANDS_REFUSED = "zipnet_commands_refused_total", Counter ["reason"] "server",
        "Committed commands that changed nothing, by reason", "does not rise";
    DIVERGED = "zipnet_diverged_total", Counter ["what"] "server",
        "Times that this server found the leader's state or records to differ from its own", "does not rise";
    // Rounds.
    ROUNDS_FINALIZED = "zipnet_rounds_finalized_total", Counter [] "server",
        "Rounds finalized", "one for each round period";
    ROUNDS_GIVEN_UP = "zipnet_rounds_force_advanced_total", Counter [] "server",
        "Rounds given up unfinished", "does not rise";
    FLOOR_NOT_MET = "zipnet_floor_not_met_total", Counter [] "server",
        "Of those, rounds for which every server stood and no aggregate of enough participants came", "does not rise";
    ROUND_AGE = "zipnet_round_age_seconds", Gauge [] "server",
        "Time since the last round was finalized here, or since the start", "below three periods and one deadline";
    ROUND_PERIOD = "zipnet_round_period_seconds", Gauge [] "server",
        "`ZIPNET_ROUND_PERIOD`", "the same on all servers";
    ROUND_DEADLINE = "zipnet_round_deadline_seconds", Gauge [] "server",
        "`ZIPNET_ROUND_DEADLINE`", "the same on all servers";
    ROUND_PARTICIPANTS = "zipnet_round_participants", Gauge [] "server",
        "Participants of the last finalized round", "near the number of clients, above the floor";
    ROUND_FLOOR = "zipnet_round_floor", Gauge [] "server",
        "Fewest distinct peers that the last opened round needs", "below the participants";
    ROUND_SERVERS = "zipnet_round_servers", Gauge [] "server",
        "Servers in the roster of the last finalized round", "as many as you run";
    ROUND_SECONDS = "zipnet_round_seconds", Histogram [] "server",
        "From open to finalized", "below the period";
    CERTIFICATE_SECONDS = "zipnet_certificate_seconds", Histogram [] "server",
        "From open until every server of the roster stands for the round", "some milliseconds";
    PARTIAL_SECONDS = "zipnet_partial_seconds", Histogram [] "server",
        "Time to compute a partial", "some milliseconds";
    PARTIALS_SUBMITTED = "zipnet_partials_submitted_total", Counter [] "server",
        "Partials of this server that were committed", "one for each round";
    RECORDS_FETCHED = "zipnet_records_fetched_total", Counter [] "server",
        "Records that this server missed and got from another", "rises after it was away";
    PARTIALS_REFUSED = "zipnet_partials_refused_total", Counter ["reason"] "server",
        "Partials that this server did not give, by reason", "does not rise";
    NOT_CERTIFIED = "zipnet_rounds_not_certified_total", Counter ["reason"] "server",
        "Rounds that this server did not stand for, by reason", "does not rise";
    CERTIFICATES_LATE = "zipnet_certificates_late_total", Counter ["server"] "server",
        "Rounds that were given up before that server stood for them", "does not rise";
    PARTIALS_WITHHELD = "zipnet_partials_withheld_total", Counter ["server"] "server",
        "Rounds that were given up although all had committed to their partials, by server that did not give its own",
        "0; once may be a crash. One server again and again learns broadcasts that nobody else sees";
    SLOTS = "zipnet_slots_total", Counter ["content"] "server",
        "Slots of finalized rounds by what they held: `message`, `empty`, `garbled`", "`garbled` is what collides or is jammed";
    BACKLOG = "zipnet_backlog_messages", Gauge [] "server",
        "Messages that wait in the whole committee, by estimate from the slots of the last record", "falls to 0";
    // Evidence.
    POLICY_SERIAL = "zipnet_policy_serial", Gauge [] "server, aggregator, client",
        "Serial of the policy in force", "the same everywhere";
    POLICY_LEFT = "zipnet_policy_left_seconds", Gauge [] "server, aggregator, client",
        "Time until the last image window of the policy ends, after which nobody is accepted; `+Inf` without an end", "above 7 days";
    IMAGE_LEFT = "zipnet_image_left_seconds", Gauge ["image"] "server",
        "Time until the policy's window of the image that this server runs ends; `+Inf` without an end", "above 7 days";
    EVIDENCE_LEFT = "zipnet_evidence_left_seconds", Gauge [] "server",
        "How long this server's evidence still holds", "above half of its lifetime, at which it is renewed";
    EVIDENCE_LIFETIME = "zipnet_evidence_lifetime_seconds", Gauge [] "server",
        "How long it held when it was made", "the same on all servers";
    PEER_EVIDENCE = "zipnet_peer_evidence_not_after_seconds", Gauge ["peer"] "server, aggregator, client",
        "When the evidence of a server ends, in seconds since 1970", "in the future";
    COLLATERAL_DAYS = "zipnet_collateral_days_left", Gauge ["platforms"] "server, aggregator, client",
        "Whole days until collateral expires, by model of platform", "above 7";
    COLLATERAL_LEFT = "zipnet_collateral_left_seconds", Gauge ["platforms"] "server, aggregator, client",
        "Time until collateral expires, by model of platform; negative once it has", "above 7 days";
    PEERS_REFUSED = "zipnet_peers_refused", Gauge [] "server",
        "Registered servers whose evidence does not hold here now", "0";
    PEERS_REFUSED_TOTAL = "zipnet_peers_refused_total", Counter ["peer", "rule"] "server, aggregator, client",
        "Times that this process refused the evidence of a server, by rule", "does not rise";
    REFUSED_BY_PEERS = "zipnet_refused_by_peers_total", Counter ["peer", "rule"] "server",
        "Times that a server said it refuses this one's evidence, by rule", "does not rise";
    PROVISIONED = "zipnet_server_provisioned_total", Counter ["outcome"] "server",
        "Guests that asked this server for the committee secret, by outcome", "rises when a guest starts";
    // Aggregation.
    STRUCK = "zipnet_aggregators_struck", Gauge [] "server",
        "Aggregators that the committee has struck", "0";
    STRIKES = "zipnet_strikes_total", Counter ["reason"] "server",
        "Faults of aggregators that this server found or learned of, by reason", "does not rise";
    AUDITS = "zipnet_audits_total", Counter ["outcome"] "server",
        "Rounds that this server looked into at their aggregator, by outcome", "`clean` and `skipped` alone rise";
    ROUND_ENVELOPES = "zipnet_round_envelopes", Gauge [] "aggregator",
        "Envelopes in the newest aggregate of this aggregator", "near the number of registered clients";
    ROUND_REGISTERED = "zipnet_round_registered", Gauge [] "aggregator",
        "Registered clients of the round that it is of", "as many as take part";
    REGISTRIES = "zipnet_registries_fetched_total", Counter ["how"] "aggregator",
        "Client registries that this aggregator fetched: by their `changes`, or the `whole`", "`changes` alone rises when clients come and go";
    ENVELOPES = "zipnet_envelopes_total", Counter ["outcome"] "aggregator",
        "Envelopes that reached this aggregator, by outcome", "`folded` alone rises";
    AGGREGATES = "zipnet_aggregates_total", Counter ["outcome"] "aggregator",
        "Aggregates that this aggregator delivered, by outcome", "`failed` does not rise";
    // Archives.
    ARCHIVE_RECORDS = "zipnet_archive_records_total", Counter [] "archive",
        "Records that this archive has written", "one for each round";
    ARCHIVE_GAPS = "zipnet_archive_gaps", Gauge [] "archive",
        "Places in the chain where records are missing, those that no server has any more included", "does not rise";
    ARCHIVE_SUBSCRIBERS = "zipnet_archive_subscribers", Gauge [] "archive",
        "Connections that listen to events", "below half of `ZIPNET_ARCHIVE_CONNECTIONS`";
    ARCHIVE_REQUESTS = "zipnet_archive_requests_total", Counter ["status"] "archive",
        "Requests that were answered, by status", "`502` does not rise";
    // Traffic.
    MESSAGE_ATTEMPTS = "zipnet_message_attempts", Histogram [] "client",
        "Rounds that a message of this process's client was sealed for until it was in a record", "1 or 2 mostly";
    PAYLOAD_BYTES = "zipnet_payload_bytes_total", Counter ["link"] "server, aggregator",
        "Bytes that this process moved, by link: of vectors, and to followers of whole answers", "in proportion to the rounds";
}
mosaik {
    "mosaik_groups_active", Gauge ["network"] "server",
        "Groups that the process is in", "1";
    "mosaik_groups_bonds_active", Gauge ["network", "group"] "server",
        "Members that are bonded, by mosaik's own count", "as many as there are other servers";
    "mosaik_groups_bonds_bytes_received", Counter ["network", "group"] "server",
        "Bytes from bonded members", "in proportion to the rounds";
    "mosaik_groups_bonds_bytes_sent", Counter ["network", "group"] "server",
        "Bytes to bonded members", "in proportion to the rounds";
    "mosaik_groups_bonds_messages_received", Counter ["network", "group"] "server",
        "Messages from bonded members", "rises: there are heartbeats";
    "mosaik_groups_bonds_messages_sent", Counter ["network", "group"] "server",
        "Messages to bonded members", "rises: there are heartbeats";
    "mosaik_groups_raft_committed", Gauge ["network", "group"] "server",
        "Index of the last committed entry, by mosaik's own count", "rises with every round";
    "mosaik_groups_raft_committee_non_voters", Gauge ["network", "group"] "server, while it leads",
        "Members that are being brought up to date", "0";
    "mosaik_groups_raft_committee_size", Gauge ["network", "group"] "server, while it leads",
        "Members of the group", "as many as you run";
    "mosaik_groups_raft_committee_voters", Gauge ["network", "group"] "server, while it leads",
        "Members that vote", "as many as you run";
    "mosaik_groups_raft_elections", Counter ["network", "group"] "server",
        "Elections that this server began", "does not rise";
    "mosaik_groups_raft_leader_changes", Counter ["network", "group"] "server",
        "Times that the leader changed", "does not rise";
    "mosaik_discovery_catalog_size", Gauge ["network"] "server",
        "Peers that are known", "as many as there are nodes";
    "mosaik_discovery_catalog_syncs", Counter ["network"] "server",
        "Catalogs compared with peers", "rises now and then";
    "mosaik_discovery_gossip_neighbors", Gauge ["network"] "server",
        "Peers that gossip with this one", "above 0";
    "mosaik_discovery_peers_departed", Counter ["network"] "server",
        "Peers that said goodbye", "rises when nodes end";
    "mosaik_discovery_peers_updated", Counter ["network"] "server",
        "Peers that said something new of themselves", "rises now and then";
    "mosaik_functions_calls_accepted", Counter ["network"] "server",
        "Calls of others that were taken", "rises with every round";
    "mosaik_functions_calls_completed", Counter ["network"] "server",
        "Calls of others that were answered", "as `accepted`";
    "mosaik_functions_calls_failed", Counter ["network"] "server",
        "Calls of others that were cut off or refused", "rises when callers leave";
    "mosaik_functions_calls_inflight", Gauge ["network"] "server",
        "Calls of others that are being answered", "near the number of nodes: followers wait in them";
    "mosaik_functions_calls_rejected", Counter ["network"] "server",
        "Calls of others that were not taken", "does not rise";
    "mosaik_functions_handlers_active", Gauge ["network"] "server",
        "Calls that the process answers, by kind", "does not change";
    "mosaik_network_connections_opened", Counter [] "server",
        "Connections opened", "rises with every round";
    "mosaik_network_egress_bytes", Counter [] "server",
        "Bytes sent", "in proportion to the rounds";
    "mosaik_network_ingress_bytes", Counter [] "server",
        "Bytes received", "in proportion to the rounds";
}
}
