//! How a guest is, by what is written down and by who lives.

use core::fmt;
use std::path::PathBuf;

use serde::Serialize;
use zipnet_measurements::Digest256;

use crate::{
    files::{self, FileError},
    next,
    place::{Folder, Name},
    plan::{Accel, Journal},
    seen::{Phase, Seen},
};

/// What is left of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs, and somebody watches it.
    Running,
    /// It runs, and nobody keeps its console.
    Unwatched,
    /// It does not run yet, and somebody is about to start it.
    Starting,
    /// It does not run, and is not to.
    Stopped,
    /// It does not run, and it should.
    Gone,
}

/// An upgrade that is under way, or was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Of which version.
    pub from: String,
    /// To which.
    pub to: String,
    /// When it began.
    pub since: String,
    /// Whether nobody carries it on.
    pub interrupted: bool,
}

/// How a guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Which.
    pub name: Name,
    /// Whether it runs.
    pub state: State,
    /// How far it is, by its console.
    pub phase: Phase,
    /// Since when.
    pub since: String,
    /// All of it in a sentence, and what to do.
    pub words: String,
    /// The launcher's process.
    pub pid: Option<i32>,
    /// Which launch this is.
    pub generation: u64,
    /// The image's version.
    pub version: String,
    /// SHA-256 of its launcher.
    pub image: Digest256,
    /// Processors and memory.
    pub shape: String,
    /// What runs it.
    pub accel: Accel,
    /// The file of its settings, when it was launched.
    pub config: PathBuf,
    /// SHA-256 of them, as in the guest's statement.
    pub config_sha256: Digest256,
    /// What it said that it waits for.
    pub waits: Option<String>,
    /// What it said last of its health.
    pub health: Option<String>,
    /// What it said last of an error.
    pub error: Option<String>,
    /// The newest file of its console.
    pub console: PathBuf,
    /// Bytes of the console that could not be kept.
    pub console_lost: u64,
    /// The command that gives it its secrets, if it waits for them.
    pub next: Option<String>,
    /// The upgrade.
    pub upgrade: Option<Upgrade>,
}

impl Status {
    /// Of a guest; `None` if nothing says what it was launched with.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn of(folder: &Folder) -> Result<Option<Self>, FileError> {
        let Some(wanted) = folder.read_wanted()? else {
            return Ok(None);
        };
        // Who watches starts what is wanted: asked first, so that nothing looks gone
        // that was just started.
        let watched = folder.is_watched();
        let alive = folder.alive()?;
        let journal = folder.read_journal()?;
        let running = alive.as_ref().map(|(ran, _)| ran);
        let seen: Option<Seen> = files::read_state(&folder.seen())?;
        let ended = seen
            .as_ref()
            .is_some_and(|seen| seen.phase == Phase::Ended && seen.generation >= wanted.generation);
        let state = match (running, watched && !ended) {
            (Some(_), true) => State::Running,
            (Some(_), false) => State::Unwatched,
            (None, true) if wanted.run => State::Starting,
            (None, false) if wanted.run => State::Gone,
            (None, _) => State::Stopped,
        };
        let generation = running.map_or(wanted.generation, |ran| ran.generation);
        let mut seen = seen
            .filter(|seen| seen.generation == generation)
            .unwrap_or_else(|| Seen::new(generation, running.map_or(0, |ran| ran.since)));
        if running.is_none() && state != State::Starting {
            seen.phase = Phase::Ended;
        }
        // While an upgrade is under way, what runs may be what was.
        let plan = match &journal {
            Some(journal) if generation < journal.generation => &journal.from,
            _ => &wanted.plan,
        };
        let interrupted = !files::is_held(&folder.verb_lock());
        Ok(Some(Self {
            name: folder.name.clone(),
            words: words(
                &folder.name,
                state,
                &seen,
                journal.as_ref().filter(|_| interrupted),
                generation,
            ),
            state,
            phase: seen.phase,
            since: time(seen.since),
            pid: running.map(|ran| ran.birth.pid),
            generation,
            version: zipnet_attest::report::plain(&plan.version),
            image: plan.image,
            shape: plan.shape.clone(),
            accel: plan.accel,
            config: plan.config_file.clone(),
            config_sha256: plan.config,
            next: (running.is_some() && seen.phase == Phase::Waiting)
                .then(|| next::provisioning(folder, plan)),
            waits: seen.waits.filter(|_| running.is_some()),
            health: seen.health,
            error: seen.error,
            console: folder.console(),
            console_lost: seen.lost,
            upgrade: journal.map(|journal| Upgrade {
                from: zipnet_attest::report::plain(&journal.from.version),
                to: zipnet_attest::report::plain(&journal.to.version),
                since: time(journal.since),
                interrupted,
            }),
        }))
    }
}

/// The state in a sentence, with the verb that mends it.
fn words(
    name: &Name,
    state: State,
    seen: &Seen,
    interrupted: Option<&Journal>,
    generation: u64,
) -> String {
    if let Some(journal) = interrupted {
        let runs = match (state, generation < journal.generation) {
            (State::Running | State::Unwatched, true) => "the old image still runs",
            (State::Running | State::Unwatched, false) => "the new image runs",
            _ => "nothing runs",
        };
        return format!(
            "its upgrade was interrupted, and {runs}; `zipnet-host launch {name}` brings it to an end or back"
        );
    }
    match state {
        State::Running => seen.phase.words().to_owned(),
        State::Unwatched => format!(
            "{}, as far as is known: nobody keeps its console since zipnet-host was killed; `zipnet-host launch {name}` takes it up, `zipnet-host stop {name}` ends it",
            seen.phase.words()
        ),
        State::Starting => "is about to start".to_owned(),
        State::Stopped => "was stopped, or never ran".to_owned(),
        State::Gone => format!(
            "does not run, and should ({}); `zipnet-host launch {name}` starts it again as it was",
            seen.reason()
        ),
    }
}

fn time(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.words)?;
        let mut row = |name: &str, text: &str| writeln!(f, "{name:>10}  {text}");
        if let Some(pid) = self.pid {
            row(
                "process",
                &format!("{pid}, launch {}, so since {}", self.generation, self.since),
            )?;
        }
        if let Some(upgrade) = &self.upgrade {
            row(
                "upgrade",
                &format!(
                    "from {} to {}, begun {}",
                    upgrade.from, upgrade.to, upgrade.since
                ),
            )?;
        }
        row(
            "image",
            &format!("{}, launcher {}", self.version, self.image),
        )?;
        row("shape", &format!("{}, {}", self.shape, self.accel.name()))?;
        row(
            "settings",
            &format!("{}, SHA-256 {}", self.config.display(), self.config_sha256),
        )?;
        for (name, text) in [
            ("waits", &self.waits),
            ("health", &self.health),
            ("error", &self.error),
        ] {
            if let Some(text) = text {
                row(name, text)?;
            }
        }
        row("console", &self.console.display().to_string())?;
        if self.console_lost > 0 {
            row(
                "lost",
                &format!(
                    "{} bytes of the console could not be kept",
                    self.console_lost
                ),
            )?;
        }
        match &self.next {
            Some(next) => row("next", next),
            None => Ok(()),
        }
    }
}
