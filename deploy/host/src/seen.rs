//! What a guest's console says of how the guest is. All of it is the guest's word.

use serde::{Deserialize, Serialize};

/// Lines of the end that are kept for messages.
const TAIL: usize = 5;

/// How far a guest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It has said nothing of itself yet.
    #[default]
    Booting,
    /// It waits for its secrets.
    Waiting,
    /// It has them, and its server starts, perhaps again.
    Starting,
    /// Its server is up.
    Serving,
    /// It was told to power off, or cannot run.
    PoweringOff,
    /// It is gone.
    Ended,
}

impl Phase {
    /// Whether somebody can do something with it: the end of a launch or upgrade.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Waiting | Self::Serving)
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Booting => "boots",
            Self::Waiting => "waits for its secrets",
            Self::Starting => "has its secrets, and its server starts",
            Self::Serving => "serves",
            Self::PoweringOff => "powers off",
            Self::Ended => "has ended",
        }
    }
}

/// What was seen of one generation of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which.
    pub generation: u64,
    /// How far it is.
    pub phase: Phase,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What it said that it waits for.
    pub waits: Option<String>,
    /// What it said last of its health.
    pub health: Option<String>,
    /// What it said last of an error.
    pub error: Option<String>,
    /// Its last lines.
    pub tail: Vec<String>,
    /// Bytes of its console that could not be kept.
    pub lost: u64,
}

impl Seen {
    /// Nothing yet.
    #[must_use]
    pub fn new(generation: u64, now: u64) -> Self {
        Self {
            generation,
            since: now,
            ..Self::default()
        }
    }

    /// Takes in a line of the console. Whether it said anything that is worth
    /// writing down.
    pub fn line(&mut self, line: &str, now: u64) -> bool {
        if !line.trim().is_empty() {
            if self.tail.len() >= TAIL {
                self.tail.remove(0);
            }
            self.tail.push(line.to_owned());
        }
        let phase = if line.starts_with("provisioning: waiting at ") {
            self.waits = Some(line.to_owned());
            Phase::Waiting
        } else if line.starts_with("server: starting") {
            self.waits = None;
            Phase::Starting
        } else if line.starts_with("server: ") && line.contains("it starts again in") {
            self.error = Some(line.to_owned());
            Phase::Starting
        } else if line.starts_with("init: powering off") {
            self.waits = None;
            self.error.get_or_insert_with(|| line.to_owned());
            Phase::PoweringOff
        } else if line.contains(" bootstrap=") && self.phase == Phase::Starting {
            Phase::Serving
        } else if line.starts_with("health: ") {
            self.health = Some(line.to_owned());
            return true;
        } else if let "error" | "run-qemu" | "zipnet-host" =
            line.split(':').next().unwrap_or_default()
        {
            self.error = Some(line.to_owned());
            return true;
        } else {
            return false;
        };
        self.enter(phase, now);
        true
    }

    /// Enters a phase.
    pub fn enter(&mut self, phase: Phase, now: u64) {
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
    }

    /// Why it ended, as far as it said so.
    #[must_use]
    pub fn reason(&self) -> String {
        match &self.error {
            Some(error) => error.clone(),
            None if self.tail.is_empty() => "it said nothing".to_owned(),
            None => format!("its last lines: {}", self.tail.join(" | ")),
        }
    }
}

/// Now, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_followed_from_boot_to_power_off() {
        let mut seen = Seen::new(3, 10);
        for (line, phase) in [
            (
                "zipnet-init 0.1.0 (production) on Linux 6.12",
                Phase::Booting,
            ),
            // Whatever a server's log says, it has not started.
            ("somebody says bootstrap=x", Phase::Booting),
            (
                "provisioning: waiting at 0.0.0.0:7650 for secrets, for 43200 s at most",
                Phase::Waiting,
            ),
            ("server: starting", Phase::Starting),
            (
                "2026-11-27T16:00:00Z  INFO zipnet_node: bootstrap=ab@10.0.2.15:4400",
                Phase::Serving,
            ),
            ("health: up 60 s, server runs for 50 s", Phase::Serving),
            (
                "server: ended by signal 9 after 50 s; it starts again in 1 s",
                Phase::Starting,
            ),
            (
                "2026-11-27T16:00:00Z  INFO zipnet_node: bootstrap=ab@10.0.2.15:4400",
                Phase::Serving,
            ),
            (
                "init: powering off: the power button was pressed",
                Phase::PoweringOff,
            ),
        ] {
            seen.line(line, 20);
            assert_eq!(seen.phase, phase, "{line}");
        }
        assert_eq!(
            seen.health.as_deref(),
            Some("health: up 60 s, server runs for 50 s")
        );
        assert_eq!(seen.waits, None);
        assert_eq!(seen.tail.len(), TAIL);
        assert!(seen.reason().contains("it starts again in"));
    }

    #[test]
    fn the_reason_is_what_was_said_first_of_it() {
        let mut seen = Seen::new(1, 0);
        assert_eq!(seen.reason(), "it said nothing");
        seen.line("qemu-system-x86_64: no such thing", 0);
        assert_eq!(
            seen.reason(),
            "its last lines: qemu-system-x86_64: no such thing"
        );
        seen.line("error: There is no network", 0);
        seen.line("init: powering off: this guest cannot run", 0);
        assert_eq!(seen.reason(), "error: There is no network");
    }
}
