//! The process that becomes a guest's launcher.
//!
//! It writes down who it is before it becomes it: at no moment does a guest run of
//! which the run folder does not know.

use core::convert::Infallible;
use std::{io, os::unix::process::CommandExt as _, process::Command};

use nix::sys::signal::SigSet;

use crate::{
    alive::Birth,
    files::{self, FileError, Lock},
    image,
    place::{Folder, Name, Place},
    plan::Ran,
    seen::now,
};

/// The launcher was not started.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another generation is wanted by now.
    #[error("The guest {0} is not to be started any more")]
    Unwanted(Name),
    /// Processes of it are left.
    #[error("Processes of the guest {name} still run ({by}); `zipnet-host stop {name}` ends them")]
    Left {
        /// Which.
        name: Name,
        /// Who holds its lock.
        by: String,
    },
    /// The kernel.
    #[error("Could not {0}")]
    System(&'static str, #[source] io::Error),
}

/// Becomes the launcher of a generation.
///
/// # Errors
/// [`GuestError`].
pub fn become_guest(
    place: &Place,
    folder: &Folder,
    generation: u64,
) -> Result<Infallible, GuestError> {
    let lock = Lock::take(&folder.guest_lock(), "the guest itself")?;
    let lock = lock.ok_or_else(|| GuestError::Left {
        name: folder.name.clone(),
        by: files::holder(&folder.guest_lock()),
    })?;
    let birth = Birth::own().map_err(|source| GuestError::System("read /proc", source))?;
    files::write_state(
        &folder.ran(),
        &Ran {
            generation,
            birth,
            since: now(),
        },
    )?;
    // In this order: whoever stops it meanwhile finds it, or is found here.
    let wanted = folder
        .read_wanted()?
        .filter(|wanted| wanted.run && wanted.generation == generation)
        .ok_or_else(|| GuestError::Unwanted(folder.name.clone()))?;
    lock.keep_across_exec()
        .map_err(|source| GuestError::System("keep the lock", source))?;
    // Away from the terminal, and open to signals again, which whoever watches reads.
    let _ = rustix::process::setsid();
    SigSet::empty()
        .thread_set_mask()
        .map_err(|error| GuestError::System("listen to signals", error.into()))?;
    // By its shell: nothing can be executed under /run.
    let error = Command::new("bash")
        .arg(image::folder(place, wanted.plan.image).join(image::LAUNCHER))
        .args(wanted.plan.arguments(folder))
        .env("QEMU", &wanted.plan.qemu)
        .env("TMPDIR", folder.work())
        .exec();
    Err(GuestError::System("execute bash", error))
}
