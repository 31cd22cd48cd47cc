//! What a stage may do: the capabilities that it keeps, the files that it may
//! touch. Once entered, there is no way back, nor for what it executes.

use std::{
    io,
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, PathFdError,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, setrlimit};

/// The newest rules that this program knows of: Linux 6.12's.
const KNOWN: ABI = ABI::V6;

/// What a stage may do.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox<'a> {
    /// Files to have open at most.
    pub open_files: u64,
    /// Capabilities to keep.
    pub capabilities: &'a [Capability],
    /// Files and folders to read, if they are there.
    pub read: &'a [&'a str],
    /// Folders to do everything in but execute, if they are there.
    pub write: &'a [&'a str],
    /// The only program to execute.
    pub execute: Option<&'a str>,
}

/// A sandbox could not be entered; whoever wanted to must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Capabilities.
    #[error("Capabilities could not be given up")]
    Capabilities(#[source] CapsError),
    /// A limit.
    #[error("The limit {0} could not be set")]
    Limit(&'static str, #[source] io::Error),
    /// Landlock.
    #[error("The kernel's Landlock refuses the rules")]
    Landlock(#[from] RulesetError),
    /// A path in the rules.
    #[error("{path} cannot be opened for a Landlock rule", path = .path.display())]
    Path {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: PathFdError,
    },
    /// Not everything.
    #[error(
        "This kernel's Landlock enforces less than it was asked to ({0}); Linux 6.12 or later would be right"
    )]
    Partly(String),
}

impl Sandbox<'_> {
    /// Enters it, and yields in words what is in force. Must be called before
    /// there are threads.
    ///
    /// # Errors
    /// [`SandboxError`]; then some of it may be in force.
    pub fn enter(&self) -> Result<String, SandboxError> {
        no_core()?;
        // More than the kernel gives by itself takes a capability.
        limit(Resource::RLIMIT_NOFILE, "nofile", self.open_files)?;
        let keep: CapsHashSet = self.capabilities.iter().copied().collect();
        // The bounding set first: to shrink it takes a capability.
        for capability in caps::runtime::thread_all_supported() {
            if !keep.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability)
                    .map_err(SandboxError::Capabilities)?;
            }
        }
        let status = self.restrict_files()?;
        caps::clear(None, CapSet::Ambient).map_err(SandboxError::Capabilities)?;
        // Effective before permitted, whose part it is.
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, &keep).map_err(SandboxError::Capabilities)?;
        }
        caps::clear(None, CapSet::Inheritable).map_err(SandboxError::Capabilities)?;
        let landlock = landlock_version(&status);
        if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
            return Err(SandboxError::Partly(landlock));
        }
        Ok(format!(
            "{} capabilities, no new privileges, Landlock {landlock}, {} open files, no core dumps",
            keep.len(),
            self.open_files
        ))
    }

    fn restrict_files(&self) -> Result<RestrictionStatus, SandboxError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::from_all(KNOWN) & !AccessFs::Execute;
        let rules = self
            .read
            .iter()
            .map(|path| (path, read))
            .chain(self.write.iter().map(|path| (path, write)))
            .filter(|(path, _)| Path::new(path).exists());
        for (path, access) in rules {
            ruleset = ruleset.add_rule(rule(path, access)?)?;
        }
        if let Some(path) = self.execute {
            ruleset = ruleset.add_rule(rule(path, AccessFs::Execute | AccessFs::ReadFile)?)?;
        }
        Ok(ruleset.restrict_self()?)
    }
}

fn rule(path: &str, access: BitFlags<AccessFs>) -> Result<PathBeneath<PathFd>, SandboxError> {
    let file = PathFd::new(path).map_err(|source| SandboxError::Path {
        path: PathBuf::from(path),
        source,
    })?;
    // Rights of folders mean nothing for a file.
    let access = if Path::new(path).is_dir() {
        access
    } else {
        access & AccessFs::from_file(KNOWN)
    };
    Ok(PathBeneath::new(file, access))
}

fn landlock_version(status: &RestrictionStatus) -> String {
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => format!("ABI {}", effective_abi as i32),
        _ => "none".to_owned(),
    }
}

/// No core dumps of this process and of its children.
///
/// # Errors
/// [`SandboxError::Limit`].
pub fn no_core() -> Result<(), SandboxError> {
    limit(Resource::RLIMIT_CORE, "core", 0)
}

/// Sets a limit of this process and of its children.
fn limit(resource: Resource, name: &'static str, value: u64) -> Result<(), SandboxError> {
    setrlimit(resource, value, value).map_err(|error| SandboxError::Limit(name, error.into()))
}
