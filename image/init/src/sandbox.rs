//! What a stage may do: who it is, the capabilities that it keeps, the files and ports
//! that it may touch, the system calls that it may make. Once entered, there is no way
//! back, nor for what it executes.

use std::{
    io,
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    PathFdError, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope,
};
use nix::{
    errno::Errno,
    sys::resource::{Resource, setrlimit},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use crate::calls::{Calls, CallsError};

/// The newest rules that this program knows of: Linux 6.12's.
const KNOWN: ABI = ABI::V6;

/// What a stage may do.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox<'a> {
    /// Its user and group.
    pub user: u32,
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
    /// TCP ports; without them, any.
    pub tcp: Option<Tcp<'a>>,
    /// Kinds of sockets that it makes.
    pub sockets: &'static [i32],
}

/// Ports of TCP. Of UDP, Landlock knows nothing.
#[derive(Debug, Clone, Copy)]
pub struct Tcp<'a> {
    /// Those that it may listen at.
    pub listen: &'a [u16],
    /// Those of others that it may connect to.
    pub connect: &'a [u16],
}

/// A sandbox could not be entered; whoever wanted to must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Capabilities.
    #[error("Capabilities could not be given up")]
    Capabilities(#[source] CapsError),
    /// A user.
    #[error("The process could not become user {0}")]
    User(u32, #[source] io::Error),
    /// System calls.
    #[error("System calls could not be restricted")]
    Calls(#[from] CallsError),
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
        let status = self.restrict()?;
        self.become_user()?;
        // Effective before permitted, whose part it is. What is executed keeps what is
        // ambient, for which it has to be inheritable.
        for set in [
            CapSet::Effective,
            CapSet::Permitted,
            CapSet::Inheritable,
            CapSet::Ambient,
        ] {
            caps::set(None, set, &keep).map_err(SandboxError::Capabilities)?;
        }
        let calls = Calls {
            sockets: self.sockets,
            execute: self.execute.is_some(),
        };
        calls.enter()?;
        let landlock = landlock_version(&status);
        if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
            return Err(SandboxError::Partly(landlock));
        }
        Ok(format!(
            "user {}, {} capabilities, no new privileges, Landlock {landlock}, filtered system calls, {} open files, no core dumps",
            self.user,
            keep.len(),
            self.open_files
        ))
    }

    /// Another user, who keeps the capabilities for now.
    fn become_user(&self) -> Result<(), SandboxError> {
        let failed = |error: Errno| SandboxError::User(self.user, error.into());
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.user));
        caps::securebits::set_keepcaps(true).map_err(SandboxError::Capabilities)?;
        setgroups(&[]).map_err(failed)?;
        setresgid(group, group, group).map_err(failed)?;
        setresuid(user, user, user).map_err(failed)
    }

    fn restrict(&self) -> Result<RestrictionStatus, SandboxError> {
        let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?;
        if self.tcp.is_some() {
            ruleset = ruleset.handle_access(AccessNet::from_all(KNOWN))?;
        }
        let mut ruleset = ruleset.scope(Scope::from_all(KNOWN))?.create()?;
        if let Some(tcp) = self.tcp {
            let listen = tcp.listen.iter().map(|port| (*port, AccessNet::BindTcp));
            let connect = tcp
                .connect
                .iter()
                .map(|port| (*port, AccessNet::ConnectTcp));
            for (port, access) in listen.chain(connect) {
                ruleset = ruleset.add_rule(NetPort::new(port, access))?;
            }
        }
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
