//! The book's commands: taken from its pages, and run.
//!
//! A fenced block that a reader copies is marked ` ```sh test=NAME ` if the test function `NAME`
//! runs it, or ` ```sh not-run ` below a sentence that says why it is not run. A test takes what it runs
//! from the page, so that the page cannot say anything else:
//!
//! ```no_run
//! # fn a_page_works() -> zipnet_tests::process::TestResult {
//! use std::time::Duration;
//! use zipnet_tests::book::{self, Shell};
//!
//! let script = book::block("operator/quickstart.md", "a_page_works")?;
//! let folder = tempfile::tempdir()?;
//! let ran = Shell::new(folder.path())?.alone().run("quickstart", &script, Duration::from_mins(2))?;
//! assert!(ran.line("landed").is_some(), "{ran:?}");
//! # Ok(()) }
//! ```
//!
//! `tests/tests/docs.rs` holds every page to that, and looks for the calls of [`block`] and [`blocks`] in the
//! tests: both arguments have to stand there as literals.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    markdown::{Fence, Page},
    process::{Process, ProcessError, binary, clean},
};

/// A page has not what a test looks for, or its commands failed.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The page cannot be read.
    #[error("The page {path} cannot be read")]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No block of the page names the test.
    #[error("The page {page} has no block marked `sh test={test}`")]
    Missing {
        /// The page.
        page: String,
        /// The test.
        test: String,
    },
    /// The shell did not start, or did not end in time.
    #[error("The commands of {name} did not end")]
    Process {
        /// What was run.
        name: String,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// A command failed.
    #[error("The commands of {name} ended with {status}; what they said:\n{said}")]
    Failed {
        /// What was run.
        name: String,
        /// How they ended.
        status: ExitStatus,
        /// Their output.
        said: String,
    },
}

/// The repository.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The text of a page by its path in `docs/`, such as `operator/quickstart.md`.
///
/// # Errors
/// [`BookError::Read`].
pub fn page(page: &str) -> Result<Page, BookError> {
    let path = repository().join("docs").join(page);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Page::parse(&text)),
        Err(source) => Err(BookError::Read { path, source }),
    }
}

/// The commands of a page that are marked with a test's name, as one script.
///
/// # Errors
/// [`BookError`] if the page cannot be read or has none.
pub fn block(page: &str, test: &str) -> Result<String, BookError> {
    blocks(page, test).map(|blocks| blocks.concat())
}

/// The same, one string a block, for a test that looks at something in between.
///
/// # Errors
/// [`BookError`] if the page cannot be read or has none.
pub fn blocks(page: &str, test: &str) -> Result<Vec<String>, BookError> {
    let found: Vec<_> = self::page(page)?
        .fences
        .into_iter()
        .filter(|fence| fence.test() == Some(test))
        .map(|fence: Fence| fence.text)
        .collect();
    if found.is_empty() {
        return Err(BookError::Missing {
            page: page.to_owned(),
            test: test.to_owned(),
        });
    }
    Ok(found)
}

/// What commands said.
#[derive(Debug)]
pub struct Ran {
    /// Their lines, on either output.
    pub lines: Vec<String>,
}

impl Ran {
    /// The first line that contains `text`.
    #[must_use]
    pub fn line(&self, text: &str) -> Option<&str> {
        self.lines
            .iter()
            .map(String::as_str)
            .find(|line| line.contains(text))
    }
}

/// A reader's shell: a folder, an environment, and the programs of this build in `PATH`.
#[derive(Debug)]
pub struct Shell {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    path: Vec<PathBuf>,
    alone: bool,
}

impl Shell {
    /// A shell in `folder`, which is its `HOME` as well. What the caller's environment would tell
    /// a zipnet process is removed from its own.
    ///
    /// # Errors
    /// [`BookError::Process`] if the programs are not built.
    pub fn new(folder: &Path) -> Result<Self, BookError> {
        let program = binary("zipnet-server").map_err(|source| BookError::Process {
            name: "a page".into(),
            source,
        })?;
        let mut path: Vec<_> = program.parent().map(Path::to_owned).into_iter().collect();
        path.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        Ok(Self {
            folder: folder.to_owned(),
            variables: Vec::new(),
            path,
            alone: false,
        })
    }

    /// In a network of its own that has a loopback and nothing else: no port of a page is taken, and
    /// nothing comes from outside. Needs root and iproute2.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Puts a folder of programs before all others in `PATH`.
    #[must_use]
    pub fn with_programs(mut self, folder: &Path) -> Self {
        self.path.insert(0, folder.to_owned());
        self
    }

    /// The command that runs a script as `bash -euo pipefail` does.
    #[must_use]
    pub fn command(&self, script: &str) -> Command {
        let bash = ["bash", "-euo", "pipefail", "-c", script, "page"];
        let mut command = Command::new(if self.alone { "unshare" } else { "env" });
        clean(&mut command);
        if self.alone {
            command.args([
                "--net",
                "sh",
                "-c",
                r#"ip link set lo up && exec "$@""#,
                "sh",
            ]);
        }
        command
            .args(bash)
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Ok(path) = env::join_paths(&self.path) {
            command.env("PATH", path);
        }
        command
    }

    /// Starts a script and does not wait for it. Whatever it leaves running ends with it.
    ///
    /// # Errors
    /// [`BookError::Process`].
    pub fn start(&self, name: &str, script: &str) -> Result<Session, BookError> {
        let process = Process::start(name, self.command(script), None);
        process
            .map(|process| Session { process })
            .map_err(|source| BookError::Process {
                name: name.to_owned(),
                source,
            })
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// [`BookError`] if it fails, or does not end in time.
    pub fn run(&self, name: &str, script: &str, limit: Duration) -> Result<Ran, BookError> {
        let mut session = self.start(name, script)?;
        session.process.close_stdin();
        session.wait(limit)
    }
}

/// A script that runs. Dropped, it ends with all that it started.
#[derive(Debug)]
pub struct Session {
    /// The shell.
    pub process: Process,
}

impl Session {
    /// Waits for the end.
    ///
    /// # Errors
    /// [`BookError`] if it fails, or does not end in time.
    pub fn wait(&mut self, limit: Duration) -> Result<Ran, BookError> {
        let name = self.process.name().to_owned();
        let status = self
            .process
            .wait(limit)
            .map_err(|source| BookError::Process {
                name: name.clone(),
                source,
            })?;
        let lines = self.process.lines().since(0);
        if !status.success() {
            let said = lines.join("\n");
            return Err(BookError::Failed { name, status, said });
        }
        Ok(Ran { lines })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The shell leads a group that its background processes are in.
        self.process.signal_group(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_not_there_is_named() {
        let error = block("README.md", "no_such_test").unwrap_err();
        assert!(error.to_string().contains("test=no_such_test"), "{error}");
        let error = block("no-such-page.md", "x").unwrap_err();
        assert!(error.to_string().contains("no-such-page.md"), "{error}");
    }

    #[test]
    fn a_command_that_fails_ends_the_script() {
        let folder = tempfile::tempdir().unwrap();
        let shell = Shell {
            folder: folder.path().to_owned(),
            variables: Vec::new(),
            path: env::split_paths(&env::var_os("PATH").unwrap()).collect(),
            alone: false,
        }
        .with("WORD", "said");
        let ran = shell.run("good", "echo $WORD; pwd", Duration::from_secs(20));
        let ran = ran.unwrap();
        assert!(ran.line("said").is_some(), "{ran:?}");
        assert!(
            ran.line(folder.path().to_str().unwrap()).is_some(),
            "{ran:?}"
        );
        let error = shell
            .run("bad", "false | true\necho after", Duration::from_secs(20))
            .unwrap_err();
        assert!(matches!(error, BookError::Failed { .. }), "{error}");
        assert!(!error.to_string().contains("after"), "{error}");
    }

    #[test]
    fn what_a_script_leaves_behind_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let shell = Shell {
            folder: folder.path().to_owned(),
            variables: Vec::new(),
            path: env::split_paths(&env::var_os("PATH").unwrap()).collect(),
            alone: false,
        };
        let script = "sleep 600 >/dev/null 2>&1 & echo $!";
        let ran = shell.run("left", script, Duration::from_secs(20)).unwrap();
        let left = PathBuf::from(format!("/proc/{}", ran.lines[0]));
        let gone = || match fs::read_to_string(left.join("stat")) {
            // A process that nobody has asked about yet is dead as well.
            Ok(stat) => stat.contains(") Z ").then_some(()),
            Err(_) => Some(()),
        };
        crate::process::eventually("the process is gone", Duration::from_secs(10), gone).unwrap();
    }
}
