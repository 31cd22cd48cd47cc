//! A server's own evidence.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use zipnet_attest::{Collateral, Evidence, Platforms, Quote, Refusal, source::SourceError};
use zipnet_protocol::{AdmittedServer, Digest, Instance};

use super::{
    Credential, ServerAttestation, Standing, credential::expected, upkeep::CollateralError,
};

/// A statement begins so many seconds before it is made: the verifiers' clocks
/// may be behind.
const BACKDATED: u64 = 300;

/// A server has no evidence that holds.
#[derive(Debug, thiserror::Error)]
pub enum OwnEvidenceError {
    /// No quote.
    #[error("This machine gives no TD quote")]
    Quote(#[source] SourceError),
    /// The quote is nonsense.
    #[error("The quote of this machine names no platform")]
    Platform(#[source] Refusal),
    /// No collateral.
    #[error("There is nothing to judge this machine's quote by")]
    Collateral(#[source] CollateralError),
    /// It does not hold.
    #[error(
        "This server's own evidence is refused, and so will be by all others under the same policy"
    )]
    Refused(#[source] Arc<Refusal>),
    /// The task ended.
    #[error("The task that makes evidence ended by itself")]
    Task,
}

/// What a server states besides its keys.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Digest of the configuration.
    pub config: Digest,
    /// Digest of the newest broadcast record, or zero.
    pub freshness: Digest,
}

/// A server's own evidence, newest first made and then shown.
#[derive(Debug)]
pub struct OwnEvidence {
    attestation: Arc<ServerAttestation>,
    epoch: AtomicU64,
    shown: Mutex<Option<Made>>,
}

/// Evidence, as it was made.
#[derive(Debug, Clone)]
struct Made {
    credential: Arc<Credential>,
    standing: Standing,
    platforms: Platforms,
    collateral: Arc<Collateral>,
}

impl OwnEvidence {
    /// None yet.
    #[must_use]
    pub fn new(attestation: Arc<ServerAttestation>) -> Self {
        Self {
            attestation,
            epoch: AtomicU64::new(0),
            shown: Mutex::default(),
        }
    }

    /// What this server verifies by.
    #[must_use]
    pub fn authority(&self) -> &Arc<super::Authority> {
        &self.attestation.authority
    }

    /// Digest of the file of this server's public settings, if there is one.
    #[must_use]
    pub fn config(&self) -> Option<Digest> {
        self.attestation.config
    }

    /// The evidence to show now, once there is any.
    #[must_use]
    pub fn shown(&self) -> Option<(Arc<Credential>, Standing)> {
        self.made().map(|made| (made.credential, made.standing))
    }

    fn made(&self) -> Option<Made> {
        let shown = self.shown.lock();
        shown.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether new evidence is due: half of the statement's time is over, or
    /// there is newer collateral than is shown, or the policy that is in force
    /// by now refuses what is shown.
    #[must_use]
    pub fn is_due(&self, instance: &Instance, server: &AdmittedServer) -> bool {
        let Some(made) = self.made() else {
            return true;
        };
        let authority = self.authority();
        let left = made.standing.not_after.saturating_sub(authority.now());
        let whole = made.standing.not_after.saturating_sub(made.standing.at);
        let newest = authority.shelf().get(made.platforms).ok().flatten();
        left <= whole / 2
            || newest.is_some_and(|newest| newest != made.collateral)
            || authority.judge(instance, server, &made.credential).is_err()
    }

    /// Makes new evidence for the keys of a bundle, and shows it if it holds
    /// under this server's own policy. May take seconds.
    ///
    /// # Errors
    /// [`OwnEvidenceError`]; what is shown stays.
    pub async fn renew(
        self: Arc<Self>,
        instance: Instance,
        server: AdmittedServer,
        circumstances: Circumstances,
    ) -> Result<Standing, OwnEvidenceError> {
        let this = self.clone();
        let task =
            tokio::task::spawn_blocking(move || this.make(&instance, &server, circumstances));
        let made = task.await.map_err(|_| OwnEvidenceError::Task)??;
        let standing = made.standing.clone();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(made);
        Ok(standing)
    }

    fn make(
        &self,
        instance: &Instance,
        server: &AdmittedServer,
        circumstances: Circumstances,
    ) -> Result<Made, OwnEvidenceError> {
        let authority = self.authority();
        let now = authority.now();
        let before = self.epoch.load(Ordering::Relaxed);
        let epoch = now.max(before.saturating_add(1));
        self.epoch.store(epoch, Ordering::Relaxed);
        let not_before = now.saturating_sub(BACKDATED);
        // Not longer than the policy allows.
        let longest = authority.policy().verifier.policy().max_statement_seconds();
        let lifetime = self.attestation.lifetime.as_secs();
        let not_after = now
            .saturating_add(lifetime)
            .min(not_before.saturating_add(longest));
        let statement = expected(instance, server).statement(
            epoch,
            not_before..not_after,
            *circumstances.config.as_bytes(),
            *circumstances.freshness.as_bytes(),
        );
        let mut quote = self
            .attestation
            .source
            .quote(&statement.report_data())
            .map_err(OwnEvidenceError::Quote)?;
        Quote::trim(&mut quote).map_err(OwnEvidenceError::Platform)?;
        let platforms = Platforms::of_quote(&quote).map_err(OwnEvidenceError::Platform)?;
        let collateral = authority
            .collateral_for(platforms)
            .map_err(OwnEvidenceError::Collateral)?;
        let credential = Arc::new(Credential::of(&Evidence { statement, quote }, &collateral));
        let standing = authority
            .judge(instance, server, &credential)
            .map_err(OwnEvidenceError::Refused)?;
        Ok(Made {
            credential,
            standing,
            platforms,
            collateral,
        })
    }
}
