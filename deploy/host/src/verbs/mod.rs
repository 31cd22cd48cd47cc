//! What an operator can say.

pub mod console;
pub mod doctor;
pub mod launch;
pub mod libvirt;
pub mod status;
pub mod stop;
pub mod upgrade;

use crate::{
    files::{self, FileError, Lock},
    place::{Folder, Name},
};

/// Another verb is at work on the guest.
#[derive(Debug, thiserror::Error)]
#[error("Another zipnet-host is at work on the guest {name} ({by}); wait for it, or end it")]
pub struct Busy {
    name: Name,
    by: String,
}

/// Takes the right to change something of a guest.
fn alone(folder: &Folder, verb: &str) -> Result<Result<Lock, Busy>, FileError> {
    let path = folder.verb_lock();
    Ok(Lock::take(&path, verb)?.ok_or_else(|| Busy {
        name: folder.name.clone(),
        by: files::holder(&path),
    }))
}
