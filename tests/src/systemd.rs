//! A machine with a systemd of its own, to install packages in and to run units: this
//! machine's files under a layer of memory, and its own processes, mounts and network.
//! Needs root, systemd and util-linux. All of it is gone when it is dropped.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use tempfile::TempDir;

use crate::process::{Process, ProcessError, clean, eventually};

/// How long it may take until it is up.
const BOOT: Duration = Duration::from_mins(1);

/// The machine did not come up, or a script in it failed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no folder to mount in.
    #[error("No folder could be made for the machine")]
    Folder(#[source] io::Error),
    /// It did not start, or a script did not end.
    #[error(
        "The machine cannot be used; root, systemd and util-linux (`scripts/setup.sh test`) would be right"
    )]
    Process(#[from] ProcessError),
    /// It ended.
    #[error("The machine did not come up; root and systemd would be right. It said:\n{said}")]
    Boot {
        /// Its output.
        said: String,
    },
    /// A script failed.
    #[error("`{script}` ended with {status} in the machine; it said:\n{said}")]
    Failed {
        /// What was run.
        script: String,
        /// How it ended.
        status: ExitStatus,
        /// Its output.
        said: String,
    },
}

/// A machine that is up.
#[derive(Debug)]
pub struct Machine {
    /// `unshare`, which the machine ends with.
    process: Process,
    /// Its systemd, as this machine sees it.
    init: u32,
    /// Where it is mounted. Goes last.
    _folder: TempDir,
}

impl Machine {
    /// Boots one that sees `files` as `/mnt`.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn boot(files: &Path) -> Result<Self, MachineError> {
        let folder = tempfile::tempdir().map_err(MachineError::Folder)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"])
            .args(["--fork", "--kill-child"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/boot.sh"))
            .args([folder.path(), files]);
        clean(&mut command);
        let mut process = Process::start("machine", command, None)?;
        let mut init = None;
        let up = eventually("the machine's systemd is up", BOOT, || {
            init = child_of(process.pid());
            let running = init.is_some_and(is_up);
            (running || process.ended().is_some()).then_some(running)
        });
        match (up, init) {
            (Ok(true), Some(init)) => Ok(Self {
                process,
                init,
                _folder: folder,
            }),
            _ => Err(MachineError::Boot {
                said: process.lines().since(0).join("\n"),
            }),
        }
    }

    /// Runs a script in it as `bash -euo pipefail` does, in `folder`, and yields what it
    /// says.
    ///
    /// # Errors
    /// [`MachineError`] if it fails, or does not end in time.
    pub fn run(
        &self,
        folder: &str,
        script: &str,
        limit: Duration,
    ) -> Result<Vec<String>, MachineError> {
        let (status, lines) = self.attempt(folder, script, limit)?;
        if status.success() {
            return Ok(lines);
        }
        Err(MachineError::Failed {
            script: script.to_owned(),
            status,
            said: lines.join("\n"),
        })
    }

    /// The same for a script that may fail.
    ///
    /// # Errors
    /// [`MachineError`] if it does not end in time.
    pub fn attempt(
        &self,
        folder: &str,
        script: &str,
        limit: Duration,
    ) -> Result<(ExitStatus, Vec<String>), MachineError> {
        let script = format!("cd {folder}\n{script}");
        let mut command = enter(self.init);
        command.args(["bash", "-euo", "pipefail", "-c", &script, "page"]);
        Ok(Process::run("a script in the machine", command, limit)?)
    }

    /// What it has said on its console.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        self.process.lines().since(0)
    }
}

/// A command that runs another in the machine of a systemd, with a login's environment.
fn enter(init: u32) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--all", "--target", &init.to_string(), "--", "env", "-i"])
        .args([
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "TERM=dumb",
            "SHELL=/bin/bash",
        ])
        .args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
        .args(["DEBIAN_FRONTEND=noninteractive"]);
    command
}

/// Whether a systemd has started all that it is to start. What this machine adds to it
/// may fail.
fn is_up(init: u32) -> bool {
    // The shell that becomes systemd is in this machine's mounts at first.
    let program = fs::read_link(PathBuf::from(format!("/proc/{init}/exe")));
    if !program.is_ok_and(|program| program.ends_with("systemd")) {
        return false;
    }
    let mut command = enter(init);
    command.args(["systemctl", "is-system-running"]);
    command
        .output()
        .is_ok_and(|said| matches!(said.stdout.trim_ascii(), b"running" | b"degraded"))
}

/// The only child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
