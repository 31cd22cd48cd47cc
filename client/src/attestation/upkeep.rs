//! Keeps policy and collateral up to date while the process runs.

use core::time::Duration;
use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError},
    time::{Instant, SystemTime},
};

use zipnet_attest::{
    Collateral, Edition, Platforms, Refusal,
    collateral::MAX_COLLATERAL,
    fetch::{FetchError, Limits, Source},
};

use super::{Authority, CollateralSource, lookups, policy};
use crate::metrics;

/// How often the policy file and a folder of collateral are looked at.
const TICK: Duration = Duration::from_secs(2);
/// How lately a source has to have answered before secrets are given.
const FRESH: Duration = Duration::from_mins(10);
/// How long a source may take while a guest waits, which gives up after 45 seconds.
const WHILE_A_GUEST_WAITS: Limits = Limits {
    request: Duration::from_secs(10),
    total: Duration::from_secs(25),
};
/// Most files of a folder that are read.
const MAX_FILES: usize = 256;
/// Days left from which on a warning is logged.
const ALARM_DAYS: i64 = 10;

/// Collateral is missing.
#[derive(Debug, thiserror::Error)]
pub enum CollateralError {
    /// The folder, or the fixed collateral, has none.
    #[error(
        "There is no collateral for platforms of {platforms} in {place}; `zipnet-attest collateral fetch` gets it"
    )]
    None {
        /// FMSPC and CA.
        platforms: String,
        /// Where it was looked for.
        place: String,
    },
    /// It could not be fetched.
    #[error("The collateral for platforms of {platforms} could not be fetched")]
    Fetch {
        /// FMSPC and CA.
        platforms: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// It is not genuine, or not of this time.
    #[error("The collateral for platforms of {platforms} is refused")]
    Refused {
        /// FMSPC and CA.
        platforms: String,
        /// By which rule.
        #[source]
        source: Refusal,
    },
}

impl Authority {
    /// The newest collateral for a model of platform, for evidence of this machine's own: an
    /// HTTP source is asked first, unless it has answered. May take seconds.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn collateral_for(&self, platforms: Platforms) -> Result<Arc<Collateral>, CollateralError> {
        self.found_for(platforms, Limits::default(), |_| true)
    }

    /// As [`Authority::collateral_for`], before secrets are given for it: an HTTP source has
    /// to have answered in the last minutes.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn fresh_collateral_for(
        &self,
        platforms: Platforms,
    ) -> Result<Arc<Collateral>, CollateralError> {
        let fresh = |answered: Instant| answered.elapsed() < FRESH;
        self.found_for(platforms, WHILE_A_GUEST_WAITS, fresh)
    }

    fn found_for(
        &self,
        platforms: Platforms,
        limits: Limits,
        will_do: impl FnOnce(Instant) -> bool,
    ) -> Result<Arc<Collateral>, CollateralError> {
        let known = || {
            let newest = self.newest(&self.policy(), platforms);
            newest.map_err(|source| CollateralError::Refused {
                platforms: platforms.to_string(),
                source,
            })
        };
        let none = |place: &dyn core::fmt::Display| CollateralError::None {
            platforms: platforms.to_string(),
            place: place.to_string(),
        };
        let usable = known()?.filter(|known| days_left(known, self.now()) >= Some(0));
        match &self.settings.collateral {
            CollateralSource::Http(source) => {
                let answered = self.lookups.answered(platforms);
                if usable.is_none() || !answered.is_some_and(will_do) {
                    self.look_up(&source.limited(limits), platforms)?;
                }
                known()?.ok_or_else(|| none(&source.address()))
            }
            _ if let Some(usable) = usable => Ok(usable),
            CollateralSource::Folder(folder) => {
                self.read_folder(folder);
                known()?.ok_or_else(|| none(&folder.display()))
            }
            CollateralSource::Fixed(collateral) => {
                let learned = self.learn(collateral, &"the simulation", self.now());
                learned.map_err(|source| CollateralError::Refused {
                    platforms: platforms.to_string(),
                    source,
                })?;
                known()?.ok_or_else(|| none(&"the simulation"))
            }
            CollateralSource::Shown => Err(none(&"what others have shown")),
        }
    }

    /// Fetches collateral and takes it in.
    pub(super) fn fetch(
        &self,
        source: &Source,
        platforms: Platforms,
    ) -> Result<(), CollateralError> {
        let wanted = self.policy().verifier.policy().wanted();
        let fetched =
            source
                .fetch(platforms, &wanted)
                .map_err(|source| CollateralError::Fetch {
                    platforms: platforms.to_string(),
                    source,
                })?;
        self.learn(&fetched, &source.address(), self.now())
            .map_err(|source| CollateralError::Refused {
                platforms: platforms.to_string(),
                source,
            })
    }

    /// Takes in the collateral files of a folder that it has not yet.
    pub(super) fn read_folder(&self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.take(MAX_FILES).filter_map(Result::ok) {
            let path = entry.path();
            let Some(written) = modified(&path) else {
                continue;
            };
            if files.get(&path) == Some(&written) {
                continue;
            }
            match self.read_file(&path) {
                Some(Ok(())) => {
                    files.insert(path, written);
                }
                // It may be of tomorrow.
                Some(Err(refusal)) => tracing::debug!(
                    file = %path.display(),
                    because = %crate::report::chain(&refusal),
                    "attestation: collateral is refused"
                ),
                None => {}
            }
        }
    }

    /// Takes in a file, if it may be one of collateral.
    fn read_file(&self, path: &Path) -> Option<Result<(), Refusal>> {
        let json = path.extension().is_some_and(|end| end == "json");
        let file = fs::metadata(path).ok()?;
        if !json || !file.is_file() || file.len() > MAX_COLLATERAL as u64 {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        let learned = Collateral::from_json(&bytes)
            .and_then(|collateral| self.learn(&collateral, &path.display(), self.now()));
        Some(learned)
    }

    /// Sets the gauges, and warns of collateral that will soon expire.
    fn show(&self, warned: &mut bool) {
        let policy = self.policy();
        let policy = policy.verifier.policy();
        let now = self.now();
        metrics::policy(policy, now);
        let mut soon = false;
        for (platforms, collateral) in self.shelf().known() {
            let Ok(edition) = Edition::of(&collateral) else {
                continue;
            };
            let days = edition.days_left(now);
            metrics::collateral(&platforms.to_string(), &edition, policy, now);
            soon |= days < ALARM_DAYS;
            if days < ALARM_DAYS && !*warned {
                tracing::warn!(%platforms, days, "attestation: collateral expires soon; nobody is admitted once it has");
            }
        }
        *warned = soon;
    }
}

/// Keeps an authority up to date for ever. What a source of collateral does, or does not,
/// holds nothing else up.
pub async fn run(authority: Arc<Authority>) {
    tokio::join!(keep(authority.clone()), lookups::run(authority));
}

/// Looks at the policy file and at a folder of collateral.
async fn keep(authority: Arc<Authority>) {
    let mut policy = policy::written(&authority.settings.policy);
    let mut warned = false;
    loop {
        tokio::time::sleep(TICK).await;
        let task = {
            let authority = authority.clone();
            tokio::task::spawn_blocking(move || {
                let seen = policy::written(&authority.settings.policy);
                if seen != policy {
                    authority.reload();
                }
                if let CollateralSource::Folder(folder) = &authority.settings.collateral {
                    authority.read_folder(folder);
                }
                authority.show(&mut warned);
                (seen, warned)
            })
        };
        match task.await {
            Ok(done) => (policy, warned) = done,
            Err(_) => return,
        }
    }
}

/// Whole days until the first part of collateral expires, revocation lists
/// included.
fn days_left(collateral: &Collateral, now: u64) -> Option<i64> {
    Some(Edition::of(collateral).ok()?.days_left(now))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
