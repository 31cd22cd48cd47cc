//! A run folder with two images, and what is done to it.
#![allow(dead_code)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Image;

const CONFIG: &str = "ZIPNET_INSTANCE=acme.mix.test\nZIPNET_POLICY_KEYS=RWa,RWb\n";
pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(bench.path("server.conf"), CONFIG).unwrap();
        Image::new("one").write(&bench.path("one"));
        Image::new("two").version("0.2.0").write(&bench.path("two"));
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zipnet-host"));
        command
            .current_dir(self.folder.path())
            .env_remove("ZIPNET_IMAGE")
            .env_remove("NOTIFY_SOCKET")
            .env("ZIPNET_RUN", self.path("run"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        (output.status.code().unwrap_or(-1), text(&output))
    }

    pub fn good(&self, arguments: &[&str]) -> String {
        let (status, said) = self.run(arguments);
        assert_eq!(status, 0, "{arguments:?}: {said}");
        said
    }

    pub fn refused(&self, status: i32, arguments: &[&str]) -> String {
        let (found, said) = self.run(arguments);
        assert_eq!(found, status, "{arguments:?}: {said}");
        said
    }

    pub fn launch(&self, name: &str, image: &str) -> String {
        self.good(&[
            "launch",
            name,
            "--image",
            image,
            "--config",
            "server.conf",
            "--accel",
            "tcg",
        ])
    }

    pub fn status(&self, name: &str) -> Value {
        let said = self.good(&["status", name, "--json"]);
        let all: Value = serde_json::from_str(&said).unwrap();
        all[0].clone()
    }

    pub fn state(&self, name: &str) -> String {
        self.status(name)["state"].as_str().unwrap().to_owned()
    }

    /// Kills whoever watches, as a power cut for one process would.
    pub fn kill_watcher(&self, name: &str) {
        let lock = self.path(&format!("run/guests/{name}/supervisor.lock"));
        let holder = fs::read_to_string(lock).unwrap();
        let pid = holder.rsplit(' ').next().unwrap().trim();
        kill("KILL", pid);
        eventually("nobody watches", || self.state(name) != "running");
    }

    pub fn kill_guest(&self, name: &str) {
        let pid = self.status(name)["pid"].to_string();
        kill("KILL", &pid);
    }
}

/// Nothing of a bench outlives it.
impl Drop for Bench {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.path("run/guests"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().into_string().unwrap();
            let _ = self.command(&["stop", &name, "--grace", "2s"]).output();
        }
    }
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub fn kill(signal: &str, pid: &str) {
    let _ = Command::new("kill")
        .args(["-s", signal, pid])
        .stderr(Stdio::null())
        .status();
}

pub fn eventually(what: &str, ready: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
