//! For which models of platform the process's own source of collateral was
//! asked.
//!
//! Whoever shows evidence brings collateral with it, and chooses which: it may be
//! from before its platform was condemned. So a process that has a source of its
//! own believes no evidence of a model before that source has answered for it.
//! Verifying waits for nobody: a model that is new is put on a list, and the
//! evidence is refused until a task has asked.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;
use zipnet_attest::{Platforms, fetch::Source};

use super::{Authority, CollateralSource};

/// How soon a source that failed is asked again.
const AGAIN: Duration = Duration::from_mins(1);
/// How often the list is looked at, if nobody puts anything on it.
const TICK: Duration = Duration::from_secs(30);
/// Most models that are asked about. Intel has some dozens.
const MAX_MODELS: usize = 64;

/// How far a model has come.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    /// When the source has answered last.
    answered: Option<Instant>,
    /// When it may be asked again.
    due: Option<Instant>,
}

/// Models of platform, and when the source was asked about them.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    models: Mutex<BTreeMap<Platforms, Model>>,
    wanted: Notify,
}

impl Lookups {
    /// Whether the source has answered for a model in this process's life.
    pub(super) fn answered(&self, platforms: Platforms) -> Option<Instant> {
        self.models().get(&platforms)?.answered
    }

    /// Puts a model on the list, if there is room. Whoever calls this knows that
    /// a certified platform of the model runs something that the policy could
    /// accept.
    pub(super) fn want(&self, platforms: Platforms) {
        let mut models = self.models();
        if models.contains_key(&platforms) || models.len() >= MAX_MODELS {
            return;
        }
        models.insert(platforms, Model::default());
        self.wanted.notify_one();
    }

    /// Writes down how the source was asked.
    fn asked(&self, platforms: Platforms, answered: bool, refresh: Duration) {
        let now = Instant::now();
        let mut models = self.models();
        let known = models.len() < MAX_MODELS || models.contains_key(&platforms);
        if known {
            let model = models.entry(platforms).or_default();
            if answered {
                model.answered = Some(now);
            }
            model.due = now.checked_add(if answered {
                refresh
            } else {
                refresh.min(AGAIN)
            });
        }
    }

    fn due(&self) -> Vec<Platforms> {
        let now = Instant::now();
        let models = self.models();
        let due = models
            .iter()
            .filter(|(_, model)| model.due.is_none_or(|due| due <= now));
        due.map(|(platforms, _)| *platforms).collect()
    }

    /// Until something may be due.
    async fn wait(&self) {
        let next = self.models().values().filter_map(|model| model.due).min();
        let now = Instant::now();
        let wait = next.map_or(TICK, |next| next.saturating_duration_since(now).min(TICK));
        tokio::select! {
            () = self.wanted.notified() => {}
            () = tokio::time::sleep(wait.max(Duration::from_millis(100))) => {}
        }
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<Platforms, Model>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authority {
    /// Asks a source about a model, and takes in what it says. Blocks.
    pub(super) fn look_up(
        &self,
        source: &Source,
        platforms: Platforms,
    ) -> Result<(), super::upkeep::CollateralError> {
        let outcome = self.fetch(source, platforms);
        let refresh = self.settings.refresh;
        self.lookups.asked(platforms, outcome.is_ok(), refresh);
        // What was refused for want of an answer is looked into again.
        self.changed();
        outcome
    }
}

/// Asks about what is on the list, for ever; one model after the other, so that
/// a source that hangs keeps nobody else busy.
pub(super) async fn run(authority: Arc<Authority>) {
    let CollateralSource::Http(source) = &authority.settings.collateral else {
        return;
    };
    loop {
        authority.lookups.wait().await;
        for platforms in authority.lookups.due() {
            let (this, source) = (authority.clone(), source.clone());
            let asked = tokio::task::spawn_blocking(move || this.look_up(&source, platforms));
            match asked.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(
                    %platforms,
                    because = %crate::report::chain(&error),
                    "attestation: collateral could not be refreshed"
                ),
                Err(_) => return,
            }
        }
    }
}
