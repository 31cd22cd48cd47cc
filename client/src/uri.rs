//! One line of text that says which committee to talk to, and whom to believe.
//!
//! ```text
//! zipnet:acme.mainnet?committee=KEY&bootstrap=PEERID@ip:port,PEERID@ip:port&size=3
//! ```
//!
//! Behind `zipnet:` stands the name of the instance, then what `Key` lists, each at most
//! once; those that may have several values have commas between them. Values are
//! percent-encoded where they have to be. All of it is public: a URI is passed around,
//! and what is secret is set at the [`Builder`](crate::Builder). It names one file of
//! this machine at most, the policy, which is only read, and holds only with the
//! signatures of the keys beside it.

mod error;
mod escape;
mod keys;

use core::{fmt, str::FromStr};

use zipnet_protocol::{InstanceName, PeerKey, RoundParams};

use crate::settings::{BootstrapHint, PeerId, RelaySetting};

pub use error::UriError;
pub use keys::Key;

/// Which committee to talk to, and whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// The instance's name.
    pub instance: InstanceName,
    /// The committee key; without it the bootstrap peers are asked and believed.
    pub committee: Option<PeerKey>,
    /// Whom to dial first. Nobody is trusted for that.
    pub bootstrap: Vec<BootstrapHint>,
    /// Servers without which a roster is refused.
    pub required: Vec<PeerId>,
    /// How many servers the committee is meant to have.
    pub committee_size: Option<u32>,
    /// Fewest servers of a round; without it, all of the committee.
    pub min_servers: Option<u32>,
    /// Fewest participants that a round must ask for; without it 2 for whoever takes part,
    /// and 1 for whoever reads.
    pub min_participants: Option<u32>,
    /// The only aggregators to talk to, if any are named.
    pub aggregators: Vec<PeerId>,
    /// The shape of the broadcasts.
    pub params: RoundParams,
    /// How doors are found and reached.
    pub relay: RelaySetting,
    /// By what the servers' evidence is judged; `None` if they show none.
    pub evidence: Option<Evidence>,
}

/// By what the servers' evidence is judged: Intel's root, and a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The policy's file, with its minisign signatures beside it in `FILE.minisig`.
    pub policy: String,
    /// Minisign public keys of those who sign policies; one at least.
    pub keys: Vec<String>,
    /// How many of them have to sign; without it all.
    pub threshold: Option<u32>,
}

impl Uri {
    /// That of an instance of which nothing more is known yet.
    #[must_use]
    pub fn new(instance: InstanceName) -> Self {
        Self {
            instance,
            committee: None,
            bootstrap: Vec::new(),
            required: Vec::new(),
            committee_size: None,
            min_servers: None,
            min_participants: None,
            aggregators: Vec::new(),
            params: RoundParams::default(),
            relay: RelaySetting::Default,
            evidence: None,
        }
    }

    /// What is not as it is unless it is said.
    fn said(&self) -> Vec<(Key, Vec<String>)> {
        let usual = RoundParams::default();
        let slot_bytes = self.params.slot_bytes();
        let evidence = self.evidence.as_ref();
        let policy = evidence.map(|evidence| evidence.policy.clone());
        let keys = evidence.map(|evidence| evidence.keys.clone());
        let threshold = evidence.and_then(|evidence| evidence.threshold);
        let relay = (self.relay != RelaySetting::Default).then_some(&self.relay);
        let slots = (self.params.slots() != usual.slots()).then(|| self.params.slots());
        let slot_bytes = (slot_bytes != usual.slot_bytes()).then_some(slot_bytes);
        vec![
            (Key::Committee, texts(self.committee)),
            (Key::Bootstrap, texts(&self.bootstrap)),
            (Key::Require, texts(&self.required)),
            (Key::Size, texts(self.committee_size)),
            (Key::MinServers, texts(self.min_servers)),
            (Key::MinParticipants, texts(self.min_participants)),
            (Key::Aggregator, texts(&self.aggregators)),
            (Key::Slots, texts(slots)),
            (Key::SlotBytes, texts(slot_bytes)),
            (Key::Relay, texts(relay)),
            (Key::Policy, texts(&policy)),
            (Key::PolicyKey, keys.unwrap_or_default()),
            (Key::PolicyThreshold, texts(threshold)),
        ]
    }
}

fn texts<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zipnet:{}", self.instance)?;
        let said = self.said();
        let mut mark = '?';
        for (key, values) in said.iter().filter(|(_, values)| !values.is_empty()) {
            let values: Vec<_> = values.iter().map(|value| escape::encode(value)).collect();
            write!(f, "{mark}{key}={}", values.join(","))?;
            mark = '&';
        }
        Ok(())
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        let rest = text.strip_prefix("zipnet:").ok_or(UriError::Form)?;
        // Neither a host with a password nor a fragment has a meaning here.
        if rest.starts_with("//") || rest.contains('#') {
            return Err(UriError::Form);
        }
        let (name, pairs) = match rest.split_once('?') {
            Some((name, pairs)) => (name, Some(pairs)),
            None => (rest, None),
        };
        let mut uri = Self::new(name.parse().map_err(UriError::Instance)?);
        let mut draft = keys::Draft::default();
        for pair in pairs.into_iter().flat_map(|pairs| pairs.split('&')) {
            let (name, value) = pair.split_once('=').ok_or(UriError::Form)?;
            draft.take(name, value)?;
        }
        draft.onto(&mut uri)?;
        Ok(uri)
    }
}

#[cfg(test)]
mod tests;
