//! One process: started, listened to, signalled, reaped.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill, killpg},
    },
    unistd::Pid,
};
use serde_json::Value;

use crate::lines::Lines;

/// Something about a process went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The binary is not there.
    #[error("{path} does not exist; `cargo build --workspace --bins` makes it")]
    Binary {
        /// Where it should be.
        path: PathBuf,
    },
    /// It did not start, or its log file could not be written.
    #[error("Could not start {name}")]
    Start {
        /// The process.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not say what it should in time.
    #[error("{name} did not say {what} within {} s; its last lines:\n{last}", limit.as_secs())]
    Silent {
        /// The process.
        name: String,
        /// What was expected.
        what: String,
        /// How long.
        limit: Duration,
        /// The end of its output.
        last: String,
    },
    /// It ended before its time.
    #[error("{name} ended ({status}) before it said {what}; its last lines:\n{last}")]
    Ended {
        /// The process.
        name: String,
        /// What was expected.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        last: String,
    },
    /// A condition did not come to hold in time.
    #[error("{what}: not within {} s", limit.as_secs())]
    Never {
        /// The condition.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// It did not end in time.
    #[error("{name} did not end within {} s; its last lines:\n{last}", limit.as_secs())]
    Lingering {
        /// The process.
        name: String,
        /// How long.
        limit: Duration,
        /// The end of its output.
        last: String,
    },
}

/// Why a test failed. Shows as its text when a test returns it.
pub struct Failed(String);

/// What a test returns.
pub type TestResult<T = ()> = Result<T, Failed>;

impl Failed {
    /// A failure in one's own words.
    pub fn because(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(zipnet_node::report::chain(&error))
    }
}

/// Waits until `ready` yields something.
///
/// # Errors
/// [`ProcessError::Never`].
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, ProcessError> {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if Instant::now() >= until {
            return Err(ProcessError::Never {
                what: what.to_owned(),
                limit,
            });
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The folder that holds the workspace's binaries: beside this one, or above
/// it for a test.
///
/// # Errors
/// [`ProcessError::Binary`] if `name` is not there.
pub fn binary(name: &str) -> Result<PathBuf, ProcessError> {
    let here = std::env::current_exe().unwrap_or_default();
    let candidates = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name));
    let mut last = PathBuf::from(name);
    for path in candidates {
        if path.is_file() {
            return Ok(path);
        }
        last = path;
    }
    Err(ProcessError::Binary { path: last })
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines,
}

impl Process {
    /// Starts a command in its own process group, so that a Ctrl-C at the
    /// terminal reaches us alone. Its output is kept, and written to `log`.
    ///
    /// # Errors
    /// [`ProcessError::Start`].
    pub fn start(
        name: &str,
        mut command: Command,
        log: Option<&Path>,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start {
            name: name.to_owned(),
            source,
        };
        let log = log.map(File::create).transpose().map_err(failed)?;
        let other = log
            .as_ref()
            .map(File::try_clone)
            .transpose()
            .map_err(failed)?;
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let lines = Lines::default();
        if let Some(out) = child.stdout.take() {
            lines.listen(out, log);
        }
        if let Some(err) = child.stderr.take() {
            lines.listen(err, other);
        }
        Ok(Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            lines,
        })
    }

    /// Runs a command to its end and yields its status and all of its lines.
    ///
    /// # Errors
    /// [`ProcessError`] if it does not start or does not end in time.
    pub fn run(
        name: &str,
        command: Command,
        limit: Duration,
    ) -> Result<(ExitStatus, Vec<String>), ProcessError> {
        let mut process = Self::start(name, command, None)?;
        process.close_stdin();
        let status = process.wait(limit)?;
        Ok((status, process.lines.since(0)))
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has said.
    #[must_use]
    pub const fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says a line that contains `text`, from line `from` on.
    ///
    /// # Errors
    /// [`ProcessError::Silent`] or [`ProcessError::Ended`].
    pub fn expect_from(
        &mut self,
        from: usize,
        text: &str,
        limit: Duration,
    ) -> Result<(usize, String), ProcessError> {
        if let Some(found) = self.lines.find(from, limit, |line| line.contains(text)) {
            return Ok(found);
        }
        Err(self.missing(format!("{text:?}"), limit))
    }

    fn missing(&mut self, what: String, limit: Duration) -> ProcessError {
        let last = self.lines.last();
        let name = self.name.clone();
        match self.child.try_wait() {
            Ok(Some(status)) => ProcessError::Ended {
                name,
                what,
                status,
                last,
            },
            _ => ProcessError::Silent {
                name,
                what,
                limit,
                last,
            },
        }
    }

    /// As [`Process::expect_from`], from the first line on.
    ///
    /// # Errors
    /// [`ProcessError::Silent`] or [`ProcessError::Ended`].
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<String, ProcessError> {
        self.expect_from(0, text, limit).map(|(_, line)| line)
    }

    /// As [`Process::expect_from`], for lines that it has not said yet.
    ///
    /// # Errors
    /// [`ProcessError::Silent`] or [`ProcessError::Ended`].
    pub fn expect_new(&mut self, text: &str, limit: Duration) -> Result<String, ProcessError> {
        let from = self.lines.count();
        self.expect_from(from, text, limit).map(|(_, line)| line)
    }

    /// Waits until it says a JSON object that `wanted` accepts, from line
    /// `from` on; yields the object and the position after it.
    ///
    /// # Errors
    /// [`ProcessError::Silent`] or [`ProcessError::Ended`].
    pub fn expect_json(
        &mut self,
        from: usize,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<(usize, Value), ProcessError> {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .ok()
                .filter(|value| wanted(value))
        };
        let found = self.lines.find(from, limit, |line| {
            line.starts_with('{') && parse(line).is_some()
        });
        match found.and_then(|(at, line)| Some((at, parse(&line)?))) {
            Some(found) => Ok(found),
            None => Err(self.missing(what.to_owned(), limit)),
        }
    }

    /// All JSON objects that it has said, from line `from` on.
    #[must_use]
    pub fn json_since(&self, from: usize) -> Vec<Value> {
        self.lines
            .since(from)
            .iter()
            .filter(|line| line.starts_with('{'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: impl AsRef<[u8]>) {
        if let Some(stdin) = &mut self.stdin {
            // If it has ended, whoever waits for it will notice.
            let _ = stdin
                .write_all(line.as_ref())
                .and_then(|()| stdin.write_all(b"\n"))
                .and_then(|()| stdin.flush());
        }
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Sends a signal to it and to what it started, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has ended and its output is read.
    ///
    /// # Errors
    /// [`ProcessError::Lingering`].
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        let until = Instant::now() + limit;
        // Its outputs close when it ends; `find` returns at once then.
        let _ = self.lines.find(usize::MAX, limit, |_| false);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(ProcessError::Lingering {
                    name: self.name.clone(),
                    limit,
                    last: self.lines.last(),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end with SIGTERM, and waits.
    ///
    /// # Errors
    /// [`ProcessError::Lingering`].
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::SIGTERM);
        self.wait(limit)
    }

    /// Kills it at once, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        resident(self.child.id())
    }
}

/// Resident memory of a process in bytes.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lets this process, and those that it starts, open as many files as it may.
///
/// # Errors
/// The system's.
pub fn more_files() -> std::io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// A command for one of the workspace's binaries, with a clean environment.
///
/// # Errors
/// [`ProcessError::Binary`].
pub fn command(name: &str) -> Result<Command, ProcessError> {
    let mut command = Command::new(binary(name)?);
    clean(&mut command);
    Ok(command)
}

/// Removes what the caller's environment would tell a zipnet process.
pub fn clean(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        let ours = variable
            .to_str()
            .is_some_and(|name| name.starts_with("ZIPNET_"));
        if ours || variable == OsStr::new("RUST_LOG") {
            command.env_remove(variable);
        }
    }
}
