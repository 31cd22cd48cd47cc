//! What verifiers of one instance have in common for good: the trust root and
//! the keys that sign policies. Policies come and go.

use sha2::{Digest as _, Sha256};

use crate::{
    genuine::TrustRoot,
    policy::MAX_POLICY,
    signed::{MAX_SIGNATURES, PolicyKeys, SignedPolicyError},
    verified::{RootError, Verifier},
};

const ANCHOR: &[u8] = b"zipnet/trust-anchor/v1";

/// A trust root and policy keys.
#[derive(Debug)]
pub struct TrustBase {
    root: TrustRoot,
    keys: PolicyKeys,
    anchor: [u8; 32],
}

/// Two bases are the same if their anchors are.
impl PartialEq for TrustBase {
    fn eq(&self, other: &Self) -> bool {
        self.anchor == other.anchor
    }
}

impl Eq for TrustBase {}

/// A policy file with its signatures, as they lie on disk or travel. Not
/// trusted before [`TrustBase::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The bytes of the policy.
    pub policy: Vec<u8>,
    /// The minisign signatures, one after the other.
    pub signatures: String,
}

/// A policy file that gives no verifier.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Too long.
    #[error(
        "The policy has {policy} bytes and its signatures {signatures}; at most {MAX_POLICY} and {MAX_SIGNATURES} would be right"
    )]
    Length {
        /// Bytes of the policy.
        policy: usize,
        /// Bytes of the signatures.
        signatures: usize,
    },
    /// Its signatures, its form, or its serial.
    #[error("The policy is refused")]
    Policy(#[source] SignedPolicyError),
    /// Its root.
    #[error("The policy does not fit the trust root")]
    Root(#[source] RootError),
}

impl TrustBase {
    /// The base of an instance.
    #[must_use]
    pub fn new(root: TrustRoot, keys: PolicyKeys) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(ANCHOR);
        match &root {
            TrustRoot::Intel => add(b"intel"),
            TrustRoot::Other(der) => {
                add(b"other");
                add(der);
            }
        }
        add(&(keys.threshold() as u64).to_be_bytes());
        for key in keys.texts() {
            add(key.as_bytes());
        }
        let anchor = hash.finalize().into();
        Self { root, keys, anchor }
    }

    /// The digest of root, threshold and keys in ascending order of their
    /// base64, 32 bytes. It goes into the instance id, so that whoever trusts
    /// something else never meets this instance.
    #[must_use]
    pub const fn anchor(&self) -> &[u8; 32] {
        &self.anchor
    }

    /// The trust root.
    #[must_use]
    pub const fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// A verifier by a policy file whose serial is not below `newest`, the
    /// highest that was seen.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(&self, file: &PolicyFile, newest: u64) -> Result<Verifier, TrustError> {
        // Each signature hashes the policy.
        let (policy, signatures) = (file.policy.len(), file.signatures.len());
        if policy > MAX_POLICY || signatures > MAX_SIGNATURES {
            return Err(TrustError::Length { policy, signatures });
        }
        let signed = self
            .keys
            .open(&file.policy, &file.signatures, newest)
            .map_err(TrustError::Policy)?;
        Verifier::new(signed.into_policy(), self.root.clone()).map_err(TrustError::Root)
    }
}

/// Two are the same if they say the same.
impl PartialEq for TrustError {
    fn eq(&self, other: &Self) -> bool {
        let source = |error: &Self| core::error::Error::source(error).map(ToString::to_string);
        self.to_string() == other.to_string() && source(self) == source(other)
    }
}

impl Eq for TrustError {}
