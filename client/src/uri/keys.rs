//! The keys of a URI and their values.

use core::{fmt, ops::RangeInclusive};

use zipnet_protocol::{PeerKey, RoundParams};

use super::{Evidence, Uri, UriError, escape};
use crate::settings::{BootstrapHint, PeerId, RelaySetting, clip, parse_peer};

/// What a URI may say of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The committee key.
    Committee,
    /// Whom to dial first; several.
    Bootstrap,
    /// Servers without which a roster is refused; several.
    Require,
    /// How many servers the committee is meant to have.
    Size,
    /// Fewest servers of a round.
    MinServers,
    /// Fewest participants that a round must ask for.
    MinParticipants,
    /// The only aggregators to talk to; several.
    Aggregator,
    /// Slots of a broadcast.
    Slots,
    /// Bytes of a slot.
    SlotBytes,
    /// How doors are found.
    Relay,
    /// The file of the policy that evidence is judged by.
    Policy,
    /// Who signs policies; several.
    PolicyKey,
    /// How many of them have to.
    PolicyThreshold,
}

/// The same under the names that `zipnet-client` has for its flags.
const FLAGS: [(&str, Key); 4] = [
    ("require-servers", Key::Require),
    ("committee-size", Key::Size),
    ("aggregators", Key::Aggregator),
    ("policy-keys", Key::PolicyKey),
];

/// What a key is called that would hold a secret.
const SECRETS: [&str; 6] = ["secret", "invite", "password", "passwd", "token", "seed"];

impl Key {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 13] = [
        Self::Committee,
        Self::Bootstrap,
        Self::Require,
        Self::Size,
        Self::MinServers,
        Self::MinParticipants,
        Self::Aggregator,
        Self::Slots,
        Self::SlotBytes,
        Self::Relay,
        Self::Policy,
        Self::PolicyKey,
        Self::PolicyThreshold,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Committee => "committee",
            Self::Bootstrap => "bootstrap",
            Self::Require => "require",
            Self::Size => "size",
            Self::MinServers => "min-servers",
            Self::MinParticipants => "min-participants",
            Self::Aggregator => "aggregator",
            Self::Slots => "slots",
            Self::SlotBytes => "slot-bytes",
            Self::Relay => "relay",
            Self::Policy => "policy",
            Self::PolicyKey => "policy-key",
            Self::PolicyThreshold => "policy-threshold",
        }
    }

    /// What values it takes.
    #[must_use]
    pub const fn right(self) -> &'static str {
        match self {
            Self::Committee => {
                "the committee key as servers log it (`committee=`), 64 hexadecimal digits,"
            }
            Self::Bootstrap => {
                "PEERID or PEERID@ip:port, with 64 hexadecimal digits, and commas between several,"
            }
            Self::Require | Self::Aggregator => {
                "peer ids of 64 hexadecimal digits, with commas between several,"
            }
            Self::Size | Self::MinServers | Self::PolicyThreshold => "a number from 1 to 64",
            Self::MinParticipants => "a number from 1 to 65536",
            Self::Slots => "a number of slots, such as 64,",
            Self::SlotBytes => "a number of bytes, such as 256,",
            Self::Relay => {
                "`default`, `embedded` for addresses alone, or an http(s) URL without credentials"
            }
            Self::Policy => "the path of a file",
            Self::PolicyKey => {
                "minisign public keys, `RW...`, percent-encoded and with commas between several,"
            }
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    committee: Option<PeerKey>,
    bootstrap: Vec<BootstrapHint>,
    required: Vec<PeerId>,
    size: Option<u32>,
    min_servers: Option<u32>,
    min_participants: Option<u32>,
    aggregators: Vec<PeerId>,
    slots: Option<u32>,
    slot_bytes: Option<u32>,
    relay: Option<RelaySetting>,
    policy: Option<String>,
    policy_keys: Vec<String>,
    threshold: Option<u32>,
}

impl Draft {
    /// Takes a pair.
    pub fn take(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        let mut keys = Key::ALL.into_iter();
        let Some(key) = keys.find(|key| key.name() == name) else {
            return Err(unknown(name));
        };
        match key {
            Key::Committee => one(&mut self.committee, key, value, |text| text.parse().ok()),
            Key::Bootstrap => some(&mut self.bootstrap, key, value, |text| text.parse().ok()),
            Key::Require => some(&mut self.required, key, value, |text| parse_peer(text).ok()),
            Key::Size => one(&mut self.size, key, value, within(1..=64)),
            Key::MinServers => one(&mut self.min_servers, key, value, within(1..=64)),
            Key::MinParticipants => one(&mut self.min_participants, key, value, within(1..=65536)),
            Key::Aggregator => some(&mut self.aggregators, key, value, |text| {
                parse_peer(text).ok()
            }),
            Key::Slots => one(&mut self.slots, key, value, within(0..=u32::MAX)),
            Key::SlotBytes => one(&mut self.slot_bytes, key, value, within(0..=u32::MAX)),
            Key::Relay => one(&mut self.relay, key, value, |text| {
                let text = (!text.contains('@')).then_some(text)?;
                text.parse().ok()
            }),
            Key::Policy => one(&mut self.policy, key, value, nonempty),
            Key::PolicyKey => some(&mut self.policy_keys, key, value, nonempty),
            Key::PolicyThreshold => one(&mut self.threshold, key, value, within(1..=64)),
        }
    }

    /// Puts what was said into a URI of which nothing is known yet.
    pub fn onto(self, uri: &mut Uri) -> Result<(), UriError> {
        let usual = RoundParams::default();
        if self.slots.is_some() || self.slot_bytes.is_some() {
            let usual_bytes = u32::try_from(usual.slot_bytes()).unwrap_or(u32::MAX);
            let slots = self.slots.unwrap_or(usual.slots());
            let slot_bytes = self.slot_bytes.unwrap_or(usual_bytes);
            uri.params = RoundParams::new(slots, slot_bytes).map_err(UriError::Params)?;
        }
        let half = |found, missing| Err(UriError::Half { found, missing });
        uri.evidence = match (self.policy, self.policy_keys) {
            (Some(policy), keys) if !keys.is_empty() => Some(Evidence {
                policy,
                keys,
                threshold: self.threshold,
            }),
            (Some(_), _) => return half(Key::Policy, Key::PolicyKey),
            (None, keys) if !keys.is_empty() => return half(Key::PolicyKey, Key::Policy),
            (None, _) if self.threshold.is_some() => {
                return half(Key::PolicyThreshold, Key::PolicyKey);
            }
            (None, _) => None,
        };
        uri.committee = self.committee;
        uri.bootstrap = self.bootstrap;
        uri.required = self.required;
        uri.committee_size = self.size;
        uri.min_servers = self.min_servers;
        uri.min_participants = self.min_participants;
        uri.aggregators = self.aggregators;
        uri.relay = self.relay.unwrap_or_default();
        Ok(())
    }
}

/// A key with one value.
fn one<T>(
    to: &mut Option<T>,
    key: Key,
    value: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<(), UriError> {
    if to.is_some() {
        return Err(UriError::Twice { key });
    }
    let text = escape::decode(value);
    let parsed = text.as_deref().and_then(parse);
    *to = Some(parsed.ok_or(UriError::Value { key })?);
    Ok(())
}

/// A key with several values.
fn some<T>(
    to: &mut Vec<T>,
    key: Key,
    value: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), UriError> {
    if !to.is_empty() {
        return Err(UriError::Twice { key });
    }
    for one in value.split(',') {
        let text = escape::decode(one);
        let parsed = text.as_deref().and_then(&parse);
        to.push(parsed.ok_or(UriError::Value { key })?);
    }
    Ok(())
}

fn within(range: RangeInclusive<u32>) -> impl Fn(&str) -> Option<u32> {
    move |text| {
        // `+3` is a number too, to the standard library.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.filter(|number| range.contains(number))
    }
}

fn nonempty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A key that there is not.
fn unknown(name: &str) -> UriError {
    let key = clip(name);
    let lower = key.to_ascii_lowercase();
    if SECRETS.iter().any(|secret| lower.contains(secret)) {
        return UriError::Secret { key };
    }
    let word = lower.replace('_', "-");
    let flag = FLAGS.into_iter().find(|(flag, _)| *flag == word);
    let meant = flag.map(|(_, key)| key).or_else(|| {
        let all = Key::ALL.into_iter();
        let near = all.map(|key| (distance(&word, key.name()), key));
        // A letter or two, and not half of the word.
        near.filter(|(far, key)| *far <= 2 && far.saturating_mul(2) < key.name().len())
            .min_by_key(|(far, _)| *far)
            .map(|(_, key)| key)
    });
    let all = || {
        let all: Vec<_> = Key::ALL.iter().map(|key| format!("`{key}`")).collect();
        format!("one of {}", all.join(", "))
    };
    let right = meant.map_or_else(all, |key| format!("`{key}`"));
    UriError::Unknown { key, right }
}

/// How many letters have to be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut corner = at;
        let mut left = at.saturating_add(1);
        let mut next = vec![left];
        for (other, above) in other.bytes().zip(row.iter().skip(1)) {
            let changed = corner.saturating_add(usize::from(letter != other));
            left = left.min(*above).saturating_add(1).min(changed);
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
