//! `console`: what a guest has said, and says.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    thread,
    time::Duration,
};

use clap::Args;

use crate::{
    console::{OLDEST, numbered},
    files::FileError,
    place::{Folder, Name, Place},
};

/// How often it is looked for new lines.
const EVERY: Duration = Duration::from_millis(200);

/// Arguments of `console`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The guest's name on this host
    #[arg(value_name = "NAME")]
    name: Name,
    /// Go on until the guest has ended
    #[arg(long, short)]
    follow: bool,
}

/// A console was not shown.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// There is none.
    #[error("There is no guest {0} here; `zipnet-host status` lists those that there are")]
    Unknown(Name),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Shows the lines of a guest that are kept, the oldest first.
///
/// # Errors
/// [`ConsoleError`].
pub fn run(place: &Place, arguments: &Arguments) -> Result<(), ConsoleError> {
    let folder = place.guest(&arguments.name);
    if !folder.path().is_dir() {
        return Err(ConsoleError::Unknown(arguments.name.clone()));
    }
    for number in (1..=OLDEST).rev() {
        if let Some(mut file) = open(&folder, number)? {
            let _ = io::copy(&mut file, &mut io::stdout().lock());
        }
    }
    let mut newest = None;
    loop {
        // Before the lines are read: what is said at the end is not missed.
        let ended = !arguments.follow || !(folder.is_watched() || folder.alive()?.is_some());
        loop {
            let fresh = open(&folder, 0)?;
            let Some(file) = &mut newest else {
                newest = fresh;
                if newest.is_none() {
                    break;
                }
                continue;
            };
            if !print(file) {
                return Ok(());
            }
            // One that was put aside meanwhile is read to its end first.
            if is_same(file, fresh.as_ref()) {
                break;
            }
            print(file);
            newest = fresh;
        }
        if ended {
            return Ok(());
        }
        thread::sleep(EVERY);
    }
}

/// Prints what is new; whether anybody still reads.
fn print(file: &mut File) -> bool {
    let mut text = Vec::new();
    if file.read_to_end(&mut text).is_err() {
        return false;
    }
    io::Write::write_all(&mut io::stdout().lock(), &text).is_ok()
}

fn is_same(file: &File, other: Option<&File>) -> bool {
    let inode = |file: &File| file.metadata().map(|found| found.ino()).ok();
    other.is_none_or(|other| inode(file) == inode(other))
}

fn open(folder: &Folder, number: u32) -> Result<Option<File>, FileError> {
    let path = numbered(&folder.console(), number);
    match File::open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::Read(path, error)),
    }
}
