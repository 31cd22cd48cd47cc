//! Verifying many quotes of the same platforms.
//!
//! Most of a verification is about the platform: certificates, revocation
//! lists, TCB, quoting enclave. Quotes of one platform differ only in what the
//! TD is and says, and in the signature over it. So once a quote was verified,
//! another one with the same platform part needs that signature checked and
//! nothing else, as long as all dates hold.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use crate::{
    collateral::Collateral,
    ecdsa::is_signed_by_bare,
    genuine::{Genuine, TrustRoot, genuine, whole},
    quote::Quote,
    rules::{Refusal, Rule},
};

/// Most platforms that are remembered.
const MAX_PLATFORMS: usize = 1024;
/// Bytes of a signature, and of a public key without its first byte.
const SIGNATURE: usize = 64;
const KEY: usize = 64;
/// Where the TD's own part begins and ends in a report: MRTD to REPORTDATA.
const TD_PART: core::ops::Range<usize> = 136..584;

/// A verification of all. One of both kinds for each [`WarmVerifier`]: what one has
/// found is not asked again by the other.
type Cold = fn(&TrustRoot, &[u8], &Collateral, u64) -> Result<Genuine, Refusal>;

/// Remembers platforms that were verified.
#[derive(Debug, Default)]
pub struct WarmVerifier {
    known: Mutex<HashMap<[u8; 32], Genuine>>,
}

/// A quote cut into what is signed, its signature, its key, and its platform's
/// part.
struct Cut<'a> {
    signed: &'a [u8],
    signature: &'a [u8],
    key: &'a [u8],
    /// Header and report up to MRTD, report after REPORTDATA, and all after
    /// the signature.
    platform: [&'a [u8]; 3],
}

impl<'a> Cut<'a> {
    /// `None` if the quote's signature is not one of the usual form; the cold
    /// verification says why.
    fn new(quote: &Quote, bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.get(..quote.length)?;
        let report = if quote.version == 5 { 54 } else { 48 };
        let before = bytes.get(..report + TD_PART.start)?;
        let length_at = quote.signed_length();
        let after = bytes.get(report + TD_PART.end..length_at)?;
        let signature_at = length_at.checked_add(4)?;
        let key_at = signature_at.checked_add(SIGNATURE)?;
        Some(Self {
            signed: bytes.get(..length_at)?,
            signature: bytes.get(signature_at..key_at)?,
            key: bytes.get(key_at..key_at.checked_add(KEY)?)?,
            platform: [before, after, bytes.get(key_at..)?],
        })
    }

    /// What has to be the same for a verdict to be: every byte but the TD's
    /// part and the signature, the collateral, the root.
    fn name(&self, root: &TrustRoot, collateral: &Collateral) -> [u8; 32] {
        let mut hash = Sha256::new();
        let root: &[u8] = match root {
            TrustRoot::Intel => b"intel",
            TrustRoot::Other(der) => der,
        };
        let [before, after, key] = self.platform;
        for part in [root, &collateral.digest, before, after, key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn is_signed(&self) -> bool {
        is_signed_by_bare(self.key, self.signed, self.signature)
    }
}

impl WarmVerifier {
    /// One that knows no platform yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`genuine`](fn@crate::genuine): the same verdict, sooner if the platform is known.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn genuine(
        &self,
        root: &TrustRoot,
        bytes: &[u8],
        collateral: &Collateral,
        now: u64,
    ) -> Result<Genuine, Refusal> {
        self.sooner(genuine, root, bytes, collateral, now)
    }

    /// As [`whole`], sooner if the platform is known.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn whole(
        &self,
        root: &TrustRoot,
        bytes: &[u8],
        collateral: &Collateral,
        now: u64,
    ) -> Result<Genuine, Refusal> {
        self.sooner(whole, root, bytes, collateral, now)
    }

    fn sooner(
        &self,
        cold: Cold,
        root: &TrustRoot,
        bytes: &[u8],
        collateral: &Collateral,
        now: u64,
    ) -> Result<Genuine, Refusal> {
        let quote = Quote::parse(bytes)?;
        let Some(cut) = Cut::new(&quote, bytes) else {
            return cold(root, bytes, collateral, now);
        };
        let name = cut.name(root, collateral);
        let known = self.lock().get(&name).cloned();
        if let Some(known) = known
            && known.holds_at(now)
        {
            if !cut.is_signed() {
                return Err(Rule::QuoteSignature.refuse("another signature", "a valid one"));
            }
            if let Some(found) = known.of_another_td(quote, bytes) {
                return Ok(found);
            }
        }
        let found = cold(root, bytes, collateral, now)?;
        let mut known = self.lock();
        // Full of platforms that nobody asks for any more, or of made-up ones:
        // the latter never come here, since they do not verify.
        if known.len() >= MAX_PLATFORMS {
            known.clear();
        }
        known.insert(name, found.clone());
        Ok(found)
    }

    /// How many platforms are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Genuine>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
