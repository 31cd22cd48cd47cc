//! What a process verifies by, and what it has found so far.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use zipnet_attest::{
    Collateral, Platforms, Refusal, Rule, TrustBase, Verified, shelf::Shelf, store::StoreError,
};
use zipnet_protocol::{AdmittedServer, Digest, Instance};

use super::{
    AuthoritySettings, Credential, InForce,
    clock::Clock,
    credential::expected,
    lookups::Lookups,
    policy::{self, PolicyError},
};
use crate::metrics;

/// Most verdicts and credentials that are remembered.
const MAX_KNOWN: usize = 1024;
/// How long a refusal stands before it is looked into again, in seconds: what
/// was missing may have come.
const REFUSED_FOR: u64 = 5;

/// A verifier could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The policy.
    #[error("There is no policy to judge evidence by")]
    Policy(#[source] PolicyError),
    /// The folder for the state.
    #[error("The folder {folder} for the state cannot be used; one that this process may write would be right", folder = .folder.display())]
    State {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// A server whose evidence holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Name of the image that it runs, by the policy.
    pub image: String,
    /// Name of the shape that it runs in, by the policy.
    pub shape: String,
    /// How Intel rates its platform.
    pub tcb: String,
    /// When it was verified, seconds since 1970.
    pub at: u64,
    /// From when on the statement is in force, seconds since 1970.
    pub not_before: u64,
    /// When the statement ends, seconds since 1970.
    pub not_after: u64,
}

impl Standing {
    pub(super) fn new(verified: &Verified, at: u64) -> Self {
        Self {
            image: verified.image().to_owned(),
            shape: verified.shape().to_owned(),
            tcb: format!("{:?}", verified.genuine().status()),
            at,
            not_before: verified.statement().not_before,
            not_after: verified.not_after(),
        }
    }

    const fn holds_at(&self, now: u64) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// What came of evidence for a bundle, and under what.
#[derive(Debug)]
struct Known {
    outcome: Result<Standing, Arc<Refusal>>,
    serial: u64,
    editions: u64,
    at: u64,
}

#[derive(Debug, Default)]
struct Memory {
    /// By bundle and credential.
    verdicts: HashMap<(Digest, Digest), Known>,
    /// The last credential that held, by bundle.
    credentials: HashMap<Digest, Arc<Credential>>,
}

/// What a process verifies by: a trust base, the newest policy and the newest
/// collateral. Shared by everything in the process.
#[derive(Debug)]
pub struct Authority {
    pub(super) settings: AuthoritySettings,
    policy: RwLock<Arc<InForce>>,
    shelf: Shelf,
    /// How often what is judged by has changed, besides the policy.
    editions: AtomicU64,
    pub(super) clock: Clock,
    pub(super) lookups: Lookups,
    memory: Mutex<Memory>,
    /// Files of collateral that were taken in, by when they were written.
    pub(super) files: Mutex<HashMap<PathBuf, SystemTime>>,
    /// Held while a policy is kept and put in force.
    pub(super) enforcing: Mutex<()>,
}

impl Authority {
    /// Reads the policy and makes the folders. Collateral is not there yet,
    /// unless it was left by an earlier process.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(settings: AuthoritySettings) -> Result<Self, AuthorityError> {
        let AuthoritySettings { base, policy, .. } = &settings;
        let state = settings.state.as_deref();
        let shelf = match state {
            Some(folder) => {
                let opened = Shelf::open(folder.join("collateral"));
                let (shelf, aside) = opened.map_err(|source| AuthorityError::State {
                    folder: folder.to_owned(),
                    source,
                })?;
                for aside in aside {
                    tracing::error!(
                        because = %crate::report::chain(&aside),
                        "attestation: a file of collateral was moved aside"
                    );
                }
                shelf
            }
            None => Shelf::new(),
        };
        let clock = Clock::open(state);
        let in_force = policy::load(base, policy, state).map_err(AuthorityError::Policy)?;
        let issued = in_force.verifier.policy().issued;
        let authority = Self {
            settings,
            policy: RwLock::new(Arc::new(in_force)),
            shelf,
            editions: AtomicU64::new(0),
            clock,
            lookups: Lookups::default(),
            memory: Mutex::default(),
            files: Mutex::default(),
            enforcing: Mutex::default(),
        };
        authority.clock.passed(issued, &"the policy");
        Ok(authority)
    }

    /// Trust root and policy keys.
    #[must_use]
    pub const fn base(&self) -> &Arc<TrustBase> {
        &self.settings.base
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<InForce> {
        let policy = self.policy.read();
        policy.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a policy in force. It was opened under this base by the caller, and
    /// its serial is higher.
    pub(super) fn put_in_force(&self, policy: InForce) {
        self.clock
            .passed(policy.verifier.policy().issued, &"a policy");
        // It may take collateral that the last one did not.
        let files = self.files.lock();
        files.unwrap_or_else(PoisonError::into_inner).clear();
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Seconds since 1970, and not before anything that is known to have
    /// happened. The clock of a TD is its host's: a host may set it forward,
    /// but not back behind what was signed.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// What is judged by has changed: verdicts from before are looked into again.
    pub(super) fn changed(&self) {
        self.editions.fetch_add(1, Ordering::Relaxed);
    }

    /// Judges the evidence that is shown for a bundle, by this process's clock,
    /// policy and newest collateral. What was found before is looked up.
    ///
    /// # Errors
    /// The [`Refusal`], by the first rule that is broken.
    pub fn judge(
        &self,
        instance: &Instance,
        server: &AdmittedServer,
        credential: &Arc<Credential>,
    ) -> Result<Standing, Arc<Refusal>> {
        let now = self.now();
        let policy = self.policy();
        let editions = self.editions.load(Ordering::Relaxed);
        let key = (*server.digest(), credential.whole());
        let mut before = None;
        let mut refused = None;
        if let Some(known) = self.memory().verdicts.get(&key) {
            let same = known.serial == policy.serial() && known.editions == editions;
            match &known.outcome {
                Ok(standing) if same && standing.holds_at(now) => return Ok(standing.clone()),
                Ok(standing) => before = Some(standing.clone()),
                Err(refusal) if same && now < known.at.saturating_add(REFUSED_FOR) => {
                    return Err(refusal.clone());
                }
                Err(refusal) => refused = Some(refusal.rule()),
            }
        }
        let outcome = self
            .verify(&policy, instance, server, credential, now, before.as_ref())
            .map_err(Arc::new);
        self.tell(server, &outcome, before.is_some(), refused);
        let known = Known {
            outcome: outcome.clone(),
            serial: policy.serial(),
            // Verifying may have brought newer collateral.
            editions: self.editions.load(Ordering::Relaxed),
            at: now,
        };
        let mut memory = self.memory();
        if memory.verdicts.len() >= MAX_KNOWN {
            memory.verdicts.retain(|_, known| {
                known
                    .outcome
                    .as_ref()
                    .is_ok_and(|standing| standing.holds_at(now))
            });
        }
        if memory.verdicts.len() >= MAX_KNOWN {
            memory.verdicts.clear();
        }
        if outcome.is_ok() {
            if memory.credentials.len() >= MAX_KNOWN {
                memory.credentials.clear();
            }
            memory.credentials.insert(key.0, credential.clone());
        }
        memory.verdicts.insert(key, known);
        outcome
    }

    fn verify(
        &self,
        policy: &InForce,
        instance: &Instance,
        server: &AdmittedServer,
        credential: &Credential,
        now: u64,
        before: Option<&Standing>,
    ) -> Result<Standing, Refusal> {
        let (evidence, shown) = credential.decode()?;
        let expected = expected(instance, server);
        // What costs little first: collateral is looked into at some length.
        let checked = policy
            .verifier
            .check_statement(&evidence.statement, &expected, now);
        if let Err(refusal) = &checked
            && refusal.rule() == Rule::StatementFuture
        {
            self.hear_of_later(policy, &evidence.quote, &shown, now);
        }
        checked?;
        let verify = |used: &Collateral, at| {
            let verifier = &policy.verifier;
            verifier.verify(&evidence, used, &expected, at)
        };
        let used = self.to_judge_by(policy, &evidence.quote, &shown, now);
        let verified = used.and_then(|used| verify(&used, now));
        let (verified, at) = match verified {
            // Expired collateral admits nobody, but whoever was admitted stays
            // until the statement ends.
            Err(refusal) if is_of_age(refusal.rule()) => {
                let Some(before) = before.filter(|before| before.holds_at(now)) else {
                    return Err(refusal);
                };
                let platforms = Platforms::of_quote(&evidence.quote)?;
                let known = self.newest(policy, platforms)?;
                let mut either = known.iter().map(|known| &**known).chain([&shown]);
                let then = either.find_map(|used| verify(used, before.at).ok());
                (then.ok_or(refusal)?, before.at)
            }
            other => (other?, now),
        };
        let signed = verified.genuine().latest_issued();
        self.clock
            .passed(signed, &"a certificate of a server's platform");
        Ok(Standing::new(&verified, at))
    }

    fn tell(
        &self,
        server: &AdmittedServer,
        outcome: &Result<Standing, Arc<Refusal>>,
        known: bool,
        refused: Option<Rule>,
    ) {
        let peer = server.peer();
        match outcome {
            Ok(standing) => {
                metrics::peer_accepted(&peer.short(), standing.not_after);
                if !known {
                    tracing::info!(
                        server = %server.id().short(),
                        peer = %peer.short(),
                        image = standing.image,
                        shape = standing.shape,
                        tcb = standing.tcb,
                        policy = self.policy().serial(),
                        until = %humantime::format_rfc3339_seconds(UNIX_EPOCH + core::time::Duration::from_secs(standing.not_after)),
                        "attestation: verified a server"
                    );
                }
            }
            Err(refusal) => {
                metrics::peer_refused(&peer.short(), refusal.rule());
                if refused != Some(refusal.rule()) {
                    tracing::warn!(
                        server = %server.id().short(),
                        peer = %peer.short(),
                        rule = %refusal.rule(),
                        because = %crate::report::chain(&**refusal),
                        "attestation: refused a server"
                    );
                }
            }
        }
    }

    /// The newest collateral.
    #[must_use]
    pub const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The last credential that was shown for a bundle and held.
    #[must_use]
    pub fn credential(&self, bundle: &Digest) -> Option<Arc<Credential>> {
        self.memory().credentials.get(bundle).cloned()
    }

    /// Whether a server's evidence is known and holds now. If what is known
    /// has ended, that is no news.
    #[must_use]
    pub fn stands(&self, instance: &Instance, server: &AdmittedServer) -> bool {
        let Some(credential) = self.credential(server.digest()) else {
            return false;
        };
        let key = (*server.digest(), credential.whole());
        let ended = self.memory().verdicts.get(&key).is_some_and(|known| {
            let standing = known.outcome.as_ref();
            standing.is_ok_and(|standing| self.now() >= standing.not_after)
        });
        !ended && self.judge(instance, server, &credential).is_ok()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a rule is broken by nothing but the age of collateral.
pub(super) const fn is_of_age(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::CollateralExpired | Rule::CertificateDates | Rule::CollateralAge
    )
}
