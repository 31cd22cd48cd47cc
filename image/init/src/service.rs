//! A stage that PID 1 keeps running.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::WaitStatus,
    },
    unistd::Pid,
};

use crate::{backoff::Backoff, paths::INIT, say, stages::Stage};

/// A stage, running or about to be started again.
#[derive(Debug)]
pub struct Service {
    stage: Stage,
    argument: Option<String>,
    environment: Vec<(String, String)>,
    backoff: Backoff,
    state: State,
    restarts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting(Instant),
    Running { pid: i32, since: Instant },
    Stopped,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal.
    Killed(Signal),
}

impl End {
    /// The process that a status is about and its end, if it is one.
    #[must_use]
    pub fn of(status: WaitStatus) -> Option<(i32, Self)> {
        match status {
            WaitStatus::Exited(pid, code) => Some((pid.as_raw(), Self::Exited(code))),
            WaitStatus::Signaled(pid, signal, _) => Some((pid.as_raw(), Self::Killed(signal))),
            _ => None,
        }
    }
}

impl core::fmt::Display for End {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with status {code}"),
            Self::Killed(signal) => write!(f, "was ended by {signal}"),
        }
    }
}

impl Service {
    /// A service to start at once, with nothing in its environment but this.
    #[must_use]
    pub fn new(stage: Stage, argument: Option<String>, environment: Vec<(String, String)>) -> Self {
        Self {
            stage,
            argument,
            environment,
            backoff: Backoff::default(),
            state: State::Waiting(Instant::now()),
            restarts: 0,
        }
    }

    /// Process and start of what runs.
    #[must_use]
    pub const fn running(&self) -> Option<(i32, Instant)> {
        match self.state {
            State::Running { pid, since } => Some((pid, since)),
            _ => None,
        }
    }

    /// Whether nothing runs.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.running().is_none()
    }

    /// How often it was started again.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Starts it if it is time.
    pub fn tick(&mut self, now: Instant) {
        let State::Waiting(until) = self.state else {
            return;
        };
        if now < until {
            return;
        }
        let started = Command::new(INIT)
            .arg(self.stage.name())
            .args(&self.argument)
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .spawn();
        match started.map(|child| i32::try_from(child.id())) {
            Ok(Ok(pid)) => self.state = State::Running { pid, since: now },
            Ok(Err(_)) => self.state = State::Stopped,
            Err(error) => {
                say!("init: {} could not be started: {error}", self.stage.name());
                self.again(now, now);
            }
        }
    }

    /// Whether this process is its own; then it is no more.
    pub fn ended(&mut self, pid: i32) -> bool {
        match self.state {
            State::Running { pid: own, .. } if own == pid => {
                self.state = State::Stopped;
                true
            }
            _ => false,
        }
    }

    /// Starts it again after a while, as it lived from `since` to `now`; says
    /// for how long it rests, in seconds.
    pub fn again(&mut self, since: Instant, now: Instant) -> u64 {
        let wait = self.backoff.after(now.saturating_duration_since(since));
        self.state = State::Waiting(now.checked_add(wait).unwrap_or(now));
        self.restarts = self.restarts.saturating_add(1);
        wait.as_secs()
    }

    /// Sends a signal to what runs.
    pub fn signal(&self, signal: Signal) {
        if let Some((pid, _)) = self.running() {
            // It may have ended already.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}
