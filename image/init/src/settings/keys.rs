//! Every key that a configuration may have, and those that it must not have.

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The server's own variable; it judges the value.
    Server,
    /// A setting of the guest itself.
    Guest,
    /// A secret: the host reads the configuration.
    Secret,
    /// A place in the guest, which this program sets for the server.
    Fixed,
}

use Meaning::{Fixed, Guest, Secret, Server};

/// The vocabulary.
const KEYS: &[(&str, Meaning)] = &[
    ("GUEST_ADDRESS", Guest),
    ("GUEST_DNS", Guest),
    ("GUEST_GATEWAY", Guest),
    ("GUEST_HOSTNAME", Guest),
    ("GUEST_EVENT_LOG", Guest),
    ("GUEST_INVENTORY", Guest),
    ("GUEST_PROVISION", Guest),
    ("GUEST_PROVISION_FROM", Guest),
    ("GUEST_PROVISION_KEY", Guest),
    ("GUEST_PROVISION_TIMEOUT", Guest),
    ("ZIPNET_AGGREGATORS", Server),
    ("ZIPNET_ATTESTATION", Server),
    ("ZIPNET_BIND", Server),
    ("ZIPNET_BOOTSTRAP", Server),
    ("ZIPNET_CLIENTS", Server),
    ("ZIPNET_CLIENTS_PER_PEER", Server),
    ("ZIPNET_LEAVES", Server),
    ("ZIPNET_COLLATERAL", Server),
    ("ZIPNET_COLLATERAL_REFRESH", Server),
    ("ZIPNET_COMMITTEE_SECRET", Secret),
    ("ZIPNET_COMMITTEE_SECRET_FILE", Secret),
    ("ZIPNET_COMMITTEE_SIZE", Server),
    ("ZIPNET_CONFIG", Fixed),
    ("ZIPNET_DOOR_ADDRESS", Server),
    ("ZIPNET_DOOR_EACH_ADDRESS", Server),
    ("ZIPNET_DOOR_KNOWN", Server),
    ("ZIPNET_DOOR_STRANGERS", Server),
    ("ZIPNET_EVIDENCE_LIFETIME", Server),
    ("ZIPNET_INSTANCE", Server),
    ("ZIPNET_LOG_FORMAT", Server),
    ("ZIPNET_MEMBER_ADDRESS", Server),
    ("ZIPNET_MEMBER_BIND", Server),
    ("ZIPNET_METRICS", Server),
    ("ZIPNET_MIN_PARTICIPANTS", Server),
    ("ZIPNET_MIN_SERVERS", Server),
    ("ZIPNET_POLICY", Fixed),
    ("ZIPNET_POLICY_KEYS", Server),
    ("ZIPNET_POLICY_THRESHOLD", Server),
    ("ZIPNET_PROVISION_LISTEN", Server),
    ("ZIPNET_RELAY", Server),
    ("ZIPNET_RETAIN_BYTES", Server),
    ("ZIPNET_RETAIN_ROUNDS", Server),
    ("ZIPNET_ROUND_DEADLINE", Server),
    ("ZIPNET_ROUND_PERIOD", Server),
    ("ZIPNET_SECRET", Secret),
    ("ZIPNET_SECRET_FILE", Secret),
    #[cfg(feature = "simulation")]
    ("ZIPNET_SIMULATION_ISSUED", Server),
    #[cfg(feature = "simulation")]
    ("ZIPNET_SIMULATION_PLATFORM", Server),
    #[cfg(feature = "simulation")]
    ("ZIPNET_SIMULATION_SEED", Server),
    #[cfg(feature = "simulation")]
    ("ZIPNET_SIMULATION_TD", Server),
    ("ZIPNET_SLOTS", Server),
    ("ZIPNET_SLOT_BYTES", Server),
    ("ZIPNET_STATE", Fixed),
    ("ZIPNET_STATUS", Fixed),
    ("ZIPNET_TSM", Fixed),
    ("ZIPNET_UNIVERSE", Server),
];

/// What a key means, if it is one.
#[must_use]
pub fn meaning(key: &str) -> Option<Meaning> {
    KEYS.iter()
        .find_map(|(name, meaning)| (*name == key).then_some(*meaning))
}

/// The key that somebody may have meant: the nearest that may be set, if it is
/// near.
#[must_use]
pub fn nearest(key: &str) -> Option<&'static str> {
    // A key of any length costs its length squared.
    if key.len() > 64 {
        return None;
    }
    let key = key.to_uppercase();
    KEYS.iter()
        .filter(|(_, meaning)| matches!(meaning, Server | Guest))
        .map(|(name, _)| (strsim::damerau_levenshtein(&key, name), *name))
        .min()
        .and_then(|(distance, name)| (distance <= 3).then_some(name))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn typos_find_their_key_and_strangers_none() {
        assert_eq!(nearest("ZIPNET_INSTANCES"), Some("ZIPNET_INSTANCE"));
        assert_eq!(nearest("zipnet_slots"), Some("ZIPNET_SLOTS"));
        assert_eq!(nearest("GUEST_ADDRESSES"), Some("GUEST_ADDRESS"));
        assert_eq!(nearest("PATH"), None);
        assert_eq!(nearest(&"A".repeat(100_000)), None);
        // Nobody is led to a secret.
        assert_ne!(nearest("ZIPNET_SECRETS"), Some("ZIPNET_SECRET"));
    }

    #[test]
    fn every_variable_of_the_server_has_a_meaning() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        let shared = read("client/cli/src/args.rs");
        let (shared, _) = shared.split_once("pub struct TrustArgs").unwrap();
        let text = [
            shared,
            &read("client/cli/src/attestation.rs"),
            &read("server/src/args.rs"),
            &read("server/src/attestation.rs"),
            &read("server/src/cli/server.rs"),
            &read("server/src/secrets.rs"),
            &read("server/src/status.rs"),
        ]
        .concat();
        let variables: BTreeSet<_> = text
            .split("env = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(variables.contains("ZIPNET_BIND"));
        for variable in variables {
            let simulation = variable.starts_with("ZIPNET_SIMULATION");
            assert_eq!(
                meaning(variable).is_some(),
                !simulation || cfg!(feature = "simulation"),
                "{variable}"
            );
        }
    }
}
