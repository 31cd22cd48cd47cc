//! Who may make policies: a threshold of keys, each signing the file with
//! minisign. The signatures stand one after the other in a file beside it.

use minisign_verify::{PublicKey, Signature};

use crate::policy::{Policy, PolicyError};

/// Most keys and signatures that are looked at.
const MAX_KEYS: usize = 64;
/// Lines of a minisign signature.
const LINES: usize = 4;
/// Longest signature file, in bytes.
pub const MAX_SIGNATURES: usize = 64 << 10;

/// A policy is not signed as it has to be.
#[derive(Debug, thiserror::Error)]
pub enum SignedPolicyError {
    /// A key.
    #[error(
        "Key {number} of the policy is no minisign public key; its 56 characters, `RW...`, would be right"
    )]
    Key {
        /// Its place, from 1 on.
        number: usize,
        /// Why.
        #[source]
        source: minisign_verify::Error,
    },
    /// A key is named twice, so that it would count twice.
    #[error("Keys {first} and {second} of the policy are the same; each has to be another one")]
    SameKey {
        /// The first place, from 1 on.
        first: usize,
        /// The second place.
        second: usize,
    },
    /// No sensible threshold.
    #[error(
        "A threshold of {threshold} out of {keys} keys cannot be; 1 to {keys} would be right, of at most {MAX_KEYS} keys"
    )]
    Threshold {
        /// Signatures wanted.
        threshold: usize,
        /// Keys named.
        keys: usize,
    },
    /// Not the format.
    #[error(
        "Signature {number} of the policy is no minisign signature; four lines for each would be right"
    )]
    Form {
        /// Its place, from 1 on.
        number: usize,
        /// Why.
        #[source]
        source: minisign_verify::Error,
    },
    /// Too many.
    #[error("There are more than {MAX_KEYS} signatures; one for each key would be right")]
    Many,
    /// Too few are valid.
    #[error("{found} of the policy's keys signed this file; at least {threshold} have to")]
    Few {
        /// Keys with a valid signature.
        found: usize,
        /// Keys wanted.
        threshold: usize,
    },
    /// An older policy.
    #[error("The policy has the serial {found}, but {newest} was seen already; serials only go up")]
    Serial {
        /// By its word.
        found: u64,
        /// The highest seen.
        newest: u64,
    },
    /// Signed, but no policy.
    #[error("The signed file is no policy")]
    Policy(#[source] PolicyError),
}

/// The keys of an instance's policies, and how many of them have to sign.
pub struct PolicyKeys {
    keys: Vec<PublicKey>,
    /// Their base64, ascending.
    texts: Vec<String>,
    threshold: usize,
}

impl core::fmt::Debug for PolicyKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PolicyKeys({} of {})", self.threshold, self.keys.len())
    }
}

/// A policy that enough keys signed. Only [`PolicyKeys::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPolicy(Policy);

impl SignedPolicy {
    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.0
    }

    /// The policy by itself.
    #[must_use]
    pub fn into_policy(self) -> Policy {
        self.0
    }
}

/// The key itself within minisign's base64, whatever id it goes by: the first
/// 10 of its 42 bytes are algorithm and id, 13 characters and a bit.
fn material(text: &str) -> &str {
    text.get(14..).unwrap_or(text)
}

impl PolicyKeys {
    /// Keys in minisign's base64, of which `threshold` have to sign.
    ///
    /// # Errors
    /// [`SignedPolicyError`].
    pub fn new(keys: &[String], threshold: usize) -> Result<Self, SignedPolicyError> {
        if threshold == 0 || threshold > keys.len() || keys.len() > MAX_KEYS {
            return Err(SignedPolicyError::Threshold {
                threshold,
                keys: keys.len(),
            });
        }
        let texts: Vec<_> = keys.iter().map(|key| key.trim()).collect();
        let mut known = Vec::new();
        for (number, text) in (1..).zip(&texts) {
            let key = PublicKey::from_base64(text)
                .map_err(|source| SignedPolicyError::Key { number, source })?;
            let before = texts.iter().take(known.len());
            if let Some((first, _)) = (1..)
                .zip(before)
                .find(|(_, other)| material(other) == material(text))
            {
                return Err(SignedPolicyError::SameKey {
                    first,
                    second: number,
                });
            }
            known.push(key);
        }
        let mut texts: Vec<_> = texts.into_iter().map(str::to_owned).collect();
        texts.sort();
        Ok(Self {
            keys: known,
            texts,
            threshold,
        })
    }

    /// How many of the keys have to sign.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The keys in minisign's base64, ascending.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Checks the signatures of a policy file, and that it is not older than
    /// the newest serial seen.
    ///
    /// # Errors
    /// [`SignedPolicyError`].
    pub fn open(
        &self,
        policy: &[u8],
        signatures: &str,
        newest: u64,
    ) -> Result<SignedPolicy, SignedPolicyError> {
        let lines: Vec<_> = signatures.lines().collect();
        if lines.len() > LINES.saturating_mul(MAX_KEYS) {
            return Err(SignedPolicyError::Many);
        }
        let mut signed = vec![false; self.keys.len()];
        for (number, text) in (1..).zip(lines.chunks(LINES)) {
            let signature = Signature::decode(&text.join("\n"))
                .map_err(|source| SignedPolicyError::Form { number, source })?;
            for (key, signed) in self.keys.iter().zip(&mut signed) {
                // A signature of somebody else says nothing either way.
                *signed |= key.verify(policy, &signature, false).is_ok();
            }
        }
        let found = signed.iter().filter(|signed| **signed).count();
        if found < self.threshold {
            return Err(SignedPolicyError::Few {
                found,
                threshold: self.threshold,
            });
        }
        let policy = Policy::from_json(policy).map_err(SignedPolicyError::Policy)?;
        if policy.serial < newest {
            return Err(SignedPolicyError::Serial {
                found: policy.serial,
                newest,
            });
        }
        Ok(SignedPolicy(policy))
    }
}
