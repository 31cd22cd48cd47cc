//! Whether an aggregator can fold, and why not.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    health::{Code, Health, Reason},
    roles::directory::Directory,
};

/// How often it is looked at.
const TICK: Duration = Duration::from_secs(1);

/// What an aggregator stands on.
#[derive(Debug, Default)]
pub(super) struct Footing {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    listed: bool,
    /// The round that it cannot serve, and why.
    stuck: Option<(u64, String)>,
}

impl Footing {
    /// The committee deals with this aggregator, or not.
    pub fn listed(&self, listed: bool) {
        self.lock().listed = listed;
    }

    /// It serves the newest round, or cannot: its number, and why.
    pub fn serves(&self, outcome: Result<(), (u64, String)>) {
        self.lock().stuck = outcome.err();
    }

    fn reasons(&self, servers: usize) -> Vec<Reason> {
        let inner = self.lock();
        let mut reasons = Vec::new();
        if servers == 0 {
            let text = "no server of the committee is known whose evidence holds";
            reasons.push(Reason::new(Code::Roster, text));
        }
        if !inner.listed {
            let text = "the committee does not deal with this aggregator yet";
            reasons.push(Reason::new(Code::Aggregator, text));
        }
        if let Some((number, because)) = &inner.stuck {
            let text = format!("round {number} cannot be served: {because}");
            reasons.push(Reason::new(Code::Round, text));
        }
        reasons
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says how it stands, for ever.
pub(super) async fn watch(footing: Arc<Footing>, directory: Arc<Directory>, health: Health) {
    loop {
        health.found(footing.reasons(directory.servers().len()));
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregator_says_all_that_it_lacks() {
        let footing = Footing::default();
        let codes = |footing: &Footing, servers| -> Vec<_> {
            let reasons = footing.reasons(servers).into_iter();
            reasons.map(|reason| reason.code).collect()
        };
        assert_eq!(codes(&footing, 0), [Code::Roster, Code::Aggregator]);
        footing.listed(true);
        assert_eq!(codes(&footing, 3), []);
        footing.serves(Err((7, "no server gave the registry".to_owned())));
        assert_eq!(codes(&footing, 3), [Code::Round]);
        footing.serves(Ok(()));
        assert_eq!(codes(&footing, 3), []);
    }
}
