//! Whether a client is ready, and why not.
//!
//! It is looked at what the client knows anyway: servers that were met, rounds that were
//! followed, what was said of its registration. Nobody is asked anything for it.

use core::{fmt, time::Duration};
use std::sync::Arc;

use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{Instant, MissedTickBehavior, interval},
};

use super::registration::Registrar;
use crate::{
    health::{Code, Reason},
    roles::{directory::Directory, follow::Event},
};

/// How often it is looked at, besides when something happens.
const TICK: Duration = Duration::from_secs(1);
/// How long no round need come. Rounds have the pace that the committee gives them.
const SILENCE: Duration = Duration::from_mins(1);

/// A client that is not ready, and will not be any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The client is not ready: {}", Listed(.reasons))]
pub struct NotReady {
    /// Why.
    pub reasons: Vec<Reason>,
}

struct Listed<'a>(&'a [Reason]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.0.iter().enumerate() {
            let mark = if at == 0 { "" } else { "; " };
            write!(f, "{mark}{reason}")?;
        }
        Ok(())
    }
}

/// Whether a client is ready, kept up to date: one that takes part is if it is listed and
/// rounds open, one that reads if rounds come. Clones look at the same client.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Receiver<Vec<Reason>>);

impl Readiness {
    /// Why the client is not ready now; empty if it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let reasons = self.0.borrow().clone();
        // One that was dropped did not say so.
        if reasons.is_empty() && self.0.has_changed().is_err() {
            return leaving();
        }
        reasons
    }

    /// Whether the client is ready now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    /// Waits until something of it changes that was not seen yet, and yields the reasons;
    /// `None` once the client has left.
    pub async fn changed(&mut self) -> Option<Vec<Reason>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until the client is ready, for ever if need be.
    ///
    /// # Errors
    /// [`NotReady`] once the client has left.
    pub async fn ready(&mut self) -> Result<(), NotReady> {
        // It may be gone although it was ready last.
        let _ = self.0.wait_for(Vec::is_empty).await;
        let reasons = self.reasons();
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(NotReady { reasons })
        }
    }
}

fn leaving() -> Vec<Reason> {
    vec![Reason::new(Code::Leaving, "it was asked to end")]
}

/// Where it is told whether a client is ready.
#[derive(Debug, Clone)]
pub(super) struct Told(watch::Sender<Vec<Reason>>);

impl Told {
    /// Of a client that has just begun.
    pub fn new() -> Self {
        let begun = Reason::new(Code::Starting, "it looks for the committee");
        Self(watch::Sender::new(vec![begun]))
    }

    pub fn readiness(&self) -> Readiness {
        Readiness(self.0.subscribe())
    }

    /// It was asked to end.
    pub fn leaves(&self) {
        self.tell(leaving());
    }

    fn tell(&self, reasons: Vec<Reason>) {
        self.0.send_if_modified(|told| {
            let changed = *told != reasons;
            *told = reasons;
            changed
        });
    }
}

/// What a client stands on.
pub(super) struct Footing {
    pub directory: Arc<Directory>,
    /// Of a client that takes part.
    pub registrar: Option<Arc<Registrar>>,
    /// How many servers there have to be, if that was set.
    pub servers: Option<u32>,
    pub doubts: watch::Receiver<Option<Reason>>,
}

/// When rounds came.
#[derive(Debug, Clone, Copy, Default)]
struct Came {
    opened: Option<Instant>,
    finalized: Option<Instant>,
}

impl Footing {
    /// Looks at it for ever.
    pub async fn watch(self, mut events: broadcast::Receiver<Event>, told: Told) {
        let mut came = Came::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(Event::Opened(_)) => came.opened = Some(Instant::now()),
                    Ok(Event::Finalized(_)) => came.finalized = Some(Instant::now()),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => {}
            }
            told.tell(self.reasons(came));
        }
    }

    fn reasons(&self, came: Came) -> Vec<Reason> {
        let unlisted = self
            .registrar
            .as_ref()
            .map(|registrar| registrar.unlisted());
        let met = self.directory.servers().len();
        let doubt = self.doubts.borrow().clone();
        // Whoever takes part does so in open rounds; whoever reads is content with records.
        let last = match unlisted {
            Some(_) => came.opened,
            None => came.opened.max(came.finalized),
        };
        let silent = last.map(|last| last.elapsed());
        reasons(met, self.servers, silent, doubt, unlisted.flatten())
    }
}

/// Why a client is not ready that has met so many servers, and was told of the last round
/// so long ago.
fn reasons(
    met: usize,
    needed: Option<u32>,
    silent: Option<Duration>,
    doubt: Option<Reason>,
    unlisted: Option<String>,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if silent.is_none_or(|silent| silent > SILENCE) {
        reasons.push(match (met, needed, doubt) {
            (0, _, _) => {
                let text = "no server of the committee was met whose bundle and evidence hold";
                Reason::new(Code::Committee, text)
            }
            (_, _, Some(doubt)) => doubt,
            (met, Some(needed), None) if met < needed as usize => {
                let text = format!("{met} of {needed} servers were met");
                Reason::new(Code::Roster, text)
            }
            (_, _, None) => Reason::new(
                Code::Round,
                match silent {
                    None => "no round was followed yet".to_owned(),
                    Some(silent) => format!("no round was followed for {} s", silent.as_secs()),
                },
            ),
        });
    }
    reasons.extend(unlisted.map(|text| Reason::new(Code::Unlisted, text)));
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);
    const LONG: Option<Duration> = Some(Duration::from_mins(2));

    #[test]
    fn a_client_says_what_it_is_not_ready_for_the_want_of() {
        let few = || Some(Reason::new(Code::Clients, "1 asked for"));
        let codes = |met, silent, doubt, unlisted: Option<&str>| -> Vec<Code> {
            let unlisted = unlisted.map(str::to_owned);
            let found = reasons(met, Some(3), silent, doubt, unlisted);
            found.iter().map(|reason| reason.code).collect()
        };
        assert_eq!(codes(3, NOW, None, None), []);
        assert_eq!(codes(0, None, None, None), [Code::Committee]);
        assert_eq!(codes(2, None, None, None), [Code::Roster]);
        assert_eq!(codes(3, None, None, None), [Code::Round]);
        assert_eq!(codes(3, LONG, None, None), [Code::Round]);
        assert_eq!(codes(3, LONG, few(), None), [Code::Clients]);
        // One server's word counts for nothing while rounds come.
        assert_eq!(codes(3, NOW, few(), None), []);
        assert_eq!(codes(3, NOW, None, Some("no")), [Code::Unlisted]);
        assert_eq!(
            codes(3, None, None, Some("no")),
            [Code::Round, Code::Unlisted]
        );
        let not = NotReady {
            reasons: reasons(3, None, LONG, few(), Some("not yet".to_owned())),
        };
        assert_eq!(
            not.to_string(),
            "The client is not ready: clients: 1 asked for; unlisted: not yet"
        );
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_changes_alone_and_of_the_end() {
        let told = Told::new();
        let mut readiness = told.readiness();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.reasons()[0].code, Code::Starting);
        told.tell(Vec::new());
        readiness.ready().await.unwrap();
        assert!(readiness.is_ready());
        told.tell(Vec::new());
        told.leaves();
        let left = readiness.changed().await.unwrap();
        assert_eq!(left[0].code, Code::Leaving);
        drop(told);
        assert_eq!(readiness.changed().await, None);
        let not = readiness.ready().await.unwrap_err();
        assert_eq!(not.reasons, left);
        // One that is dropped while it is ready.
        let told = Told::new();
        let mut readiness = told.readiness();
        told.tell(Vec::new());
        drop(told);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.ready().await.unwrap_err().reasons, left);
    }
}
